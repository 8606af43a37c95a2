"""Renders a canary report as Markdown and as one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.canary.plots import svgs_of
from flowai.canary.tables import ARM_COLUMNS, COLUMNS, arm_rows, headline, metric_rows, replay_rows, verdict_line
from flowai.comparison.page import ComparisonPage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.canary.report_records import CanaryReport
    from flowai.comparison.page import Table

_COLOURS = {"promote": "good", "rollback": "bad", "invalid": "warn", "hold": "quiet"}
_REPLAY_COLUMNS = ("from", "verdict", "reason")
_NOTE = (
    "Rates are of users at risk: in each five minutes a user counts once, and after a first failure no more. Evidence "
    "is an e-value over the whole rollout; it is valid at every time. Intervals and counts are of this stage."
)


def canary_page(report: CanaryReport) -> ComparisonPage:
    """Return the texts of a report."""
    return ComparisonPage(
        title=f"canary {report.candidate}, stage {report.stage}",
        verdict=verdict_line(report),
        colour=_COLOURS[report.verdict],
        headline=headline(report),
        warnings=report.warnings,
        tables=tuple(_tables(report)),
        note=_NOTE,
        footer=f"{report.since} to {report.until}, digest {report.digest}",
        plots=svgs_of(report),
    )


def _tables(report: CanaryReport) -> Iterator[Table]:
    yield "Guardrails", COLUMNS, metric_rows(report)
    yield "Times and cost", ARM_COLUMNS, arm_rows(report)
    if rows := list(replay_rows(report)):
        yield "Verdict at earlier hours", _REPLAY_COLUMNS, rows
