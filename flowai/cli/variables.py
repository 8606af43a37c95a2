"""Values of a prompt's variables on the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from flowai.errors import UsageError


def parse_variables(assignments: list[str]) -> dict[str, Any]:
    """Parse `NAME=TEXT`, `NAME=@FILE`, `NAME=-` and `NAME:=JSON`."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.removesuffix(":"):
            raise UsageError(f"--var: found `{assignment}`, expected NAME=TEXT, NAME=@FILE, NAME=- or NAME:=JSON")
        key = name.removesuffix(":")
        if key in values:
            raise UsageError(f"--var: `{key}` is set twice")
        values[key] = read_value(value, f"--var {key}") if key == name else _parse_json(value, f"--var {key}")
    return values


def _parse_json(text: str, option: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return msgspec.json.decode(read_value(text, option))
    except msgspec.DecodeError as error:
        raise UsageError(f"{option}: found no JSON: {error}", hint="NAME=TEXT passes a text as it is") from None


def read_value(value: str, option: str) -> str:
    """Return the text of an option: itself, of a file (`@FILE`) or of stdin (`-`); `@@` begins a text with `@`."""
    if value == "-":
        raw, name = sys.stdin.buffer.read(), "stdin"
    elif value.startswith("@@") or not value.startswith("@"):
        return value.removeprefix("@") if value.startswith("@@") else value
    else:
        name = value.removeprefix("@")
        try:
            raw = Path(name).read_bytes()
        except OSError as error:
            raise UsageError(f"{option}: `{name}` cannot be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{option}: `{name}` is not UTF-8") from None
