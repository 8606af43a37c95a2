"""Renders the report of an upgrade as one HTML page and as Markdown: what a team approves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.rendering import html_page, markdown
from flowai.rendering.html_page import joined, listing, section, table, tag
from flowai.rendering.markdown import code_block, escape_markdown
from flowai.rendering.report_files import to_json
from flowai.upgrades import texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markupsafe import Markup

    from flowai.rendering.report_files import Writers
    from flowai.upgrades.records import FeatureUpgrade, UpgradeReport, WorstCase

MAX_CHARS = 2_000
MAX_DIFF_CHARS = 20_000
NOTE = (
    "A difference is new minus old, over the same cases. Better: a gain is shown. Equal: a loss of more than the margin"
    " is excluded. Worse: a loss is shown. Undecided: neither. A loss below the margin may be called equal."
)
_STYLE = """
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; }
@media (max-width: 50rem) { .pair { grid-template-columns: 1fr; } }
summary { cursor: pointer; margin: .4rem 0; }
td:nth-child(n + 3) { white-space: nowrap; }
"""


def to_html(report: UpgradeReport) -> str:
    """Return the report as one page without external resources."""
    heading = texts.title(report)
    body = (
        tag("h1", heading),
        tag("p", texts.verdict_line(report), kind=f"verdict {texts.COLOURS[report.verdict]}"),
        tag("p", texts.headline(report)),
        *(tag("p", f"Warning: {warning}", kind="warning") for warning in _warnings(report)),
        section("What changes", _changes(report)),
        section("Features", table(texts.FEATURE_COLUMNS, texts.feature_rows(report))),
        section("Evidence", table(texts.EVIDENCE_COLUMNS, texts.evidence_rows(report))),
        section("Findings by feature", joined(_feature(item) for item in report.features)),
        section(
            "Speed and cost", table(texts.SPEED_COLUMNS, texts.speed_rows(report), numeric=texts.SPEED_COLUMNS[2:])
        ),
        section("Rollout and rollback", listing(texts.plan_lines(report))),
        tag("p", NOTE, kind="quiet"),
    )
    return html_page.page(heading, body, style=_STYLE)


def to_markdown(report: UpgradeReport) -> str:
    """Return the report as Markdown."""
    return "\n".join(_markdown(report)) + "\n"


WRITERS: Writers[UpgradeReport] = {".json": to_json, ".md": to_markdown, ".html": to_html}


def _warnings(report: UpgradeReport) -> Iterator[str]:
    yield from report.warnings
    other = texts.other_use_line(report)
    if other is not None:
        yield other


def _changes(report: UpgradeReport) -> Markup:
    parts = [table(texts.MODEL_COLUMNS, texts.model_rows(report))]
    if report.registry_diff:
        parts += [tag("h3", "Registry"), tag("pre", report.registry_diff[:MAX_DIFF_CHARS])]
    return joined(parts)


def _feature(item: FeatureUpgrade) -> Markup:
    lines = [*texts.change_lines(item), *(f"slice {line}" for line in texts.slice_lines(item))]
    worst = [case for found in item.evidence for case in found.worst]
    return joined(
        (
            tag("h3", f"{item.feature}: {texts.VERDICTS[item.verdict]}"),
            tag("p", f"{item.prompt}. {item.reason}"),
            *((listing(lines),) if lines else ()),
            *(_worst(case) for case in worst),
        )
    )


def _worst(case: WorstCase) -> Markup:
    return tag(
        "details",
        tag("summary", f"{case.case} {100 * case.difference:+.0f} pt  {case.reason}"),
        tag("p", f"{case.place}  {case.input}", kind="quiet"),
        tag(
            "div",
            tag("div", tag("p", "old", kind="quiet"), tag("pre", case.old_output or "not stored")),
            tag("div", tag("p", "new", kind="quiet"), tag("pre", case.new_output or "no answer")),
            kind="pair",
        ),
    )


def _markdown(report: UpgradeReport) -> Iterator[str]:
    yield f"# {escape_markdown(texts.title(report))}"
    yield f"\n**{escape_markdown(texts.verdict_line(report), MAX_CHARS)}**"
    yield f"\n{escape_markdown(texts.headline(report), MAX_CHARS)}\n"
    yield from (f"- warning: {escape_markdown(warning, MAX_CHARS)}" for warning in _warnings(report))
    yield f"\n## What changes\n\n{markdown.table(texts.MODEL_COLUMNS, texts.model_rows(report))}"
    if report.registry_diff:
        yield f"\n{code_block(report.registry_diff, max_chars=MAX_DIFF_CHARS, language='diff')}"
    yield f"\n## Features\n\n{markdown.table(texts.FEATURE_COLUMNS, texts.feature_rows(report))}"
    if rows := texts.evidence_rows(report):
        yield f"\n## Evidence\n\n{markdown.table(texts.EVIDENCE_COLUMNS, rows)}"
    yield "\n## Findings by feature"
    for item in report.features:
        yield from _markdown_feature(item)
    if rows := texts.speed_rows(report):
        yield f"\n## Speed and cost\n\n{markdown.table(texts.SPEED_COLUMNS, rows)}"
    yield "\n## Rollout and rollback\n"
    yield from (f"- {escape_markdown(line, MAX_CHARS)}" for line in texts.plan_lines(report))
    yield f"\n{NOTE}"


def _markdown_feature(item: FeatureUpgrade) -> Iterator[str]:
    yield f"\n### {escape_markdown(item.feature)}: {texts.VERDICTS[item.verdict]}\n"
    yield f"{escape_markdown(f'{item.prompt}. {item.reason}', MAX_CHARS)}\n"
    yield from (f"- {escape_markdown(line, MAX_CHARS)}" for line in texts.change_lines(item))
    yield from (f"- slice {escape_markdown(line, MAX_CHARS)}" for line in texts.slice_lines(item))
    for found in item.evidence:
        for case in found.worst:
            yield f"- {escape_markdown(f'{case.case} ({case.place}): {case.reason}', MAX_CHARS)}"
