"""What was counted of a rollout or an experiment: everything its verdict is made from, by hour, small."""

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
"""How many, by the begin of an hour (microseconds since 1970)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeBucket:
    """Users in one cell of time."""

    stage: int
    """Index into the stages."""
    feature: str
    """Whose."""
    at_us: int
    """Begin of the cell, microseconds since 1970."""
    sides: Mapping[str, tuple[int, int]]
    """By side, users at risk and those who failed."""


@dataclass(slots=True)
class CallCounts:
    """Sums over calls; every one of them merges by addition. Costs are in billionths of a dollar, and their squares."""

    call_count: int = 0
    failed_count: int = 0
    promised_json_count: int = 0
    bad_json_count: int = 0
    priced_count: int = 0
    cost_nano_usd: int = 0
    cost_squares: int = 0

    def add(self, other: CallCounts) -> None:
        """Add sums."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """What served calls of one side of one feature."""

    side: str
    """Which side."""
    release: str | None
    """What it was; None where the event does not say."""
    feature: str
    """Whose calls; empty for calls of no feature."""
    prompt: str | None
    """The prompt's hash; None for messages given as they are."""
    stage: int
    """Index into the stages."""


@dataclass(kw_only=True, slots=True)
class Counts:
    """Everything a verdict is made from."""

    unit: Literal["user", "call"] = "user"
    """What counts once."""
    calls: dict[tuple[str, int, int], CallCounts] = field(default_factory=dict)
    """Sums by side, stage and hour."""
    times: dict[tuple[Metric, str, int, str], dict[int, int]] = field(default_factory=dict)
    """Answers by metric (`slow_calls` for latency, `slow_ttft` for the time to the first token), side, stage and
    feature, then bucket of milliseconds."""
    opinions: dict[tuple[Metric, str, int, int], tuple[int, int]] = field(default_factory=dict)
    """Of metrics that users and judges decide: calls and failures by metric, side, stage and hour, of those that were
    looked at closely."""
    frozen: dict[Metric, Mapping[str, BaselineLatency]] = field(default_factory=dict)
    """Beyond which latency (`slow_calls`) and time to the first token (`slow_ttft`) an answer is slow, by feature."""
    cells: dict[Metric, list[TimeBucket]] = field(default_factory=dict)
    """Users by metric, in order of time, then feature; of those who were looked at closely."""
    units: dict[tuple[str, int], HourlyCounts] = field(default_factory=dict)
    """Different users by side and stage, by the hour in which they first came."""
    assigned: dict[tuple[str, int], HourlyCounts] = field(default_factory=dict)
    """The same users, only so many of each side that they can be held against the shares."""
    versions: dict[Version, HourlyCounts] = field(default_factory=dict)
    """Calls of what served, by hour."""
    problems: dict[ProblemKind, HourlyCounts] = field(default_factory=dict)
    """Lines that could not be used, by the hour they tell of; those that tell no time by hour 0."""
    unreadable: tuple[LogLocation, ...] = ()
    """Where the first of those that cannot be read stand."""
    uninvited: dict[str, HourlyCounts] = field(default_factory=dict)
    """Calls of critical features that served the candidate before they take part, by feature and hour."""
    traffic: dict[str, int] = field(default_factory=dict)
    """Calls by side."""
    sampled_users: dict[str, int] = field(default_factory=dict)
    """Those whose users were looked at closely; all of them unless there are very many."""

    def for_stage(self, side: str, stage: int) -> CallCounts:
        """Add the calls of a side in a stage up."""
        added = CallCounts()
        for (of_side, of_stage, _), sums in self.calls.items():
            if (of_side, of_stage) == (side, stage):
                added.add(sums)
        return added

    def unit_count(self, side: str, stage: int) -> int:
        """Give the different users of a side in a stage."""
        return sum(self.units.get((side, stage), {}).values())

    def assigned_in(self, stage: int) -> dict[str, int]:
        """Give different users by side, to be held against the stage's shares; sides without any are left out."""
        found = {side: sum(hours.values()) for (side, index), hours in sorted(self.assigned.items()) if index == stage}
        return {side: count for side, count in found.items() if count}

    def problem_count(self, kind: ProblemKind) -> int:
        """Give how many lines have a problem."""
        return sum(self.problems.get(kind, {}).values())

    def call_tally(self, metric: Metric, side: str, stage: int) -> CountOfTotal:
        """Give calls of a side in a stage, not collapsed by user, and those that failed."""
        if metric in ("slow_calls", "slow_ttft"):
            return self._slow(metric, side, stage)
        if metric in ("error_rate", "json_valid"):
            sums = self.for_stage(side, stage)
            numbers = (
                (sums.call_count, sums.failed_count)
                if metric == "error_rate"
                else (sums.promised_json_count, sums.bad_json_count)
            )
            return CountOfTotal(count=numbers[0], failure_count=numbers[1])
        found = [
            numbers
            for (name, of_side, of_stage, _), numbers in self.opinions.items()
            if (name, of_side, of_stage) == (metric, side, stage)
        ]
        return CountOfTotal(count=sum(count for count, _ in found), failure_count=sum(failed for _, failed in found))

    def latencies_of(self, metric: Metric, side: str, stage: int) -> dict[int, int]:
        """Give answers of a side in a stage by bucket of milliseconds."""
        added: Counter[int] = Counter()
        for (name, of_side, of_stage, _), buckets in self.times.items():
            if (name, of_side, of_stage) == (metric, side, stage):
                added.update(buckets)
        return dict(sorted(added.items()))

    def _slow(self, metric: Metric, side: str, stage: int) -> CountOfTotal:
        """Give answers of features whose slowness is frozen, and the slow ones among them."""
        count = slow = 0
        for (name, of_side, of_stage, feature), buckets in self.times.items():
            frozen = self.frozen.get(metric, {}).get(feature)
            if (name, of_side, of_stage) == (metric, side, stage) and frozen is not None:
                count += sum(buckets.values())
                slow += sum(number for at, number in buckets.items() if at > frozen.above)
        return CountOfTotal(count=count, failure_count=slow)

    def as_of(self, moment_us: int) -> Counts:
        """Give what had been counted by a moment, as far as hours tell; distributions are those of the end."""
        versions = {one: _until(hours, moment_us) for one, hours in self.versions.items()}
        return replace(
            self,
            calls={key: sums for key, sums in self.calls.items() if key[-1] < moment_us},
            opinions={key: numbers for key, numbers in self.opinions.items() if key[-1] < moment_us},
            units={key: _until(hours, moment_us) for key, hours in self.units.items()},
            assigned={key: _until(hours, moment_us) for key, hours in self.assigned.items()},
            versions={one: hours for one, hours in versions.items() if hours},
            # what tells no time was not known to be lost at any hour before
            problems={
                kind: {hour: n for hour, n in hours.items() if 0 < hour < moment_us}
                for kind, hours in self.problems.items()
            },
            uninvited={
                feature: found for feature, hours in self.uninvited.items() if (found := _until(hours, moment_us))
            },
        )


def _until(hours: HourlyCounts, moment_us: int) -> HourlyCounts:
    return {hour: count for hour, count in hours.items() if hour < moment_us}
