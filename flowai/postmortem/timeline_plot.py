"""Draws the rate of bad calls over time as SVG, with the main moments.

It holds only numbers and names from flowai.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flowai.postmortem.wording import KIND_LABELS
from flowai.timestamps import parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.postmortem.report_records import PostmortemReport

WIDTH, HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 56, 28
_STYLE = """
svg { color-scheme: light dark; font: 12px system-ui, sans-serif; }
.paper { fill: #fff; } text { fill: #1c1f23; } .quiet { fill: #59616b; } .axis { stroke: #d8dce1; }
.bar { fill: #b3261e; } .none { fill: #d8dce1; } .mark { stroke: #0b62c4; stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #16181b; } text { fill: #e6e8eb; } .quiet { fill: #a0a8b2; } .axis { stroke: #363b42; }
  .bar { fill: #ff8d85; } .none { fill: #363b42; } .mark { stroke: #7ab4ff; }
}
"""
_MARKED = ("first bad call", "alert", "canary report", "rollback", "recovery")


def timeline_svg(report: PostmortemReport) -> str:
    """Return the plot; empty without calls."""
    investigation = report.investigation
    if not any(one.at_risk_count for one in investigation.buckets):
        return ""
    rates = [one.bad_count / one.at_risk_count if one.at_risk_count else 0.0 for one in investigation.buckets]
    top = max(0.01, *rates)
    title = f"{KIND_LABELS[investigation.timeline_kind]}: share of calls"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{title}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text x="{_LEFT}" y="16">{title}</text>',
        *_axis(top),
        *_bars(report, rates, top),
        *_marks(report),
    ]
    return "\n".join((*parts, "</svg>\n"))


def _x(report: PostmortemReport, at_s: float) -> float:
    buckets = report.investigation.buckets
    begin_s, end_s = buckets[0].at_s, buckets[-1].at_s + report.investigation.bucket_s
    return _LEFT + (at_s - begin_s) / (end_s - begin_s) * (WIDTH - _LEFT - _RIGHT)


def _y(share: float, top: float) -> float:
    return HEIGHT - _BOTTOM - share / top * (HEIGHT - _TOP - _BOTTOM)


def _axis(top: float) -> Iterator[str]:
    for part in range(3):
        share = top * part / 2
        y = _y(share, top)
        yield f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="quiet" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * 100:.2g} %</text>'


def _bars(report: PostmortemReport, rates: list[float], top: float) -> Iterator[str]:
    investigation = report.investigation
    for number, (one, rate) in enumerate(zip(investigation.buckets, rates, strict=True)):
        left, right = _x(report, one.at_s), _x(report, one.at_s + investigation.bucket_s)
        top = _y(rate, top)
        height = HEIGHT - _BOTTOM - top
        kind = "bar" if one.at_risk_count else "none"  # a slice without calls is a line, not a zero
        yield (
            f'<rect class="{kind}" x="{left:.1f}" y="{min(top, HEIGHT - _BOTTOM - 1):.1f}"'
            f' width="{max(right - left - 1, 0.5):.1f}" height="{max(height, 1):.1f}"/>'
        )
        if number % max(1, len(investigation.buckets) // 6) == 0:
            label = datetime.fromtimestamp(one.at_s, UTC).strftime("%H:%M")
            yield f'<text class="quiet" x="{left:.1f}" y="{HEIGHT - 10}">{label}</text>'


def _marks(report: PostmortemReport) -> Iterator[str]:
    shown: set[str] = set()
    for moment in report.timeline:
        if moment.what not in _MARKED or moment.what in shown:
            continue
        x = _x(report, parse_rfc3339(moment.at).timestamp())
        if not _LEFT <= x <= WIDTH - _RIGHT:
            continue
        shown.add(moment.what)
        y = 30 + 12 * (len(shown) % 2)
        anchor = "end" if x > WIDTH * 0.8 else "start"
        yield f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y + 4}" y2="{HEIGHT - _BOTTOM}"/>'
        yield f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{moment.what}</text>'
