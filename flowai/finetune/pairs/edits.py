"""What changed between two texts, word by word."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


ChangeKind = Literal["same", "gone", "new"]

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_MAX_CELLS = 100_000_000
"""Words of one text times those of the other: beyond it the table of their likeness takes more than about 15 MB."""


class DiffPart(Struct, frozen=True, kw_only=True):
    """A stretch of text."""

    kind: ChangeKind
    """`same`: in both. `gone`: in the first only. `new`: in the second only."""
    text: str
    """The stretch, never empty."""


def word_diff(before: str, after: str) -> tuple[DiffPart, ...]:
    """Say what changed.

    Between two changes no white space alone stays: what a person would read as one change is one. Very long texts that
    differ everywhere are told as one change.

    Args:
        before: the first text.
        after: the second one.

    Returns:
        Pieces in order; all but the new ones make the first text, all but the gone ones the second.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    head = _alike_count(old, new)
    tail = _alike_count(old[head:][::-1], new[head:][::-1])
    body = _pieces(old[head : len(old) - tail], new[head : len(new) - tail])
    ends = "".join(old[:head]), "".join(old[len(old) - tail :])
    return tuple(_joined([("same", ends[0]), *body, ("same", ends[1])]))


def _alike_count(old: list[str], new: list[str]) -> int:
    """Count the words both begin with."""
    differ = (place for place, (one, other) in enumerate(zip(old, new, strict=False)) if one != other)
    return next(differ, min(len(old), len(new)))


def _pieces(old: list[str], new: list[str]) -> Iterable[tuple[ChangeKind, str]]:
    if not old or not new or len(old) * len(new) > _MAX_CELLS:
        return [("gone", "".join(old)), ("new", "".join(new))]
    from rapidfuzz.distance import Indel  # only pages show changes

    found: list[tuple[ChangeKind, str]] = []
    for step in Indel.opcodes(old, new):
        if step.tag == "equal":
            found.append(("same", "".join(old[step.src_start : step.src_end])))
        else:
            found.append(("gone", "".join(old[step.src_start : step.src_end])))
            found.append(("new", "".join(new[step.dest_start : step.dest_end])))
    return found


def _joined(pieces: list[tuple[ChangeKind, str]]) -> Iterator[DiffPart]:
    """Put neighbours together: what went before what came, and white space between changes into both."""
    last = max((place for place, (kind, text) in enumerate(pieces) if kind != "same" and text), default=-1)
    gone = new = same = ""
    for place, (kind, text) in enumerate(pieces):
        if kind == "same":
            if (gone or new) and not text.strip() and place < last:
                gone, new = gone + text, new + text
            else:
                yield from _change(gone, new)
                gone = new = ""
                same += text
            continue
        if text and same:
            yield DiffPart(kind="same", text=same)
            same = ""
        gone, new = gone + text * (kind == "gone"), new + text * (kind == "new")
    yield from _change(gone, new)
    if same:
        yield DiffPart(kind="same", text=same)


def _change(gone: str, new: str) -> Iterator[DiffPart]:
    if gone:
        yield DiffPart(kind="gone", text=gone)
    if new:
        yield DiffPart(kind="new", text=new)


EditKind = Literal["real", "trivial", "rewrite"]
"""`trivial`: the same words, up to case, spacing and punctuation. `rewrite`: hardly a word is left where it was."""

REWRITE_BELOW = 0.2
"""Likeness of two texts, word by word, below which one is no edit of the other."""

_WORD = re.compile(r"\w+")
_WORD_OR_SIGN = re.compile(r"\w+|[^\w\s]")


def likeness(answer: str, edit: str) -> float:
    """Give the share of words and signs that two texts have in common, in order: 0 for none, 1 for equal.

    Twice the length of the longest common subsequence over both lengths.

    Source: rapidfuzz's normalised Indel similarity.
    """
    from rapidfuzz.distance import Indel  # only exports compare texts

    return Indel.normalized_similarity(_WORD_OR_SIGN.findall(answer), _WORD_OR_SIGN.findall(edit))


def kind_of_edit(answer: str, edit: str) -> EditKind:
    """Tell what kind of edit it is.

    What changes a value of JSON, or makes JSON of what was none, is real, be it one sign: there signs carry meaning.
    """
    before, after = _json(answer), _json(edit)
    if before == after and (before is not None or _WORD.findall(answer.casefold()) == _WORD.findall(edit.casefold())):
        return "trivial"
    return "rewrite" if likeness(answer, edit) < REWRITE_BELOW else "real"


def _json(text: str) -> str | None:
    """Give a JSON object or list in one spelling; None where the text is none."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return None
