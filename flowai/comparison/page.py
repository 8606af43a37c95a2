"""Renders a report that compares arms, of a rollout or an experiment, as Markdown and as one HTML page.

Names in its texts are hostile until they are escaped here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.rendering import html_page, markdown
from flowai.rendering.html_page import joined, tag, trusted
from flowai.rendering.markdown import escape_markdown
from flowai.rendering.report_files import Report, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from markupsafe import Markup

    from flowai.rendering.report_files import Writers

_MAX_CHARS = 2000
_STYLE = "td { white-space: nowrap; } th { vertical-align: bottom; }\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class PageSection:
    """A table with its plots; texts are not escaped."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    plots: Mapping[str, str] = field(default_factory=dict)
    """SVG by file name; Markdown only links the files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonPage:
    """Texts of a report; not escaped."""

    title: str
    verdict: str
    colour: str
    """Colour of the verdict: good, bad, warn or quiet."""
    headline: str
    steps: Sequence[str] = ()
    """Next steps, one a line."""
    warnings: Sequence[str]
    sections: Sequence[PageSection]
    """Those without rows and plots are left out."""
    note: str
    footer: str


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
    yield from (f"- {escape_markdown(one, _MAX_CHARS)}" for one in page.steps)
    yield from (f"- warning: {escape_markdown(one, _MAX_CHARS)}" for one in page.warnings)
    for one in page.sections:
        if one.rows or one.plots:
            yield f"\n## {one.title}"
        if one.rows:
            yield f"\n{markdown.table(one.columns, one.rows)}"
        yield from (f"\n![{name.removesuffix('.svg')}]({name})" for name in one.plots)
    yield f"\n{page.note}\n"
    yield f"{escape_markdown(page.footer)}"


def to_html(page: ComparisonPage) -> str:
    """Return the page as HTML with inline plots."""
    body = (
        tag("h1", page.title),
        tag("p", page.verdict, kind=f"verdict {page.colour}"),
        tag("p", page.headline),
        *(tag("p", one) for one in page.steps),
        *(tag("p", f"Warning: {one}", kind="warning") for one in page.warnings),
        *(html_page.section(one.title, _html(one)) for one in page.sections),
        tag("p", page.note, kind="quiet"),
        tag("p", page.footer, kind="quiet"),
    )
    return html_page.page(page.title, body, style=_STYLE)


def _html(section: PageSection) -> Markup:
    table = html_page.table(section.columns, section.rows)
    return joined((table, *(trusted(svg) for svg in section.plots.values())))
