"""A reviewer's desk: the pairs to look at, what is known of each, and what was decided.

A reviewer does not see what others decided until they disagree: two opinions are worth more than one and an echo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from flowai.errors import UsageError
from flowai.finetune.decisions.decisions import ReviewDecision, Reviewer, consensus_of, latest_by_reviewer
from flowai.finetune.decisions.labels import Label
from flowai.finetune.pairs.edits import DiffPart, word_diff
from flowai.finetune.records import Pair, Quarantined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from flowai.finetune.decisions.decision_log import DecisionLog
    from flowai.finetune.decisions.decisions import Consensus, ReviewAction


class QueueRow(Struct, frozen=True, kw_only=True):
    """A pair in the list."""

    id: str
    """The pair's."""
    action: str | None
    """What this reviewer decided; None where nothing."""
    disputed: bool
    """Whether reviewers disagree on it."""


class Overview(Struct, frozen=True, kw_only=True):
    """Everything on the desk."""

    feature: str
    """Whose calls."""
    reviewer: str
    """Who looks."""
    entries: tuple[QueueRow, ...]
    """The pairs, in order."""
    decided_count: int
    """Those that need nothing more of this reviewer."""


class ReviewerDecision(Struct, frozen=True, kw_only=True):
    """What a reviewer decided."""

    reviewer: str
    """Who."""
    action: str
    """What."""
    note: str
    """Why."""
    changes: tuple[DiffPart, ...] = ()
    """Of an edit, from the model's answer to theirs."""
    text: str | None = None
    """Of an edit, their answer."""


class ReviewItem(Struct, frozen=True, kw_only=True):
    """One pair, as it is shown."""

    position: int
    """Its place on the desk, from 0."""
    id: str
    """The pair's."""
    at: str
    """When the call came."""
    model: str | None
    """Who answered."""
    prompt: str | None
    """The prompt."""
    release: str | None
    """The release."""
    opinion: str
    """What the user made of the answer."""
    held: str | None
    """Why it is held, as a code; None where it is not."""
    detail: str
    """The same in words."""
    messages: tuple[dict[str, Any], ...]
    """The request."""
    output: str
    """The model's answer."""
    edit: str | None
    """The user's; None where they did not edit."""
    changes: tuple[DiffPart, ...]
    """From the model's answer to the user's; empty without an edit."""
    draft: str
    """What an editor begins with."""
    own_decision: ReviewerDecision | None
    """What this reviewer decided; None where nothing."""
    other_decisions: tuple[ReviewerDecision, ...]
    """What others decided, where reviewers disagree."""
    labels: tuple[Label, ...]
    """What models say of it."""
    row: QueueRow
    """The pair in the list."""


