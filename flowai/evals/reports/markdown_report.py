"""Report as Markdown, for pull requests. Model output is fenced or escaped, because it is hostile."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from flowai.evals.reports import tables
from flowai.rendering.formatting import count
from flowai.rendering.markdown import code_block, escape_markdown, inline_code, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.reports.records import Changes, Report, Trial

_MAX_OUTPUT_CHARS = 2_000
_MAX_SENTENCE_CHARS = 1_000
_MAX_SHOWN_TRIALS = 1_000


def to_markdown(report: Report) -> str:
    """Render the report as GitHub-flavoured Markdown."""
    verdict = tables.verdict_words(report)
    title = f"# {report.kind} {inline_code(report.target) if report.target else 'all suites'}: {verdict}"
    changes = [*([report.changes] if report.changes else []), *report.against_baseline]
    figures = table(("figure", "value"), tables.figure_rows(report))
    parts = [
        title,
        escape_markdown(report.decision.sentence, _MAX_SENTENCE_CHARS),
        figures,
        _section("Drift", tables.DRIFT_COLUMNS, tables.drift_rows(report)),
        _section("Gate", tables.GATE_COLUMNS, tables.gate_rows(report)),
        _section("Prompts and models", tables.GROUP_COLUMNS, tables.group_rows(report)),
        *map(_changes, changes),
        *_failures(report),
    ]
    parts += [f"> {escape_markdown(warning)}" for warning in report.warnings]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, columns: tables.TableRow, rows: list[tables.TableRow]) -> str:
    return f"## {title}\n\n{table(columns, rows)}" if rows else ""


def _changes(changes: Changes) -> str:
    context = f"Against {inline_code(changes.baseline)} in run" if changes.baseline else "Since run"
    lines = [f"## {context} {changes.run_id} ({count(changes.shared_count, 'trial')} in both)"]
    for total, keys in tables.change_rows(changes):
        lines.append(total + (": " + ", ".join(inline_code(key) for key in keys) if keys else ""))
    return "\n\n".join(lines)


def _failures(report: Report) -> Iterator[str]:
    shown = list(islice((trial for trial in report.trials if trial.outcome != "pass"), _MAX_SHOWN_TRIALS))
    if shown:
        yield "## Not passed"
    for trial in shown:
        yield _failure(trial)
    left_out_count = report.totals.trial_count - report.totals.pass_count - len(shown)
    if left_out_count:
        yield f"... and {count(left_out_count, 'more trial', 'more trials')} in the JSON report"


def _failure(trial: Trial) -> str:
    repeat = f" · repeat {trial.repeat}" if trial.repeat else ""
    reasons = [] if trial.failure is None else [f"- {escape_markdown(trial.failure.message)}"]
    reasons += [
        f"- {escape_markdown(check.reason or check.type)} ({inline_code(check.place)})"
        for check in trial.checks
        if check.passed is not True
    ]
    parts = [
        f"### {trial.outcome.upper()} {escape_markdown(trial.case)}",
        f"{inline_code(trial.place)} · {inline_code(trial.prompt)} · {inline_code(trial.model)}{repeat}",
        "\n".join(reasons),
        "" if trial.output is None else code_block(trial.output, max_chars=_MAX_OUTPUT_CHARS),
    ]
    return "\n\n".join(part for part in parts if part)
