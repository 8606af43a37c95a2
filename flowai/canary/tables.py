"""Texts and tables of a canary report, for screens and pages alike; not escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.comparison.text import format_cost, format_difference, format_split, seconds_between, shown_rate
from flowai.comparison.verdict import METRIC_LABELS, STATUS_LABELS
from flowai.rendering.formatting import MISSING_TEXT, count, duration, format_evidence, rounded, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.analytics.records import Range
    from flowai.canary.report_records import CanaryReport
    from flowai.comparison.records import MetricReport

COLUMNS = ("metric", "candidate", "control", "difference [95 %]", "margin", "evidence", "status")
ARM_COLUMNS = ("", "candidate", "control", "ratio [95 %]")
VERDICT_WORDS = {"promote": "PROMOTE", "hold": "HOLD", "rollback": "ROLLBACK", "invalid": "INVALID"}


def metric_rows(report: CanaryReport) -> list[tuple[str, ...]]:
    """Return a row per metric that is a guardrail or was measured; see `COLUMNS`."""
    return [_metric_row(one) for one in report.metrics if one.is_guardrail or one.candidate.count or one.control.count]


def _metric_row(metric: MetricReport) -> tuple[str, ...]:
    rates = (metric.candidate.rate, metric.control.rate)
    shown = [shown_rate(metric.name, rate) for rate in rates]
    return (
        METRIC_LABELS[metric.name],
        *(
            MISSING_TEXT if rate is None else _percent(rate, metric.candidate.count + metric.control.count)
            for rate in shown
        ),
        format_difference(metric),
        f"{metric.margin * 100:g} pt",
        format_evidence(metric.e_value) if metric.candidate.count and metric.control.count else MISSING_TEXT,
        STATUS_LABELS[metric.status] if metric.is_guardrail else f"({STATUS_LABELS[metric.status]})",
    )


def _percent(rate: float, total: int) -> str:
    """Format a rate with the digits that its counts support."""
    return f"{rate * 100:.{2 if total > 100_000 else 1}f} %"  # noqa: PLR2004 - 0.1 % of so many is still a hundred


def headline(report: CanaryReport) -> str:
    """Return the first line: releases, environment, stage, duration, users, split."""
    candidate, control = report.arms["candidate"], report.arms["control"]
    stage = "dogfood" if report.stage == "dogfood" else f"{report.stage} %"
    users = "users" if report.unit == "user" else "calls"
    where = f" in {report.environment}" if report.environment else ""
    parts = (
        f"{report.candidate} against control ({report.baseline}){where}",
        f"stage {stage}",
        span(seconds_between(report.since, report.until)),
        f"{candidate.unit_count:,} / {control.unit_count:,} {users}",
        format_split(one.e_value for one in report.splits) if report.splits else "no split",
    )
    return "   ".join(parts)


def arm_rows(report: CanaryReport) -> list[tuple[str, str, str, str]]:
    """Return calls, times and cost of both arms with their ratios; see `ARM_COLUMNS`."""
    arms = (report.arms["candidate"], report.arms["control"])
    rows: list[tuple[str, str, str, str]] = []
    for name, pick, ratio in (
        ("calls", lambda arm: f"{arm.call_count:,}", MISSING_TEXT),
        ("p50, p95, p99", lambda arm: ", ".join(duration(one) for one in arm.latency), _p95(report.latency_p95)),
        ("TTFT p50, p95, p99", lambda arm: ", ".join(duration(one) for one in arm.ttft), _p95(report.ttft_p95)),
        ("cost of 1,000 calls to models", format_cost, _interval(report.usd_per_call)),
    ):
        rows.append((name, pick(arms[0]), pick(arms[1]), ratio))
    return rows


def _p95(ratio: Range) -> str:
    return MISSING_TEXT if ratio.estimate is None else f"p95 {_interval(ratio)}"


def _interval(ratio: Range) -> str:
    if ratio.estimate is None:
        return MISSING_TEXT
    low = "0" if ratio.low is None else f"{ratio.low:.2f}"
    return f"x {ratio.estimate:.2f} [{low}, {'any' if ratio.high is None else f'{ratio.high:.2f}'}]"


def times_line(report: CanaryReport) -> str:
    """Return times and cost of both arms in a line."""
    candidate, control = report.arms["candidate"], report.arms["control"]
    return "   ".join(
        (
            f"p95 {duration(candidate.latency[1])} / {duration(control.latency[1])}{_ratio(report.latency_p95)}",
            f"TTFT p95 {duration(candidate.ttft[1])} / {duration(control.ttft[1])}{_ratio(report.ttft_p95)}",
            f"1,000 calls {format_cost(candidate)} / {format_cost(control)}{_ratio(report.usd_per_call)}",
        )
    )


def _ratio(ratio: Range) -> str:
    return "" if ratio.estimate is None else f" (x {ratio.estimate:.2f})"


def verdict_line(report: CanaryReport) -> str:
    """Return the verdict and its reason."""
    return f"{VERDICT_WORDS[report.verdict]}  {reason_line(report)}"


def reason_line(report: CanaryReport) -> str:
    """Return the reasons; for `hold` the number of calls that are needed."""
    if report.verdict != "hold":
        return "; ".join(report.reasons)
    needs = [
        _calls_needed_text(one, report) for one in report.metrics if one.is_guardrail and one.status == "inconclusive"
    ]
    return "; ".join(need for need in needs if need) or "; ".join(report.reasons)


def _calls_needed_text(metric: MetricReport, report: CanaryReport) -> str:
    label = METRIC_LABELS[metric.name]
    if metric.needed_count is None:
        return f"{label} is inconclusive"
    in_s = _time_of(metric.needed_count, report)
    return f"{label} needs about {count(rounded(metric.needed_count), 'more call', 'more calls')}{in_s}"


def _time_of(needed_count: int, report: CanaryReport) -> str:
    calls = report.arms["candidate"].call_count
    if not calls:
        return ""
    seconds = needed_count * seconds_between(report.since, report.until) / calls
    return f" (about {span(max(seconds, 60))} at this rate)"


def replay_rows(report: CanaryReport) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each hour whose verdict differs from the hour before."""
    before = ""
    for one in report.replay:
        if one.verdict != before:
            yield one.at, VERDICT_WORDS[one.verdict], one.reason
        before = one.verdict