class ReviewQueue:
    """The desk of one reviewer.

    Args:
        feature: whose calls.
        reviewer: who looks.
        given: what there is to look at: pairs, and what holds a pair that a person may let in; others are passed over.
        book: the decisions.
        labels: what models say, by the pair's id.
        now: the time, UTC.

    Raises:
        UsageError: nobody can be called so.
    """

    def __init__(
        self,
        *,
        feature: str,
        reviewer: str,
        given: Iterable[Pair | Quarantined],
        book: DecisionLog,
        labels: Mapping[str, Sequence[Label]],
        now: Callable[[], datetime],
    ) -> None:
        self._feature = feature
        self._reviewer = checked_reviewer(reviewer)
        self._book = book
        self._labels = labels
        self._now = now
        self._held: dict[str, Quarantined] = {}
        self._pairs: dict[str, Pair] = {}
        for one in given:
            pair = one if isinstance(one, Pair) else one.pair
            if pair is None or pair.id in self._pairs:
                continue
            self._pairs[pair.id] = pair
            if isinstance(one, Quarantined):
                self._held[pair.id] = one
        self._order = tuple(self._pairs)

    def __len__(self) -> int:
        """Give how many pairs there are."""
        return len(self._order)

    def overview(self) -> Overview:
        """Give everything that is on the desk."""
        entries = tuple(self._entry(pair) for pair in self._order)
        decided_count = sum(one.action is not None and not one.disputed for one in entries)
        return Overview(feature=self._feature, reviewer=self._reviewer, entries=entries, decided_count=decided_count)

    def item(self, place: int) -> ReviewItem:
        """Give one pair as it is shown.

        Raises:
            UsageError: there is no such place.
        """
        pair = self._at(place)
        said, ruling = self._known(pair.id)
        held = self._held.get(pair.id)
        mine = said.get(self._reviewer, ())
        draft = mine[-1].text if mine and mine[-1].text is not None else pair.edit
        disputed = _has_disagreement(ruling)
        others = ruling.words if ruling and disputed else ()
        return ReviewItem(
            position=place,
            id=pair.id,
            at=pair.at,
            model=pair.model,
            prompt=pair.prompt_id,
            release=pair.release,
            opinion=pair.opinion,
            held=held.reason if held else None,
            detail=held.detail if held else "",
            messages=pair.messages,
            output=pair.output,
            edit=pair.edit,
            changes=() if pair.edit is None else word_diff(pair.output, pair.edit),
            draft=pair.output if draft is None else draft,
            own_decision=_word(pair, mine[-1]) if mine else None,
            other_decisions=tuple(_word(pair, one) for one in others if one.reviewer != self._reviewer),
            labels=tuple(self._labels.get(pair.id, ())),
            row=self._entry(pair.id),
        )

    def decide(self, place: int, action: ReviewAction, *, text: str | None = None, note: str = "") -> ReviewDecision:
        """Write down what the reviewer decided; what they decided already is not written again.

        Raises:
            UsageError: there is no such place, or an edit has no text.
            InfrastructureError: it could not be written; nothing was decided then.
        """
        pair = self._at(place).id
        try:
            decision = ReviewDecision(
                at=self._now(), reviewer=self._reviewer, pair=pair, action=action, text=text, note=note
            )
        except ValueError as error:
            raise UsageError(str(error)) from None
        before = self._known(pair)[0].get(self._reviewer, ())
        if before and (before[-1].outcome, before[-1].note) == (decision.outcome, decision.note):
            return before[-1]
        return self._book.add(decision)

    def undo(self) -> int | None:
        """Take the reviewer's last decision back that is about a pair on the desk.

        Returns:
            The place of its pair; None where there is nothing to take back.

        Raises:
            InfrastructureError: as `decide`.
        """
        places = {pair: place for place, pair in enumerate(self._order)}
        words = [
            own[-1]
            for pair, by_reviewer in latest_by_reviewer(self._book.decisions).items()
            if pair in places and (own := by_reviewer.get(self._reviewer))
        ]
        if not words:
            return None
        last = max(words, key=lambda one: one.at)
        self._book.add(ReviewDecision(at=self._now(), reviewer=self._reviewer, pair=last.pair, action="undo"))
        return places[last.pair]

    def _at(self, place: int) -> Pair:
        if not 0 <= place < len(self._order):
            raise UsageError(f"no pair {place}: there are {len(self._order)}")
        return self._pairs[self._order[place]]

    def _known(self, pair: str) -> tuple[dict[str, tuple[ReviewDecision, ...]], Consensus | None]:
        said = latest_by_reviewer(self._book.for_pair(pair)).get(pair, {})
        return said, consensus_of(said)

    def _entry(self, pair: str) -> QueueRow:
        said, ruling = self._known(pair)
        mine = said.get(self._reviewer, ())
        return QueueRow(id=pair, action=mine[-1].action if mine else None, disputed=_has_disagreement(ruling))


def checked_reviewer(name: str) -> str:
    """Give a reviewer's name.

    Raises:
        UsageError: nobody can be called so.
    """
    try:
        return msgspec.convert(name, Reviewer)
    except msgspec.ValidationError:
        raise UsageError(
            f"--reviewer: found {name[:80]!r}, expected a name", hint="letters, digits, ` . @ + ' -`, at most 64"
        ) from None


def _has_disagreement(ruling: Consensus | None) -> bool:
    return ruling is not None and ruling.decision is None


def _word(pair: Pair, one: ReviewDecision) -> ReviewerDecision:
    changes = () if one.text is None else word_diff(pair.output, one.text)
    return ReviewerDecision(reviewer=one.reviewer, action=one.action, note=one.note, changes=changes, text=one.text)
