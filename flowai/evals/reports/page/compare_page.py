"""Report as one HTML page to compare answers: no external resource, no request, light and dark.

Answers are hostile: they are in the page as JSON, and the script shows them as text only. The policy allows this one
script and this one style.
"""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from typing import TYPE_CHECKING

from flowai.evals.reports.page.page_data import page_data
from flowai.evals.reports.page.summary import failing_cases, page_title, summary
from flowai.evals.reports.tables import verdict_words
from flowai.rendering.html_page import page, tag

if TYPE_CHECKING:
    from flowai.evals.reports.records import Report

_SCRIPTS = ("texts.js", "word_diff.js", "filters.js", "labels.js", "details.js", "compare.js")


def to_html(report: Report) -> str:
    """Render the report as an HTML page; equal reports give equal bytes."""
    data = page_data(report)
    turns = Counter(cell["turn"] for row in data["rows"] for cell in row["cells"] if cell and "turn" in cell)
    body = (*summary(report, turns), tag("noscript", failing_cases(report)), tag("div", id="app"))
    here = files("flowai.evals.reports.page")
    style = (here / "compare.css").read_text(encoding="utf-8")
    script = "".join((here / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return page(
        f"{page_title(report)}: {verdict_words(report)}",
        body,
        style=style,
        script=script,
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")),
    )
