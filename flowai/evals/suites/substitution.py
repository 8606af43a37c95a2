"""Substitutes a case's variables in the values of its assertions."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from flowai.errors import expected_one_of
from flowai.evals.templates import (
    TemplateError,
    has_tags,
    protect_partial,
    render,
    root_names,
    to_text,
)

if TYPE_CHECKING:
    from flowai.evals.suites.yaml_reader import YamlNode

_REFERENCE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"\s*([^\W\d][\w-]*(?:\.[\w-]+)*)\s*")
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ALWAYS_KNOWN = frozenset({"env", "range", "null", "undefined", "none", "true", "false", "loop"})


def has_reference(value: object, names: frozenset[str] | None = None) -> bool:
    """Return whether a value has a template anywhere inside; with `names`, one that reads one of these variables."""
    if isinstance(value, str):
        return has_tags(value) and (names is None or not names.isdisjoint(root_names(value)))
    if isinstance(value, dict):
        return any(has_reference(part, names) for part in value.values())
    return isinstance(value, list) and any(has_reference(part, names) for part in value)


def substitute(value: Any, variables: dict[str, Any], node: YamlNode, *, case: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a copy of a value with its templates rendered.

    A text that is a single reference becomes the variable with its type, if that is a list or a mapping. In a suite
    without prompts of its own, variables are substituted as they are: a number keeps its type, null is `null`.

    Args:
        value: any JSON value.
        variables: the case's; of a suite with prompts of its own, those of `resolve_references`.
        node: location of the value.
        case: `file:line` of the case, for errors.
    """
    if isinstance(value, str):
        if not has_tags(value):
            return value
        if node.file.context.has_own_prompts:
            return _render(value, variables, node, case)
        return _fill(value, variables, node, case)
    if isinstance(value, dict):
        return {key: substitute(part, variables, node, case=case) for key, part in value.items()}
    if isinstance(value, list):
        return [substitute(part, variables, node, case=case) for part in value]
    return value


def _fill(text: str, variables: dict[str, Any], node: YamlNode, case: str) -> Any:  # noqa: ANN401 - any JSON value
    whole = _REFERENCE.fullmatch(text)
    if whole is not None and "}}" not in whole[1] and _NAME.fullmatch(whole[1]):
        return _look_up(whole[1], variables, node, case)
    if "{%" not in text and all(_NAME.fullmatch(inner) for inner in _REFERENCE.findall(text)):
        return _REFERENCE.sub(lambda match: _as_text(_look_up(match[1], variables, node, case)), text)
    return _render(text, variables, node, case)


def _render(text: str, variables: dict[str, Any], node: YamlNode, case: str) -> Any:  # noqa: ANN401 - any JSON value
    whole = _REFERENCE.fullmatch(text.strip())
    name = whole[1].strip() if whole is not None else ""
    if isinstance(variables.get(name), list | dict):
        return variables[name]
    if "{%" not in text and "{#" not in text:
        names = [inner.strip() for inner in _REFERENCE.findall(text)]
        if all(name in variables and _PLAIN_NAME.fullmatch(name) for name in names):  # most templates
            return _REFERENCE.sub(lambda match: to_text(variables[match[1].strip()]), text)
    for missing in sorted(root_names(text) - variables.keys() - _ALWAYS_KNOWN):
        node.warn(f"`{missing}` is no variable of the case at {case}; it is rendered as an empty text")
    try:
        return render(protect_partial(text), variables, env=node.file.context.environ)
    except TemplateError as error:
        raise node.suite_error(
            f"template `{text[:60]}`: {error.what}", hint="to keep braces as they are, use {% raw %}...{% endraw %}"
        ) from None


def _look_up(reference: str, variables: dict[str, Any], node: YamlNode, case: str) -> Any:  # noqa: ANN401 - any JSON value
    value: Any = variables
    name = reference.strip()
    for part in name.split("."):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            known = value if isinstance(value, dict) else ()
            raise node.suite_error(
                f"unknown variable `{name}` in the case at {case}", hint=expected_one_of(known, found=part)
            )
    return value


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
