"""Draws the evidence of each guardrail over time as SVG: a small plot each, with its own thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.canary import svg
from flowai.canary.svg import DASHES, Frame
from flowai.comparison.metrics import label_of
from flowai.comparison.verdict import STATUS_LABELS
from flowai.rendering.formatting import format_evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.canary.report_records import CanaryReport, EvidencePlot
    from flowai.comparison.records import MetricReport

_LEGEND, _ROW, _COLUMN = 44, 178, 360
_MAX_DEPTH = 3.0
"""Evidence below 1 / 1,000 is drawn at the border: that a claim does not hold at all is no news."""

_THRESHOLD_DASH = "1 3"
_MAX_BEYOND = 4.0
"""The same above the higher threshold."""


def evidence_svg(report: CanaryReport) -> str:
    """Return the plots in two columns; empty without data."""
    plots = [
        (one, plot)
        for one in report.metrics
        if one.is_guardrail and (plot := report.plots.evidence.get(one.name)) and (plot.worse or plot.safe)
    ]
    if not plots:
        return ""
    moments = [point.at_s for _, plot in plots for point in (*plot.worse, *plot.safe)]
    x_range = (float(min(moments)), float(max(moments)))
    parts = [*_legend()]
    for index, (metric, plot) in enumerate(plots):
        parts += _small_plot(metric, plot, x_range, _COLUMN * (index % 2), _LEGEND + _ROW * (index // 2))
    height = _LEGEND + _ROW * ((len(plots) + 1) // 2)
    return svg.document("evidence over time; each line decides at its own threshold", height, parts)


def _legend() -> Iterator[str]:
    yield svg.text(8, 16, "evidence over time; each line decides at the dotted line of its colour")
    for x, kind, dash, name in ((8, "act", "", "worse, whole rollout"), (200, "c", DASHES[1], "safe, this stage")):
        yield svg.line(kind, (x, 30), (x + 24, 30), dash=dash)
        yield svg.text(x + 30, 34, name)


def _small_plot(
    metric: MetricReport, plot: EvidencePlot, x_range: tuple[float, float], x: float, y: float
) -> Iterator[str]:
    values = [point.value for point in (*plot.worse, *plot.safe)]
    acts = max(plot.worse_acts_at, plot.safe_acts_at)
    low = max(min(*values, -0.5), -_MAX_DEPTH)
    high = min(max(*values, acts + 0.5), acts + _MAX_BEYOND)
    frame = Frame(
        left=x + 48, right=x + _COLUMN - 90, top=y + 28, bottom=y + _ROW - 30, x_range=x_range, y_range=(low, high)
    )
    yield svg.text(x + 8, y + 16, f"{label_of(metric.name)}: {STATUS_LABELS[metric.status]}")
    yield from svg.rows_of_y(frame, svg.powers(low, high, 5))
    for (value, name), anchor in zip(svg.times(x_range, 2), ("start", "end"), strict=False):
        yield svg.text(frame.x(value), frame.bottom + 18, name, kind="quiet", anchor=anchor)
    # the labels of thresholds that are close to each other would overlap
    apart = abs(frame.y(plot.worse_acts_at) - frame.y(plot.safe_acts_at))
    shift = max(0.0, (13 - apart) / 2) * (1 if plot.worse_acts_at >= plot.safe_acts_at else -1)
    for kind, label_kind, acts_at, offset in (
        ("act", "worse", plot.worse_acts_at, -shift),
        ("c", "safe", plot.safe_acts_at, shift),
    ):
        level = frame.y(acts_at)
        yield svg.line(f"{kind} thin", (frame.left, level), (frame.right, level), dash=_THRESHOLD_DASH)
        yield svg.text(
            frame.right + 4, level + 4 + offset, f"{label_kind} {format_evidence(10**acts_at)}", kind=label_kind
        )
    yield svg.curve(frame, "act", [(float(one.at_s), one.value) for one in plot.worse])
    yield svg.curve(frame, "c", [(float(one.at_s), one.value) for one in plot.safe], dash=DASHES[1])
