"""Differences between an answer and its edit, word by word, and the kinds of edits."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


ChangeKind = Literal["same", "removed", "added"]

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_MAX_CELLS = 100_000_000
"""Tokens of one text times tokens of the other; above it, the similarity table needs more than about 15 MB."""


class DiffPart(Struct, frozen=True, kw_only=True):
    """A part of two compared texts."""

    kind: ChangeKind
    """`same`: in both. `removed`: only in the first. `added`: only in the second."""
    text: str
    """Never empty."""


def word_diff(before: str, after: str) -> tuple[DiffPart, ...]:
    """Compare two texts word by word.

    `same` and `removed` parts give the first text, `same` and `added` the second. Changes that only white space
    separates are one change, as a reader sees them; so are very long texts that differ everywhere.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    head = _common_prefix_length(old, new)
    tail = _common_prefix_length(old[head:][::-1], new[head:][::-1])
    body = _changed_parts(old[head : len(old) - tail], new[head : len(new) - tail])
    ends = "".join(old[:head]), "".join(old[len(old) - tail :])
    return tuple(_merge_parts([("same", ends[0]), *body, ("same", ends[1])]))


def _common_prefix_length(old: list[str], new: list[str]) -> int:
    different = (index for index, (left, right) in enumerate(zip(old, new, strict=False)) if left != right)
    return next(different, min(len(old), len(new)))


def _changed_parts(old: list[str], new: list[str]) -> Iterable[tuple[ChangeKind, str]]:
    if not old or not new or len(old) * len(new) > _MAX_CELLS:
        return [("removed", "".join(old)), ("added", "".join(new))]
    from rapidfuzz.distance import Indel  # loaded only when pages show changes

    parts: list[tuple[ChangeKind, str]] = []
    for step in Indel.opcodes(old, new):
        if step.tag == "equal":
            parts.append(("same", "".join(old[step.src_start : step.src_end])))
        else:
            parts.append(("removed", "".join(old[step.src_start : step.src_end])))
            parts.append(("added", "".join(new[step.dest_start : step.dest_end])))
    return parts


def _merge_parts(parts: list[tuple[ChangeKind, str]]) -> Iterator[DiffPart]:
    """Yield merged neighbours: removed before added text, and white space between two changes as part of both."""
    last = max((index for index, (kind, text) in enumerate(parts) if kind != "same" and text), default=-1)
    removed = added = same = ""
    for index, (kind, text) in enumerate(parts):
        if kind == "same":
            if (removed or added) and not text.strip() and index < last:
                removed, added = removed + text, added + text
            else:
                yield from _replacement(removed, added)
                removed = added = ""
                same += text
            continue
        if text and same:
            yield DiffPart(kind="same", text=same)
            same = ""
        removed, added = removed + text * (kind == "removed"), added + text * (kind == "added")
    yield from _replacement(removed, added)
    if same:
        yield DiffPart(kind="same", text=same)


def _replacement(removed: str, added: str) -> Iterator[DiffPart]:
    if removed:
        yield DiffPart(kind="removed", text=removed)
    if added:
        yield DiffPart(kind="added", text=added)


EditKind = Literal["real", "trivial", "rewrite"]
"""`trivial`: the same words except for case, spacing and punctuation. `rewrite`: hardly any word is unchanged."""

REWRITE_BELOW = 0.2
"""Similarity of two texts, word by word, below which an edit is a rewrite."""

_WORD = re.compile(r"\w+")
_WORD_OR_SIGN = re.compile(r"\w+|[^\w\s]")


def edit_similarity(answer: str, edit: str) -> float:
    """Return the share of words and signs that two texts have in common, in order: 0 for none, 1 for equal texts.

    Twice the length of the longest common subsequence over both lengths: rapidfuzz's normalised Indel similarity.
    """
    from rapidfuzz.distance import Indel  # loaded only when exports compare texts

    return Indel.normalized_similarity(_WORD_OR_SIGN.findall(answer), _WORD_OR_SIGN.findall(edit))


def classify_edit(answer: str, edit: str) -> EditKind:
    """Return the kind of an edit; a change of a value in JSON, or of text into JSON, is always real."""
    before, after = _json(answer), _json(edit)
    if before == after and (before is not None or _WORD.findall(answer.casefold()) == _WORD.findall(edit.casefold())):
        return "trivial"
    return "rewrite" if edit_similarity(answer, edit) < REWRITE_BELOW else "real"


def _json(text: str) -> str | None:
    """Return a JSON object or list in canonical form; None for other texts."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return None
