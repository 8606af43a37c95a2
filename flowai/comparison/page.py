"""Renders a report that compares arms, of a rollout or an experiment, as Markdown and as one HTML page.

Names in its texts are hostile until they are escaped here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.rendering import html_page, markdown
from flowai.rendering.html_page import tag, trusted
from flowai.rendering.markdown import escape_markdown
from flowai.rendering.report_files import Report, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.rendering.report_files import Writers

_MAX_CHARS = 2000
_STYLE = "th, td { white-space: nowrap; }\n"

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Title, columns, rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonPage:
    """Texts of a report; not escaped."""

    title: str
    verdict: str
    colour: str
    """Colour of the verdict: good, bad, warn or quiet."""
    headline: str
    warnings: Sequence[str]
    tables: Sequence[Table]
    note: str
    footer: str
    plots: Mapping[str, str] = field(default_factory=dict)
    """SVG by file name; Markdown only links the files."""


def page_writers(build: Callable[[Report], ComparisonPage]) -> Writers[Report]:
    """Return the writers of a report: as JSON, as Markdown, as one HTML page."""
    return {
        ".json": to_json,
        ".md": lambda report: to_markdown(build(report)),
        ".html": lambda report: to_html(build(report)),
    }


def to_markdown(page: ComparisonPage) -> str:
    """Return the page as Markdown; its plots are files in the same directory."""
    return "\n".join(_markdown(page)) + "\n"


def _markdown(page: ComparisonPage) -> Iterator[str]:
    yield f"# {escape_markdown(page.title)}"
    yield f"\n**{escape_markdown(page.verdict, _MAX_CHARS)}**"
    yield f"\n{escape_markdown(page.headline, _MAX_CHARS)}\n"
    yield from (f"- warning: {escape_markdown(one, _MAX_CHARS)}" for one in page.warnings)
    for title, columns, rows in page.tables:
        yield f"\n## {title}\n\n{markdown.table(columns, rows)}"
    yield f"\n{page.note}\n"
    yield from (f"![{name.removesuffix('.svg')}]({name})" for name in page.plots)
    yield f"\n{escape_markdown(page.footer)}"


def to_html(page: ComparisonPage) -> str:
    """Return the page as HTML with inline plots."""
    body = (
        tag("h1", page.title),
        tag("p", page.verdict, kind=f"verdict {page.colour}"),
        tag("p", page.headline),
        *(tag("p", f"Warning: {one}", kind="warning") for one in page.warnings),
        *(html_page.section(title, html_page.table(columns, rows)) for title, columns, rows in page.tables),
        tag("p", page.note, kind="quiet"),
        *(trusted(svg) for svg in page.plots.values()),
        tag("p", page.footer, kind="quiet"),
    )
    return html_page.page(page.title, body, style=_STYLE)
