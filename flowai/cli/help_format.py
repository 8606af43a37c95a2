"""Help of commands: an "Examples:" section after the options, and one uncut line per command of a group.

Plain text of click's formatter: the same on a terminal, on a pipe and with NO_COLOR.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from collections.abc import Iterable

_TYPE = re.compile(r" <[a-z\[\] ]+>$")


def examples(*commands: str) -> str:
    """Return the epilog that `HelpCommand` and `HelpGroup` show as examples, one line each."""
    return "\n".join(commands)


def summary(command: Any) -> str:  # noqa: ANN401 - typer's commands are of a private class
    """Return the first line of a command's help."""
    return (command.help or "").strip().partition("\n")[0]


class HelpCommand(TyperCommand):
    """A command whose epilog holds examples."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's signature
        """Write arguments and options, without the Python type that typer adds to arguments."""
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            params = [param for param in self.get_params(ctx) if param.param_type_name == kind]
            rows = [(_TYPE.sub("", row[0]), row[1]) for param in params if (row := param.get_help_record(ctx))]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

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
