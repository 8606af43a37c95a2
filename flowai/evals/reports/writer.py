"""Report formats, and the files that every run writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.reports.junit_report import junit_parts
from flowai.evals.reports.markdown_report import to_markdown
from flowai.rendering.report_files import json_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.reports.records import Report
    from flowai.rendering.report_files import Writers


def report_json_parts(report: Report) -> Iterator[bytes]:
    """Yield the parts of the report as JSON; its trials are encoded one by one."""
    return json_parts(report, "trials")


def _to_html(report: Report) -> str:
    from flowai.evals.reports.page.compare_page import to_html  # most runs write no page

    return to_html(report)


WRITERS: Writers[Report] = {".json": report_json_parts, ".md": to_markdown, ".xml": junit_parts, ".html": _to_html}
STANDARD_NAMES = ("report.json", "report.md", "junit.xml")
