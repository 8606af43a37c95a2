"""References between variables: `{{other}}` inside a variable becomes that variable's text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowai.evals.templates.script_values import to_text

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ROUNDS = 5
MAX_VARIABLE_CHARS = 10_000_000

_REFERENCE = re.compile(r"\{\{\s*(\w+)\s*\}\}", re.ASCII)


def resolve_references(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables without a line end at their end, and with references replaced, as promptfoo does.

    In each of five rounds, the first reference of each text is replaced; one to no variable stays, and hides those
    behind it.
    """
    resolved = {name: _without_line_end(value) for name, value in variables.items()}
    for _ in range(MAX_ROUNDS):
        is_changed = False
        for name, value in resolved.items():
            match = _REFERENCE.search(value) if isinstance(value, str) and "{{" in value else None
            if match is None or resolved.get(match[1]) is None:
                continue
            text = value[: match.start()] + to_text(resolved[match[1]]) + value[match.end() :]
            if len(text) > MAX_VARIABLE_CHARS:
                return resolved
            resolved[name] = text
            is_changed = True
        if not is_changed:
            break
    return resolved


def _without_line_end(value: object) -> object:
    return value[:-1] if isinstance(value, str) and value.endswith("\n") else value
