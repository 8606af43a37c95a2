"""Counts of a rollout or an experiment, by the hour in which they became known: all that its verdict depends on.

A call is known when it has ended, feedback when its time is over. So the counts as of an earlier hour are exactly those
that a look at that hour found.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from flowai.analytics.records import CountOfTotal
from flowai.comparison.spec import HOUR_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from flowai.analytics.records import LogLocation, Metric, ProblemKind
    from flowai.comparison.baseline_limits import BaselineLimit
    from flowai.comparison.sampling import SamplingSchedule


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Cell = TypeVar("_Cell", "TimeBucket", "RiskChange")

HourlyCounts = dict[int, int]
"""Numbers by the start of an hour (microseconds since 1970)."""


@dataclass(kw_only=True, slots=True)
class TimeBucket:
    """Users in a time cell of five minutes."""

    stage: int
    """Index of the stage."""
    at_us: int
    """Start of the cell, microseconds since 1970."""
    sides: Mapping[str, tuple[int, int]]
    """By arm, users with a measurement who have not failed before, and those of them who fail."""


@dataclass(kw_only=True, slots=True)
class RiskChange:
    """Changes of the users at risk of their first failure, in a time cell of five minutes."""

    stage: int
    """Index of the stage."""
    at_us: int
    """Start of the cell, microseconds since 1970."""
    sides: Mapping[str, tuple[int, int, int]]
    """By arm: users with a first measurement in this stage, who have not failed before; users whose first failure in
    the whole rollout this is; users who leave for another reason (a failure in another arm, the end of sampling)."""


@dataclass(slots=True)
class CallCounts:
    """Sums over calls. Costs are in billionths of a dollar."""

    call_count: int = 0
    cached_count: int = 0
    """Answers of a cache; nothing below counts them."""
    unsent_count: int = 0
    """Calls that failed before a provider was asked; nothing below counts them."""
    cancelled_count: int = 0
    """Calls whose caller left."""
    failed_count: int = 0
    """Calls whose own model failed, whatever the caller got."""
    error_count: int = 0
    """Calls whose caller got an error."""
    fell_back_count: int = 0
    """Calls that another model or the last resort answered."""
    promised_json_count: int = 0
    bad_json_count: int = 0
    priced_count: int = 0
    cost_nano_usd: int = 0

    def add(self, other: CallCounts) -> None:
        """Add other sums to these."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @property
    def reached_count(self) -> int:
        """Calls that reached a model."""
        return self.call_count - self.cached_count - self.unsent_count

    @property
    def ended_count(self) -> int:
        """Calls that reached a model and whose caller stayed."""
        return self.reached_count - self.cancelled_count


@dataclass(frozen=True, slots=True)
class TopCaller:
    """The caller with the most failures of an arm: user, else session, else caller hash."""

    caller: int
    """Hash of the caller."""
    failure_count: int
    """Failed calls; for a mean, calls with a value."""
    total_count: int
    """Those of all calls of the arm."""


_sums_of = attrgetter(*(one.name for one in fields(CallCounts)))


@dataclass(slots=True)
class UserSums:
    """Users and the sums of their means: of failure shares in millionths, of logarithms in millionths, of nano-dollars.

    By hour, changes of these numbers: a user's mean changes with each call.
    """

    user_count: int = 0
    affected_count: int = 0
    """Users with a failure."""
    total: int = 0
    squares: int = 0

    def add(self, other: UserSums) -> None:
        """Add other sums to these."""
        self.user_count += other.user_count
        self.affected_count += other.affected_count
        self.total += other.total
        self.squares += other.squares

    def minus(self, other: UserSums) -> UserSums:
        """Return these sums without those of some of the users."""
        return UserSums(
            self.user_count - other.user_count,
            self.affected_count - other.affected_count,
            self.total - other.total,
            self.squares - other.squares,
        )


