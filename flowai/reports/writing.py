"""Writes a report's files; the ending of a name says in which form.

In: a Report and paths. Out: files, each whole or not there. Must never know which command asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.reports.html_report import to_html
from flowai.reports.json_report import to_json
from flowai.reports.junit_report import to_junit
from flowai.reports.markdown_report import to_markdown
from flowai.storage.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from flowai.reports.model import Report

WRITERS: dict[str, Callable[[Report], str | bytes]] = {
    ".json": to_json,
    ".md": to_markdown,
    ".xml": to_junit,
    ".html": to_html,
}
STANDARD_NAMES = ("report.json", "report.md", "junit.xml")


def check_endings(paths: Iterable[Path]) -> None:
    """Refuse a name whose form we cannot write, before anything is run.

    Raises:
        UsageError: the ending is none of those in WRITERS.
    """
    for path in paths:
        if path.suffix.lower() not in WRITERS:
            raise UsageError(
                f"`{path.name}`: found ending `{path.suffix}`, expected one of {', '.join(f'`{e}`' for e in WRITERS)}",
                hint="the ending chooses the form: JSON, Markdown, JUnit XML or HTML",
            )


def write_reports(report: Report, paths: Iterable[Path]) -> None:
    """Write the report in the form each name asks for.

    Raises:
        UsageError: an ending is unknown.
        InfrastructureError: a file cannot be written.
    """
    written = list(paths)
    check_endings(written)
    for path in written:
        write_atomic(path, WRITERS[path.suffix.lower()](report))
