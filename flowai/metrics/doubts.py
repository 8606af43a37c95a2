"""Finds what makes a comparison untrustworthy: wrong shares, mixed versions, lost lines, one arm only.

In: CanaryCounts and what was asked. Out: sentences. Must never know what the metrics say.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from flowai.metrics.verdict import LEAST_COUNT
from flowai.statistics.mismatch import MISMATCH_ALPHA, mismatch_log_e

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.metrics.counts import CanaryCounts, CanaryQuestion, Stage
    from flowai.metrics.model import ProblemKind

MOST_LOST_RATE = 0.01
"""More lost lines than this part of the rollout's calls, and what is left may not be what happened."""

PROBLEM_WORDS: dict[ProblemKind, str] = {
    "unreadable": "cannot be read",
    "unknown_version": "are of an unknown schema version",
    "broken": "lack a field or hold a wrong one",
    "future": "lie in the future",
    "duplicated": "are there twice; each counts once",
    "conflicting": "tell of one call differently",
}
_LOST: tuple[ProblemKind, ...] = ("unreadable", "unknown_version", "broken", "future", "conflicting")
_WHOLE = 100


def mismatch(users: Mapping[str, int], stage: Stage) -> float:
    """Give the natural logarithm of the evidence that users do not divide as a stage's shares say.

    It is inf for traffic where there should be none. Where it is not known that the share was the same all along, only
    candidate and control are held against each other.
    """
    shares = _shares(stage)
    if stage.shares_known:
        return mismatch_log_e(users, shares)
    sides = {side: count for side, count in users.items() if side != "stable"}
    both = {side: share for side, share in shares.items() if side != "stable"}
    return mismatch_log_e(sides, both) if any(both.values()) else 0.0


def doubts(counts: CanaryCounts, question: CanaryQuestion) -> tuple[str, ...]:
    """Say why the comparison is not to be trusted; nothing when it is."""
    return (*_wrong_shares(counts, question), *_mixed(counts, question), *_lost(counts), *_one_sided(counts, question))


def warnings(counts: CanaryCounts, question: CanaryQuestion) -> tuple[str, ...]:
    """Say what else a person should know: lines that were not used, and what stands for a user."""
    named = [
        f"{count:,} lines {PROBLEM_WORDS[kind]}" if count != 1 else f"1 line: such {PROBLEM_WORDS[kind]}"
        for kind, count in sorted(counts.problems.items())
    ]
    if counts.unit == "call" and counts.versions:
        named.append("no call names a user or a session: each call counts by itself")
    if not question.stages[-1].shares_known:
        named.append("the ledger does not say when the stage began: shares are held against each other only")
    return tuple(named)


def _shares(stage: Stage) -> dict[str, float]:
    percent = stage.percent
    control = min(percent, _WHOLE - percent)
    return {"canary": percent, "control": control, "stable": _WHOLE - percent - control}


def _wrong_shares(counts: CanaryCounts, question: CanaryQuestion) -> Iterator[str]:
    for index, users in sorted(counts.assigned.items()):
        stage = question.stages[index]
        log_e = mismatch(users, stage)
        if log_e < -math.log(MISMATCH_ALPHA):
            continue
        shares = _shares(stage)
        stray = [side for side in users if not shares.get(side)]
        if stray:
            said = ", ".join(f"{users[side]:,} of {side}" for side in stray)
            yield f"traffic where there should be none at stage {stage.name}: {said}"
        else:
            said = ", ".join(f"{side} {count:,}" for side, count in sorted(users.items()))
            yield f"users do not divide as stage {stage.name} says: {said}"
    for feature, count in sorted(counts.uninvited.items()):
        yield f"traffic where there should be none: {count:,} calls of critical feature {feature}"


def _mixed(counts: CanaryCounts, question: CanaryQuestion) -> Iterator[str]:
    releases: dict[str, set[str]] = defaultdict(set)
    prompts: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    for one in counts.versions:
        releases[one.variant].add(one.release or "(none)")
        if one.variant == "control" or one.release == question.candidate:
            prompts[one.variant, one.feature].add(one.prompt_hash)
    if others := releases["canary"] - {question.candidate}:
        yield f"mixed versions: {', '.join(sorted(others))} served as candidate beside {question.candidate}"
    if len(releases["control"]) > 1:
        yield f"mixed versions: {', '.join(sorted(releases['control']))} served as control"
    if question.candidate in releases["control"]:
        yield f"mixed versions: {question.candidate} served as control"
    for (variant, feature), hashes in sorted(prompts.items()):
        if len(hashes - {None}) > 1:
            whose = feature or "a model"
            yield f"mixed versions: {len(hashes - {None})} texts of the prompt of {whose} served as {variant}"


def _lost(counts: CanaryCounts) -> Iterator[str]:
    lost = sum(counts.problems.get(kind, 0) for kind in _LOST)
    calls = sum(sums.call_count for sums in counts.calls.values())
    if lost > MOST_LOST_RATE * (lost + calls) and lost + calls >= LEAST_COUNT:
        yield f"{lost:,} lines of the log are lost, beside {calls:,} calls of both arms"


def _one_sided(counts: CanaryCounts, question: CanaryQuestion) -> Iterator[str]:
    last = len(question.stages) - 1
    if not 0 < question.stages[last].percent < _WHOLE:
        return
    candidate, control = (counts.units[arm, last] for arm in (True, False))
    if max(candidate, control) >= LEAST_COUNT and min(candidate, control) == 0:
        yield "one arm only: the candidate has no calls" if not candidate else "one arm only: the control has no calls"
