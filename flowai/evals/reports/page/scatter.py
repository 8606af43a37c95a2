"""Quality, cost and latency of each prompt on each model, as a plot and its table."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.evals.reports.slices import pass_rate
from flowai.rendering.formatting import dollars, duration, rate
from flowai.rendering.html_page import joined, table, tag, trusted
from flowai.rendering.markdown import one_line
from flowai.statistics import quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from flowai.evals.reports.records import Report, Trial
    from flowai.evals.reports.slices import PassRate

_WIDTH, _HEIGHT = 760, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 24, 18, 46
_MIN_RADIUS, _MAX_RADIUS = 9.0, 20.0
_TICK_COUNT = 5
_MIN_ROUNDED_USD, _MIN_ROUNDED_MS = 0.001, 100.0
MAX_POINT_COUNT = 40
COLUMNS = ("", "prompt", "model", "pass rate", "95 % interval", "n", "cost per answer", "latency p50")
_NUMERIC = ("pass rate", "95 % interval", "n", "cost per answer", "latency p50")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlotPoint:
    """A prompt on a model, here or in the compared run."""

    mark: str
    prompt: str
    model: str
    is_earlier: bool
    rate: PassRate
    cost_usd: float | None
    """Mean per answer with a known price; None if none has."""
    latency_ms: float | None
    """Median."""


def points_of(report: Report) -> list[PlotPoint]:
    """Return a point per prompt and model, and a hollow one for each compared with."""
    members: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in report.trials:
        members[trial.prompt, trial.model].append(trial)
    points = []
    for number, ((prompt, model), trials) in enumerate(members.items(), start=1):
        points.append(_point(str(number), prompt, model, trials, is_earlier=False))
        points += _earlier_points(report, f"{number}b", model, trials)
    return points[:MAX_POINT_COUNT]


def _earlier_points(report: Report, mark: str, model: str, trials: Sequence[Trial]) -> list[PlotPoint]:
    import msgspec

    earlier = {item.key: item for item in report.earlier}
    found = [(trial, earlier[trial.key]) for trial in trials if trial.key in earlier]
    if not found:
        return []
    before = [
        msgspec.structs.replace(trial, outcome=item.outcome, cost_usd=item.cost_usd, latency_ms=item.latency_ms)
        for trial, item in found
    ]
    first = found[0][1]
    name = f"{first.baseline or trials[0].prompt} (run {first.run_id})"
    return [_point(mark, name, model, before, is_earlier=True)]


def _point(mark: str, prompt: str, model: str, trials: Sequence[Trial], *, is_earlier: bool) -> PlotPoint:
    costs = [trial.cost_usd for trial in trials if trial.cost_usd is not None]
    return PlotPoint(
        mark=mark,
        prompt=prompt,
        model=model,
        is_earlier=is_earlier,
        rate=pass_rate(trials),
        cost_usd=sum(costs) / len(costs) if costs else None,
        latency_ms=quantile(sorted(trial.latency_ms for trial in trials if trial.latency_ms is not None), 0.5),
    )


def scatter(points: Sequence[PlotPoint]) -> Markup:
    """Build the table of the points and, if at least two can be placed, the plot above it."""
    by_cost = any(point.cost_usd for point in points)
    placed = [point for point in points if _x(point, by_cost=by_cost) is not None and point.rate.observation_count]
    plot = _plot(placed, by_cost=by_cost) if len(placed) > 1 else trusted("")
    rows = [
        (
            point.mark,
            one_line(point.prompt),
            one_line(point.model),
            rate(point.rate.interval.estimate),
            f"{rate(point.rate.interval.low)} to {rate(point.rate.interval.high)}",
            str(point.rate.observation_count),
            dollars(point.cost_usd),
            duration(point.latency_ms),
        )
        for point in points
    ]
    return joined((plot, table(COLUMNS, rows, numeric=_NUMERIC)))


def _x(point: PlotPoint, *, by_cost: bool) -> float | None:
    return point.cost_usd if by_cost else point.latency_ms


def _tick(value: float, top: float, *, by_cost: bool) -> str:
    """Return the label of a tick, with digits enough to tell it from the next one."""
    if by_cost:
        decimals = -math.floor(math.log10(top / _TICK_COUNT))
        return dollars(value) if top >= _MIN_ROUNDED_USD or not value else f"${value:.{decimals}f}"
    return duration(value) if top >= _MIN_ROUNDED_MS else f"{value:.3g} ms"


def _plot(points: Sequence[PlotPoint], *, by_cost: bool) -> Markup:
    xs = [_x(point, by_cost=by_cost) or 0.0 for point in points]
    top_x = _nice_top(max(xs) if by_cost else max(*xs, 1.0))
    low_y = math.floor(min(point.rate.interval.low for point in points) * 10) / 10
    slowest = max((point.latency_ms or 0.0 for point in points), default=0.0)

    def place_x(value: float) -> float:
        return _LEFT + value / top_x * (_WIDTH - _LEFT - _RIGHT)

    def place_y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low_y) / (1 - low_y or 1) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for step in range(_TICK_COUNT + 1):
        x_value, y_value = top_x * step / _TICK_COUNT, low_y + (1 - low_y) * step / _TICK_COUNT
        x, y = place_x(x_value), place_y(y_value)
        parts += [_line(_LEFT, y, _WIDTH - _RIGHT, y, "grid"), _text(_LEFT - 8, y + 4, rate(y_value), "end")]
        anchor = "end" if step == _TICK_COUNT else "middle"
        parts.append(_text(x, _HEIGHT - _BOTTOM + 18, _tick(x_value, top_x, by_cost=by_cost), anchor))
    title = "mean cost per answer (size of a point: median latency)" if by_cost else "median latency"
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, title, "middle"))
    parts.append(_text(_LEFT, 12, "pass rate, with its 95 % interval", "start"))
    for point, x_value in zip(points, xs, strict=True):
        x, interval = place_x(x_value), point.rate.interval
        y = place_y(interval.estimate or 0.0)
        share = math.sqrt((point.latency_ms or 0.0) / slowest) if slowest and by_cost else 0.0
        radius = _MIN_RADIUS + (_MAX_RADIUS - _MIN_RADIUS) * share
        kind = "earlier" if point.is_earlier else "point"
        parts.append(_line(x, place_y(interval.low), x, place_y(interval.high), "whisker"))
        parts.append(tag("circle", kind=kind, cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:.1f}"))
        parts.append(_text(x, y + 4, point.mark, "middle"))
    label = "Plot of pass rate by cost and latency; its numbers are in the table below"
    view = f"0 0 {_WIDTH} {_HEIGHT}"
    return tag("svg", *parts, kind="scatter", viewBox=view, role="img", **{"aria-label": label})


def _nice_top(value: float) -> float:
    """Return the next of 1, 2, 4, 5, 10 times a power of ten, so that the axis has round numbers."""
    if value <= 0:
        return 1.0
    unit: float = 10.0 ** math.floor(math.log10(value))
    return next(unit * step for step in (1, 2, 4, 5, 10, 20) if unit * step >= value * 1.05)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return tag("line", kind=kind, x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}")


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", **{"text-anchor": anchor})
