"""Draws the SVG plots of a canary report: latency distributions and failures by hour here, others in their modules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.canary import svg
from flowai.canary.evidence_plot import evidence_svg
from flowai.canary.forest_plot import forest_svg
from flowai.canary.svg import DASHES, WIDTH, Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.canary.report_records import CanaryReport

_HEIGHT = 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, WIDTH - 48, 40, _HEIGHT - 40

_Lines = dict[str, list[tuple[float, float]]]
_Marks = list[tuple[float, str]]


def svgs_of(report: CanaryReport) -> dict[str, str]:
    """Return the plots that have data, by file name."""
    plots = {
        "forest.svg": forest_svg(report),
        "evidence.svg": evidence_svg(report),
        "latency.svg": latency_svg(report),
        "errors.svg": errors_svg(report),
    }
    return {name: plot for name, plot in plots.items() if plot}


def latency_svg(report: CanaryReport) -> str:
    """Return the plot of both arms' latency distributions; empty without data."""
    lines = {
        name: [(math.log10(edge), share) for edge, share in bars] for name, bars in report.plots.latency.items() if bars
    }
    if not lines:
        return ""
    x_range, top = _ranges(lines)
    marks = [
        (math.log10(edge), f"{edge / 1000:g} s")
        for power in range(-1, 7)
        for edge in (10.0**power, 2 * 10.0**power, 5 * 10.0**power)
        if x_range[0] <= math.log10(edge) <= x_range[1]
    ]
    return _plot("latency of answers by a model (share of calls)", lines, _frame(x_range, top), marks)


def errors_svg(report: CanaryReport) -> str:
    """Return the plot of both arms' failed calls by hour; empty without calls."""
    lines = {
        name: [(float(point.at_s), point.value) for point in points]
        for name, points in report.plots.errors.items()
        if points
    }
    if not lines:
        return ""
    x_range, top = _ranges(lines)
    frame = _frame(x_range, max(0.01, top))
    return _plot("calls whose own model failed, by hour (share of calls)", lines, frame, svg.times(x_range, 5))


def _frame(x_range: tuple[float, float], top: float) -> Frame:
    return Frame(left=_LEFT, right=_RIGHT, top=_TOP, bottom=_BOTTOM, x_range=x_range, y_range=(0.0, top))


def _ranges(lines: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[tuple[float, float], float]:
    """Return the range of the horizontal axis, and the largest value."""
    points = [point for line in lines.values() for point in line]
    return (min(x for x, _ in points), max(x for x, _ in points)), max(y for _, y in points)


def _plot(title: str, lines: _Lines, frame: Frame, x_marks: _Marks) -> str:
    return svg.document(title, _HEIGHT, _parts(title, lines, frame, x_marks))


def _parts(title: str, lines: _Lines, frame: Frame, x_marks: _Marks) -> Iterator[str]:
    top = frame.y_range[1]
    yield svg.text(_LEFT, 16, title)
    yield from svg.rows_of_y(frame, [(top * part / 4, f"{top * part * 25:.2g} %") for part in range(5)])
    for value, name in x_marks:
        yield svg.text(frame.x(value), _HEIGHT - 16, name, kind="quiet", anchor="middle")
    for index, (name, points) in enumerate(lines.items()):
        kind, dash, x = "ab"[index % 2], DASHES[index % 2], _LEFT + index * 130
        yield svg.curve(frame, kind, points, dash=dash)
        yield svg.line(kind, (x, 28), (x + 24, 28), dash=dash)
        yield svg.text(x + 30, 32, name)
