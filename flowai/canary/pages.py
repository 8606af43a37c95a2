"""Renders a canary report as Markdown and as one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.canary import tables
from flowai.canary.next_steps import next_steps
from flowai.canary.plots import svgs_of
from flowai.comparison.page import ComparisonPage, PageSection
from flowai.comparison.text import judged_notes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.canary.report_records import CanaryReport

_COLOURS = {"promote": "good", "rollback": "bad", "invalid": "warn", "hold": "quiet"}
_REPLAY_COLUMNS = ("from", "verdict", "reason")
_GAP = " · "
_NOTE = (
    "The verdict judges means over users: each user counts once, with the share of the user's calls that failed (for "
    "times and cost: with the user's mean). Failed calls are shares of all calls, affected users those with at least "
    "one failure. Baseline: control and stable together, which the same release serves. Evidence is an e-value, valid "
    "at every time, as are the intervals. Evidence of worse is from the first failures of users over the whole rollout "
    "(for times and cost: from their means); evidence of safe, effects and counts are of this stage. Forecasts count "
    "calls of the candidate, at the differences and the pace so far; in 3 of 5 cases the number is in the range."
)


def canary_page(report: CanaryReport) -> ComparisonPage:
    """Return the texts of a report."""
    return ComparisonPage(
        title=f"canary {report.candidate}, stage {report.stage}",
        verdict=tables.verdict_line(report),
        colour=_COLOURS[report.verdict],
        headline=_GAP.join(tables.headline_parts(report)),
        steps=tuple(map(str, next_steps(report))),
        warnings=report.warnings,
        sections=tuple(_sections(report)),
        note=" ".join((_NOTE, *judged_notes(report.metrics))),
        footer=f"{report.since} to {report.until}, digest {report.digest}",
    )


def _sections(report: CanaryReport) -> Iterator[PageSection]:
    svgs = svgs_of(report)

    def section(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]], *plots: str) -> PageSection:
        chosen = {name: svgs[name] for name in plots if name in svgs}
        return PageSection(title=title, columns=columns, rows=rows, plots=chosen)

    guardrails = tables.metric_rows(report, guardrails=True)
    others = tables.metric_rows(report, guardrails=False)
    yield section("Guardrails", tables.COLUMNS, guardrails, "forest.svg")
    yield section("Evidence over time", (), [], "evidence.svg")
    yield section("What decides, and when", tables.FORECAST_COLUMNS, [*tables.forecast_rows(report)])
    yield section("Failed calls and affected users", tables.FAILURE_COLUMNS, tables.failure_rows(report))
    yield section("Other metrics, not judged", tables.COLUMNS, others)
    yield section("Users and calls", tables.call_columns(report), tables.call_rows(report), "errors.svg")
    yield section("Times and cost", tables.ARM_COLUMNS, [*tables.arm_rows(report)], "latency.svg")
    yield section("By feature: candidate / control", tables.FEATURE_COLUMNS, tables.feature_rows(report))
    yield section("Errors to callers, by class", tables.ERROR_COLUMNS, [*tables.error_rows(report)])
    yield section("By stage", tables.STAGE_COLUMNS, tables.stage_rows(report))
    yield section("Verdict at earlier hours", _REPLAY_COLUMNS, [*tables.replay_rows(report)])
