"""Report as one comment of a pull request.

Every text of models and suites is code, so that nothing in it is a link, a mention, a picture or HTML.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowai.evals.reports import tables
from flowai.evals.reports.worst_first import worst_first
from flowai.rendering.formatting import count, dollars, duration, rate
from flowai.rendering.markdown import code_block, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.evals.reports.records import Changes, Report, Trial

MAX_COMMENT_CHARS = 65_536
"""GitHub's limit, in UTF-16 units: it refuses a longer comment."""
_MAX_TRIALS = 500
_MAX_KEYS = 20
_MAX_OUTPUT_CHARS = 600
_MAX_REASON_CHARS = 300
_MAX_SENTENCE_CHARS = 1_000
_MAX_WARNINGS = 10
_RESERVED_CHARS = 200


def comment_marker(report: Report) -> str:
    """Return the hidden first line of a comment; a later run on the same target finds its comment by it."""
    target = re.sub(r"[^\w./-]+|-{2,}", "_", report.target, flags=re.ASCII)[:200]
    return f"<!-- flowai:{report.kind}:{target or 'all'} -->"


def to_comment(report: Report) -> str:
    """Render the report as GitHub-flavoured Markdown of at most `MAX_COMMENT_CHARS`, the worst trials first."""
    parts = [*_head(report), *map(_changes, _all_changes(report)), *_warnings(report)]
    used = sum(_units(part) + 2 for part in parts)
    totals = report.totals
    unpassed_count = totals.fail_count + totals.error_count + totals.unscored_count
    shown_count = 0
    for trial in worst_first(report, _MAX_TRIALS):
        part = _trial(trial)
        used += _units(part) + 2
        if used > MAX_COMMENT_CHARS - _RESERVED_CHARS:
            break
        parts.append(part)
        shown_count += 1
    if shown_count < unpassed_count:
        parts.append(f"... and {unpassed_count - shown_count:,} more that did not pass, in the report.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", errors="replace")) // 2


def _head(report: Report) -> Iterator[str]:
    totals = report.totals
    target = _code(report.target) if report.target else "all suites"
    verdict = tables.verdict_words(report)
    yield f"{comment_marker(report)}\n### flowai {report.kind} {target}: {verdict}"
    judged_count = totals.pass_count + totals.fail_count
    facts = [
        f"{totals.pass_count:,} of {judged_count:,} passed ({rate(totals.pass_rate)})",
        count(totals.error_count, "error"),
        f"{totals.unscored_count} unscored",
        f"p95 {duration(totals.latency.p95_ms)}",
        dollars(totals.cost_usd) + (f" + {totals.unpriced_count} unpriced" if totals.unpriced_count else ""),
        f"run {_code(report.run_id)}",
    ]
    yield " · ".join(facts)
    if report.decision.sentence:
        yield _code(report.decision.sentence, _MAX_SENTENCE_CHARS)
    rows = sorted(tables.gate_rows(report), key=lambda row: row[-1].startswith("met"))
    if rows:
        yield _table(tables.GATE_COLUMNS, rows[:_MAX_KEYS])


def _all_changes(report: Report) -> list[Changes]:
    return [*([report.changes] if report.changes else []), *report.against_baseline]


def _changes(changes: Changes) -> str:
    against = f"against {_code(changes.baseline)}" if changes.baseline else f"since run {_code(changes.run_id)}"
    parts = []
    for word, keys in (("worse", changes.regressions), ("better", changes.fixes)):
        listed = ", ".join(_code(key, 120) for key in keys[:_MAX_KEYS])
        more = f", ... and {len(keys) - _MAX_KEYS:,} more" if len(keys) > _MAX_KEYS else ""
        parts.append(f"{len(keys):,} turned {word}" + (f": {listed}{more}" if keys else ""))
    return f"**Compared** {against} ({count(changes.shared_count, 'trial')} in both): {'; '.join(parts)}"


def _warnings(report: Report) -> Iterator[str]:
    for warning in report.warnings[:_MAX_WARNINGS]:
        yield f"> {_code(warning, _MAX_REASON_CHARS)}"
    if len(report.warnings) > _MAX_WARNINGS:
        yield f"> ... and {count(len(report.warnings) - _MAX_WARNINGS, 'more warning')}"


def _trial(trial: Trial) -> str:
    repeat = f" · repeat {trial.repeat + 1}" if trial.repeat else ""
    head = f"**{trial.outcome.upper()}** {_code(trial.case)} · {_code(trial.prompt)} · {_code(trial.model)}{repeat}"
    reasons = [f"- {_code(trial.failure.message, _MAX_REASON_CHARS)}"] if trial.failure is not None else []
    reasons += [
        f"- {_code(check.reason or check.type, _MAX_REASON_CHARS)} in {_code(check.place)}"
        for check in trial.checks[:_MAX_KEYS]
        if check.passed is not True
    ]
    output = "" if trial.output is None else code_block(trial.output, max_chars=_MAX_OUTPUT_CHARS)
    return "\n\n".join(part for part in (head, "\n".join(reasons), output) if part)


def _code(text: str, max_chars: int = 200) -> str:
    """Return a text as inline code; GitHub and GitLab find no mention, link, reference or HTML in it."""
    plain = one_line(text, max_chars).replace("`", "'").replace("|", "/").strip()
    return f"`{plain or '(empty)'}`"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[_code(cell) if cell else "" for cell in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