@dataclass(kw_only=True, slots=True)
class Counts:
    """Everything that a verdict depends on; all hours are those in which a number became known."""

    unit: Literal["user", "call"] = "user"
    """`user` (or session), or `call` if no call names one."""
    calls: dict[tuple[str, int, str, int], CallCounts] = field(default_factory=dict)
    """By arm, stage, feature and hour."""
    error_classes: dict[tuple[str, int, str], HourlyCounts] = field(default_factory=dict)
    """Errors of callers by arm, stage and class."""
    times: dict[tuple[Metric, str, int, int], dict[int, int]] = field(default_factory=dict)
    """Answers of sampled users by metric (`slow_calls` for latency, `slow_ttft` for the time to the first token), arm,
    stage and hour, then latency bucket."""
    tallies: dict[tuple[Metric, str, int, str, int], tuple[int, int]] = field(default_factory=dict)
    """Calls of sampled users and failed ones by metric that `calls` does not have, arm, stage, feature and hour."""
    limits: dict[Metric, Mapping[str, BaselineLimit]] = field(default_factory=dict)
    """The baseline's frozen limits of `slow_calls`, `slow_ttft` and `cost`, by feature."""
    judges: dict[tuple[Metric, str], HourlyCounts] = field(default_factory=dict)
    """Scores of sampled users by metric and the judge's hash ("" without one), of all compared arms and stages."""
    cells: dict[Metric, list[TimeBucket]] = field(default_factory=dict)
    """Sampled users by frequent metric, ordered by time, then stage."""
    risks: dict[Metric, list[RiskChange]] = field(default_factory=dict)
    """Sampled users at risk by rare metric, ordered by time, then stage."""
    users: dict[tuple[Metric, str, int], dict[int, UserSums]] = field(default_factory=dict)
    """Sampled users by metric, arm and stage, and by hour the changes of their sums."""
    units: dict[tuple[str, int], HourlyCounts] = field(default_factory=dict)
    """Sampled users by arm and stage, by the hour of their first call; negative where a user leaves the sample."""
    anonymous: dict[tuple[str, int], HourlyCounts] = field(default_factory=dict)
    """Calls without user and session, each of them a unit; sampled like users."""
    assigned: dict[tuple[str, int], HourlyCounts] = field(default_factory=dict)
    """Units by arm and stage, sampled alike in all arms, so that they can be compared with the shares."""
    in_both: dict[int, HourlyCounts] = field(default_factory=dict)
    """Users served by both candidate and baseline in a stage, by stage."""
    releases: dict[tuple[str, str | None, int], HourlyCounts] = field(default_factory=dict)
    """Calls by arm, the release that served them (None if the event names none), and stage."""
    prompts: dict[tuple[str, str, int], HourlyCounts] = field(default_factory=dict)
    """Calls of sampled users by arm, feature, and a hash of the prompt's text."""
    problems: dict[ProblemKind, HourlyCounts] = field(default_factory=dict)
    """Unusable lines by the hour of their time; those without a time under hour 0."""
    unreadable: tuple[LogLocation, ...] = ()
    """The first unreadable lines."""
    premature_calls: dict[str, HourlyCounts] = field(default_factory=dict)
    """Calls of critical features that the candidate served before they take part, by feature and hour."""
    traffic: dict[str, HourlyCounts] = field(default_factory=dict)
    """Calls by arm, by five minutes."""
    schedules: Mapping[str, SamplingSchedule] = field(default_factory=dict)
    """How many users of each arm are sampled."""
    top_callers: dict[tuple[Metric, str], dict[int, TopCaller]] = field(default_factory=dict)
    """By metric and arm, and by hour: the caller with the most failures at its end."""
    of_callers: dict[int, Counts] = field(default_factory=dict)
    """By such a caller: the part of `cells`, `risks` and `users` that is the caller's."""

    def top_caller(self, metric: Metric, side: str) -> TopCaller | None:
        """Return the caller with the most failures of an arm; None if no caller has two."""
        by_hour = self.top_callers.get((metric, side))
        return by_hour[max(by_hour)] if by_hour else None

    def without(self, caller: int) -> Counts:
        """Return the counts of users without the calls of a caller, each of which is a unit of its own."""
        own = self.of_callers[caller]
        users = dict(self.users)
        for key, by_hour in own.users.items():
            users[key] = {
                hour_us: sums.minus(by_hour[hour_us]) if hour_us in by_hour else sums
                for hour_us, sums in self.users[key].items()
            }
        return replace(
            self,
            cells={name: _subtract(cells, own.cells.get(name, ())) for name, cells in self.cells.items()},
            risks={name: _subtract(changes, own.risks.get(name, ())) for name, changes in self.risks.items()},
            users=users,
        )

    def for_stage(self, side: str, stage: int, feature: str | None = None) -> CallCounts:
        """Return the sums of an arm in a stage; of one feature or of all."""
        parts = [
            _sums_of(sums)
            for (of_side, of_stage, of_feature, _), sums in self.calls.items()
            if of_stage == stage and of_side == side and feature in (None, of_feature)
        ]
        return CallCounts(*map(sum, zip(*parts, strict=True)))

    def unit_count(self, side: str, stage: int) -> int:
        """Return the number of users of an arm in a stage, named or not; of a sample, estimated."""
        return self._scaled(self.units, side, stage) + self.anonymous_count(side, stage)

    def anonymous_count(self, side: str, stage: int) -> int:
        """Return the number of calls without a user in an arm and a stage; of a sample, estimated."""
        return self._scaled(self.anonymous, side, stage)

    def _scaled(self, counts: Mapping[tuple[str, int], HourlyCounts], side: str, stage: int) -> int:
        schedule = self.schedules.get(side)
        return sum(counts.get((side, stage), {}).values()) * (1 if schedule is None else schedule.mask + 1)

    def assigned_in(self, stage: int) -> dict[str, int]:
        """Return units by arm, to be compared with the stage's shares; arms without units are left out."""
        by_side = {
            side: sum(hours.values()) for (side, index), hours in sorted(self.assigned.items()) if index == stage
        }
        return {side: count for side, count in by_side.items() if count > 0}

    def problem_count(self, kind: ProblemKind) -> int:
        """Return the number of lines with a problem."""
        return sum(self.problems.get(kind, {}).values())

    def features(self) -> list[str]:
        """Return the features of counted calls, in alphabetical order."""
        return sorted({feature for _, _, feature, _ in self.calls})

    def call_tally(self, metric: Metric, side: str, stage: int, feature: str | None = None) -> CountOfTotal:
        """Return calls and failed calls of an arm in a stage, not collapsed by user; nothing for a mean."""
        sums = self.for_stage(side, stage, feature)
        tallies: dict[Metric, tuple[int, int]] = {
            "error_rate": (sums.ended_count, sums.failed_count),
            "json_valid": (sums.promised_json_count, sums.bad_json_count),
            "cancelled": (sums.reached_count, sums.cancelled_count),
            "degraded": (sums.ended_count, sums.fell_back_count),
        }
        if metric not in tallies:
            known = [
                numbers
                for (name, of_side, of_stage, of_feature, _), numbers in self.tallies.items()
                if (name, of_side, of_stage) == (metric, side, stage) and feature in (None, of_feature)
            ]
            tallies[metric] = (sum(count for count, _ in known), sum(failed for _, failed in known))
        count, failed = tallies[metric]
        return CountOfTotal(count=count, failure_count=failed)

    def scores_of(self, metric: Metric) -> dict[str, int]:
        """Return the number of scores of a metric by the judge's hash."""
        return {judge: sum(hours.values()) for (name, judge), hours in self.judges.items() if name == metric}

    def latencies_of(self, metric: Metric, side: str, stage: int) -> dict[int, int]:
        """Return answers of an arm in a stage by latency bucket."""
        added: Counter[int] = Counter()
        for (name, of_side, of_stage, *_), buckets in self.times.items():
            if (name, of_side, of_stage) == (metric, side, stage):
                added.update(buckets)
        return dict(sorted(added.items()))

    def as_of(self, moment_us: int) -> Counts:
        """Return the counts that a look at the end of an hour found.

        Lines without a time are the exception: when they were written is not known, so that they are left out.
        """

        def hourly(items: Iterable[tuple[_Key, HourlyCounts]]) -> dict[_Key, HourlyCounts]:
            return {key: kept for key, hours in items if (kept := _until(hours, moment_us))}

        return replace(
            self,
            calls={key: sums for key, sums in self.calls.items() if key[-1] < moment_us},
            error_classes=hourly(self.error_classes.items()),
            times={key: buckets for key, buckets in self.times.items() if key[-1] < moment_us},
            tallies={key: numbers for key, numbers in self.tallies.items() if key[-1] < moment_us},
            limits={
                metric: {feature: limit for feature, limit in limits.items() if limit.known_us <= moment_us}
                for metric, limits in self.limits.items()
            },
            cells={metric: _before(cells, moment_us) for metric, cells in self.cells.items()},
            risks={metric: _before(changes, moment_us) for metric, changes in self.risks.items()},
            users={key: kept for key, hours in self.users.items() if (kept := _until(hours, moment_us))},
            units=hourly(self.units.items()),
            anonymous=hourly(self.anonymous.items()),
            assigned=hourly(self.assigned.items()),
            in_both=hourly(self.in_both.items()),
            releases=hourly(self.releases.items()),
            prompts=hourly(self.prompts.items()),
            judges=hourly(self.judges.items()),
            problems=hourly(
                (kind, {hour: n for hour, n in hours.items() if hour > 0}) for kind, hours in self.problems.items()
            ),
            premature_calls=hourly(self.premature_calls.items()),
            traffic=hourly(self.traffic.items()),
            schedules={side: one.as_of(moment_us) for side, one in self.schedules.items()},
            top_callers={key: tops for key, hours in self.top_callers.items() if (tops := _until(hours, moment_us))},
            of_callers={caller: one.as_of(moment_us) for caller, one in self.of_callers.items()},
        )


