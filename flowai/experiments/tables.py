"""Texts and tables of an experiment's report, for screens and pages alike; not escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.comparison.metrics import label_of
from flowai.comparison.text import format_cost, format_effect, format_split, format_value, seconds_between
from flowai.comparison.verdict import STATUS_LABELS
from flowai.rendering.formatting import aligned, duration, format_evidence, rounded, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.analytics.records import Metric
    from flowai.comparison.records import MetricReport
    from flowai.experiments.report_records import ExperimentReport, PairReport

PAIR_COLUMNS = ("", "arms", "effect [95 %]", "evidence", "decides at", "status")
_ONLY_ON_PAGES: frozenset[Metric] = frozenset({"slow_ttft", "latency", "ttft", "cost", "cancelled", "degraded"})
"""Metrics without a column on the screen, whose lines are short; one that is worse has a line there."""

VERDICT_WORDS = {"winner": "WINNER", "worse": "WORSE", "none": "NO WINNER YET", "invalid": "INVALID"}


def headline(report: ExperimentReport, gap: str = "   ") -> str:
    """Return the first line: experiment, feature, goal, duration, users, split; separated by `gap`."""
    units = "users" if report.unit == "user" else "calls"
    users = " / ".join(f"{arm.unit_count:,}" for arm in report.arms.values())
    where = f"{report.feature} in {report.environment}" if report.environment else report.feature
    length = span(seconds_between(report.since, report.until))
    split = format_split((report.split_e_value,))
    parts = (report.experiment, where, f"goal {label_of(report.goal)}", length, f"{users} {units}", split)
    return gap.join(parts)


def arm_columns(report: ExperimentReport, *, whole: bool = False) -> tuple[str, ...]:
    """Return the columns of `arm_rows`."""
    units = "users" if report.unit == "user" else "units"
    return ("arm", units, "calls", *(label_of(name) for name in _shown(report, whole=whole)), "p95", "1,000 calls")


def arm_rows(report: ExperimentReport, *, whole: bool = False) -> list[tuple[str, ...]]:
    """Return a row per arm: the goal, other metrics with data, times and cost; with `whole`, every metric with data."""
    rows = []
    for name, arm in report.arms.items():
        metrics = {one.name: one for one in next(pair for pair in report.pairs if pair.arm == name).metrics}
        rates = (
            format_value(metrics[metric], metrics[metric].candidate_value) for metric in _shown(report, whole=whole)
        )
        rows.append(
            (name, f"{arm.unit_count:,}", f"{arm.call_count:,}", *rates, duration(arm.latency[1]), format_cost(arm))
        )
    return rows


def _shown(report: ExperimentReport, *, whole: bool) -> tuple[Metric, ...]:
    first = report.pairs[0].metrics
    known = {one.name for pair in report.pairs for one in pair.metrics if one.candidate.count}
    names = (one.name for one in first if one.is_guardrail or one.name == report.goal or one.name in known)
    return tuple(name for name in names if whole or name not in _ONLY_ON_PAGES)


def pair_rows(report: ExperimentReport, *, whole: bool = False) -> list[tuple[str, ...]]:
    """Return rows that compare the leader's goal with each other arm, and a row per inferior guardrail.

    With `whole`, return every metric of every pair that has data.
    """
    if whole:
        return [
            _pair_row(report, pair, one)
            for pair in report.pairs
            for one in pair.metrics
            if one.candidate.count and one.control.count
        ]
    first = report.winner or report.leader
    rows = [_pair_row(report, pair, pair.goal) for pair in report.pairs if pair.arm == first]
    strongest: dict[tuple[str, Metric], tuple[PairReport, MetricReport]] = {}
    for pair in report.pairs:
        for one in pair.worse:
            known = strongest.setdefault((pair.arm, one.name), (pair, one))
            if one.e_value_peak > known[1].e_value_peak:
                strongest[pair.arm, one.name] = (pair, one)
    return rows + [_pair_row(report, pair, one) for pair, one in strongest.values()]


def _pair_row(report: ExperimentReport, pair: PairReport, metric: MetricReport) -> tuple[str, ...]:
    """Return the row of a metric: evidence that the goal is better, or that another metric is worse."""
    is_goal = metric.name == report.goal
    e_value, acts_at = metric.e_value_peak, 1 / metric.alpha
    label = STATUS_LABELS[metric.status]
    if is_goal:
        e_value = report.pair(pair.other, pair.arm).goal.e_value_peak
        acts_at = report.goal_acts_at
        label = {"non_inferior": "better", "inferior": "not better"}.get(metric.status, label)
    elif not metric.is_guardrail:
        label = f"({label})"
    return (
        label_of(metric.name),
        f"{pair.arm} against {pair.other}",
        format_effect(metric),
        format_evidence(e_value),
        format_evidence(acts_at),
        label,
    )


def verdict_line(report: ExperimentReport) -> str:
    """Return the verdict and its reason."""
    return f"{VERDICT_WORDS[report.verdict]}  {reason_line(report)}"


def reason_line(report: ExperimentReport) -> str:
    """Return the reasons; without a winner the number of users that are needed."""
    reasons = "; ".join(report.reasons)
    if report.verdict == "winner":
        return f"{report.winner}: {reasons}"
    if report.verdict != "none":
        return reasons
    if report.leader is None:
        return "no arm leads"
    if report.needed_count is None:
        return f"{report.leader} leads; not enough data to forecast when it would win"
    units = "users" if report.unit == "user" else "calls"
    time = "" if report.needed_s is None else f" (about {span(max(report.needed_s, 60))} at this rate)"
    return f"{report.leader} leads; about {rounded(report.needed_count):,} more {units} per arm{time}"


def next_line(report: ExperimentReport) -> str:
    """Return the command to run next; empty if waiting is enough."""
    env = f" --env {report.environment}" if report.environment else ""
    if report.verdict == "winner":
        return f"Then: flowai experiment adopt {report.experiment}{env}"
    if report.verdict == "worse":
        return f"To end it: flowai experiment stop {report.experiment}{env}"
    return ""


def screen_lines(report: ExperimentReport) -> Iterator[str]:
    """Yield the screen: the experiment, a line per arm, the comparisons, the verdict."""
    yield headline(report)
    yield from aligned([arm_columns(report), *arm_rows(report)])
    if rows := pair_rows(report):
        yield from aligned([PAIR_COLUMNS, *rows])
    yield from (f"warning: {one}" for one in report.warnings)
    yield verdict_line(report)
