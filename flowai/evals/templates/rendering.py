"""Renders templates. A text without tags costs one search; the first one with tags loads Jinja2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.evals.templates.tags import has_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def render(
    source: str,
    variables: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    filters: Mapping[str, Callable[..., Any]] | None = None,
) -> str:
    """Render a template with JSON values; an undefined variable is empty.

    Args:
        source: the template.
        variables: the values by name.
        env: variables of the environment, `env.NAME` in the template.
        filters: more filters by name.

    Raises:
        TemplateError: wrong syntax, an unknown filter, or a limit was passed.
    """
    if not has_tags(source):
        return source
    from flowai.evals.templates import nunjucks  # Jinja2 takes 0.1 s

    return nunjucks.render(source, variables, env=env, filters=filters)


def root_names(source: str) -> frozenset[str]:
    """Return the names of the variables that a template reads; none if its syntax is wrong."""
    if not has_tags(source):
        return frozenset()
    from flowai.evals.templates import nunjucks  # Jinja2 takes 0.1 s

    return nunjucks.root_names(source)
