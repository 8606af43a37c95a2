"""Finds reasons that make a comparison invalid: wrong shares, mixed versions, lost lines, a missing arm."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from flowai.analytics.records import PROBLEM_TEXTS, DataProblem
from flowai.comparison.verdict import MIN_COUNT
from flowai.rendering.formatting import count
from flowai.rendering.markdown import one_line
from flowai.statistics.srm import MISMATCH_ALPHA, srm_log_e_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.analytics.records import ProblemKind
    from flowai.comparison.counts import Counts
    from flowai.comparison.spec import ComparisonSpec, RolloutStage

MAX_LOST_RATE = 0.01
"""With a higher share of lost lines, the rest may not represent the rollout."""

_LOST_KINDS: tuple[ProblemKind, ...] = ("unreadable", "unknown_version", "broken", "future", "conflicting")
_FULL_PERCENT = 100
_MAX_NAMES = 5


def sample_ratio_mismatch(users: Mapping[str, int], stage: RolloutStage) -> float:
    """Return the log e-value for "users do not divide as the stage's shares say".

    It is inf for traffic in an arm whose share is 0. If the share may have changed, only candidate and control are
    compared.
    """
    shares = _shares(stage)
    if stage.shares_known:
        return srm_log_e_value(users, shares)
    sides = {side: count for side, count in users.items() if side != "stable"}
    both = {side: share for side, share in shares.items() if side != "stable"}
    return srm_log_e_value(sides, both) if any(both.values()) else 0.0


def validity_problems(counts: Counts, spec: ComparisonSpec) -> tuple[str, ...]:
    """Return the reasons why a rollout's comparison is invalid."""
    return (*_wrong_shares(counts, spec), *comparison_problems(counts, spec))


def comparison_problems(counts: Counts, spec: ComparisonSpec) -> tuple[str, ...]:
    """Return the reasons that rollouts and experiments share: all but the shares."""
    return (*_mixed_versions(counts, spec), *_lost_lines(counts, spec), *_single_arm(counts, spec))


def problems_of(counts: Counts) -> tuple[DataProblem, ...]:
    """Return the unusable lines by problem, with the first unreadable ones."""
    return tuple(
        DataProblem(
            kind=kind, count=counts.problem_count(kind), places=counts.unreadable if kind == "unreadable" else ()
        )
        for kind in sorted(counts.problems)
    )


def warnings_of(counts: Counts, spec: ComparisonSpec) -> tuple[str, ...]:
    """Return warnings about unused lines, sampling, missing users and unknown shares."""
    warnings = [_problem_text(counts, kind) for kind in sorted(counts.problems)]
    if counts.unit == "call" and counts.versions:
        warnings.append("no call has a user or a session: each call counts separately")
    if some := [side for side, count in sorted(counts.sampled_users.items()) if count < counts.traffic[side]]:
        text = ", ".join(f"{counts.sampled_users[side]:,} of {counts.traffic[side]:,} calls of {side}" for side in some)
        warnings.append(f"evidence and users are from a fixed sample of users: {text}; all else is complete")
    if not spec.stages[-1].shares_known:
        warnings.append(
            "the ledger has no start of the stage: only candidate and control are compared with their shares"
        )
    return tuple(warnings)


def _problem_text(counts: Counts, kind: ProblemKind) -> str:
    lines = counts.problem_count(kind)
    places = ", ".join(f"{one_line(place.file)}:{place.line}" for place in counts.unreadable)
    where = f" ({places}{', ...' if lines > len(counts.unreadable) else ''})" if kind == "unreadable" and places else ""
    return f"{count(lines, 'line')} {PROBLEM_TEXTS[kind]}{where}"


def _shares(stage: RolloutStage) -> dict[str, float]:
    percent = stage.percent
    control = min(percent, _FULL_PERCENT - percent)
    return {"canary": percent, "control": control, "stable": _FULL_PERCENT - percent - control}


def _wrong_shares(counts: Counts, spec: ComparisonSpec) -> Iterator[str]:
    for index, stage in enumerate(spec.stages):
        users = counts.assigned_in(index)
        if not users or sample_ratio_mismatch(users, stage) < -math.log(MISMATCH_ALPHA):
            continue
        shares = _shares(stage)
        stray = [side for side in users if not shares.get(side)]
        if stray:
            text = _join_names([f"{users[side]:,} of {side}" for side in stray])
            yield f"unexpected traffic at stage {stage.name}: {text}"
        else:
            text = _join_names([f"{side} {count:,}" for side, count in sorted(users.items())])
            yield f"users do not divide by the shares of stage {stage.name}: {text}"
    for feature, hours in sorted(counts.premature_calls.items()):
        calls = f"{sum(hours.values()):,} calls of critical feature {_join_names([feature])}"
        yield f"unexpected traffic: {calls}"


def _join_names(names: Sequence[str]) -> str:
    """Join the first few names. They come from the log and are escaped: they may hold control characters."""
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(one_line(name) for name in names[:_MAX_NAMES]) + more


def _mixed_versions(counts: Counts, spec: ComparisonSpec) -> Iterator[str]:
    sides = spec.sides
    releases: dict[str, set[str]] = defaultdict(set)
    prompts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in counts.versions:
        releases[one.side].add(one.release or "(none)")
        if one.release == sides.releases.get(one.side, one.release) and one.prompt is not None:
            prompts[one.side, one.feature].add(one.prompt)
    for side, release in sorted(sides.releases.items()):
        if others := releases[side] - {release}:
            yield f"mixed versions: {_join_names(sorted(others))} served as candidate, besides {release}"
        if release in releases[sides.control]:
            yield f"mixed versions: {release} served as control"
    if sides.releases and len(releases[sides.control]) > 1:
        yield f"mixed versions: {_join_names(sorted(releases[sides.control]))} served as control"
    for (side, feature), texts in sorted(prompts.items()):
        if len(texts) > 1:
            whose = _join_names([feature or "a model"])
            yield f"mixed versions: {len(texts)} texts of the prompt of {whose} served as {_join_names([side])}"


def _lost_lines(counts: Counts, spec: ComparisonSpec) -> Iterator[str]:
    lost = sum(counts.problem_count(kind) for kind in _LOST_KINDS)
    compared = spec.sides.arms
    calls = sum(sums.call_count for (side, *_), sums in counts.calls.items() if side in compared)
    if lost > MAX_LOST_RATE * (lost + calls) and lost + calls >= MIN_COUNT:
        yield f"{lost:,} lines of the log are lost, and {calls:,} calls of both arms are left"


def _single_arm(counts: Counts, spec: ComparisonSpec) -> Iterator[str]:
    last = len(spec.stages) - 1
    if not 0 < spec.stages[last].percent < _FULL_PERCENT:
        return
    units = {side: counts.unit_count(side, last) for side in spec.sides.arms}
    if max(units.values()) >= MIN_COUNT:
        names = {spec.sides.control: "control", **dict.fromkeys(spec.sides.releases, "candidate")}
        for side in spec.sides.arms:
            if not units[side]:
                yield f"one arm only: the {names.get(side, side)} has no calls"
