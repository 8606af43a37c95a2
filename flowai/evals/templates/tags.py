"""Where a template has tags: a text without any is ready as it is."""

from __future__ import annotations

import re

_TAGS = re.compile(r"\{[{%#]")
_PARTIAL = re.compile(r"(\{%[^%]*$|\{\{[^}]*$|\{#[^#]*$)", re.MULTILINE)


class TemplateError(Exception):
    """A template cannot be read or rendered.

    Args:
        what: the problem.
        line: line of the template, from 1; None if it is not known.
    """

    def __init__(self, what: str, *, line: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


class MalformedTemplateError(TemplateError):
    """The syntax of a template is wrong, or it names an unknown filter."""


def has_tags(source: str) -> bool:
    """Return whether a text has anything to render."""
    return _TAGS.search(source) is not None


def protect_partial(source: str) -> str:
    """Return a template as plain text if one of its lines ends inside a tag, as promptfoo does."""
    if _PARTIAL.search(source) is None or (
        re.search(r"\{%\s*raw\s*%\}", source) and re.search(r"\{%\s*endraw\s*%\}", source)
    ):
        return source
    return f"{{% raw %}}{source}{{% endraw %}}"
