"""Joins time cells into blocks and accumulates evidence of harm over them, as of now and of any earlier time."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.comparison.spec import CELL_US, HOUR_US
from flowai.statistics.evalues import Block, EProcess, RateEProcess, RatioEProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from flowai.comparison.counts import Counts, RiskChange, TimeBucket

MIN_UNITS_PER_BLOCK = 50
"""A block with both arms closes when it has this many users at risk, or after an hour. Where one arm is empty, it waits
for that arm: such a block has no evidence. A block of n users loses 1 / n of its evidence (decision 0045). Neither time
nor number depends on how the calls went."""


MIN_PART = 100
"""With heavy traffic a block also holds 1 / 100 of the users of its stage before it, unless it is an hour old: ten
thousand blocks yield no more evidence than a few hundred, and take longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmPair:
    """Two arms that are compared."""

    candidate: str
    control: str
    extra_control: str | None = None
    """Arm whose users are added to the control's."""

    @property
    def baselines(self) -> tuple[str, ...]:
        """The control and the extra arm."""
        return (self.control, *((self.extra_control,) if self.extra_control else ()))

    def users_of(self, cell: TimeBucket) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return (users at risk, first failures) of the candidate and of the baseline in a cell."""
        users = [cell.sides.get(side, (0, 0)) for side in self.baselines]
        return cell.sides.get(self.candidate, (0, 0)), (sum(one[0] for one in users), sum(one[1] for one in users))


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedBlock:
    """A closed block."""

    until_us: int
    """Microseconds since 1970."""
    stage: int
    block: Block


@dataclass(kw_only=True, slots=True)
class EvidenceSeries:
    """Evidence over time that the candidate is worse, for one metric."""

    worse: EProcess | None = None
    """Its process, for forecasts; None for means."""
    untils_us: list[int] = field(default_factory=list)
    """Times at which the evidence changed."""
    log_es: list[float] = field(default_factory=list)
    """Log e-values from each of these times on."""
    peaks: list[float] = field(default_factory=list)
    """The largest so far."""
    blocks: list[TimedBlock] = field(default_factory=list)

    def append(self, moment_us: int, log_e: float) -> None:
        """Add the evidence from a time on, later than all others."""
        self.untils_us.append(moment_us)
        self.log_es.append(log_e)
        self.peaks.append(max(log_e, self.peaks[-1] if self.peaks else 0.0))

    def at(self, moment_us: int) -> tuple[float, float]:
        """Return the evidence and its peak as they were known at a time; 0 before the first."""
        index = bisect_right(self.untils_us, moment_us) - 1
        return (self.log_es[index], self.peaks[index]) if index >= 0 else (0.0, 0.0)


class CallsPerUser:
    """Ratio of the calls of a candidate's user that reach a model to those of a baseline's, by stage and time.

    A cache answers some calls, and a new release starts with a cold one: its users reach a model more often, and so
    fail more often, without any harm. The ratio is that of the calls that a cache did not answer, in earlier hours of
    the stage; in its first hour, in that hour.
    """

    def __init__(self, counts: Counts, pair: ArmPair) -> None:
        hours: dict[int, dict[int, list[int]]] = {}
        for (side, stage, _, hour_us), sums in counts.calls.items():
            if side != pair.candidate and side not in pair.baselines:
                continue
            at = 0 if side == pair.candidate else 2
            numbers = hours.setdefault(stage, {}).setdefault(hour_us, [0, 0, 0, 0])
            numbers[at] += sums.call_count
            numbers[at + 1] += sums.reached_count
        self._ratios: dict[int, tuple[list[int], list[float]]] = {}
        for stage, by_hour in hours.items():
            totals, ends, ratios = [0, 0, 0, 0], [], []
            for hour_us in sorted(by_hour):
                totals = [total + number for total, number in zip(totals, by_hour[hour_us], strict=True)]
                ends.append(hour_us + HOUR_US)
                ratios.append(_reached_ratio(*totals))
            self._ratios[stage] = (ends, ratios)

    def at(self, stage: int, moment_us: int) -> float:
        """Return the ratio that is known for a time cell."""
        ends, ratios = self._ratios.get(stage, ([], []))
        return ratios[max(bisect_right(ends, moment_us) - 1, 0)] if ends else 1.0


def _reached_ratio(candidate_calls: int, candidate_reached: int, baseline_calls: int, baseline_reached: int) -> float:
    if not (candidate_reached and baseline_reached):
        return 1.0
    return candidate_reached / candidate_calls * baseline_calls / baseline_reached


def accumulate_failures(
    changes: Iterable[RiskChange],
    pair: ArmPair,
    *,
    until_us: int,
    calls_per_user: CallsPerUser,
    tolerated_ratio: float = 1.0,
    keeps_failed_users: bool = False,
) -> EvidenceSeries:
    """Accumulate the evidence that users at risk fail first more often, for rare failures.

    Cells that end after `until_us` are open. A failure counts where both arms have users at risk. With
    `keeps_failed_users`, for failures of many users, the arms' shares are those of all users who came: those still at
    risk are mostly users who call no more, and their shares lean against the arm that failed by chance.
    """
    worse = RatioEProcess(tolerated_ratio=tolerated_ratio, failures_only=True)
    series = EvidenceSeries(worse=worse)
    at_risk: dict[int, list[int]] = {}
    arms = [(0, pair.candidate), *((1, side) for side in pair.baselines)]
    for change in changes:
        end_us = change.at_us + CELL_US
        if end_us > until_us:
            continue
        users = at_risk.setdefault(change.stage, [0, 0])
        failures = [0, 0]
        for arm, side in arms:
            if side in change.sides:
                came, failed, left = change.sides[side]
                users[arm] += came - left
                failures[arm] += failed
        if sum(failures) and min(users) > 0:
            block = Block(
                candidate_count=users[0],
                control_count=users[1],
                candidate_failure_count=failures[0],
                control_failure_count=failures[1],
                exposure_ratio=calls_per_user.at(change.stage, change.at_us),
            )
            series.append(end_us, worse.add(block))
            series.blocks.append(TimedBlock(until_us=end_us, stage=change.stage, block=block))
        for arm in (0, 1) if not keeps_failed_users else ():
            users[arm] -= failures[arm]
    return series


def accumulate(cells: Sequence[TimeBucket], pair: ArmPair, *, until_us: int) -> EvidenceSeries:
    """Accumulate the evidence that users who call fail more often, for frequent failures.

    Cells that end after `until_us` are open.
    """
    worse = RateEProcess()
    series = EvidenceSeries(worse=worse)
    for block in close_blocks(cells, pair, until_us=until_us):
        series.append(block.until_us, worse.add(block.block))
        series.blocks.append(block)
    return series


def close_blocks(cells: Iterable[TimeBucket], pair: ArmPair, *, until_us: int) -> list[TimedBlock]:
    """Join cells of one stage until there are enough users; the open rest is left out."""
    stages: dict[int, list[TimeBucket]] = {}
    for cell in cells:
        if cell.at_us + CELL_US <= until_us:
            stages.setdefault(cell.stage, []).append(cell)
    ordered = (sorted(stage, key=lambda cell: cell.at_us) for stage in stages.values())
    blocks = [block for stage in ordered for block in _blocks_of(stage, pair, until_us)]
    return sorted(blocks, key=lambda block: (block.until_us, block.stage))


@dataclass(slots=True)
class _OpenBlock:
    stage: int
    begin_us: int
    counts: list[int] = field(default_factory=lambda: [0, 0])
    failures: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, cell: TimeBucket, pair: ArmPair) -> None:
        for arm, (count, failed) in enumerate(pair.users_of(cell)):
            self.counts[arm] += count
            self.failures[arm] += failed

    def closed(self, until_us: int) -> TimedBlock:
        block = Block(
            candidate_count=self.counts[0],
            control_count=self.counts[1],
            candidate_failure_count=self.failures[0],
            control_failure_count=self.failures[1],
        )
        return TimedBlock(until_us=until_us, stage=self.stage, block=block)


def _blocks_of(cells: Sequence[TimeBucket], pair: ArmPair, until_us: int) -> Iterator[TimedBlock]:
    before = 0
    opened: _OpenBlock | None = None
    for cell in cells:
        if opened is not None and min(opened.counts) and cell.at_us >= opened.begin_us + HOUR_US:
            yield opened.closed(opened.begin_us + HOUR_US)
            before += sum(opened.counts)
            opened = None
        if opened is None:
            opened = _OpenBlock(stage=cell.stage, begin_us=cell.at_us)
        opened.add(cell, pair)
        end_us = cell.at_us + CELL_US
        enough = max(MIN_UNITS_PER_BLOCK, before / MIN_PART)
        if min(opened.counts) and (sum(opened.counts) >= enough or end_us >= opened.begin_us + HOUR_US):
            yield opened.closed(end_us)
            before += sum(opened.counts)
            opened = None
    if opened is not None and min(opened.counts) and opened.begin_us + HOUR_US <= until_us:
        yield opened.closed(opened.begin_us + HOUR_US)
