"""Finds reasons that make a comparison invalid: wrong shares, mixed versions, lost lines, a missing arm.

A few stray calls are no reason: processes learn of a new stage at different times, and clocks differ. Each doubt needs
a share of its own and evidence for it; below that it is a warning.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from flowai.analytics.records import PROBLEM_TEXTS, DataProblem
from flowai.comparison.verdict import MIN_COUNT
from flowai.rendering.formatting import count
from flowai.rendering.markdown import one_line
from flowai.statistics.intervals import clopper_pearson
from flowai.statistics.srm import MISMATCH_ALPHA, srm_log_e_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.analytics.records import ProblemKind
    from flowai.comparison.counts import Counts
    from flowai.comparison.spec import ComparisonSpec, RolloutStage

MAX_LOST_RATE = 0.01
"""With a higher share of lost lines, the rest may not represent the rollout."""

MAX_STRAY_RATE = 0.01
"""A higher share of calls or users in the wrong arm or of a wrong version makes a comparison invalid."""

_STRAY_CONFIDENCE = 0.998
"""The share must be above `MAX_STRAY_RATE` with an error of one in a thousand."""

_LOST_KINDS: tuple[ProblemKind, ...] = ("unreadable", "unknown_version", "broken", "future", "conflicting")
_FULL_PERCENT = 100
_MAX_NAMES = 5


def sample_ratio_mismatch(users: Mapping[str, int], stage: RolloutStage) -> float:
    """Return the log e-value for "users do not divide as the stage's shares say", of arms that have a share.

    If the share may have changed, only candidate and control are compared.
    """
    shares = {side: share for side, share in _shares(stage).items() if share}
    if not stage.shares_known:
        shares.pop("stable", None)
    return srm_log_e_value({side: count for side, count in users.items() if side in shares}, shares)


def is_common(count: int, total: int) -> bool:
    """Return whether so many of a total are more than strays."""
    if count <= MAX_STRAY_RATE * total:  # the interval contains the share
        return False
    return clopper_pearson(count, total, confidence=_STRAY_CONFIDENCE).low > MAX_STRAY_RATE


def validity_problems(counts: Counts, spec: ComparisonSpec) -> tuple[str, ...]:
    """Return the reasons why a rollout's comparison is invalid."""
    return (*_wrong_shares(counts, spec), *comparison_problems(counts, spec), *_in_both_arms(counts, spec))


def comparison_problems(counts: Counts, spec: ComparisonSpec) -> tuple[str, ...]:
    """Return the reasons that rollouts and experiments share: all but the shares."""
    return (
        *_mixed_versions(counts, spec),
        *_lost_lines(counts, spec),
        *_unsent_calls(counts, spec),
        *_single_arm(counts, spec),
    )


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
    if counts.unit == "call" and counts.releases:
        warnings.append("no call has a user or a session: each call counts as a user")
    warnings += _strays(counts, spec)
    unsent = {
        side: sum(one.unsent_count for key, one in counts.calls.items() if key[0] == side) for side in spec.sides.arms
    }
    if any(unsent.values()):
        text = _join_names([f"{calls:,} of {side}" for side, calls in unsent.items()])
        warnings.append(f"calls that failed before a provider was asked are not counted: {text}")
    if parts := [f"1 in {one.mask + 1} of {side}" for side, one in sorted(counts.schedules.items()) if one.mask]:
        warnings.append(
            f"users and times are from a sample of users: {', '.join(parts)}; numbers of calls and cost are complete"
        )
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
        shares = _shares(stage)
        strays = {side: count for side, count in users.items() if not shares.get(side)}
        if is_common(sum(strays.values()), sum(users.values())):
            text = _join_names([f"{count:,} users of {side}" for side, count in strays.items()])
            yield f"unexpected traffic at stage {stage.name}: {text}"
        elif users and sample_ratio_mismatch(users, stage) >= -math.log(MISMATCH_ALPHA):
            text = _join_names([f"{side} {count:,}" for side, count in sorted(users.items())])
            yield f"users do not divide by the shares of stage {stage.name}: {text}"
    candidate_calls = sum(
        sum(hours.values()) for (side, *_), hours in counts.releases.items() if side in spec.sides.candidates
    )
    for feature, hours in sorted(counts.premature_calls.items()):
        if is_common(sum(hours.values()), candidate_calls):
            yield f"unexpected traffic: {sum(hours.values()):,} calls of critical feature {_join_names([feature])}"


