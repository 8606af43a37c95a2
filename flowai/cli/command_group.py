"""Commands by name, imported and built on first use: Typer inspects every option of every command it has."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from flowai.cli.help_format import HelpCommand, write_commands, write_examples
from flowai.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

# in the order of the help; a module has `command`, `EXAMPLES` and maybe `OPTION_GROUPS`, or `app` if it is a group
COMMAND_GROUPS = {
    "Evaluate": ("eval", "smoke", "drift", "runs", "import"),
    "Release": ("models", "upgrade", "release", "simulate", "canary-report", "rollback", "experiment"),
    "Run": ("serve", "ask", "calls", "providers", "watch", "metrics"),
    "Learn": ("judge", "postmortem", "finetune"),
    "Project": ("init", "doctor", "secrets", "prompt", "events", "cache"),
}


class Commands(Mapping[str, Any]):
    """Commands by name."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - typer's commands are of a private class
        if name not in self._built:
            if name not in iter(self):
                raise KeyError(name)
            self._built[name] = _build(name, import_module(module_of(name)))
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return (name for names in COMMAND_GROUPS.values() for name in names)

    def __len__(self) -> int:
        return sum(map(len, COMMAND_GROUPS.values()))


class CommandGroup(TyperGroup):
    """The command line itself."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - typer's arguments, passed on
        super().__init__(**attributes)
        self.commands = Commands()  # type: ignore[assignment]  # only read

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - click's signature
        """Write a section per group of commands."""
        width = max(map(len, self.commands))
        for title, names in COMMAND_GROUPS.items():
            write_commands(formatter, title, ((name.ljust(width), self.commands[name]) for name in names))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - click's signature
        """Write examples and exit codes."""
        write_examples(formatter, self.epilog)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code.value), code.meaning) for code in ExitCode])


def module_of(name: str) -> str:
    """Return the module that defines a command: a package per group of the help, a module per command."""
    group = next(title for title, names in COMMAND_GROUPS.items() if name in names).lower()
    module = f"{name}_" if keyword.iskeyword(name) else name.replace("-", "_")
    return f"flowai.cli.commands.{group}.{module}"


def _build(name: str, module: Any) -> Any:  # noqa: ANN401 - a module; as above
    single = typer.Typer(rich_markup_mode=None, add_completion=False)
    single.callback()(_do_nothing)  # otherwise typer takes one command for the whole command line
    if hasattr(module, "app"):
        single.add_typer(module.app, name=name)
    else:
        single.command(name, cls=HelpCommand, epilog=module.EXAMPLES)(module.command)
    built: Any = get_command(single)
    command = built.commands[name]
    if hasattr(module, "OPTION_GROUPS"):
        command.option_groups = module.OPTION_GROUPS
    return command


def _do_nothing() -> None:
    """Do nothing."""
