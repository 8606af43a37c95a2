"""Joins cells of time into blocks, and gathers evidence over them: now, and as it was at any time before."""

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
"""A block closes when so many users were at risk, of both arms together, one of each at least. Thin traffic would leave
one arm of a cell empty, and such a cell says nothing; a block of n says less than its users could by 1 / n (decision
0045). Neither time nor numbers depend on how the calls went."""


MIN_PART = 100
"""Where traffic is heavy, a block also holds this part (1 / 100) of its stream's users before it, unless it is an hour
old: ten thousand blocks say no more than a few hundred, and take longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmPair:
    """Two sides that are held against each other."""

    candidate: str
    """The side that is judged."""
    control: str
    """What it is held against."""
    beside: str | None = None
    """A side whose users are added to the control's in blocks of evidence; None for none."""

    def users_of(self, cell: TimeBucket) -> tuple[tuple[int, int], tuple[int, int]]:
        """Give users of a cell at risk and those who failed: the candidate's, then the control's with those beside."""
        nobody = (0, 0)
        control, beside = cell.sides.get(self.control, nobody), cell.sides.get(self.beside or "", nobody)
        return cell.sides.get(self.candidate, nobody), (control[0] + beside[0], control[1] + beside[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedBlock:
    """A block that is closed."""

    until_us: int
    """Its end, microseconds since 1970."""
    stage: int
    """Index of its stage."""
    feature: str
    """Whose."""
    block: Block
    """What was counted."""


@dataclass(kw_only=True, slots=True)
class EvidenceSeries:
    """The evidence of one metric over time."""

    worse: EProcess
    """Evidence that the candidate is worse than the control."""
    safe: EProcess
    """Evidence that it is not worse by the margin."""
    untils_us: list[int] = field(default_factory=list)
    """Ends of blocks."""
    worse_log_es: list[float] = field(default_factory=list)
    peak_log_es: list[float] = field(default_factory=list)
    safe_log_es: list[float] = field(default_factory=list)
    """The evidence at each."""
    blocks: list[TimedBlock] = field(default_factory=list)

    def at(self, moment_us: int) -> tuple[float, float, float]:
        """Give worse, peak and safe as they were known at a moment; 0 before the first block."""
        index = bisect_right(self.untils_us, moment_us) - 1
        if index < 0:
            return 0.0, 0.0, 0.0
        return self.worse_log_es[index], self.peak_log_es[index], self.safe_log_es[index]


FREQUENT_METRICS: frozenset[Metric] = frozenset({"acceptance", "save_rate"})
"""Metrics whose failures are no rarity; that decides the construction of their evidence."""

DELAYED_METRICS: frozenset[Metric] = frozenset({"acceptance", "save_rate", "hallucination"})
"""Metrics that users and judges decide, some time after the call."""


def accumulate(
    metric: Metric, margin: float, cells: Sequence[TimeBucket], pair: ArmPair, *, until_us: int, delay_us: int = 0
) -> EvidenceSeries:
    """Gather the evidence of a metric.

    Args:
        metric: says how its evidence is constructed.
        margin: how much worse is still safe, 0 to below 1.
        cells: in any order.
        pair: who is held against whom.
        until_us: cells that end later are open and say nothing yet.
        delay_us: how long after its end a cell is known (feedback comes late).
    """
    kind = RateEProcess if metric in FREQUENT_METRICS else RatioEProcess
    track = EvidenceSeries(worse=kind("worse"), safe=kind("not_worse", margin=margin))
    for block in close_blocks(cells, pair, until_us=until_us - delay_us):
        log_e = track.worse.add(block.block, stream=block.feature)
        track.untils_us.append(block.until_us + delay_us)
        track.worse_log_es.append(log_e)
        track.peak_log_es.append(track.worse.peak_log_e)
        track.safe_log_es.append(track.safe.add(block.block, stream=block.feature))
        track.blocks.append(block)
    return track


def close_blocks(cells: Iterable[TimeBucket], pair: ArmPair, *, until_us: int) -> list[TimedBlock]:
    """Join cells of one stage and feature until there are enough users; what is open at the end is left out.

    Returns:
        Blocks, by their ends, then features.
    """
    streams: dict[tuple[int, str], list[TimeBucket]] = {}
    for cell in cells:
        if cell.at_us + CELL_US <= until_us:
            streams.setdefault((cell.stage, cell.feature), []).append(cell)
    ordered = (sorted(stream, key=lambda cell: cell.at_us) for stream in streams.values())
    blocks = [block for stream in ordered for block in _closed(stream, pair)]
    return sorted(blocks, key=lambda block: (block.until_us, block.stage, block.feature))


def _closed(cells: Sequence[TimeBucket], pair: ArmPair) -> Iterator[TimedBlock]:
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
