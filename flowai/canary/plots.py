"""Draws a canary report's plots as SVG: evidence over time, latency distributions, error rate by hour.

They hold only numbers and names from flowai, escaped; no text from models or users.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flowai.comparison.metrics import label_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.canary.report_records import CanaryReport

WIDTH, HEIGHT = 720, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 48, 40, 40

# dashes distinguish the lines too, for people who do not see colours; for both schemes
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4")
_STYLE = """
svg { color-scheme: light dark; font: 12px system-ui, sans-serif; }
.paper { fill: #fff; } text { fill: #1c1f23; } .quiet { fill: #59616b; } .axis { stroke: #d8dce1; }
.a { stroke: #0b62c4; } .b { stroke: #8a5200; } .c { stroke: #1a6b37; } .d { stroke: #8e3a9d; } .e { stroke: #59616b; }
.act { stroke: #b3261e; } path, line { fill: none; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #16181b; } text { fill: #e6e8eb; } .quiet { fill: #a0a8b2; } .axis { stroke: #363b42; }
  .a { stroke: #7ab4ff; } .b { stroke: #f0b35e; } .c { stroke: #6cc98a; } .d { stroke: #dc9be8; } .e { stroke:
  #a0a8b2; } .act { stroke: #ff8d85; }
}
"""


@dataclass(frozen=True, slots=True)
class _PlotLine:
    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The axes of a plot and their ranges."""

    title: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        clamped = min(max(value, low), high)
        return HEIGHT - BOTTOM - (clamped - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)


def svgs_of(report: CanaryReport) -> dict[str, str]:
    """Return the plots that have data, by file name."""
    plots = {"evidence.svg": evidence_svg(report), "latency.svg": latency_svg(report), "errors.svg": errors_svg(report)}
    return {name: svg for name, svg in plots.items() if svg}


def evidence_svg(report: CanaryReport) -> str:
    """Return the plot of each guardrail's evidence over time; empty without data."""
    lines = [
        _PlotLine(
            label_of(metric.name), [(point.at_s, point.value) for point in report.plots.evidence[metric.name].worse]
        )
        for metric in report.metrics
        if report.plots.evidence.get(metric.name)
    ]
    acts = max((-math.log10(one.alpha) for one in report.metrics if one.is_guardrail), default=2.0)
    values = [value for line in lines for _, value in line.points]
    if not values:
        return ""
    low, high = max(min((*values, -1.0)), -6.0), min(max((*values, acts + 0.5)), 12.0)
    frame = _Frame("evidence that the candidate is worse (decides at the red line)", _span(lines), (low, high))
    marks = [(float(power), f"10^{power}" if power else "1") for power in _whole_powers(low, high)]
    rule = f'<line class="act" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{frame.y(acts):.1f}" y2="{frame.y(acts):.1f}"/>'
    return _svg(frame, lines, y_marks=marks, x_marks=_times(frame), extra=rule)


def latency_svg(report: CanaryReport) -> str:
    """Return the plot of both arms' latency distributions; empty without data."""
    lines = [
        _PlotLine(name, [(math.log10(edge), share) for edge, share in bars])
        for name, bars in report.plots.latency.items()
        if bars
    ]
    if not lines:
        return ""
    top = max(share for line in lines for _, share in line.points)
    low, high = _span(lines)
    frame = _Frame("latency of answers by a model (share of calls)", (low, high), (0.0, top))
    x_marks = [
        (math.log10(edge), f"{edge / 1000:g} s")
        for power in range(-1, 7)
        for edge in (10.0**power, 2 * 10.0**power, 5 * 10.0**power)
        if low <= math.log10(edge) <= high
    ]
    return _svg(frame, lines, y_marks=_percents(top), x_marks=x_marks)


def errors_svg(report: CanaryReport) -> str:
    """Return the plot of both arms' error rate by hour; empty without calls."""
    lines = [
        _PlotLine(name, [(point.at_s, point.value) for point in points])
        for name, points in report.plots.errors.items()
        if points
    ]
    if not lines:
        return ""
    top = max(0.01, *(value for line in lines for _, value in line.points))
    frame = _Frame("error rate by hour (calls)", _span(lines), (0.0, top))
    return _svg(frame, lines, y_marks=_percents(top), x_marks=_times(frame))


def _svg(
    frame: _Frame,
    lines: Sequence[_PlotLine],
    *,
    y_marks: Sequence[tuple[float, str]],
    x_marks: Sequence[tuple[float, str]],
    extra: str = "",
) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{html.escape(frame.title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text x="{LEFT}" y="16">{html.escape(frame.title)}</text>',
        *_axes(frame, y_marks, x_marks),
        extra,
    ]
    for index, line in enumerate(lines):
        kind = "abcde"[index % 5]
        dash = f' stroke-dasharray="{_DASHES[index % 5]}"' if index else ""
        parts.append(f'<path class="{kind}"{dash} d="{_path(frame, line.points)}"/>')
        x = LEFT + index * 130
        parts.append(f'<line class="{kind}"{dash} x1="{x}" x2="{x + 24}" y1="28" y2="28"/>')
        parts.append(f'<text x="{x + 30}" y="32">{html.escape(line.name)}</text>')
    return "\n".join((*(part for part in parts if part), "</svg>\n"))


def _axes(frame: _Frame, y_marks: Sequence[tuple[float, str]], x_marks: Sequence[tuple[float, str]]) -> Iterator[str]:
    for value, name in y_marks:
        y = frame.y(value)
        yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="quiet" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{name}</text>'
    for value, name in x_marks:
        yield f'<text class="quiet" x="{frame.x(value):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{name}</text>'


def _path(frame: _Frame, points: Sequence[tuple[float, float]]) -> str:
    placed = [f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in points]
    return f"M{' L'.join(placed)}" if len(placed) > 1 else f"M{placed[0]} h3"


def _span(lines: Sequence[_PlotLine]) -> tuple[float, float]:
    values = [x for line in lines for x, _ in line.points]
    return min(values), max(values)


def _whole_powers(low: float, high: float) -> range:
    step = max(1, math.ceil((high - low) / 8))
    return range(math.ceil(low), math.floor(high) + 1, step)


def _percents(top: float) -> list[tuple[float, str]]:
    return [(top * part / 4, f"{top * part * 25:.2g} %") for part in range(5)]


def _times(frame: _Frame) -> list[tuple[float, str]]:
    low, high = frame.x_range
    moments = [low + (high - low) * part / 4 for part in (range(5) if high > low else range(1))]
    return [(at_s, datetime.fromtimestamp(at_s, UTC).strftime("%d %b %H:%M")) for at_s in moments]
