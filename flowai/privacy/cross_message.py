"""Finds values that are split over two texts: a card number in two messages, a key cut in half.

Neighbouring texts are joined at their edges and searched again, with and without a space; only matches across a border
count. Texts of one role are neighbours too, whatever is between them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.privacy.normalise import normalise
from flowai.privacy.numbers import has_card_cue, is_card_number
from flowai.privacy.spans import STRUCTURED, EntityType, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_EDGE_COUNT = 4096  # characters of a long text that are searched on each side
_WORD_COUNT = 48  # characters at a border that decide whether a search is worthwhile
_MAX_TEXTS = 8  # parts of a value, at most
_OPEN_END = re.compile(r"[\w@+/.:_=-]\s*\Z")
_OPEN_START = re.compile(r"\s*[\w@+/.:_=(-]")
_LAST_WORDS = re.compile(r"[^\s]+(?:[ -][0-9(+][0-9()+. -]*)?\s*\Z")
_FIRST_WORDS = re.compile(r"\s*[^\s]+")
_VALUE_HINT = re.compile(r"[0-9@]")
_CHECKED = frozenset({EntityType.CARD, EntityType.IBAN, EntityType.SSN})  # types that do not match by chance
_GLUED = STRUCTURED | {EntityType.SECRET}
_SPACED = _CHECKED | {EntityType.PHONE}
_PLAIN_WORD = re.compile(r"[^\W\d_]?[a-zß-ÿ]*[.,!?]?")
_DIGITS = re.compile(r"[0-9](?:[ .-]?[0-9])*+")
_NEAR_COUNT = 160
_MAX_CARD = 19


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageText:
    """A text of a conversation."""

    text: str
    role: str
    spans: Sequence[Span]
    """Spans that were found in the text alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Edge:
    """Part of a text that is joined."""

    index: int
    start: int
    text: str


def find_across_messages(texts: Sequence[MessageText], find: Callable[[str], Sequence[Span]]) -> dict[int, list[Span]]:
    """Find values across borders of `texts`, in the order of the conversation.

    Returns further spans by the index of the text; each covers the part of a value in its text.
    """
    spans_by_text: dict[int, list[Span]] = {}
    for order in _orders(texts):
        for run in _candidate_runs(texts, order):
            _search_run(texts, run, find, spans_by_text)
        for index, span in _split_over_messages(texts, order):
            spans_by_text.setdefault(index, []).append(span)
    return spans_by_text


def _orders(texts: Sequence[MessageText]) -> Iterator[list[int]]:
    """Yield the orders in which texts are neighbours: all texts, and those of each role with others in between."""
    yield list(range(len(texts)))
    by_role: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        by_role.setdefault(text.role, []).append(index)
    for order in by_role.values():
        if len(order) > 1 and order[-1] - order[0] >= len(order):
            yield order


def _candidate_runs(texts: Sequence[MessageText], order: Sequence[int]) -> Iterator[list[int]]:
    """Yield runs of texts over whose borders a value may be split."""
    run: list[int] = []
    for index in order:
        if run and not _may_continue(texts[run[-1]].text, texts[index].text):
            if len(run) > 1:
                yield run
            run = []
        run.append(index)
        if len(run) > 1 and (len(texts[index].text) > _EDGE_COUNT or len(run) == _MAX_TEXTS):
            yield run
            run = [index]
    if len(run) > 1:
        yield run


def _may_continue(left: str, right: str) -> bool:
    """Return whether a value may cross a border: no sentence ends there, and a digit or `@` is near."""
    tail, head = normalise(left[-_WORD_COUNT:]).text, normalise(right[:_WORD_COUNT]).text
    if not (_OPEN_END.search(tail) and _OPEN_START.match(head)):
        return False
    last, first = _LAST_WORDS.search(tail), _FIRST_WORDS.match(head)
    if last is None or first is None:
        return False
    return _VALUE_HINT.search(last.group()) is not None or _VALUE_HINT.search(first.group()) is not None


