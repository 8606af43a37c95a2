"""Parses command lines with the real command line, without running them."""

from __future__ import annotations

import shlex
from typing import Any

from typer.main import get_command  # noqa: TID251 - the real command line is walked

from flowai.cli.app import app

ROOT = get_command(app)


def parse_command(line: str) -> None:
    """Parse `flowai ...` as a shell would pass it; raises TyperException for an unknown command or option."""
    name, *arguments = shlex.split(line)
    command: Any = ROOT
    context: Any = None
    while True:
        context = command.make_context(name, arguments, parent=context)
        rest = [] if not hasattr(command, "commands") else [*context._protected_args, *context.args]
        if not rest:  # a command, or a group that is called by itself
            break
        # a group leaves the name of the command and its arguments unparsed
        name, command, arguments = command.resolve_command(context, rest)
        assert name is not None
