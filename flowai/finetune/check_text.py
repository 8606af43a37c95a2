"""What should not stand in a training text: chat templates' control tokens, keys, binary data. Warnings, all of them.

In: a row. Out: broken rules, never what was found. Must never know formats.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowai.finetune.check_lines import texts_of
from flowai.finetune.check_model import Found
from flowai.prompts.control_tokens import Stretch, find
from flowai.storage.strict_json import shown, strings_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.secrets import Redactor

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
# every control token is a word in angles or brackets, also in their full-width forms; `[12]` is none, and common
_WORD = re.compile(r"[<\uff1c][^\s<]{1,200}?[>\uff1e]|[\[\uff3b](?!\d+\])[^\s\[]{1,200}?[\]\uff3d]")
_MARK = re.compile(r"\[REDACTED:([a-z0-9-]+)\]")


def check_texts(row: dict[str, Any], redactor: Redactor) -> Iterator[Found]:
    """Look through every text of a row.

    Args:
        row: any JSON object.
        redactor: knows what keys look like.
    """
    if any(_is_suspicious(text, redactor) for text in strings_of(row)):
        for key, text in texts_of(row):
            yield from _check_text(text, key, redactor)


def _is_suspicious(text: str, redactor: Redactor) -> bool:
    return bool(_CONTROL.search(text) or _WORD.search(text)) or redactor.text(text) != text


def _check_text(text: str, key: str, redactor: Redactor) -> Iterator[Found]:
    if control := _CONTROL.search(text):
        yield Found(rule="text/control_character", key=key, what=f"U+{ord(control.group()):04X}")
    if _WORD.search(text):
        tokens = find(text, (Stretch(start=0, end=len(text), owner=key),))
        yield from (Found(rule="text/control_token", key=key, what=f"`{shown(t.group())}`") for t, _ in tokens[:1])
    if (clean := redactor.text(text)) != text:
        names = sorted(set(_MARK.findall(clean)) - set(_MARK.findall(text)))
        yield Found(rule="text/secret", key=key, what=", ".join(names))