def cumulated(by_hour: Mapping[int, UserSums]) -> Iterator[tuple[int, UserSums]]:
    """Yield the sums at the end of each hour in which they changed, in order of time."""
    so_far = UserSums()
    for hour_us in sorted(by_hour):
        so_far.add(by_hour[hour_us])
        yield (
            hour_us + HOUR_US,
            UserSums(so_far.user_count, so_far.affected_count, so_far.total, so_far.squares),
        )


def _until(hours: dict[int, _Value], moment_us: int) -> dict[int, _Value]:
    return {hour: value for hour, value in hours.items() if hour < moment_us}


def _before(cells: list[_Cell], moment_us: int) -> list[_Cell]:
    return cells[: bisect_left(cells, moment_us, key=attrgetter("at_us"))]


def _subtract(cells: Sequence[_Cell], others: Iterable[_Cell]) -> list[_Cell]:
    """Return cells without the users of others, which are a part of them."""
    parts = {(one.at_us, one.stage): one.sides for one in others}
    return [cell if (part := parts.get((cell.at_us, cell.stage))) is None else _less(cell, part) for cell in cells]


def _less(cell: _Cell, part: Mapping[str, tuple[int, ...]]) -> _Cell:
    sides: Any = {
        side: tuple(n - less for n, less in zip(numbers, part.get(side, (0,) * len(numbers)), strict=True))
        for side, numbers in cell.sides.items()
    }
    return replace(cell, sides=sides)
