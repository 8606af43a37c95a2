"""Finds what makes a comparison untrustworthy: wrong shares, mixed versions, lost lines, one arm only."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from flowai.analytics.records import DataProblem
from flowai.comparison.verdict import MIN_COUNT
from flowai.rendering.markdown import one_line
from flowai.statistics.srm import MISMATCH_ALPHA, srm_log_e_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.analytics.records import ProblemKind
    from flowai.comparison.counts import Counts
    from flowai.comparison.spec import ComparisonSpec, RolloutStage

MAX_LOST_RATE = 0.01
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
_MAX_NAMES = 5


def sample_ratio_mismatch(users: Mapping[str, int], stage: RolloutStage) -> float:
    """Give the natural logarithm of the evidence that users do not divide as a stage's shares say.

    It is inf for traffic where there should be none. Where it is not known that the share was the same all along, only
    candidate and control are held against each other.
    """
    shares = _shares(stage)
    if stage.shares_known:
        return srm_log_e_value(users, shares)
    sides = {side: count for side, count in users.items() if side != "stable"}
    both = {side: share for side, share in shares.items() if side != "stable"}
    return srm_log_e_value(sides, both) if any(both.values()) else 0.0


def validity_problems(counts: Counts, question: ComparisonSpec) -> tuple[str, ...]:
    """Say why the comparison of a rollout is not to be trusted; nothing when it is."""
    return (*_wrong_shares(counts, question), *comparison_problems(counts, question))


def comparison_problems(counts: Counts, question: ComparisonSpec) -> tuple[str, ...]:
    """Say the same, but for the shares, which experiments have others of."""
    return (*_mixed(counts, question), *_lost(counts, question), *_single_arm(counts, question))


def problems_of(counts: Counts) -> tuple[DataProblem, ...]:
    """Give the lines that could not be used, by what is wrong with them; unreadable ones with their places."""
    return tuple(
        DataProblem(
            kind=kind,
            count=counts.problem_count(kind),
            places=counts.unreadable if kind == "unreadable" else (),
        )
        for kind in sorted(counts.problems)
    )


def warnings_of(counts: Counts, question: ComparisonSpec) -> tuple[str, ...]:
    """Say what else a person should know: lines that were not used, who was looked at, and what stands for a user."""
    named = [_problem_words(counts, kind) for kind in sorted(counts.problems)]
    if counts.unit == "call" and counts.versions:
        named.append("no call names a user or a session: each call counts by itself")
    if some := [side for side, count in sorted(counts.sampled_users.items()) if count < counts.traffic[side]]:
        said = ", ".join(f"{counts.sampled_users[side]:,} of {counts.traffic[side]:,} calls of {side}" for side in some)
        named.append(f"evidence and users are those of a fixed sample of users: {said}; all else is counted wholly")
    if not question.stages[-1].shares_known:
        named.append("the ledger does not say when the stage began: shares are held against each other only")
    return tuple(named)


def _problem_words(counts: Counts, kind: ProblemKind) -> str:
    count = counts.problem_count(kind)
    places = ", ".join(f"{one_line(place.file)}:{place.line}" for place in counts.unreadable)
    where = f" ({places}{', ...' if count > len(counts.unreadable) else ''})" if kind == "unreadable" and places else ""
    said = f"{count:,} lines {PROBLEM_WORDS[kind]}" if count != 1 else f"1 line: such {PROBLEM_WORDS[kind]}"
    return f"{said}{where}"


def _shares(stage: RolloutStage) -> dict[str, float]:
    percent = stage.percent
    control = min(percent, _WHOLE - percent)
    return {"canary": percent, "control": control, "stable": _WHOLE - percent - control}


def _wrong_shares(counts: Counts, question: ComparisonSpec) -> Iterator[str]:
    for index, stage in enumerate(question.stages):
        users = counts.assigned_in(index)
        if not users or sample_ratio_mismatch(users, stage) < -math.log(MISMATCH_ALPHA):
            continue
        shares = _shares(stage)
        stray = [side for side in users if not shares.get(side)]
        if stray:
            said = _join_names([f"{users[side]:,} of {side}" for side in stray])
            yield f"traffic where there should be none at stage {stage.name}: {said}"
        else:
            said = _join_names([f"{side} {count:,}" for side, count in sorted(users.items())])
            yield f"users do not divide as stage {stage.name} says: {said}"
    for feature, hours in sorted(counts.uninvited.items()):
        calls = f"{sum(hours.values()):,} calls of critical feature {_join_names([feature])}"
        yield f"traffic where there should be none: {calls}"


def _join_names(names: Sequence[str]) -> str:
    """Give the first of some names, which come from the log: they may move no cursor."""
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(one_line(name) for name in names[:_MAX_NAMES]) + more


def _mixed(counts: Counts, question: ComparisonSpec) -> Iterator[str]:
    sides = question.sides
    releases: dict[str, set[str]] = defaultdict(set)
    prompts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in counts.versions:
        releases[one.side].add(one.release or "(none)")
        if one.release == sides.releases.get(one.side, one.release) and one.prompt is not None:
            prompts[one.side, one.feature].add(one.prompt)
    for side, release in sorted(sides.releases.items()):
        if others := releases[side] - {release}:
            yield f"mixed versions: {_join_names(sorted(others))} served as candidate beside {release}"
        if release in releases[sides.control]:
            yield f"mixed versions: {release} served as control"
    if sides.releases and len(releases[sides.control]) > 1:
        yield f"mixed versions: {_join_names(sorted(releases[sides.control]))} served as control"
    for (side, feature), texts in sorted(prompts.items()):
        if len(texts) > 1:
            whose = _join_names([feature or "a model"])
            yield f"mixed versions: {len(texts)} texts of the prompt of {whose} served as {_join_names([side])}"


def _lost(counts: Counts, question: ComparisonSpec) -> Iterator[str]:
    lost = sum(counts.problem_count(kind) for kind in _LOST)
    compared = question.sides.arms
    calls = sum(sums.call_count for (side, *_), sums in counts.calls.items() if side in compared)
    if lost > MAX_LOST_RATE * (lost + calls) and lost + calls >= MIN_COUNT:
        yield f"{lost:,} lines of the log are lost, beside {calls:,} calls of both arms"


def _single_arm(counts: Counts, question: ComparisonSpec) -> Iterator[str]:
    last = len(question.stages) - 1
    if not 0 < question.stages[last].percent < _WHOLE:
        return
    units = {side: counts.unit_count(side, last) for side in question.sides.arms}
    if max(units.values()) >= MIN_COUNT:
        names = {question.sides.control: "control", **dict.fromkeys(question.sides.releases, "candidate")}
        for side in question.sides.arms:
            if not units[side]:
                yield f"one arm only: the {names.get(side, side)} has no calls"
