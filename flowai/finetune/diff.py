"""What changed between two texts, word by word.

In: two texts. Out: pieces that stayed, went or came; put together they are the texts again. Must never know what they
are shown on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Kind = Literal["same", "gone", "new"]

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_CELLS_COUNT = 100_000_000
"""Words of one text times those of the other: beyond it the table of their likeness takes more than about 15 MB."""


class Piece(Struct, frozen=True, kw_only=True):
    """A stretch of text.

    Args:
        kind: `same`: in both. `gone`: in the first only. `new`: in the second only.
        text: the stretch, never empty.
    """

    kind: Kind
    text: str


def word_diff(before: str, after: str) -> tuple[Piece, ...]:
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


def _pieces(old: list[str], new: list[str]) -> Iterable[tuple[Kind, str]]:
    if not old or not new or len(old) * len(new) > _MOST_CELLS_COUNT:
        return [("gone", "".join(old)), ("new", "".join(new))]
    from rapidfuzz.distance import Indel  # only pages show changes

    found: list[tuple[Kind, str]] = []
    for step in Indel.opcodes(old, new):
        if step.tag == "equal":
            found.append(("same", "".join(old[step.src_start : step.src_end])))
        else:
            found.append(("gone", "".join(old[step.src_start : step.src_end])))
            found.append(("new", "".join(new[step.dest_start : step.dest_end])))
    return found


def _joined(pieces: list[tuple[Kind, str]]) -> Iterator[Piece]:
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
            yield Piece(kind="same", text=same)
            same = ""
        gone, new = gone + text * (kind == "gone"), new + text * (kind == "new")
    yield from _change(gone, new)
    if same:
        yield Piece(kind="same", text=same)


def _change(gone: str, new: str) -> Iterator[Piece]:
    if gone:
        yield Piece(kind="gone", text=gone)
    if new:
        yield Piece(kind="new", text=new)
