"""Counts of a rollout or an experiment, by hour: everything that its verdict depends on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal

from flowai.analytics.records import CountOfTotal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.analytics.records import LogLocation, Metric, ProblemKind
    from flowai.comparison.baseline_latency import BaselineLatency


HourlyCounts = dict[int, int]
"""Numbers by the start of an hour (microseconds since 1970)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeBucket:
    """Users in a time cell of five minutes."""

    stage: int
    """Index of the stage."""
    feature: str
    at_us: int
    """Start of the cell, microseconds since 1970."""
    sides: Mapping[str, tuple[int, int]]
    """By arm, users at risk and failures."""


@dataclass(slots=True)
class CallCounts:
    """Sums over calls. Costs are in billionths of a dollar, and their squares."""

    call_count: int = 0
    failed_count: int = 0
    promised_json_count: int = 0
    bad_json_count: int = 0
    priced_count: int = 0
    cost_nano_usd: int = 0
    cost_squares: int = 0

    def add(self, other: CallCounts) -> None:
        """Add other sums to these."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """Release and prompt that served calls of one arm and feature."""

    side: str
    release: str | None
    """None if the event names none."""
    feature: str
    """Empty for calls without a feature."""
    prompt: str | None
    """The prompt's hash; None for calls with plain messages."""
    stage: int
    """Index of the stage."""


@dataclass(kw_only=True, slots=True)
class Counts:
    """Everything that a verdict depends on."""

    unit: Literal["user", "call"] = "user"
    """`user` (or session), or `call` if no call names one."""
    calls: dict[tuple[str, int, int], CallCounts] = field(default_factory=dict)
    """By arm, stage and hour."""
    times: dict[tuple[Metric, str, int, str], dict[int, int]] = field(default_factory=dict)
    """Answers by metric (`slow_calls` for latency, `slow_ttft` for the time to the first token), arm, stage and
    feature, then latency bucket."""
    opinions: dict[tuple[Metric, str, int, int], tuple[int, int]] = field(default_factory=dict)
    """Calls and failures of sampled users by metric of feedback or scores, arm, stage and hour."""
    frozen: dict[Metric, Mapping[str, BaselineLatency]] = field(default_factory=dict)
    """Limits of latency (`slow_calls`) and time to the first token (`slow_ttft`), by feature."""
    cells: dict[Metric, list[TimeBucket]] = field(default_factory=dict)
    """Sampled users by metric, ordered by time, then feature."""
    units: dict[tuple[str, int], HourlyCounts] = field(default_factory=dict)
    """Distinct users by arm and stage, by the hour of their first call."""
    assigned: dict[tuple[str, int], HourlyCounts] = field(default_factory=dict)
    """The same users, sampled alike in all arms, so that they can be compared with the shares."""
    versions: dict[Version, HourlyCounts] = field(default_factory=dict)
    """Calls of each version, by hour."""
    problems: dict[ProblemKind, HourlyCounts] = field(default_factory=dict)
    """Unusable lines by hour; those without a time under hour 0."""
    unreadable: tuple[LogLocation, ...] = ()
    """The first unreadable lines."""
    premature_calls: dict[str, HourlyCounts] = field(default_factory=dict)
    """Calls of critical features that the candidate served before they take part, by feature and hour."""
    traffic: dict[str, int] = field(default_factory=dict)
    """Calls by arm."""
    sampled_users: dict[str, int] = field(default_factory=dict)
    """Calls by arm whose users are sampled; all calls unless there are very many."""

    def for_stage(self, side: str, stage: int) -> CallCounts:
        """Return the sums of an arm in a stage."""
        added = CallCounts()
        for (of_side, of_stage, _), sums in self.calls.items():
            if (of_side, of_stage) == (side, stage):
                added.add(sums)
        return added

    def unit_count(self, side: str, stage: int) -> int:
        """Return the number of distinct users of an arm in a stage."""
        return sum(self.units.get((side, stage), {}).values())

    def assigned_in(self, stage: int) -> dict[str, int]:
        """Return distinct users by arm, to be compared with the stage's shares; arms without users are left out."""
        hourly = {side: sum(hours.values()) for (side, index), hours in sorted(self.assigned.items()) if index == stage}
        return {side: count for side, count in hourly.items() if count}

    def problem_count(self, kind: ProblemKind) -> int:
        """Return the number of lines with a problem."""
        return sum(self.problems.get(kind, {}).values())

    def call_tally(self, metric: Metric, side: str, stage: int) -> CountOfTotal:
        """Return calls and failed calls of an arm in a stage, not collapsed by user."""
        if metric in ("slow_calls", "slow_ttft"):
            return self._slow(metric, side, stage)
        sums = self.for_stage(side, stage)
        if metric == "error_rate":
            return CountOfTotal(count=sums.call_count, failure_count=sums.failed_count)
        if metric == "json_valid":
            return CountOfTotal(count=sums.promised_json_count, failure_count=sums.bad_json_count)
        hourly = [
            numbers
            for (name, of_side, of_stage, _), numbers in self.opinions.items()
            if (name, of_side, of_stage) == (metric, side, stage)
        ]
        return CountOfTotal(count=sum(count for count, _ in hourly), failure_count=sum(failed for _, failed in hourly))

    def latencies_of(self, metric: Metric, side: str, stage: int) -> dict[int, int]:
        """Return answers of an arm in a stage by latency bucket."""
        added: Counter[int] = Counter()
        for (name, of_side, of_stage, _), buckets in self.times.items():
            if (name, of_side, of_stage) == (metric, side, stage):
                added.update(buckets)
        return dict(sorted(added.items()))

    def _slow(self, metric: Metric, side: str, stage: int) -> CountOfTotal:
        """Count answers of features with a frozen limit, and the slow ones among them."""
        count = slow = 0
        for (name, of_side, of_stage, feature), buckets in self.times.items():
            frozen = self.frozen.get(metric, {}).get(feature)
            if (name, of_side, of_stage) == (metric, side, stage) and frozen is not None:
                count += sum(buckets.values())
                slow += sum(number for at, number in buckets.items() if at > frozen.above)
        return CountOfTotal(count=count, failure_count=slow)

    def as_of(self, moment_us: int) -> Counts:
        """Return the counts as of a time, to the hour; latency distributions are those of the end."""
        versions = {one: _until(hours, moment_us) for one, hours in self.versions.items()}
        return replace(
            self,
            calls={key: sums for key, sums in self.calls.items() if key[-1] < moment_us},
            opinions={key: numbers for key, numbers in self.opinions.items() if key[-1] < moment_us},
            units={key: _until(hours, moment_us) for key, hours in self.units.items()},
            assigned={key: _until(hours, moment_us) for key, hours in self.assigned.items()},
            versions={one: hours for one, hours in versions.items() if hours},
            # lines without a time were not known to be lost at any earlier hour
            problems={
                kind: {hour: n for hour, n in hours.items() if 0 < hour < moment_us}
                for kind, hours in self.problems.items()
            },
            premature_calls={
                feature: hourly
                for feature, hours in self.premature_calls.items()
                if (hourly := _until(hours, moment_us))
            },
        )


def _until(hours: HourlyCounts, moment_us: int) -> HourlyCounts:
    return {hour: count for hour, count in hours.items() if hour < moment_us}
