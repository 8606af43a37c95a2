"""Commands by name, imported and built on first use: Typer inspects every option of every command it has."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

if TYPE_CHECKING:
    from collections.abc import Iterator

# in the order that help shows; a module has `command`, or `app` where it is a group
_MODULES = {
    "eval": "eval",
    "smoke": "smoke",
    "canary-report": "canary_report",
    "metrics": "metrics",
    "rollback": "rollback",
    "postmortem": "postmortem",
    "watch": "watch",
    "serve": "serve",
    "release": "release",
    "experiment": "experiment",
    "cache": "cache",
    "events": "events",
    "finetune": "finetune",
}


class Commands(Mapping[str, Any]):
    """Commands by name."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - typer's commands are of a private class
        if name not in self._built:
            self._built[name] = _build(name, import_module(f"flowai.cli.commands.{_MODULES[name]}"))
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class CommandGroup(TyperGroup):
    """The command line itself."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - whatever typer hands on
        super().__init__(**attributes)
        self.commands = Commands()  # type: ignore[assignment]  # only read


def _build(name: str, module: Any) -> Any:  # noqa: ANN401 - a module; as above
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    alone.callback()(_nothing)  # or typer would take one command for the whole command line
    if hasattr(module, "app"):
        alone.add_typer(module.app, name=name)
    else:
        alone.command(name)(module.command)
    built: Any = get_command(alone)
    return built.commands[name]


def _nothing() -> None:
    """Do nothing."""
