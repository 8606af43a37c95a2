"""Screen of a finished run: prompts and models, totals, failed trials, verdict."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flowai.cli.failure_view import failure_lines
from flowai.cli.gate_view import gate_lines
from flowai.evals.gates.sentences import MISSING_RESULTS, check_sentence, p_text
from flowai.evals.reports.tables import verdict_words, version_text
from flowai.rendering import formatting
from flowai.rendering.markdown import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.reports import Changes, GateCheck, Report, Totals

_GAP = "     "
MAX_LIMIT_COUNT = 3
_HEAD_DROP_ORDER = (2, 5, 3)
"""Columns that are left out on a narrow terminal, the least important first: suite, p95, cases."""


def report_lines(report: Report, *, again: str, place: str, width: int | None) -> Iterator[str]:
    """Yield the screen of a report; its last line is the verdict.

    Args:
        report: a finished run.
        again: command that retries the errors.
        place: the report's files.
        width: characters of a line; None for any number.
    """
    yield from head_lines(report, width)
    yield from figure_lines(report.totals, report.elapsed_s, width)
    failures = list(failure_lines(report.trials, again=again, width=width))
    yield from ["", *failures] if failures else []
    for changes in (report.changes, *report.against_baseline):
        if changes is not None:
            yield from formatting.wrapped(change_line(changes), width)
    for line in gate_lines(report):
        yield from formatting.wrapped(line, width)
    yield from verdict_lines(report, place, width)


def head_lines(report: Report, width: int | None) -> Iterator[str]:
    """Yield a line for each prompt on each model; with its own figures if there are several."""
    prompts = {prompt.id: f"{prompt.id} {version_text(prompt)}".rstrip() for prompt in report.prompts}
    cases = {(trial.suite, trial.prompt, trial.model, trial.case) for trial in report.trials}
    case_counts = Counter(case[:3] for case in cases)
    rows = []
    for group in report.groups:
        totals = group.totals
        case_count = case_counts[group.suite, group.prompt, group.model]
        row = [prompts[group.prompt], group.model, group.suite, formatting.count(case_count, "case")]
        if len(report.groups) > 1:
            row.append(f"{totals.pass_count}/{totals.pass_count + totals.fail_count} pass")
            row.append(f"p95 {formatting.duration(totals.latency.p95_ms)}")
        rows.append(row)
    if rows:
        drop_order = [column for column in _HEAD_DROP_ORDER if column < len(rows[0])]
        yield from formatting.aligned(formatting.without_columns(rows, drop_order, width, gap="   "), gap="   ")


def figure_lines(totals: Totals, elapsed_s: float, width: int | None) -> Iterator[str]:
    """Yield the totals in two lines, more on a narrow terminal."""
    outcomes = f"pass {totals.pass_count}  fail {totals.fail_count}  error {totals.error_count}"
    rate = f"pass rate {totals.pass_count}/{totals.pass_count + totals.fail_count}"
    unpriced = f" + {totals.unpriced_count} unpriced" if totals.unpriced_count else ""
    cost = f"{formatting.dollars(totals.cost_usd)}{unpriced}"
    figures = (
        f"{outcomes}  unscored {totals.unscored_count}",
        rate,
        cost,
        formatting.duration(elapsed_s * 1000 if elapsed_s else None),
    )
    yield from formatting.joined_lines(figures, width, gap=_GAP, indent="  ")
    latency, ttft = totals.latency, totals.ttft
    times = f"p50 {formatting.duration(latency.p50_ms)}  p95 {formatting.duration(latency.p95_ms)}"
    times += f"  TTFT p95 {formatting.duration(ttft.p95_ms)}"
    if ttft.count != latency.count:
        times += f" (of {ttft.count})"
    parts = [f"{totals.cached_count} cached, {totals.fresh_count} fresh: {times}"]
    if totals.json_promised_count:
        parts.append(f"JSON {totals.json_valid_count}/{totals.json_promised_count}")
    yield from formatting.joined_lines(parts, width, gap=_GAP, indent="  ")


def change_line(changes: Changes) -> str:
    """Return the regressions and fixes since the last run, or compared with a baseline."""
    parts = []
    for word, keys in (("broke", changes.regressions), ("fixed", changes.fixes)):
        cases = ", ".join(dict.fromkeys(key.split("::")[1] for key in keys))
        parts.append(f"{len(keys)} {word}" + (f" ({one_line(cases, 120)})" if cases else ""))
    against = f"against {changes.baseline}" if changes.baseline else f"since run {changes.run_id}"
    return f"{against}: {', '.join(parts)}"


def verdict_lines(report: Report, place: str, width: int | None) -> Iterator[str]:
    """Yield the verdict, the unmet limits, and the path of the report."""
    unmet = [check for check in report.decision.checks if check.passed is not True]
    reasons = [_limit(check) for check in unmet[:MAX_LIMIT_COUNT]]
    if report.decision.verdict == "inconclusive" and not unmet:
        reasons.append(MISSING_RESULTS)
    parts = [verdict_words(report), *reasons, place]
    yield from formatting.joined_lines(parts, width, gap="  ", indent="  ")


def _limit(check: GateCheck) -> str:
    if check.observed is None or check.passed is None:
        return check_sentence(check)
    if check.p_value is not None:
        return f"{check.metric} {formatting.format_number(check.observed)}, p {p_text(check.p_value)}"
    sign = "<" if check.direction == "min" else ">"
    return (
        f"{check.metric} {formatting.format_number(check.observed)} {sign} {formatting.format_number(check.threshold)}"
    )