def _search_run(
    texts: Sequence[MessageText],
    run: Sequence[int],
    find: Callable[[str], Sequence[Span]],
    spans_by_text: dict[int, list[Span]],
) -> None:
    """Join a run's texts at their edges and keep matches across a border."""
    edges = [_edge(texts[index].text, index, is_first=position == 0) for position, index in enumerate(run)]
    for joint, kinds in (("", _GLUED), (" ", _SPACED)):
        pieces = [edge.text for edge in edges]
        if joint or any(piece != piece.strip() for piece in pieces):
            last = len(pieces) - 1
            pieces = [
                (piece.rstrip() if position < last else piece)
                if not position
                else (piece.strip() if position < last else piece.lstrip())
                for position, piece in enumerate(pieces)
            ]
        shifts = [len(edge.text) - len(edge.text.lstrip()) if position else 0 for position, edge in enumerate(edges)]
        for span in find(joint.join(pieces)):
            if span.kind in kinds:
                parts = list(_parts_by_text(span, edges, pieces, shifts, len(joint)))
                if len(parts) > 1 and _is_one_value(span, parts, texts):
                    for index, part in parts:
                        spans_by_text.setdefault(index, []).append(part)


def _edge(text: str, index: int, *, is_first: bool) -> _Edge:
    """Return a text's end for the first text of a run, else its start; short texts whole."""
    start = max(0, len(text) - _EDGE_COUNT) if is_first else 0
    return _Edge(index=index, start=start, text=text[start : start + _EDGE_COUNT])


def _parts_by_text(
    span: Span, edges: Sequence[_Edge], pieces: Sequence[str], shifts: Sequence[int], joint_count: int
) -> Iterator[tuple[int, Span]]:
    """Split a span of the joined text into its part in each text."""
    position = 0
    for edge, piece, shift in zip(edges, pieces, shifts, strict=True):
        start, end = max(span.start, position), min(span.end, position + len(piece))
        if start < end:
            moved = edge.start + shift - position
            yield (
                edge.index,
                Span(start=start + moved, end=end + moved, kind=span.kind, score=span.score, name=span.name),
            )
        position += len(piece) + joint_count


def _is_one_value(span: Span, parts: Sequence[tuple[int, Span]], texts: Sequence[MessageText]) -> bool:
    """Return whether a match across a border is one value, not the end of one text and the start of another."""
    if span.kind in _CHECKED:
        return True
    if span.kind is EntityType.SECRET:
        index, last = parts[-1]
        return _PLAIN_WORD.fullmatch(texts[index].text[last.start : last.end]) is None
    return not any(
        own.kind is span.kind and own.start < part.end and part.start < own.end
        for index, part in parts
        for own in texts[index].spans
    )


def _split_over_messages(texts: Sequence[MessageText], order: Sequence[int]) -> Iterator[tuple[int, Span]]:
    """Find card numbers in parts with words between: `it starts with 4111 1111`, `and ends in 1111 1111`."""
    for position, index in enumerate(order):
        pieces = [(index, *piece) for piece in _digit_runs(texts[index].text, last=True)]
        digits = "".join(piece[3] for piece in pieces)
        for following in order[position + 1 : position + _MAX_TEXTS] if digits else ():
            runs = _digit_runs(texts[following].text, last=False)
            if not runs or len(digits) + len(runs[0][2]) > _MAX_CARD:
                break
            pieces.append((following, *runs[0]))
            digits += runs[0][2]
            if is_card_number(digits) and any(has_card_cue(texts[piece[0]].text[-_NEAR_COUNT:]) for piece in pieces):
                for owner, start, end, _ in pieces:
                    yield owner, Span(start=start, end=end, kind=EntityType.CARD, score=0.9)
                break


def _digit_runs(text: str, *, last: bool) -> list[tuple[int, int, str]]:
    """Return start, end and digits of the last or the first run of digits near a text's edge; empty without one."""
    edge = normalise(text[-_NEAR_COUNT:] if last else text[:_NEAR_COUNT])
    runs = list(_DIGITS.finditer(edge.text))
    if not runs:
        return []
    run = runs[-1] if last else runs[0]
    start, end = edge.source(*run.span())
    offset = max(0, len(text) - _NEAR_COUNT) if last else 0
    return [(start + offset, end + offset, re.sub("[^0-9]", "", run.group()))]
