"""Report formats, and the files that every run writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.reports.junit_report import to_junit
from flowai.evals.reports.markdown_report import to_markdown
from flowai.rendering.report_files import to_json

if TYPE_CHECKING:
    from flowai.evals.reports.records import Report
    from flowai.rendering.report_files import Writers


def _to_html(report: Report) -> str:
    from flowai.evals.reports.page.compare_page import to_html  # most runs write no page

    return to_html(report)


WRITERS: Writers[Report] = {".json": to_json, ".md": to_markdown, ".xml": to_junit, ".html": _to_html}
STANDARD_NAMES = ("report.json", "report.md", "junit.xml")
