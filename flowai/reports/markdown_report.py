"""Writes a report as Markdown: the form people read in a pull request.

In: a Report. Out: text. Must never know where it is written. Model output is hostile: it stands fenced or escaped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowai.reports.numbers import count, dollars, duration, one_line, rate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.reports.model import Changes, Report, Trial

VERDICT_WORDS = {"pass": "GATE MET", "fail": "GATE NOT MET", "error": "NOT DECIDED: ERRORS", "undecided": "UNDECIDED"}
_MOST_OUTPUT_CHARS = 2_000


def to_markdown(report: Report) -> str:
    """Give the report as GitHub-flavoured Markdown."""
    title = f"# {report.kind} {_code(report.target) if report.target else 'all suites'}: {_verdict_words(report)}"
    changes = [*([report.changes] if report.changes else []), *report.against_baseline]
    parts = [title, _figures(report), _gate(report), _groups(report), *map(_changes, changes), *_failures(report)]
    parts += [f"> {_escape(warning)}" for warning in report.warnings]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict_words(report: Report) -> str:
    return VERDICT_WORDS[report.decision.verdict]


def _figures(report: Report) -> str:
    totals = report.totals
    judged = totals.pass_count + totals.fail_count
    unpriced = f" + {totals.unpriced_count} unpriced" if totals.unpriced_count else ""
    rows = [
        ("run", report.run_id),
        ("started", report.started_at),
        ("elapsed", duration(report.elapsed_s * 1000)),
        ("pass / fail / error / unscored", _outcomes(report)),
        ("pass rate", f"{totals.pass_count}/{judged} ({rate(totals.pass_rate)})"),
        ("JSON valid", f"{totals.json_valid_count}/{totals.json_promised_count}"),
        ("latency p50, p95", f"{duration(totals.latency.p50_ms)}, {duration(totals.latency.p95_ms)}"),
        ("TTFT p50, p95", f"{duration(totals.ttft.p50_ms)}, {duration(totals.ttft.p95_ms)}"),
        ("TTFT measured", f"{totals.ttft.count} of {totals.trial_count - totals.error_count}"),
        ("cached, fresh", f"{totals.cached_count}, {totals.fresh_count}"),
        ("tokens in, out (fresh)", f"{totals.input_tokens:,}, {totals.output_tokens:,}"),
        ("cost (fresh)", dollars(totals.cost_usd) + unpriced),
        ("concurrency", _concurrency(report)),
    ]
    rows += [(f"metric {_escape(name)}", f"{score:.3f}") for name, score in totals.metrics.items()]
    return _table(("figure", "value"), rows)


def _outcomes(report: Report) -> str:
    totals = report.totals
    return f"{totals.pass_count} / {totals.fail_count} / {totals.error_count} / {totals.unscored_count}"


def _concurrency(report: Report) -> str:
    achieved = report.concurrency_achieved
    return f"{'-' if achieved is None else f'{achieved:.1f}'} achieved, {report.concurrency_limit} allowed"


def _gate(report: Report) -> str:
    held = {True: "met", False: "NOT met", None: "nothing measured"}
    rows = [
        (
            check.suite,
            check.metric,
            "-" if check.observed is None else f"{check.observed:.4g}",
            f"{'>=' if check.direction == 'min' else '<='} {check.threshold:.4g}",
            held[check.held],
        )
        for check in report.decision.checks
    ]
    return "## Gate\n\n" + _table(("suite", "metric", "observed", "limit", ""), rows) if rows else ""


def _groups(report: Report) -> str:
    hashes = {prompt.id: f"{prompt.hash[:6]} ({prompt.state})" for prompt in report.prompts}
    rows = [
        (
            group.suite,
            f"{group.prompt} @{hashes.get(group.prompt, '?')}",
            group.model,
            f"{group.totals.pass_count}/{group.totals.pass_count + group.totals.fail_count}",
            str(group.totals.error_count),
            duration(group.totals.latency.p50_ms),
            duration(group.totals.latency.p95_ms),
            duration(group.totals.ttft.p95_ms),
            dollars(group.totals.cost_usd),
        )
        for group in report.groups
    ]
    columns = ("suite", "prompt", "model", "passed", "errors", "p50", "p95", "TTFT p95", "cost")
    return "## Prompts and models\n\n" + _table(columns, rows) if rows else ""


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
    """Make a text mean itself in Markdown and in a table's cell."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~!&])", r"\\\1", one_line(text, 300))


def _code(text: str) -> str:
    return f"`{one_line(text, 300).replace('`', chr(39)).replace('|', '/')}`"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from tabulate import tabulate  # 50 ms that only reports pay

    escaped = [[cell.replace("|", "\\|") if "\\|" not in cell else cell for cell in row] for row in rows]
    return tabulate(escaped, headers=list(columns), tablefmt="github", disable_numparse=True)
