"""The formats of a run's report, and the files that every run gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.rendering.report_files import to_json
from flowai.reports.html_report import to_html
from flowai.reports.junit_report import to_junit
from flowai.reports.markdown_report import to_markdown

if TYPE_CHECKING:
    from flowai.rendering.report_files import Writers
    from flowai.reports.model import Report

WRITERS: Writers[Report] = {".json": to_json, ".md": to_markdown, ".xml": to_junit, ".html": to_html}
STANDARD_NAMES = ("report.json", "report.md", "junit.xml")
