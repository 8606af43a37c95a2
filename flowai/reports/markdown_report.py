"""Writes a report as Markdown: the form people read in a pull request.

In: a Report. Out: text. Must never know where it is written. Model output is hostile: it stands fenced or escaped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowai.reports.numbers import count, one_line
from flowai.reports.tables import GATE_COLUMNS, GROUP_COLUMNS, VERDICT_WORDS, figure_rows, gate_rows, group_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.reports.model import Changes, Report, Trial

_MOST_OUTPUT_CHARS = 2_000


def to_markdown(report: Report) -> str:
    """Give the report as GitHub-flavoured Markdown."""
    title = f"# {report.kind} {_code(report.target) if report.target else 'all suites'}: {_verdict_words(report)}"
    changes = [*([report.changes] if report.changes else []), *report.against_baseline]
    figures = _table(("figure", "value"), figure_rows(report))
    parts = [title, figures, _gate(report), _groups(report), *map(_changes, changes), *_failures(report)]
    parts += [f"> {_escape(warning)}" for warning in report.warnings]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict_words(report: Report) -> str:
    return VERDICT_WORDS[report.decision.verdict]


def _gate(report: Report) -> str:
    rows = gate_rows(report)
    return f"## Gate\n\n{_table(GATE_COLUMNS, rows)}" if rows else ""


def _groups(report: Report) -> str:
    rows = group_rows(report)
    return f"## Prompts and models\n\n{_table(GROUP_COLUMNS, rows)}" if rows else ""


def _changes(changes: Changes) -> str:
    against = f"Against {_code(changes.baseline)} in run" if changes.baseline else "Since run"
    lines = [f"## {against} {changes.run_id} ({count(changes.shared_count, 'trial')} in both)"]
    for word, keys in (("broke", changes.broke), ("fixed", changes.fixed)):
        lines.append(f"{len(keys)} {word}" + (": " + ", ".join(_code(key) for key in keys) if keys else ""))
    return "\n\n".join(lines)


def _failures(report: Report) -> Iterator[str]:
    bad = [trial for trial in report.trials if trial.outcome != "pass"]
    if bad:
        yield "## What did not pass"
    for trial in bad:
        yield _failure(trial)


def _failure(trial: Trial) -> str:
    repeat = f" · repeat {trial.repeat}" if trial.repeat else ""
    reasons = [] if trial.failure is None else [f"- {_escape(trial.failure.message)}"]
    reasons += [
        f"- {_escape(check.reason or check.type)} ({_code(check.place)})"
        for check in trial.checks
        if check.passed is not True
    ]
    parts = [
        f"### {trial.outcome.upper()} {_escape(trial.case)}",
        f"{_code(trial.place)} · {_code(trial.prompt)} · {_code(trial.model)}{repeat}",
        "\n".join(reasons),
        "" if trial.output is None else _fenced(trial.output),
    ]
    return "\n\n".join(part for part in parts if part)


def _fenced(text: str) -> str:
    """Put a text into a fence that it cannot close."""
    cut = text[:_MOST_OUTPUT_CHARS]
    ticks = max((len(run) for run in re.findall(r"`+", cut)), default=0)
    fence = "`" * max(3, ticks + 1)
    more = f"\n... {len(text) - len(cut):,} more characters" if len(text) > len(cut) else ""
    return f"{fence}text\n{cut}{more}\n{fence}"


def _escape(text: str) -> str:
    """Make a text mean itself in Markdown and in a table's cell; entities, because some readers keep HTML as it is."""
    safe = one_line(text, 300).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|~])", r"\\\1", safe)


def _code(text: str) -> str:
    return f"`{one_line(text, 300).replace('`', chr(39)).replace('|', '/')}`"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from tabulate import tabulate  # 50 ms that only reports pay

    escaped = [[_escape(cell) for cell in row] for row in rows]
    return tabulate(escaped, headers=list(columns), tablefmt="github", disable_numparse=True)
