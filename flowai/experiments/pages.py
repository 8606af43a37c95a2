"""Renders an experiment's report as Markdown and as one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.comparison.page import ComparisonPage
from flowai.experiments.tables import PAIR_COLUMNS, arm_columns, arm_rows, headline, pair_rows, verdict_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.comparison.page import Table
    from flowai.experiments.report_records import ExperimentReport

_COLOURS = {"winner": "good", "worse": "bad", "none": "quiet", "invalid": "warn"}
_GAP = " · "
_NOTE = (
    "Rates are of users at risk: in each five minutes a user counts once, and after a first failure (an answer not "
    "saved, an error) no more. Evidence is an e-value over the whole experiment; it is valid at every time. For the "
    "goal it supports better, for other metrics worse. Intervals are for a single fixed analysis."
)


def experiment_page(report: ExperimentReport) -> ComparisonPage:
    """Return the texts of a report."""
    return ComparisonPage(
        title=f"experiment {report.experiment}",
        verdict=verdict_line(report),
        colour=_COLOURS[report.verdict],
        headline=headline(report, _GAP),
        warnings=report.warnings,
        tables=tuple(_tables(report)),
        note=_NOTE,
        footer=f"{report.since} to {report.until}, digest {report.digest}",
    )


def _tables(report: ExperimentReport) -> Iterator[Table]:
    yield "Arms", arm_columns(report), arm_rows(report)
    if rows := pair_rows(report):
        yield "Deciding comparisons", PAIR_COLUMNS, rows
    if rows := pair_rows(report, whole=True):
        yield "All comparisons of arms", PAIR_COLUMNS, rows
