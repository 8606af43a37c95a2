"""Review decisions on golden pairs, and the consensus of several reviewers.

Each reviewer's last decision that was not undone counts. The decision shared by more reviewers than any other holds;
without one the pair is disputed, and needs one more decision.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from flowai.finetune.records import Pair, Quarantined
from flowai.statistics import cohen_kappa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flowai.statistics import CohenKappa

STEP = "review"

ReviewAction = Literal["accept", "edit", "reject", "skip", "undo"]
"""`accept`: the pair is right unchanged. `edit`: with this answer instead. `reject`: a model must not learn the pair.
`skip`: no decision. `undo`: cancels this reviewer's last decision on the pair."""

Reviewer = Annotated[str, Meta(pattern=r"^\w[\w .@+'-]{0,63}\Z")]


class ReviewDecision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reviewer's decision: one line of the decision log."""

    schema_version: Literal[1] = 1
    at: Annotated[datetime, Meta(tz=True)]
    """Time (RFC 3339, UTC); orders the decisions."""
    reviewer: Reviewer
    pair: Annotated[str, Meta(min_length=1)]
    action: ReviewAction
    text: str | None = None
    """The answer as edited by the reviewer; None for other actions."""
    note: str = ""
    """The reviewer's reason; empty without one."""

    def __post_init__(self) -> None:
        """Reject an edit without text, and text with other actions."""
        if self.action == "edit" and not (self.text or "").strip():
            raise ValueError("an edit needs a text")
        if self.action != "edit" and self.text is not None:
            raise ValueError(f"`{self.action}` has no text")

    @property
    def outcome(self) -> tuple[ReviewAction, str | None]:
        """Action and text; decisions with equal outcomes agree."""
        return self.action, self.text


@dataclass(frozen=True, kw_only=True, slots=True)
class Consensus:
    """The current decisions of all reviewers on a pair."""

    decisions: tuple[ReviewDecision, ...]
    """Each reviewer's last decision, oldest first; without `skip`."""
    decision: ReviewDecision | None
    """The decision that holds; None if the pair is disputed."""

    @property
    def summary(self) -> str:
        """Each reviewer with their action, as a text."""
        return ", ".join(f"{decision.reviewer}: {decision.action}" for decision in self.decisions)


def merge(*groups: Iterable[ReviewDecision]) -> tuple[ReviewDecision, ...]:
    """Merge decisions of several files: in order of time, without duplicates."""
    return tuple(sorted({decision: None for group in groups for decision in group}, key=lambda decision: decision.at))


def active_decisions(decisions: Iterable[ReviewDecision]) -> dict[str, dict[str, tuple[ReviewDecision, ...]]]:
    """Return the decisions that were not undone, in order of time: by pair, by reviewer; `skip` included."""
    by_pair: defaultdict[str, dict[str, list[ReviewDecision]]] = defaultdict(dict)
    for decision in merge(decisions):
        active = by_pair[decision.pair].setdefault(decision.reviewer, [])
        if decision.action != "undo":
            active.append(decision)
        elif active:
            active.pop()
    return {
        pair: {reviewer: tuple(active) for reviewer, active in by_reviewer.items() if active}
        for pair, by_reviewer in by_pair.items()
    }


def build_consensus(by_reviewer: Mapping[str, tuple[ReviewDecision, ...]]) -> Consensus | None:
    """Return the consensus on a pair from its active decisions; None if no reviewer decided."""
    last = (decisions[-1] for decisions in by_reviewer.values())
    decisions = sorted((one for one in last if one.action != "skip"), key=lambda one: (one.at, one.reviewer))
    if not decisions:
        return None
    (outcome, count), *others = Counter(decision.outcome for decision in decisions).most_common(2)
    is_disputed = bool(others) and others[0][1] == count
    decision = None if is_disputed else [one for one in decisions if one.outcome == outcome][-1]
    return Consensus(decisions=tuple(decisions), decision=decision)


def consensus_by_pair(decisions: Iterable[ReviewDecision]) -> dict[str, Consensus]:
    """Return the consensus on each pair with a decision, by the pair's id."""
    results = ((pair, build_consensus(by_reviewer)) for pair, by_reviewer in active_decisions(decisions).items())
    return {pair: consensus for pair, consensus in results if consensus is not None}


def reviewer_counts(decisions: Iterable[ReviewDecision]) -> dict[str, int]:
    """Count the pairs that each reviewer decided, by name."""
    counts = Counter(
        decision.reviewer for consensus in consensus_by_pair(decisions).values() for decision in consensus.decisions
    )
    return dict(sorted(counts.items()))


def agreements(decisions: Iterable[ReviewDecision]) -> dict[tuple[str, str], CohenKappa]:
    """Return Cohen's kappa for every two reviewers who decided on the same pairs.

    Each reviewer's first active decision counts: after a discussion everyone agrees.
    """
    actions: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for by_reviewer in active_decisions(decisions).values():
        firsts = {
            name: next((one.action for one in active if one.action != "skip"), None)
            for name, active in by_reviewer.items()
        }
        for left, right in combinations(sorted(firsts), 2):
            left_action, right_action = firsts[left], firsts[right]
            if left_action is not None and right_action is not None:
                actions[left, right].append((left_action, right_action))
    return {names: cohen_kappa(both) for names, both in sorted(actions.items())}


def apply_consensus(candidate: Pair | Quarantined, consensus: Consensus | None) -> Pair | Quarantined:
    """Return a pair, or a quarantined pair, as the reviewers decided; unchanged without a consensus."""
    pair = candidate if isinstance(candidate, Pair) else candidate.pair
    if consensus is None or pair is None:
        return candidate
    decision = consensus.decision
    if decision is None:
        return Quarantined(
            id=pair.id, step=STEP, reason="disputed", detail=consensus.summary, needs_review=True, pair=pair
        )
    if decision.action == "reject":
        detail = f"by {decision.reviewer}" + (f": {decision.note}" if decision.note else "")
        return Quarantined(id=pair.id, step=STEP, reason="declined", detail=detail)
    if decision.action != "edit":
        return pair
    if decision.text == pair.output:  # the model's answer was right after all
        return replace(pair, opinion="accepted", edit=None)
    return replace(pair, opinion="edited", edit=decision.text)


def decision_step(decisions: Iterable[ReviewDecision]) -> Callable[[Pair | Quarantined], Pair | Quarantined]:
    """Return a function that applies the reviewers' decisions to a pair."""
    by_pair = consensus_by_pair(decisions)
    return lambda candidate: apply_consensus(candidate, by_pair.get(candidate.id))
