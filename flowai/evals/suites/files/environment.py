"""Fills `{{env.NAME}}` in every text of a suite's file; other templates are rendered later."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowai.evals.suites.yaml_reader import describe, expect_mapping
from flowai.evals.templates import TemplateError, render, root_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.suites.yaml_reader import YamlNode

_TEMPLATE = re.compile(r"\{\{(?:[^}]|\}(?!\}))*\}\}")
_OR_TEXT = re.compile(r"\bor\s+['\"]")
_NAME = re.compile(r"\benv(?:\.(\w+)|\[['\"]([^'\"]+)['\"]\])")


def read_env(value: object, node: YamlNode) -> dict[str, str]:
    """Read variables by name; numbers and switches become texts."""
    variables: dict[str, str] = {}
    for name, part in expect_mapping(value or {}, node).items():
        if part is None:
            continue
        if not isinstance(part, str | int | float):
            raise node.at(name).error(f"found {describe(part)}; expected a text")
        variables[name] = str(part).lower() if isinstance(part, bool) else str(part)
    return variables


def fill_environment(suite: dict[str, Any], node: YamlNode) -> dict[str, Any]:
    """Return a suite with the variables filled in; one that is not set stays, so that it is empty when rendered.

    The suite's own `env` is added to the context's variables.
    """
    context = node.file.context
    own = read_env(_fill(suite.get("env"), context.environ), node.at("env"))
    if own:
        context.environ = {**context.environ, **own}
    filled: dict[str, Any] = _fill(suite, context.environ)
    return filled


def _fill(value: Any, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return _TEMPLATE.sub(lambda match: _fill_one(match[0], environ), value) if "env" in value else value
    if isinstance(value, dict):
        return {key: _fill(part, environ) for key, part in value.items()}
    return [_fill(part, environ) for part in value] if isinstance(value, list) else value


def _has_default(template: str) -> bool:
    """Return whether a template has a value for a variable that is not set: by a filter, or a text after `or`."""
    return "|" in template or (_OR_TEXT.search(template) is not None and root_names(template) == {"env"})


def _fill_one(template: str, environ: Mapping[str, str]) -> str:
    match = _NAME.search(template)
    if match is None or ((match[1] or match[2]) not in environ and not _has_default(template)):
        return template
    try:
        return render(template, {}, env=environ)
    except TemplateError:
        return template
