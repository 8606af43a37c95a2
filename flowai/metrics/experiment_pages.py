"""Writes an experiment's report as Markdown and as one HTML page: no script, nothing loaded from anywhere.

In: an ExperimentReport. Out: text. Must never know where it is written. Names are hostile until escaped.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from flowai.metrics.canary_pages import html_table, page, tag
from flowai.metrics.experiment_tables import (
    PAIR_COLUMNS,
    arm_columns,
    arm_rows,
    headline,
    pair_rows,
    verdict_line,
)
from flowai.rendering.markdown import escaped, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.metrics.experiment_model import ExperimentReport

_CLASSES = {"winner": "promote", "worse": "rollback", "none": "hold", "invalid": "invalid"}
_MOST_CHARS = 2000
_GAP = " · "
_NOTE = (
    "Rates are of users at risk: in each five minutes a user counts once, and after a first failure (an answer not "
    "saved, an error) no more. Evidence is an e-value over the whole experiment; it may be looked at at any time. Of "
    "the goal it speaks for better, of everything else for worse. Intervals are for one look."
)


def to_markdown(report: ExperimentReport) -> str:
    """Give the report as Markdown."""
    return "\n".join(_markdown(report)) + "\n"


def _markdown(report: ExperimentReport) -> Iterator[str]:
    yield f"# experiment {escaped(report.experiment)}"
    yield f"\n**{escaped(verdict_line(report), _MOST_CHARS)}**"
    yield f"\n{escaped(headline(report, _GAP), _MOST_CHARS)}\n"
    yield from (f"- warning: {escaped(one, _MOST_CHARS)}" for one in report.warnings)
    for title, columns, rows in _tables(report):
        yield f"\n## {title}\n\n{table(columns, rows)}"
    yield f"\n{_NOTE}"
    yield f"\n{report.since} to {report.until}, digest `{report.digest}`"


def _tables(report: ExperimentReport) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    yield "Arms", arm_columns(report), arm_rows(report)
    if rows := pair_rows(report):
        yield "What decides", PAIR_COLUMNS, rows
    if rows := pair_rows(report, whole=True):
        yield "Every arm against every other", PAIR_COLUMNS, rows


def to_html(report: ExperimentReport) -> str:
    """Give the report as one HTML page."""
    title = f"experiment {report.experiment}"
    body = [
        tag("h1", title),
        f'<p class="verdict {_CLASSES[report.verdict]}">{html.escape(verdict_line(report))}</p>\n',
        tag("p", headline(report, _GAP)),
        *(tag("p", f"Warning: {one}") for one in report.warnings),
        *(f"{tag('h2', name)}{html_table(columns, rows)}" for name, columns, rows in _tables(report)),
        f'<p class="quiet">{html.escape(_NOTE)}</p>\n',
        f'<p class="quiet">{report.since} to {report.until}, digest {report.digest}</p>\n',
    ]
    return page(title, body)
