"""Report formats, and the files that every run writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.reports.html_report import to_html
from flowai.evals.reports.junit_report import to_junit
from flowai.evals.reports.markdown_report import to_markdown
from flowai.rendering.report_files import to_json

if TYPE_CHECKING:
    from flowai.evals.reports.records import Report
    from flowai.rendering.report_files import Writers

WRITERS: Writers[Report] = {".json": to_json, ".md": to_markdown, ".xml": to_junit, ".html": to_html}
STANDARD_NAMES = ("report.json", "report.md", "junit.xml")
