"""Substitutes a case's variables in the values of its assertions, as plain data."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from flowai.errors import expected_one_of

if TYPE_CHECKING:
    from flowai.evals.suites.yaml_reader import YamlNode

_REFERENCE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"\s*([^\W\d][\w-]*(?:\.[\w-]+)*)\s*")


def has_reference(value: object) -> bool:
    """Return whether a value names a variable anywhere inside."""
    if isinstance(value, str):
        return "{{" in value and _REFERENCE.search(value) is not None
    if isinstance(value, dict):
        return any(has_reference(part) for part in value.values())
    return isinstance(value, list) and any(has_reference(part) for part in value)


def substitute(value: Any, variables: dict[str, Any], node: YamlNode, *, case: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a copy of a value with its references replaced by variables.

    A text that is a single reference becomes the variable with its type; inside a longer text a variable that is not a
    text is written as JSON. `case` is its `file:line`, for errors.
    """
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        if whole is not None and "}}" not in whole[1]:
            return _look_up(whole[1], variables, node, case)
        return _REFERENCE.sub(lambda match: _as_text(_look_up(match[1], variables, node, case)), value)
    if isinstance(value, dict):
        return {key: substitute(part, variables, node, case=case) for key, part in value.items()}
    if isinstance(value, list):
        return [substitute(part, variables, node, case=case) for part in value]
    return value


def _look_up(reference: str, variables: dict[str, Any], node: YamlNode, case: str) -> Any:  # noqa: ANN401 - any JSON value
    name = _NAME.fullmatch(reference)
    if name is None:
        raise node.suite_error(
            f"`{{{{{reference[:60]}}}}}` is not a variable's name; filters and expressions are not supported",
            hint="to compare with a text that contains braces, put it in a variable",
        )
    value: Any = variables
    for part in name[1].split("."):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            known = value if isinstance(value, dict) else ()
            raise node.suite_error(
                f"unknown variable `{name[1]}` in the case at {case}", hint=expected_one_of(known, found=part)
            )
    return value


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
