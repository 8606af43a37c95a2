"""Joins time cells into blocks and accumulates evidence over them, as of now and of any earlier time."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.comparison.spec import CELL_US, HOUR_US
from flowai.statistics.evalues import Block, EProcess, RateEProcess, RatioEProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from flowai.analytics.records import Metric
    from flowai.comparison.counts import TimeBucket

MIN_UNITS_PER_BLOCK = 50
"""A block closes when it has this many users at risk in both arms together, at least one in each. With thin traffic one
arm of a single cell may be empty, and such a cell adds no evidence; a block of n users loses 1 / n of its evidence
(decision 0045). Neither time nor number depends on how the calls went."""


MIN_PART = 100
"""With heavy traffic a block also holds 1 / 100 of the users of its stream before it, unless it is an hour old: ten
thousand blocks yield no more evidence than a few hundred, and take longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmPair:
    """Two arms that are compared."""

    candidate: str
    control: str
    extra_control: str | None = None
    """Arm whose users are added to the control's in blocks of evidence."""

    def users_of(self, cell: TimeBucket) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return (users at risk, failures) of the candidate and of the control with its extra arm in a cell."""
        no_users = (0, 0)
        control = cell.sides.get(self.control, no_users)
        extra_control = cell.sides.get(self.extra_control or "", no_users)
        return cell.sides.get(self.candidate, no_users), (control[0] + extra_control[0], control[1] + extra_control[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedBlock:
    """A closed block."""

    until_us: int
    """Microseconds since 1970."""
    stage: int
    feature: str
    block: Block


@dataclass(kw_only=True, slots=True)
class EvidenceSeries:
    """Evidence for one metric over time."""

    worse: EProcess
    """Evidence that the candidate is worse than the control."""
    safe: EProcess
    """Evidence that it is not worse by the margin."""
    untils_us: list[int] = field(default_factory=list)
    """Ends of blocks."""
    worse_log_es: list[float] = field(default_factory=list)
    peak_log_es: list[float] = field(default_factory=list)
    safe_log_es: list[float] = field(default_factory=list)
    """This and the two above: log e-values at each end."""
    blocks: list[TimedBlock] = field(default_factory=list)

    def at(self, moment_us: int) -> tuple[float, float, float]:
        """Return worse, peak and safe as they were known at a time; 0 before the first block."""
        index = bisect_right(self.untils_us, moment_us) - 1
        if index < 0:
            return 0.0, 0.0, 0.0
        return self.worse_log_es[index], self.peak_log_es[index], self.safe_log_es[index]


FREQUENT_METRICS: frozenset[Metric] = frozenset({"acceptance", "save_rate"})
"""Metrics whose failures are frequent; that selects the e-process."""

DELAYED_METRICS: frozenset[Metric] = frozenset({"acceptance", "save_rate", "hallucination"})
"""Metrics that depend on feedback or scores, which arrive after the call."""


def accumulate(
    metric: Metric, margin: float, cells: Sequence[TimeBucket], pair: ArmPair, *, until_us: int, delay_us: int = 0
) -> EvidenceSeries:
    """Accumulate the evidence for a metric.

    Cells that end after `until_us` are open and add nothing. A cell is known `delay_us` after its end: feedback arrives
    late.
    """
    kind = RateEProcess if metric in FREQUENT_METRICS else RatioEProcess
    series = EvidenceSeries(worse=kind("worse"), safe=kind("not_worse", margin=margin))
    for block in close_blocks(cells, pair, until_us=until_us - delay_us):
        log_e = series.worse.add(block.block, stream=block.feature)
        series.untils_us.append(block.until_us + delay_us)
        series.worse_log_es.append(log_e)
        series.peak_log_es.append(series.worse.peak_log_e)
        series.safe_log_es.append(series.safe.add(block.block, stream=block.feature))
        series.blocks.append(block)
    return series


def close_blocks(cells: Iterable[TimeBucket], pair: ArmPair, *, until_us: int) -> list[TimedBlock]:
    """Join cells of one stage and feature until there are enough users; the open rest is left out."""
    streams: dict[tuple[int, str], list[TimeBucket]] = {}
    for cell in cells:
        if cell.at_us + CELL_US <= until_us:
            streams.setdefault((cell.stage, cell.feature), []).append(cell)
    ordered = (sorted(stream, key=lambda cell: cell.at_us) for stream in streams.values())
    blocks = [block for stream in ordered for block in _blocks_of(stream, pair)]
    return sorted(blocks, key=lambda block: (block.until_us, block.stage, block.feature))


def _blocks_of(cells: Sequence[TimeBucket], pair: ArmPair) -> Iterator[TimedBlock]:
    counts, failures, before = [0, 0], [0, 0], 0
    begin_us: int | None = None
    for cell in cells:
        begin_us = cell.at_us if begin_us is None else begin_us
        for arm, (count, failed) in enumerate(pair.users_of(cell)):
            counts[arm] += count
            failures[arm] += failed
        is_old = cell.at_us + CELL_US - begin_us >= HOUR_US
        enough = MIN_UNITS_PER_BLOCK if is_old else max(MIN_UNITS_PER_BLOCK, before / MIN_PART)
        if min(counts) < 1 or sum(counts) < enough:
            continue
        block = Block(
            candidate_count=counts[0],
            control_count=counts[1],
            candidate_failure_count=failures[0],
            control_failure_count=failures[1],
        )
        yield TimedBlock(until_us=cell.at_us + CELL_US, stage=cell.stage, feature=cell.feature, block=block)
        before += sum(counts)
        counts, failures, begin_us = [0, 0], [0, 0], None
