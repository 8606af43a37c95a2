"""Fills `{{env.NAME}}` in every text of a suite's file; other templates are rendered later."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowai.evals.suites.providers import read_env
from flowai.evals.templates import TemplateError, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.suites.yaml_reader import YamlNode

_TEMPLATE = re.compile(r"\{\{(?:[^}]|\}(?!\}))*\}\}")
_NAME = re.compile(r"\benv(?:\.(\w+)|\[['\"]([^'\"]+)['\"]\])")


def variables_of(value: object, node: YamlNode) -> dict[str, str]:
    """Read `env` of a suite."""
    return read_env(value, node)


def fill_environment(suite: dict[str, Any], node: YamlNode) -> dict[str, Any]:
    """Return a suite with the variables filled in; one that is not set stays, so that it is empty when rendered.

    The suite's own `env` is added to the context's variables.
    """
    context = node.file.context
    own = variables_of(_fill(suite.get("env"), context.environ), node.at("env"))
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


def _fill_one(template: str, environ: Mapping[str, str]) -> str:
    match = _NAME.search(template)
    if match is None or ("|" not in template and (match[1] or match[2]) not in environ):
        return template
    try:
        return render(template, {}, env=environ)
    except TemplateError:
        return template
