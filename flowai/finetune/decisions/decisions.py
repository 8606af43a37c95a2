"""What reviewers decided of golden pairs: each decision one line, only ever added; what holds in the end.

A reviewer's last word counts, unless they took it back. Of several reviewers' words the one that more of them say than
any other holds; where none is, they disagree, and one more decision is needed.
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
"""`accept`: the pair is right as it stands. `edit`: with this answer instead. `reject`: nothing is to be learned of it.
`skip`: no word on it. `undo`: takes this reviewer's last decision on the pair back."""

Reviewer = Annotated[str, Meta(pattern=r"^\w[\w .@+'-]{0,63}\Z")]


class ReviewDecision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decision: one line of the file."""

    schema_version: Literal[1] = 1
    """Version of this format: 1."""
    at: Annotated[datetime, Meta(tz=True)]
    """When (RFC 3339, UTC); puts one reviewer's decisions in order."""
    reviewer: Reviewer
    """Who decided."""
    pair: Annotated[str, Meta(min_length=1)]
    """The pair's id."""
    action: ReviewAction
    """What they decided."""
    text: str | None = None
    """The answer as they edited it; None for other actions."""
    note: str = ""
    """Why, in their words; empty without any."""

    def __post_init__(self) -> None:
        """Refuse a text where none belongs, and an edit without one."""
        if self.action == "edit" and not (self.text or "").strip():
            raise ValueError("an edit needs a text")
        if self.action != "edit" and self.text is not None:
            raise ValueError(f"`{self.action}` has no text")

    @property
    def outcome(self) -> tuple[ReviewAction, str | None]:
        """What becomes of the pair: decisions with one outcome agree."""
        return self.action, self.text


@dataclass(frozen=True, kw_only=True, slots=True)
class Consensus:
    """What reviewers made of a pair."""

    words: tuple[ReviewDecision, ...]
    """Each reviewer's last word, the oldest first; nobody's `skip`."""
    decision: ReviewDecision | None
    """What holds; None where they disagree."""

    @property
    def told(self) -> str:
        """Who said what, for a person."""
        return ", ".join(f"{word.reviewer}: {word.action}" for word in self.words)


def merged(*several: Iterable[ReviewDecision]) -> tuple[ReviewDecision, ...]:
    """Put decisions of several files together: in order of time, each once."""
    return tuple(sorted({one: None for part in several for one in part}, key=lambda one: one.at))


def latest_by_reviewer(decisions: Iterable[ReviewDecision]) -> dict[str, dict[str, tuple[ReviewDecision, ...]]]:
    """Give what was said and not taken back, in order of time: by pair, by reviewer; `skip` included."""
    said: defaultdict[str, dict[str, list[ReviewDecision]]] = defaultdict(dict)
    for one in merged(decisions):
        words = said[one.pair].setdefault(one.reviewer, [])
        if one.action != "undo":
            words.append(one)
        elif words:
            words.pop()
    return {
        pair: {reviewer: tuple(words) for reviewer, words in by_reviewer.items() if words}
        for pair, by_reviewer in said.items()
    }


def consensus_of(said: Mapping[str, tuple[ReviewDecision, ...]]) -> Consensus | None:
    """Say what holds for a pair; None where nobody has a word on it.

    Args:
        said: what each reviewer said of it, as `latest_by_reviewer` gives it.
    """
    last = (words[-1] for words in said.values())
    words = sorted((word for word in last if word.action != "skip"), key=lambda one: (one.at, one.reviewer))
    if not words:
        return None
    (first, most), *others = Counter(word.outcome for word in words).most_common(2)
    held = None if others and others[0][1] == most else [word for word in words if word.outcome == first][-1]
    return Consensus(words=tuple(words), decision=held)


def consensus_by_pair(decisions: Iterable[ReviewDecision]) -> dict[str, Consensus]:
    """Say what reviewers made of each pair that they have a word on, by its id."""
    found = ((pair, consensus_of(said)) for pair, said in latest_by_reviewer(decisions).items())
    return {pair: ruling for pair, ruling in found if ruling is not None}


def reviewer_counts(decisions: Iterable[ReviewDecision]) -> dict[str, int]:
    """Count the pairs that each reviewer has a word on, by name."""
    counts = Counter(word.reviewer for ruling in consensus_by_pair(decisions).values() for word in ruling.words)
    return dict(sorted(counts.items()))


def agreements(decisions: Iterable[ReviewDecision]) -> dict[tuple[str, str], CohenKappa]:
    """Say how far every two reviewers agree who have words on the same pairs.

    Their first words count, as far as they were not taken back: in the end everybody agrees with whoever they talked
    to.
    """
    words: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for said in latest_by_reviewer(decisions).values():
        firsts = {name: next((one.action for one in own if one.action != "skip"), None) for name, own in said.items()}
        for one, other in combinations(sorted(firsts), 2):
            mine, theirs = firsts[one], firsts[other]
            if mine is not None and theirs is not None:
                words[one, other].append((mine, theirs))
    return {names: cohen_kappa(both) for names, both in sorted(words.items())}


def apply(given: Pair | Quarantined, ruling: Consensus | None) -> Pair | Quarantined:
    """Do with a pair what reviewers decided.

    Args:
        given: the pair; or what holds it, with the pair where a person may let it in.
        ruling: what they made of it; None where nobody has a word on it.

    Returns:
        The pair as it goes on; or why it does not.
    """
    pair = given if isinstance(given, Pair) else given.pair
    if ruling is None or pair is None:
        return given
    decision = ruling.decision
    if decision is None:
        return Quarantined(id=pair.id, step=STEP, reason="disputed", detail=ruling.told, needs_review=True, pair=pair)
    if decision.action == "reject":
        detail = f"by {decision.reviewer}" + (f": {decision.note}" if decision.note else "")
        return Quarantined(id=pair.id, step=STEP, reason="declined", detail=detail)
    if decision.action != "edit":
        return pair
    if decision.text == pair.output:  # the model's answer was right after all
        return replace(pair, opinion="accepted", edit=None)
    return replace(pair, opinion="edited", edit=decision.text)


def decision_step(decisions: Iterable[ReviewDecision]) -> Callable[[Pair | Quarantined], Pair | Quarantined]:
    """Give what does with any pair what reviewers decided."""
    known = consensus_by_pair(decisions)
    return lambda given: apply(given, known.get(given.id))
