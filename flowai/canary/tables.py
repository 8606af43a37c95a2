"""Texts and tables of a canary report, for screens and pages alike; not escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.comparison.metrics import label_of
from flowai.comparison.text import (
    format_cost,
    format_effect,
    format_margin,
    format_split,
    format_value,
    seconds_between,
)
from flowai.comparison.verdict import STATUS_LABELS
from flowai.rendering.formatting import MISSING_TEXT, count, duration, format_evidence, rounded, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.analytics.records import Range
    from flowai.canary.report_records import CanaryReport
    from flowai.comparison.records import MetricReport

COLUMNS = ("metric", "candidate", "control", "effect [95 %]", "margin", "evidence", "status")
ARM_COLUMNS = ("", "candidate", "control", "ratio [95 %]")
VERDICT_WORDS = {"promote": "PROMOTE", "hold": "HOLD", "rollback": "ROLLBACK", "invalid": "INVALID"}


def metric_rows(report: CanaryReport) -> list[tuple[str, ...]]:
    """Return a row per metric that is a guardrail or was measured; see `COLUMNS`."""
    return [_metric_row(one) for one in report.metrics if one.is_guardrail or one.candidate.count or one.control.count]


def _metric_row(metric: MetricReport) -> tuple[str, ...]:
    has_data = metric.candidate.count and metric.control.count
    return (
        label_of(metric.name),
        format_value(metric, metric.candidate_value),
        format_value(metric, metric.control_value),
        format_effect(metric),
        format_margin(metric),
        format_evidence(metric.e_value) if has_data else MISSING_TEXT,
        STATUS_LABELS[metric.status] if metric.is_guardrail else f"({STATUS_LABELS[metric.status]})",
    )


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
        ("cost of 1,000 calls to models", format_cost, MISSING_TEXT),
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
            f"1,000 calls {format_cost(candidate)} / {format_cost(control)}",
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
    needs = [_calls_needed_text(one) for one in report.metrics if one.is_guardrail and one.status == "inconclusive"]
    return "; ".join(need for need in needs if need) or "; ".join(report.reasons)


def _calls_needed_text(metric: MetricReport) -> str:
    label, forecast = label_of(metric.name), metric.forecast
    if forecast is None:
        return f"not enough data yet for {label}"
    if forecast.calls is None:
        return f"{label} would not become non-inferior at this difference"
    time = "" if forecast.seconds is None else f" (about {span(max(forecast.seconds, 60))} at this rate)"
    return f"{label} needs about {count(rounded(forecast.calls), 'more call', 'more calls')}{time}"


def replay_rows(report: CanaryReport) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each hour whose verdict differs from the hour before."""
    before = ""
    for one in report.replay:
        if one.verdict != before:
            yield one.at, VERDICT_WORDS[one.verdict], one.reason
        before = one.verdict
