"""Computes the data of a canary report's plots, with few enough points for a page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.canary.report_records import EvidencePlot, Plots, Point
from flowai.statistics.histogram import BUCKET_RATIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.comparison.counts import Counts
    from flowai.comparison.evidence import Comparison
    from flowai.comparison.verdict import MetricFinding

MAX_POINTS = 240
BUCKETS_PER_BAR = 10


def plots_of(comparison: Comparison, findings: Sequence[MetricFinding]) -> Plots:
    """Return the data of the plots."""
    arms = {"candidate": comparison.pair.candidate, "control": comparison.pair.control}
    counts, stage = comparison.counts, comparison.stage
    return Plots(
        evidence={one.name: _evidence(comparison, one) for one in findings if one.is_guardrail},
        latency={name: _bars(counts.latencies_of("slow_calls", side, stage)) for name, side in arms.items()},
        errors={name: _errors(counts, side) for name, side in arms.items()},
    )


def _evidence(comparison: Comparison, finding: MetricFinding) -> EvidencePlot:
    worse, safe = comparison.worse[finding.name], comparison.means[finding.name, comparison.stage]
    return EvidencePlot(
        worse=_points(worse.untils_us, worse.log_es),
        worse_acts_at=-math.log10(finding.alpha),
        safe=_points(safe.moments_us, [one.safe_log_e for one in safe.means]),
        safe_acts_at=-math.log10(comparison.rules.alpha),
    )


def _points(moments_us: Sequence[int], log_es: Sequence[float]) -> tuple[Point, ...]:
    step = max(1, math.ceil(len(moments_us) / MAX_POINTS))
    kept = range(len(moments_us) - 1, -1, -step)  # the last one is always kept
    return tuple(Point(at_s=moments_us[at] // 1_000_000, value=log_es[at] / math.log(10)) for at in reversed(kept))


def _bars(buckets: Mapping[int, int]) -> tuple[tuple[float, float], ...]:
    total = sum(buckets.values())
    bars: dict[int, int] = {}
    for bucket, count in buckets.items():
        bar = bucket // BUCKETS_PER_BAR
        bars[bar] = bars.get(bar, 0) + count
    return tuple((BUCKET_RATIO ** ((bar + 1) * BUCKETS_PER_BAR), count / total) for bar, count in sorted(bars.items()))


def _errors(counts: Counts, side: str) -> tuple[Point, ...]:
    by_hour: dict[int, list[int]] = {}
    for (of_side, *_, hour_us), sums in counts.calls.items():
        if of_side == side:
            numbers = by_hour.setdefault(hour_us, [0, 0])
            numbers[0] += sums.ended_count
            numbers[1] += sums.failed_count
    return tuple(
        Point(at_s=hour_us // 1_000_000, value=failed / count)
        for hour_us, (count, failed) in sorted(by_hour.items())
        if count
    )
