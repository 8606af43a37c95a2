"""Draws the effects of all guardrails as SVG: estimates, intervals and margins; worse is right, whatever the metric."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.canary import svg
from flowai.canary.svg import WIDTH, Frame
from flowai.comparison.metrics import label_of
from flowai.comparison.text import format_effect, tolerated_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.canary.report_records import CanaryReport
    from flowai.comparison.records import MetricReport

_LEFT, _RIGHT, _ROW = 128, 520, 26
_HEAD, _FOOT, _GAP = 34, 26, 14
_MAX_MARGINS = 4.0
"""An interval that is longer than so many times the largest margin is cut, so that the margins remain visible."""

_RATIO_TICKS = (0.1, 0.2, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 5.0, 10.0)
_DOT_KINDS = {"inferior": "worse", "non_inferior": "safe"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Effect:
    """A guardrail on the axis of its panel: difference in points, or logarithm of the ratio."""

    metric: MetricReport
    estimate: float
    low: float
    high: float
    margin: float


def forest_svg(report: CanaryReport) -> str:
    """Return the plot; empty if no guardrail has an effect yet."""
    panels = (
        ("difference in points", _effects(report, "difference", lambda value: value * 100), _point_marks),
        ("ratio (log scale)", _effects(report, "ratio", math.log), _ratio_marks),
    )
    parts: list[str] = []
    top = 0.0
    for title, effects, marks in panels:
        if effects:
            parts += _panel(title, effects, marks, top)
            top += _HEAD + len(effects) * _ROW + _FOOT + _GAP
    return svg.document("effects of the guardrails, with 95 % intervals and margins", top, parts) if parts else ""


def _effects(report: CanaryReport, scale: str, on_axis: Callable[[float], float]) -> list[_Effect]:
    found = []
    for metric in report.metrics:
        effect = metric.effect
        if not metric.is_guardrail or metric.scale != scale:
            continue
        if effect.estimate is None or effect.low is None or effect.high is None:
            continue
        margin = metric.margin if scale == "ratio" else tolerated_difference(metric)
        estimate, low, high, margin = (on_axis(value) for value in (effect.estimate, effect.low, effect.high, margin))
        found.append(_Effect(metric=metric, estimate=estimate, low=low, high=high, margin=margin))
    return found


def _panel(
    title: str, effects: list[_Effect], marks: Callable[[float], list[tuple[float, str]]], top: float
) -> Iterator[str]:
    margin = max(one.margin for one in effects)
    longest = max(max(abs(one.low), abs(one.high)) for one in effects)
    limit = max(1.5 * margin, *(1.2 * abs(one.estimate) for one in effects), min(longest, _MAX_MARGINS * margin))
    bottom = top + _HEAD + len(effects) * _ROW
    frame = Frame(left=_LEFT, right=_RIGHT, top=top + _HEAD, bottom=bottom, x_range=(-limit, limit))
    yield svg.text(8, top + 16, title)
    yield svg.text(frame.x(0) - 8, top + 16, "\u2190 better", kind="quiet", anchor="end")
    yield svg.text(frame.x(0) + 8, top + 16, "worse \u2192", kind="quiet")
    yield svg.text(WIDTH - 8, top + 16, "green: within the margin", kind="quiet", anchor="end")
    for value, name in marks(limit):
        yield svg.line("axis", (frame.x(value), frame.top), (frame.x(value), bottom))
        yield svg.text(frame.x(value), bottom + 16, name, kind="quiet", anchor="middle")
    for index, one in enumerate(effects):
        yield from _row(frame, one, frame.top + (index + 0.5) * _ROW)
    yield svg.line("none", (frame.x(0), frame.top), (frame.x(0), bottom))


def _row(frame: Frame, effect: _Effect, y: float) -> Iterator[str]:
    edge = frame.x(effect.margin)
    width = edge - frame.left
    yield f'<rect class="band" x="{frame.left:.1f}" y="{y - 9:.1f}" width="{width:.1f}" height="18"/>'
    yield svg.line("c", (edge, y - 9), (edge, y + 9))
    yield svg.text(8, y + 4, label_of(effect.metric.name))
    yield svg.line("a", (frame.x(effect.low), y), (frame.x(effect.high), y))
    low, high = frame.x_range
    yield _end(frame.x(effect.low), y, -5 if effect.low < low else 0)
    yield _end(frame.x(effect.high), y, 5 if effect.high > high else 0)
    kind = _DOT_KINDS.get(effect.metric.status, "dot")
    yield f'<circle class="{kind}" cx="{frame.x(effect.estimate):.1f}" cy="{y:.1f}" r="4"/>'
    yield svg.text(WIDTH - 8, y + 4, format_effect(effect.metric), anchor="end")


def _end(x: float, y: float, arrow: int) -> str:
    """Return the end of an interval: a bar, or the head of an arrow if it is cut."""
    if arrow:
        return f'<path class="a" d="M{x - arrow:.1f} {y - 5:.1f} L{x:.1f} {y:.1f} L{x - arrow:.1f} {y + 5:.1f}"/>'
    return svg.line("a", (x, y - 4), (x, y + 4))


def _point_marks(limit: float) -> list[tuple[float, str]]:
    step = 10.0 ** math.floor(math.log10(limit))
    step = next(one for one in (step / 2, step, 2 * step, 5 * step) if limit / one <= 4)  # noqa: PLR2004 - nine marks
    count = math.floor(limit / step)
    return [(step * mark, f"{abs(step * mark):g} pt" if mark else "0") for mark in range(-count, count + 1)]


def _ratio_marks(limit: float) -> list[tuple[float, str]]:
    fine = [(math.log(tick), f"x {tick:g}") for tick in _RATIO_TICKS if abs(math.log(tick)) <= limit]
    coarse = [one for one in fine if one[1] in {"x 0.1", "x 0.2", "x 0.5", "x 1", "x 2", "x 5", "x 10"}]
    return fine if len(fine) <= 7 else coarse  # noqa: PLR2004 - more marks would overlap
