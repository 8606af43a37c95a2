"""Help of commands: an "Examples:" section after the options, and one uncut line per command of a group.

Plain text of click's formatter: the same on a terminal, on a pipe and with NO_COLOR.
"""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_TYPE = re.compile(r" <[a-z\[\] ]+>$")
_AT_LEAST_ONE = re.compile(r"  \[x>=1\]$")  # of a number of things it says nothing


def examples(*commands: str) -> str:
    """Return the epilog that `HelpCommand` and `HelpGroup` show as examples, one line each."""
    return "\n".join(commands)


def summary(command: Any) -> str:  # noqa: ANN401 - typer's commands are of a private class
    """Return the first line of a command's help."""
    return (command.help or "").strip().partition("\n")[0]


class HelpCommand(TyperCommand):
    """A command whose epilog holds examples."""

    option_groups: Mapping[str, Sequence[str]] = {}
    """Sections of the options, by title; options that no section names are in the last one, "Options"."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's signature
        """Write arguments and options, without the Python type that typer adds to arguments."""
        titles = {option: title for title, options in self.option_groups.items() for option in options}
        order = list(titles)
        sections: dict[str, list[tuple[int, str, str]]] = {}
        for param in self.get_params(ctx):
            row = param.get_help_record(ctx)
            if row:
                name = next((option for option in param.opts if option in titles), None)
                is_argument = param.param_type_name == "argument"
                title = "Arguments" if is_argument else titles.get(name or "", "Options")
                position = len(order) if name is None else order.index(name)
                cells = (position, _TYPE.sub("", row[0]), _AT_LEAST_ONE.sub("", row[1]))
                sections.setdefault(title, []).append(cells)
        for title in ("Arguments", *self.option_groups, "Options"):
            rows = sorted(sections.get(title, ()), key=operator.itemgetter(0))
            if rows:
                with formatter.section(title):
                    formatter.write_dl([cells[1:] for cells in rows])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - click's signature
        """Write the examples as they are: a wrapped command could not be pasted."""
        write_examples(formatter, self.epilog)


class HelpGroup(TyperGroup):
    """A group of commands whose epilog holds examples."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's signature
        """Write one line per command."""
        write_commands(formatter, "Commands", ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx)))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - click's signature
        """Write the examples as they are."""
        write_examples(formatter, self.epilog)


def write_commands(formatter: Any, title: str, commands: Iterable[tuple[str, Any]]) -> None:  # noqa: ANN401 - click's
    """Write a section with name and summary of each command; a long summary wraps."""
    with formatter.section(title):
        formatter.write_dl([(name, summary(command)) for name, command in commands])


def write_examples(formatter: Any, lines: str | None) -> None:  # noqa: ANN401 - click's formatter
    """Write the section of examples."""
    if lines:
        with formatter.section("Examples"):
            for line in lines.splitlines():
                formatter.write(f"  {line}\n")
