"""Renders a post-mortem as Markdown and as one HTML page: no script, nothing loaded from outside.

Texts of users, models and providers are hostile until they are escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.postmortem import wording
from flowai.postmortem.timeline_plot import timeline_svg
from flowai.rendering import html_page, markdown
from flowai.rendering.formatting import MISSING_TEXT, count, span
from flowai.rendering.html_page import listing, page, tag, trusted
from flowai.rendering.markdown import code_block, escape_markdown, one_line, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markupsafe import Markup

    from flowai.postmortem.analysis.records import Example, Finding
    from flowai.postmortem.report_records import AddedCases, PostmortemReport

MAX_CLUSTERS = 20
MAX_BLOCK_CHARS = 20_000
_TIMELINE_COLUMNS = ("time (UTC)", "after", "event", "")
_DIFFERENCE_COLUMNS = ("feature", "setting", "before", "after")
_NOTE = (
    "A finding is a subgroup of calls that failed more often than all others, and than such calls before, by more than "
    "chance explains, given the number of tested subgroups. It shows where, not why. Repeated failures of a user "
    "within five minutes count once. Later findings leave out the calls of earlier ones."
)


def to_markdown(report: PostmortemReport) -> str:
    """Return the post-mortem as Markdown."""
    return "\n".join(_markdown(report)) + "\n"


def _markdown(report: PostmortemReport) -> Iterator[str]:
    yield f"# post-mortem: {escape_markdown(_split_columns(wording.headline(report)))}"
    yield from (
        "",
        f"**{escape_markdown(wording.conclusion(report))}**",
        "",
        escape_markdown(_split_columns(wording.impact_line(report.investigation))),
        "",
    )
    yield escape_markdown(_time_range_note(report))
    if report.warnings:
        yield from ("", *(f"- warning: {escape_markdown(one)}" for one in report.warnings))
    for title, columns, rows in _tables(report):
        yield from ("", f"## {escape_markdown(title)}", "", markdown.table(columns, rows) if rows else "(nothing)")
        if title == "Timeline" and (spark := wording.spark_line(report.investigation)):
            yield from (
                "",
                f"`{spark}` {wording.KIND_LABELS[report.investigation.timeline_kind]}, share of calls over time",
            )
        if title == "Findings":
            yield from ("", _NOTE)
            yield from _markdown_findings(report.investigation.findings)
    for name, text in report.texts.items():
        yield from (
            "",
            f"### {escape_markdown(name)}",
            "",
            code_block(text, max_chars=MAX_BLOCK_CHARS, language="diff"),
        )
    yield from ("", "## Follow-ups", "", *(f"- [ ] {escape_markdown(one)}" for one in report.follow_ups))
    if report.added is not None:
        yield from ("", "## Regression cases", "", *(f"- {escape_markdown(one)}" for one in added_lines(report.added)))
    yield from ("", escape_markdown(_content_note(report)))


def _markdown_findings(findings: Sequence[Finding]) -> Iterator[str]:
    for number, finding in enumerate(findings, start=1):
        yield from ("", f"### {number}. {escape_markdown(_title(finding))}", "")
        yield from (f"- {escape_markdown(note)}" for note in wording.finding_notes(finding))
        for example in finding.examples:
            yield from ("", f"Call {escape_markdown(example.call_id, 80)}, {example.at}:", "")
            yield code_block(_example_text(example), max_chars=MAX_BLOCK_CHARS)


def _title(finding: Finding) -> str:
    return f"{wording.KIND_LABELS[finding.kind]}: {wording.condition_text(finding.where)}"


def _example_text(example: Example) -> str:
    parts = (("user", example.request), ("answer", example.output), ("error", example.error))
    lines = [f"{name}: {text}" for name, text in parts if text is not None]
    if example.request is None:
        lines.append("(content was not kept)")
    return "\n".join(lines)


def _time_range_note(report: PostmortemReport) -> str:
    return f"Time range by: {report.chosen_by}. Compared with the time before it, from {report.baseline_since}."


def _content_note(report: PostmortemReport) -> str:
    investigation = report.investigation
    missing = ", ".join(one_line(name, 60) for name in investigation.content.missing[:8])
    kept = f"Content was kept for {investigation.content.kept_count:,} of {investigation.call_count:,} calls"
    return f"{kept}; not for {missing} (log_content)." if missing else f"{kept}."


def _tables(report: PostmortemReport) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    investigation = report.investigation
    yield "Timeline", _TIMELINE_COLUMNS, timeline_rows(report)
    yield "Findings", wording.FINDING_COLUMNS, wording.finding_rows(investigation.findings)
    yield "All failures", wording.KIND_COLUMNS, wording.kind_rows(investigation)
    if investigation.clusters:
        yield "Error messages", wording.CLUSTER_COLUMNS, wording.cluster_rows(investigation, MAX_CLUSTERS)
    if report.release and report.serving:
        rows = [
            (one.feature, one.what, one.before or MISSING_TEXT, one.after or MISSING_TEXT) for one in report.differences
        ]
        yield (
            f"Changes of {one_line(report.release, 60)} from {one_line(report.serving, 60)}",
            _DIFFERENCE_COLUMNS,
            rows,
        )


def timeline_rows(report: PostmortemReport) -> list[tuple[str, str, str, str]]:
    """Return a row per moment: time, time since the first bad call, event."""
    return [
        (
            moment.at.replace("T", " ").removesuffix("Z"),
            MISSING_TEXT if moment.after_s is None else f"+{span(moment.after_s)}",
            moment.what,
            one_line(moment.detail, 200),
        )
        for moment in report.timeline
    ]


def added_lines(added: AddedCases) -> Iterator[str]:
    """Yield lines about the regression cases that were added, existed already, or could not be made."""
    for name, number in added.files.items():
        yield f"{name}: {count(number, 'case')} added"
    if added.already_present_count:
        yield f"{count(added.already_present_count, 'case')} existed already"
    if added.unfilled_count:
        its = "its prompt renders" if added.unfilled_count == 1 else "their prompts render"
        yield f"{count(added.unfilled_count, 'case')} with the variable `request` only: {its} other messages now"
    if added.unasked_count:
        yield f"{count(added.unasked_count, 'call')} cannot be repeated: content was not kept"
    if not added.files and not added.already_present_count and not added.unasked_count:
        yield "no finding shows how an answer should be; no case was added"


def _split_columns(line: str) -> str:
    """Separate the columns of a screen line by dots: HTML collapses runs of spaces."""
    return line.replace("   ", " \u00b7 ")


def to_html(report: PostmortemReport) -> str:
    """Return the post-mortem as one HTML page with its plot."""
    title = f"post-mortem: {_split_columns(wording.headline(report))}"
    body = [
        tag("h1", title),
        tag("p", wording.conclusion(report), kind="verdict"),
        tag("p", _split_columns(wording.impact_line(report.investigation))),
        tag("p", _time_range_note(report)),
        *(tag("p", f"Warning: {one}", kind="warning") for one in report.warnings),
        trusted(timeline_svg(report)),
    ]
    for name, columns, rows in _tables(report):
        body += [tag("h2", name), html_page.table(columns, rows) or tag("p", "(nothing)", kind="quiet")]
        if name == "Findings":
            body.append(tag("p", _NOTE, kind="quiet"))
            body += [
                part
                for number, one in enumerate(report.investigation.findings, 1)
                for part in _html_finding(number, one)
            ]
    body += [part for name, text in report.texts.items() for part in (tag("h3", name), tag("pre", visible(text)))]
    body += [tag("h2", "Follow-ups"), listing(report.follow_ups)]
    if report.added is not None:
        body += [tag("h2", "Regression cases"), listing(added_lines(report.added))]
    body.append(tag("p", _content_note(report), kind="quiet"))
    return page(title, body)


def _html_finding(number: int, finding: Finding) -> Iterator[Markup]:
    yield tag("h3", f"{number}. {_title(finding)}")
    notes = tuple(wording.finding_notes(finding))
    if notes:
        yield listing(notes)
    for example in finding.examples:
        yield tag("p", f"Call {one_line(example.call_id, 80)}, {example.at}", kind="quiet")
        yield tag("pre", visible(_example_text(example)))
