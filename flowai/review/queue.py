"""Review queue of one reviewer: its pairs, their labels and decisions.

A reviewer does not see the decisions of others until they disagree, so that opinions stay independent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
from msgspec import Struct

from flowai.errors import UsageError
from flowai.finetune.decisions.decisions import ReviewDecision, Reviewer, active_decisions, build_consensus
from flowai.finetune.decisions.labels import Label
from flowai.finetune.pairs.edits import DiffPart, word_diff
from flowai.finetune.records import Pair, Quarantined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from flowai.finetune.decisions.decision_log import DecisionLog
    from flowai.finetune.decisions.decisions import Consensus, ReviewAction


class QueueRow(Struct, frozen=True, kw_only=True):
    """A pair in the list of the queue."""

    id: str
    action: str | None
    """This reviewer's last decision; None without one."""
    disputed: bool


class Overview(Struct, frozen=True, kw_only=True):
    """All pairs of the queue."""

    feature: str
    reviewer: str
    rows: tuple[QueueRow, ...]
    decided_count: int
    """Pairs that need no further decision of this reviewer."""
    kind: Literal["pairs", "labels"] = "pairs"
    """`labels`: answers that get a label, `accept` for pass and `reject` for fail; nothing is edited."""


class ReviewerDecision(Struct, frozen=True, kw_only=True):
    """A reviewer's decision, as the page shows it."""

    reviewer: str
    action: str
    note: str
    changes: tuple[DiffPart, ...] = ()
    """Differences between the model's answer and the reviewer's edit; empty for other actions."""
    text: str | None = None


class ReviewItem(Struct, frozen=True, kw_only=True):
    """A pair, as the page shows it."""

    position: int
    """Position in the queue, from 0."""
    id: str
    at: str
    model: str | None
    prompt: str | None
    release: str | None
    opinion: str
    """The user's verdict on the answer."""
    quarantine_reason: str | None
    """Reason why the pair waits for a reviewer; None for a pair that would be exported."""
    detail: str
    messages: tuple[dict[str, Any], ...]
    output: str
    edit: str | None
    changes: tuple[DiffPart, ...]
    """Differences between the model's answer and the user's edit; empty without an edit."""
    draft: str
    """Initial text of the editor."""
    own_decision: ReviewerDecision | None
    other_decisions: tuple[ReviewerDecision, ...]
    """Decisions of other reviewers; empty unless the pair is disputed."""
    labels: tuple[Label, ...]
    row: QueueRow


class PageQueue(Protocol):
    """Queue of the review page: pairs or answers."""

    def overview(self) -> Overview:
        """Return the list of the queue."""
        ...

    def item(self, position: int) -> ReviewItem:
        """Return one item with its decisions."""
        ...

    def decide(self, position: int, action: ReviewAction, *, text: str | None = None, note: str = "") -> object:
        """Store the reviewer's decision."""
        ...

    def undo(self) -> int | None:
        """Undo the reviewer's last decision; return its position, None without one."""
        ...


