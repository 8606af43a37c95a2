"""Limits of a template: far above any prompt, so that a wrong file ends in an error and not in minutes of work."""

from __future__ import annotations

from flowai.errors import Place, PromptError

MAX_PROMPT_BYTES = 1_000_000
"""Size of a prompt file, and of a template together with all its partials."""

MAX_TAGS = 10_000
"""Tags of a template together with all its partials; a partial counts each time it is included."""

_HINT = "pass long texts as variables: `{{text}}`"


def check_size(size_bytes: int, *, file: str) -> None:
    """Raise PromptError for a file that is too large."""
    if size_bytes > MAX_PROMPT_BYTES:
        what = f"the file has {size_bytes:,} bytes; expected at most {MAX_PROMPT_BYTES:,}"
        raise PromptError(what, place=Place(file=file), hint=_HINT)


class TemplateSize:
    """Size of a template and of what it includes so far."""

    def __init__(self) -> None:
        self.tag_count = 0
        self.character_count = 0

    def add(self, tag_count: int, character_count: int, place: Place) -> None:
        """Count more text; raises PromptError at a limit."""
        self.tag_count += tag_count
        self.character_count += character_count
        if self.tag_count > MAX_TAGS:
            what = f"the template and its partials have more than {MAX_TAGS:,} tags"
            raise PromptError(what, place=place, hint="write a loop: `{{#each items}}`")
        if self.character_count > MAX_PROMPT_BYTES:
            what = f"the template and its partials have more than {MAX_PROMPT_BYTES:,} characters"
            raise PromptError(what, place=place, hint=_HINT)
