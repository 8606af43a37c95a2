"""Writes a post-mortem as Markdown and as one HTML page: no script, nothing loaded from anywhere.

What users, models and providers said is hostile until it is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.postmortem import wording as words
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
_TIMELINE_COLUMNS = ("when (UTC)", "after", "what", "")
_DIFFERENCE_COLUMNS = ("feature", "what", "before", "after")
_NOTE = (
    "A finding is a group of calls that went wrong more often than all others did, and than such calls did before, by "
    "more than chance explains after all the groups that were looked at. It says where, not why. Calls of one user "
    "that repeat a failure within five minutes count once. Findings are told apart one after the other: later ones "
    "leave out the calls of earlier ones."
)


def to_markdown(report: PostmortemReport) -> str:
    """Give the post-mortem as Markdown."""
    return "\n".join(_markdown(report)) + "\n"


def _markdown(report: PostmortemReport) -> Iterator[str]:
    yield f"# post-mortem: {escape_markdown(_split_columns(words.headline(report)))}"
    yield from (
        "",
        f"**{escape_markdown(words.conclusion(report))}**",
        "",
        escape_markdown(_split_columns(words.impact_line(report.investigation))),
        "",
    )
    yield escape_markdown(_stretch_note(report))
    if report.warnings:
        yield from ("", *(f"- warning: {escape_markdown(one)}" for one in report.warnings))
    for title, columns, rows in _tables(report):
        yield from ("", f"## {escape_markdown(title)}", "", markdown.table(columns, rows) if rows else "(nothing)")
        if title == "Timeline" and (spark := words.spark_line(report.investigation)):
            yield from (
                "",
                f"`{spark}` {words.KIND_WORDS[report.investigation.timeline_kind]}, share of calls over time",
            )
        if title == "Findings":
            yield from ("", _NOTE)
            yield from _markdown_findings(report.investigation.findings)
    for name, text in report.texts.items():
        yield from (
            "",
            f"### {escape_markdown(name)}",
            "",
            code_block(visible(text), max_chars=MAX_BLOCK_CHARS, language="diff"),
        )
    yield from ("", "## What to do", "", *(f"- [ ] {escape_markdown(one)}" for one in report.follow_ups))
    if report.added is not None:
        yield from ("", "## Regression cases", "", *(f"- {escape_markdown(one)}" for one in added_lines(report.added)))
    yield from ("", escape_markdown(_content_note(report)))


def _markdown_findings(findings: Sequence[Finding]) -> Iterator[str]:
    for number, finding in enumerate(findings, start=1):
        yield from ("", f"### {number}. {escape_markdown(_title(finding))}", "")
        yield from (f"- {escape_markdown(note)}" for note in words.finding_notes(finding))
        for example in finding.examples:
            yield from ("", f"Call {escape_markdown(example.call_id, 80)}, {example.at}:", "")
            yield code_block(visible(_example_text(example)), max_chars=MAX_BLOCK_CHARS)


def _title(finding: Finding) -> str:
    return f"{words.KIND_WORDS[finding.kind]}: {words.condition_text(finding.where)}"


def _example_text(example: Example) -> str:
    parts = (("user", example.request), ("answer", example.output), ("error", example.error))
    told = [f"{name}: {text}" for name, text in parts if text is not None]
    if example.request is None:
        told.append("(content was not kept)")
    return "\n".join(told)


def _stretch_note(report: PostmortemReport) -> str:
    return f"What decided the stretch: {report.chosen_by}. Compared with what was before, from {report.baseline_since}."


def _content_note(report: PostmortemReport) -> str:
    found = report.investigation
    missing = ", ".join(one_line(name, 60) for name in found.content.missing[:8])
    kept = f"Content was kept of {found.content.kept_count:,} of {found.call_count:,} calls"
    return f"{kept}; not of {missing} (log_content)." if missing else f"{kept}."


def _tables(report: PostmortemReport) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    found = report.investigation
    yield "Timeline", _TIMELINE_COLUMNS, timeline_rows(report)
    yield "Findings", words.FINDING_COLUMNS, words.finding_rows(found.findings)
    yield "What went wrong, in all", words.KIND_COLUMNS, words.kind_rows(found)
    if found.clusters:
        yield "Error messages", words.CLUSTER_COLUMNS, words.cluster_rows(found, MAX_CLUSTERS)
    if report.release and report.serving:
        rows = [
            (one.feature, one.what, one.before or MISSING_TEXT, one.after or MISSING_TEXT) for one in report.differences
        ]
        yield (
            f"What {one_line(report.release, 60)} changed against {one_line(report.serving, 60)}",
            _DIFFERENCE_COLUMNS,
            rows,
        )


def timeline_rows(report: PostmortemReport) -> list[tuple[str, str, str, str]]:
    """Give a row per moment: when, how long after the first bad call, what."""
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
    """Say what became of the worst calls as regression cases."""
    for name, number in added.files.items():
        yield f"{name}: {count(number, 'case')} added"
    if added.already_present_count:
        yield f"{count(added.already_present_count, 'case')} there already"
    if added.unfilled_count:
        its = "its prompt renders" if added.unfilled_count == 1 else "their prompts render"
        yield f"{count(added.unfilled_count, 'case')} with the variable `request` only: {its} other messages now"
    if added.unasked_count:
        yield f"{count(added.unasked_count, 'call')} cannot be asked again: content was not kept"
    if not added.files and not added.already_present_count and not added.unasked_count:
        yield "no finding is about what an answer should be; no case was added"


def _split_columns(line: str) -> str:
    """Part what the screen parts by space; pages fold it."""
    return line.replace("   ", " \u00b7 ")


def to_html(report: PostmortemReport) -> str:
    """Give the post-mortem as one HTML page, its plot in it."""
    title = f"post-mortem: {_split_columns(words.headline(report))}"
    body = [
        tag("h1", title),
        tag("p", words.conclusion(report), kind="verdict"),
        tag("p", _split_columns(words.impact_line(report.investigation))),
        tag("p", _stretch_note(report)),
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
    body += [tag("h2", "What to do"), listing(report.follow_ups)]
    if report.added is not None:
        body += [tag("h2", "Regression cases"), listing(added_lines(report.added))]
    body.append(tag("p", _content_note(report), kind="quiet"))
    return page(title, body)


def _html_finding(number: int, finding: Finding) -> Iterator[Markup]:
    yield tag("h3", f"{number}. {_title(finding)}")
    notes = tuple(words.finding_notes(finding))
    if notes:
        yield listing(notes)
    for example in finding.examples:
        yield tag("p", f"Call {one_line(example.call_id, 80)}, {example.at}", kind="quiet")
        yield tag("pre", visible(_example_text(example)))