class ReviewQueue:
    """The review queue of one reviewer; candidates without a pair are ignored, `labels` are by the pair's id."""

    def __init__(
        self,
        *,
        feature: str,
        reviewer: str,
        candidates: Iterable[Pair | Quarantined],
        decision_log: DecisionLog,
        labels: Mapping[str, Sequence[Label]],
        now: Callable[[], datetime],
    ) -> None:
        self._feature = feature
        self._reviewer = checked_reviewer(reviewer)
        self._decision_log = decision_log
        self._labels = labels
        self._now = now
        self._quarantined: dict[str, Quarantined] = {}
        self._pairs: dict[str, Pair] = {}
        for candidate in candidates:
            pair = candidate if isinstance(candidate, Pair) else candidate.pair
            if pair is None or pair.id in self._pairs:
                continue
            self._pairs[pair.id] = pair
            if isinstance(candidate, Quarantined):
                self._quarantined[pair.id] = candidate
        self._order = tuple(self._pairs)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._order)

    def overview(self) -> Overview:
        """Return the list of all pairs."""
        rows = tuple(self._row(pair) for pair in self._order)
        decided_count = sum(row.action is not None and not row.disputed for row in rows)
        return Overview(feature=self._feature, reviewer=self._reviewer, rows=rows, decided_count=decided_count)

    def item(self, position: int) -> ReviewItem:
        """Return a pair with its decisions and labels."""
        pair = self._pair_at(position)
        decisions, consensus = self._decisions(pair.id)
        quarantined = self._quarantined.get(pair.id)
        own = decisions.get(self._reviewer, ())
        draft = own[-1].text if own and own[-1].text is not None else pair.edit
        others = consensus.decisions if consensus and _is_disputed(consensus) else ()
        return ReviewItem(
            position=position,
            id=pair.id,
            at=pair.at,
            model=pair.model,
            prompt=pair.prompt_id,
            release=pair.release,
            opinion=pair.opinion,
            quarantine_reason=quarantined.reason if quarantined else None,
            detail=quarantined.detail if quarantined else "",
            messages=pair.messages,
            output=pair.output,
            edit=pair.edit,
            changes=() if pair.edit is None else word_diff(pair.output, pair.edit),
            draft=pair.output if draft is None else draft,
            own_decision=_shown_decision(pair, own[-1]) if own else None,
            other_decisions=tuple(_shown_decision(pair, other) for other in others if other.reviewer != self._reviewer),
            labels=tuple(self._labels.get(pair.id, ())),
            row=self._row(pair.id),
        )

    def decide(self, position: int, action: ReviewAction, *, text: str | None = None, note: str = "") -> ReviewDecision:
        """Store the reviewer's decision; an equal last decision is not stored again."""
        pair = self._pair_at(position).id
        try:
            decision = ReviewDecision(
                at=self._now(), reviewer=self._reviewer, pair=pair, action=action, text=text, note=note
            )
        except ValueError as error:
            raise UsageError(str(error)) from None
        own = self._decisions(pair)[0].get(self._reviewer, ())
        if own and (own[-1].outcome, own[-1].note) == (decision.outcome, decision.note):
            return own[-1]
        return self._decision_log.add(decision)

    def undo(self) -> int | None:
        """Undo the reviewer's last decision on a pair of the queue; return its position, None without a decision."""
        positions = {pair: position for position, pair in enumerate(self._order)}
        decisions = [
            own[-1]
            for pair, by_reviewer in active_decisions(self._decision_log.decisions).items()
            if pair in positions and (own := by_reviewer.get(self._reviewer))
        ]
        if not decisions:
            return None
        last = max(decisions, key=lambda decision: decision.at)
        self._decision_log.add(ReviewDecision(at=self._now(), reviewer=self._reviewer, pair=last.pair, action="undo"))
        return positions[last.pair]

    def _pair_at(self, position: int) -> Pair:
        if not 0 <= position < len(self._order):
            raise UsageError(f"no pair {position}: there are {len(self._order)}")
        return self._pairs[self._order[position]]

    def _decisions(self, pair: str) -> tuple[dict[str, tuple[ReviewDecision, ...]], Consensus | None]:
        decisions = active_decisions(self._decision_log.for_pair(pair)).get(pair, {})
        return decisions, build_consensus(decisions)

    def _row(self, pair: str) -> QueueRow:
        decisions, consensus = self._decisions(pair)
        own = decisions.get(self._reviewer, ())
        return QueueRow(id=pair, action=own[-1].action if own else None, disputed=_is_disputed(consensus))


def checked_reviewer(name: str) -> str:
    """Return a valid name of a reviewer; raises UsageError for an invalid one."""
    try:
        return msgspec.convert(name, Reviewer)
    except msgspec.ValidationError:
        raise UsageError(
            f"--reviewer: found {name[:80]!r}, expected a name", hint="letters, digits, ` . @ + ' -`, at most 64"
        ) from None


def _is_disputed(consensus: Consensus | None) -> bool:
    return consensus is not None and consensus.decision is None


def _shown_decision(pair: Pair, decision: ReviewDecision) -> ReviewerDecision:
    return ReviewerDecision(
        reviewer=decision.reviewer,
        action=decision.action,
        note=decision.note,
        changes=() if decision.text is None else word_diff(pair.output, decision.text),
        text=decision.text,
    )
