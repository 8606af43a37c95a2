"""Joins cells of time into blocks, and gathers evidence over them: now, and as it was at any time before.

In: cells in order of time. Out: tracks of two claims. Must never know where cells come from or what follows.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.metrics.frozen import CELL_US, HOUR_US
from flowai.statistics.sequential import Block, Evidence, RateEvidence, RatioEvidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from flowai.metrics.counts import Cell
    from flowai.metrics.model import Metric

ENOUGH_UNITS = 50
LEAST_UNITS = 10
"""A block closes when 50 users of each arm were at risk, or after an hour with 10: thin traffic would leave one arm
of a cell empty, and such a cell says nothing. Neither time nor numbers depend on how the calls went."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedBlock:
    """A block that is closed.

    Args:
        until_us: its end, microseconds since 1970.
        stage: index of its stage.
        feature: whose.
        block: what was counted.
    """

    until_us: int
    stage: int
    feature: str
    block: Block


@dataclass(kw_only=True, slots=True)
class Track:
    """The evidence of one metric over time.

    Args:
        worse: evidence that the candidate is worse than the control.
        safe: evidence that it is not worse by the margin.
        untils_us: ends of blocks.
        worse_log_es, peak_log_es, safe_log_es: the evidence at each.
    """

    worse: Evidence
    safe: Evidence
    untils_us: list[int] = field(default_factory=list)
    worse_log_es: list[float] = field(default_factory=list)
    peak_log_es: list[float] = field(default_factory=list)
    safe_log_es: list[float] = field(default_factory=list)
    blocks: list[TimedBlock] = field(default_factory=list)

    def at(self, moment_us: int) -> tuple[float, float, float]:
        """Give worse, peak and safe as they were known at a moment; 0 before the first block."""
        index = bisect_right(self.untils_us, moment_us) - 1
        if index < 0:
            return 0.0, 0.0, 0.0
        return self.worse_log_es[index], self.peak_log_es[index], self.safe_log_es[index]


def follow(metric: Metric, margin: float, cells: Sequence[Cell], *, until_us: int, delay_us: int = 0) -> Track:
    """Gather the evidence of a metric.

    Args:
        metric: acceptance is common, failures are rare; that decides the construction.
        margin: how much worse is still safe, 0 to below 1.
        cells: in any order.
        until_us: cells that end later are open and say nothing yet.
        delay_us: how long after its end a cell is known (feedback comes late).
    """
    kind = RateEvidence if metric == "acceptance" else RatioEvidence
    track = Track(worse=kind("worse"), safe=kind("not_worse", margin=margin))
    for block in close_blocks(cells, until_us=until_us - delay_us):
        log_e = track.worse.add(block.block, stream=block.feature)
        track.untils_us.append(block.until_us + delay_us)
        track.worse_log_es.append(log_e)
        track.peak_log_es.append(track.worse.peak_log_e)
        track.safe_log_es.append(track.safe.add(block.block, stream=block.feature))
        track.blocks.append(block)
    return track


def close_blocks(cells: Iterable[Cell], *, until_us: int) -> list[TimedBlock]:
    """Join cells of one stage and feature until both arms have enough users; what is open at the end is left out.

    Returns:
        Blocks, by their ends, then features.
    """
    streams: dict[tuple[int, str], list[Cell]] = {}
    for cell in cells:
        if cell.at_us + CELL_US <= until_us:
            streams.setdefault((cell.stage, cell.feature), []).append(cell)
    blocks = [block for stream in streams.values() for block in _closed(sorted(stream, key=lambda cell: cell.at_us))]
    return sorted(blocks, key=lambda block: (block.until_us, block.stage, block.feature))


def _closed(cells: Sequence[Cell]) -> Iterator[TimedBlock]:
    counts, failures = [0, 0], [0, 0]
    begin_us: int | None = None
    for cell in cells:
        for arm in (0, 1):
            counts[arm] += cell.counts[arm]
            failures[arm] += cell.failure_counts[arm]
        counts[1] += cell.stable_count
        failures[1] += cell.stable_failure_count
        begin_us = cell.at_us if begin_us is None else begin_us
        is_long = cell.at_us + CELL_US - begin_us >= HOUR_US
        if min(counts) < (LEAST_UNITS if is_long else ENOUGH_UNITS):
            continue
        block = Block(
            candidate_count=counts[0],
            control_count=counts[1],
            candidate_failure_count=failures[0],
            control_failure_count=failures[1],
        )
        yield TimedBlock(until_us=cell.at_us + CELL_US, stage=cell.stage, feature=cell.feature, block=block)
        counts, failures, begin_us = [0, 0], [0, 0], None
