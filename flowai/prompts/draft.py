"""Drafts of new versions of a prompt: the same front matter, another template."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowai.prompts.template.template_file import split_file

if TYPE_CHECKING:
    from collections.abc import Collection

_VERSION = re.compile(r"(.*)_v(\d+)\Z")


def next_version(prompt_id: str, known: Collection[str]) -> str:
    """Return the id of a prompt's next version that no prompt has: `prompts/a_v3` after `prompts/a_v2`."""
    match = _VERSION.match(prompt_id)
    stem, number = (match[1], int(match[2]) + 1) if match else (prompt_id, 2)
    while f"{stem}_v{number}" in known:
        number += 1
    return f"{stem}_v{number}"


def template_of(text: str) -> str:
    """Return the template of a prompt file."""
    return split_file(text, file="the prompt").body


def with_template(text: str, template: str) -> str:
    """Return a prompt file with another template; its front matter is unchanged."""
    body = template_of(text)
    return f"{text[: text.rindex(body)]}{template.strip()}\n"
