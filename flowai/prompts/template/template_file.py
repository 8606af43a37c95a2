"""Splits a prompt file into front matter and template."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flowai.errors import Place, PromptError

_SPLIT = re.compile(
    r"(?P<before>(?:(?:\#[^\n]*|[ \t\r]*)\n)*)---[ \t]*\r?\n(?P<yaml>.*?)(?:(?<=\n))---[ \t]*(?:\r?\n|\Z)(?P<body>.*)",
    re.DOTALL,
)
_KEY_LINE = re.compile(r"^[\w.-]+[ \t]*:", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateFile:
    """A prompt file, split."""

    yaml: str | None
    """Front matter, padded with blank lines so that line numbers are those of the file; None if there is none."""
    body: str
    """Template; trimmed if there is front matter."""
    first_line: int
    """First line of the template in the file, from 1."""


def split_file(text: str, *, file: str) -> TemplateFile:
    """Split front matter and template.

    Comment lines (`#`) and blank lines may precede the front matter. The template after a front matter is trimmed, as
    in dotprompt; without one it is the whole text.
    """
    match = _SPLIT.match(text)
    if match is None:
        if re.match(r"\s*---[ \t]*\r?(?:\n|\Z)", text):
            line = text[: text.index("---")].count("\n") + 1
            hint = "end it with a line `---`"
            raise PromptError("the front matter is never closed", place=Place(file=file, line=line), hint=hint)
        return TemplateFile(yaml=None, body=text, first_line=1)
    body = match["body"]
    blank = body[: len(body) - len(body.lstrip())]
    before = text[: match.start("body")].count("\n") + blank.count("\n")
    yaml = "\n" * text[: match.start("yaml")].count("\n") + match["yaml"]
    return TemplateFile(yaml=yaml, body=body.strip(), first_line=before + 1)


def has_front_matter(text: str) -> bool:
    """Return whether a text begins with front matter; lines between rulers that have no key are text."""
    match = _SPLIT.match(text)
    return match is not None and (not match["yaml"].strip() or _KEY_LINE.search(match["yaml"]) is not None)