def _strays(counts: Counts, spec: ComparisonSpec) -> Iterator[str]:
    """Yield a warning per kind of stray calls, too few to be a doubt."""
    for index, stage in enumerate(spec.stages):
        if not spec.sides.releases:
            break
        strays = {side: count for side, count in counts.assigned_in(index).items() if not _shares(stage).get(side)}
        if strays and not is_common(sum(strays.values()), sum(counts.assigned_in(index).values())):
            text = _join_names([f"{count:,} of {side}" for side, count in strays.items()])
            yield f"users in arms without a share at stage {stage.name}: {text}"
    for _, text, stray_count, total in _versions(counts, spec):
        if not is_common(stray_count, total):
            yield f"{count(stray_count, 'call')} with another version, not counted: {text}"
    for index, hours in sorted(counts.in_both.items()):
        both = sum(hours.values())
        if spec.sides.releases and not is_common(both, _candidate_users(counts, spec, index)):
            yield f"{count(both, 'user')} in both arms at stage {spec.stages[index].name}"


def _in_both_arms(counts: Counts, spec: ComparisonSpec) -> Iterator[str]:
    for index, hours in sorted(counts.in_both.items()):
        both, users = sum(hours.values()), _candidate_users(counts, spec, index)
        if is_common(both, users):
            yield f"{both:,} of {users:,} users of the candidate were in both arms at stage {spec.stages[index].name}"


def _candidate_users(counts: Counts, spec: ComparisonSpec, stage: int) -> int:
    """Return the sampled users of the candidate."""
    return max(sum(sum(counts.units.get((side, stage), {}).values()) for side in spec.sides.candidates), 0)


def _join_names(names: Sequence[str]) -> str:
    """Join the first few names. They come from the log and are escaped: they may hold control characters."""
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(one_line(name) for name in names[:_MAX_NAMES]) + more


def _mixed_versions(counts: Counts, spec: ComparisonSpec) -> Iterator[str]:
    for _, text, stray_count, total in _versions(counts, spec):
        if is_common(stray_count, total):
            yield f"mixed versions: {text}"


def _versions(counts: Counts, spec: ComparisonSpec) -> Iterator[tuple[str, str, int, int]]:
    """Yield each kind of wrong version: arm, text, its calls, and all calls that it is a part of."""
    sides = spec.sides
    releases: dict[str, Counter[str]] = defaultdict(Counter)
    prompts: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for (side, release, _), hours in counts.releases.items():
        releases[side][release or "(none)"] += sum(hours.values())
    for (side, feature, prompt), hours in counts.prompts.items():
        prompts[side, feature][prompt] += sum(hours.values())
    candidates = set(sides.releases.values())
    for side, served in sorted(releases.items()):
        expected = sides.releases.get(side)
        if expected is not None:
            wrong = {name: calls for name, calls in served.items() if name != expected}
            text = f"{_join_names(sorted(wrong))} served as candidate, besides {expected}"
        elif sides.releases:
            main = max(sorted(served.keys() - candidates), key=served.__getitem__, default="")
            wrong = {name: calls for name, calls in served.items() if name != main}
            text = f"{_join_names(sorted(wrong))} served as {side}, besides {main}"
        else:
            continue
        if wrong:
            yield side, text, sum(wrong.values()), sum(served.values())
    for (side, feature), texts in sorted(prompts.items()):
        if len(texts) > 1:
            total = sum(texts.values())
            whose = _join_names([feature or "a model"])
            text = f"{len(texts)} texts of the prompt of {whose} served as {_join_names([side])}"
            yield side, text, total - max(texts.values()), total


def _lost_lines(counts: Counts, spec: ComparisonSpec) -> Iterator[str]:
    lost = sum(counts.problem_count(kind) for kind in _LOST_KINDS)
    compared = spec.sides.arms
    calls = sum(sums.call_count for (side, *_), sums in counts.calls.items() if side in compared)
    if lost > MAX_LOST_RATE * (lost + calls) and lost + calls >= MIN_COUNT:
        yield f"{lost:,} lines of the log are lost, and {calls:,} calls of both arms are left"


def _unsent_calls(counts: Counts, spec: ComparisonSpec) -> Iterator[str]:
    """Yield an arm of which many calls asked no provider, and few of the control's: its parameters may be refused."""
    calls: Counter[str] = Counter()
    unsent: Counter[str] = Counter()
    for (side, *_), sums in counts.calls.items():
        calls[side] += sums.call_count - sums.cached_count
        unsent[side] += sums.unsent_count
    control = spec.sides.control
    for side in () if is_common(unsent[control], calls[control]) else spec.sides.candidates:
        if is_common(unsent[side], calls[side]):
            text = (
                f"{unsent[side]:,} of {calls[side]:,} calls of {_join_names([side])} failed before a provider was asked"
            )
            yield f"{text}: its parameters may be refused"


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
