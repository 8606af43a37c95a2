"""Templates of suites in Nunjucks' syntax, rendered in a sandbox."""

from flowai.evals.templates.references import resolve_references
from flowai.evals.templates.rendering import render, root_names
from flowai.evals.templates.script_values import to_json, to_text
from flowai.evals.templates.tags import MalformedTemplateError, TemplateError, has_tags, protect_partial

__all__ = [
    "MalformedTemplateError",
    "TemplateError",
    "has_tags",
    "protect_partial",
    "render",
    "resolve_references",
    "root_names",
    "to_json",
    "to_text",
]
