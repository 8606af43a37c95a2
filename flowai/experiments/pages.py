"""Renders an experiment's report as Markdown and as one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.comparison.page import ComparisonPage, PageSection
from flowai.comparison.text import judged_notes
from flowai.experiments.tables import PAIR_COLUMNS, arm_columns, arm_rows, headline, pair_rows, verdict_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.experiments.report_records import ExperimentReport

_COLOURS = {"winner": "good", "worse": "bad", "none": "quiet", "invalid": "warn"}
_GAP = " · "
_NOTE = (
    "Rates are means over users: of the share of each user's calls that failed, were saved or were accepted; each user "
    "counts once. Evidence is an e-value over the whole experiment: from the first failures of users (an answer not "
    "saved, an error), for times and cost from the means of users. For the goal it supports better, for other metrics "
    "worse. Evidence and intervals are valid at every time."
)


def experiment_page(report: ExperimentReport) -> ComparisonPage:
    """Return the texts of a report."""
    return ComparisonPage(
        title=f"experiment {report.experiment}",
        verdict=verdict_line(report),
        colour=_COLOURS[report.verdict],
        headline=headline(report, _GAP),
        warnings=report.warnings,
        sections=tuple(_sections(report)),
        note=" ".join((_NOTE, *judged_notes(report.pairs[0].metrics if report.pairs else ()))),
        footer=f"{report.since} to {report.until}, digest {report.digest}",
    )


def _sections(report: ExperimentReport) -> Iterator[PageSection]:
    yield PageSection(title="Arms", columns=arm_columns(report, whole=True), rows=arm_rows(report, whole=True))
    yield PageSection(title="Deciding comparisons", columns=PAIR_COLUMNS, rows=pair_rows(report))
    yield PageSection(title="All comparisons of arms", columns=PAIR_COLUMNS, rows=pair_rows(report, whole=True))
