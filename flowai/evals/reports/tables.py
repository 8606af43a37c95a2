"""Tables of a report as plain text: totals, gate, and one row per prompt and model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.rendering.formatting import count, dollars, duration, format_number, rate

if TYPE_CHECKING:
    from flowai.evals.reports.records import Changes, GateCheck, PromptVersion, Report, Totals

TableRow = tuple[str, ...]

_VERDICT_WORDS = {
    "pass": "GATE MET",
    "fail": "GATE NOT MET",
    "error": "NOT DECIDED: ERRORS",
    "inconclusive": "INCONCLUSIVE",
}
DRIFT_WORDS = {
    "pass": "NOT DRIFTED",
    "fail": "DRIFTED",
    "error": "NOT READ: ERRORS",
    "inconclusive": "UNDECIDED",
}
OUTCOME_WORDS = {"pass": "ok", "fail": "FAIL", "error": "ERROR", "unscored": "????"}

GATE_COLUMNS: TableRow = ("suite", "metric", "observed", "limit", "")
GROUP_COLUMNS: TableRow = ("suite", "prompt", "model", "passed", "errors", "p50", "p95", "TTFT p95", "cost")
DRIFT_COLUMNS: TableRow = (
    "prompt", "model", "baseline", "n", "before", "now", "points", "interval", "p", "found from", "",
)  # fmt: skip
_LIMIT_LABELS = {True: "met", False: "NOT met"}


def verdict_words(report: Report) -> str:
    """Return the verdict in the words of the command; of an evaluation without checks: no case has an assertion."""
    decision = report.decision
    if report.kind == "drift":
        return DRIFT_WORDS[decision.verdict]
    return "NOTHING CHECKED" if decision.verdict == "pass" and not decision.checks else _VERDICT_WORDS[decision.verdict]


def figure_rows(report: Report) -> list[tuple[str, str]]:
    """Return the totals of a run: name and value."""
    totals = report.totals
    unpriced = f" + {totals.unpriced_count} unpriced" if totals.unpriced_count else ""
    return [
        ("run", report.run_id),
        ("started", report.started_at),
        ("elapsed", duration(report.elapsed_s * 1000)),
        ("pass / fail / error / unscored", _outcomes(totals)),
        ("pass rate", f"{_passed(totals)} ({rate(totals.pass_rate)})"),
        ("JSON valid", f"{totals.json_valid_count}/{totals.json_promised_count}"),
        ("latency p50, p95", f"{duration(totals.latency.p50_ms)}, {duration(totals.latency.p95_ms)}"),
        ("TTFT p50, p95", f"{duration(totals.ttft.p50_ms)}, {duration(totals.ttft.p95_ms)}"),
        ("TTFT measured", f"{totals.ttft.count} of {totals.latency.count}"),
        ("cached, fresh", f"{totals.cached_count}, {totals.fresh_count}"),
        ("tokens in, out (fresh)", f"{totals.input_tokens:,}, {totals.output_tokens:,}"),
        ("cost (fresh)", dollars(totals.cost_usd) + unpriced),
        ("concurrency", _concurrency(report)),
        *((f"metric {name}", f"{score:.3f}") for name, score in totals.metrics.items()),
    ]


def gate_rows(report: Report) -> list[TableRow]:
    """Return each limit of the gate with the observed value; columns: `GATE_COLUMNS`."""
    return [
        (
            check.suite,
            check.metric,
            _observed(check),
            f"{'>=' if check.direction == 'min' else '<='} {format_number(check.threshold)}",
            _limit_label(check),
        )
        for check in report.decision.checks
    ]


def drift_rows(report: Report) -> list[TableRow]:
    """Return the comparison of each prompt and model with the baseline of a drift run; columns: `DRIFT_COLUMNS`."""
    return [
        (
            item.prompt,
            item.model,
            item.baseline,
            f"{item.case_count:,}",
            rate(item.before),
            rate(item.after),
            "-" if item.difference is None else f"{100 * item.difference:+.1f}",
            f"{100 * item.low:+.1f} to {100 * item.high:+.1f}",
            format_number(item.p_value),
            "-" if item.smallest_shift is None else f"{100 * item.smallest_shift:.1f} points",
            item.direction or item.verdict.replace("_", " "),
        )
        for item in report.drift
    ]


def _observed(check: GateCheck) -> str:
    """Return the observed value, with its interval if it has one."""
    observed = format_number(check.observed)
    if check.observed is None or check.low is None or check.high is None:
        return observed
    return f"{observed} [{format_number(check.low)}, {format_number(check.high)}]"


def _limit_label(check: GateCheck) -> str:
    if check.passed is not None:
        label = _LIMIT_LABELS[check.passed]
        if check.passed and check.p_value is not None and (check.observed or 0.0) < check.threshold:
            label = "no loss shown"  # of a slice: lower, but not by more than chance explains
        parts = [label, "" if check.case_count is None else f"n = {check.case_count:,}", check.note or ""]
        return ", ".join(filter(None, parts))
    if check.note is not None:
        return check.note
    if check.observed is None or check.case_count is None:
        return "nothing measured"
    if check.needed_case_count is None:
        return f"undecided, n = {check.case_count:,}"
    return f"undecided, n = {check.case_count:,}; needs {check.needed_case_count - check.case_count:,} more"


def version_text(prompt: PromptVersion) -> str:
    """Return a prompt's hash and state; nothing if it was not rendered, as with recorded answers."""
    return f"@{prompt.hash[:6]} ({prompt.state})" if prompt.hash else ""


def group_rows(report: Report) -> list[TableRow]:
    """Return the totals of each prompt on each model; columns: `GROUP_COLUMNS`."""
    versions = {prompt.id: version_text(prompt) for prompt in report.prompts}
    return [
        (
            group.suite,
            f"{group.prompt} {versions.get(group.prompt, '')}".rstrip(),
            group.model,
            _passed(group.totals),
            str(group.totals.error_count),
            duration(group.totals.latency.p50_ms),
            duration(group.totals.latency.p95_ms),
            duration(group.totals.ttft.p95_ms),
            dollars(group.totals.cost_usd),
        )
        for group in report.groups
    ]


def change_rows(changes: Changes) -> list[tuple[str, tuple[str, ...]]]:
    """Return "2 regressions" and "1 fix", each with the keys of its trials."""
    return [
        (count(len(changes.regressions), "regression"), changes.regressions),
        (count(len(changes.fixes), "fix", "fixes"), changes.fixes),
    ]


def _outcomes(totals: Totals) -> str:
    return f"{totals.pass_count} / {totals.fail_count} / {totals.error_count} / {totals.unscored_count}"


def _passed(totals: Totals) -> str:
    return f"{totals.pass_count}/{totals.pass_count + totals.fail_count}"


def _concurrency(report: Report) -> str:
    achieved = report.concurrency_achieved
    return f"{'-' if achieved is None else f'{achieved:.1f}'} achieved, {report.concurrency_limit} allowed"
