"""Fills a case's variables into the values of its assertions, as plain data."""

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
    """Say whether a value names a variable anywhere inside."""
    if isinstance(value, str):
        return "{{" in value and _REFERENCE.search(value) is not None
    if isinstance(value, dict):
        return any(has_reference(part) for part in value.values())
    return isinstance(value, list) and any(has_reference(part) for part in value)


def fill(value: Any, variables: dict[str, Any], spot: YamlNode, *, case: str) -> Any:  # noqa: ANN401 - any JSON value
    """Put variables in the place of their names.

    Args:
        value: text, or a list or mapping with texts; everything else is given back as it is.
        variables: the case's.
        spot: where the assertion stands.
        case: `file:line` of the case, for messages.

    Returns:
        A new value. A text that is nothing but one name becomes the variable itself, with its type; inside a longer
        text a variable that is no text is written as JSON.

    Raises:
        SuiteError: a name is unknown, or is an expression rather than a name.
    """
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        if whole is not None and "}}" not in whole[1]:
            return _look_up(whole[1], variables, spot, case)
        return _REFERENCE.sub(lambda match: _as_text(_look_up(match[1], variables, spot, case)), value)
    if isinstance(value, dict):
        return {key: fill(part, variables, spot, case=case) for key, part in value.items()}
    if isinstance(value, list):
        return [fill(part, variables, spot, case=case) for part in value]
    return value


def _look_up(reference: str, variables: dict[str, Any], spot: YamlNode, case: str) -> Any:  # noqa: ANN401 - any JSON value
    name = _NAME.fullmatch(reference)
    if name is None:
        raise spot.suite_error(
            f"`{{{{{reference[:60]}}}}}` is not a variable's name; filters and expressions are not supported",
            hint="to compare with a text that holds braces, put it in a variable and name that",
        )
    found: Any = variables
    for part in name[1].split("."):
        if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            known = found if isinstance(found, dict) else ()
            raise spot.suite_error(
                f"unknown variable `{name[1]}` in the case at {case}", hint=expected_one_of(known, found=part)
            )
    return found


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
