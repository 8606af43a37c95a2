"""The words and tables of a canary report as plain text, for screens and pages alike.

In: a CanaryReport. Out: rows of cells, lines; not escaped for anything. Must never know Markdown, HTML or terminals.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.metrics.verdict import METRIC_WORDS
from flowai.reports.numbers import NOTHING, count, dollars, duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.metrics.model import ArmReport, CanaryReport, MetricReport, Range

COLUMNS = ("metric", "candidate", "control", "difference [95 %]", "margin", "evidence", "says")
ARM_COLUMNS = ("", "candidate", "control", "ratio [95 %]")
VERDICT_WORDS = {"promote": "PROMOTE", "hold": "HOLD", "rollback": "ROLLBACK", "invalid": "INVALID"}
SAYS_WORDS = {
    "safe": "safe",
    "undecided": "undecided",
    "worse": "WORSE",
    "missing": "NO DATA",
    "none": "does not apply",
}

GOOD = frozenset({"json_valid", "acceptance", "save_rate"})
"""Metrics of good things: their shares are shown, not those of what failed."""
"""Metrics that people know by their successes; evidence is always about failures."""

_SPLIT_ACTS = 1000.0


def metric_rows(report: CanaryReport) -> list[tuple[str, ...]]:
    """Give a row per metric that was measured or is a guardrail; see `COLUMNS`."""
    return [_metric_row(one) for one in report.metrics if one.is_guardrail or one.candidate.count or one.control.count]


def _metric_row(metric: MetricReport) -> tuple[str, ...]:
    rates = (metric.candidate.rate, metric.control.rate)
    shown = [None if rate is None else 1 - rate if metric.name in GOOD else rate for rate in rates]
    return (
        METRIC_WORDS[metric.name],
        *(NOTHING if rate is None else _percent(rate, metric.candidate.count + metric.control.count) for rate in shown),
        difference_words(metric),
        f"{metric.margin * 100:g} pt",
        evidence_words(metric.e_value) if metric.candidate.count and metric.control.count else NOTHING,
        SAYS_WORDS[metric.says] if metric.is_guardrail else f"({SAYS_WORDS[metric.says]})",
    )


def _percent(rate: float, total: int) -> str:
    """Spell a rate with the digits that its numbers carry."""
    return f"{rate * 100:.{2 if total > 100_000 else 1}f} %"  # noqa: PLR2004 - 0.1 % of so many is still a hundred


def difference_words(metric: MetricReport) -> str:
    """Spell a difference in points, better ones upwards where a metric is of good things: `+0.1 [-0.3, +0.5] pt`."""
    difference = metric.difference
    if difference.estimate is None or difference.low is None or difference.high is None:
        return NOTHING
    points = (difference.estimate, difference.low, difference.high)
    if metric.name in GOOD:
        points = (-difference.estimate, -difference.high, -difference.low)
    estimate, low, high = (f"{point * 100:+.1f}".replace("-0.0", "+0.0") for point in points)
    return f"{estimate} [{low}, {high}] pt"


def evidence_words(e_value: float) -> str:
    """Spell an e-value: `0.3`, `41`, `10^7`."""
    if e_value >= 1e6:  # noqa: PLR2004 - from here on only the power of ten says anything
        return f"10^{math.floor(math.log10(e_value))}"
    return f"{e_value:,.0f}" if e_value >= 10 else f"{e_value:.1f}"  # noqa: PLR2004 - two digits are enough


def headline(report: CanaryReport) -> str:
    """Give the first line: who, where, how long, how many, and whether the split holds."""
    candidate, control = report.arms["candidate"], report.arms["control"]
    stage = "dogfood" if report.stage == "dogfood" else f"{report.stage} %"
    users = "users" if report.unit == "user" else "calls"
    where = f" in {report.environment}" if report.environment else ""
    counts = f"{candidate.unit_count:,} / {control.unit_count:,} {users}"
    parts = (f"{report.candidate} against control ({report.baseline}){where}", f"stage {stage}", _span(report), counts)
    return "   ".join((*parts, _split(report)))


def _span(report: CanaryReport) -> str:
    return span(_moment(report.until) - _moment(report.since))


def _moment(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def span(seconds: float) -> str:
    """Spell a long time roughly: `80 min`, `2 h 10 min`, `3 d 4 h`."""
    minutes = round(seconds / 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days} d {hours_left} h"
    return f"{hours} h {minutes_left:02d} min" if hours >= 2 else f"{minutes} min"  # noqa: PLR2004 - people say 80 minutes


def _split(report: CanaryReport) -> str:
    if not report.splits:
        return "no split"
    return "split WRONG" if any(one.e_value >= _SPLIT_ACTS for one in report.splits) else "split ok"


def arm_rows(report: CanaryReport) -> list[tuple[str, str, str, str]]:
    """Give what both arms took, times and dollars, and the ratio of p95 and of dollars; see `ARM_COLUMNS`."""
    arms = (report.arms["candidate"], report.arms["control"])
    rows: list[tuple[str, str, str, str]] = []
    for name, pick, ratio in (
        ("calls", lambda arm: f"{arm.call_count:,}", NOTHING),
        ("p50, p95, p99", lambda arm: ", ".join(duration(one) for one in arm.latency), _p95(report.latency_p95)),
        ("TTFT p50, p95, p99", lambda arm: ", ".join(duration(one) for one in arm.ttft), _p95(report.ttft_p95)),
        ("cost of 1,000 calls to models", _cost, _interval(report.usd_per_call)),
    ):
        rows.append((name, pick(arms[0]), pick(arms[1]), ratio))
    return rows


def _p95(ratio: Range) -> str:
    return NOTHING if ratio.estimate is None else f"p95 {_interval(ratio)}"


def _interval(ratio: Range) -> str:
    if ratio.estimate is None:
        return NOTHING
    low = "0" if ratio.low is None else f"{ratio.low:.2f}"
    return f"x {ratio.estimate:.2f} [{low}, {'any' if ratio.high is None else f'{ratio.high:.2f}'}]"


def _cost(arm: ArmReport) -> str:
    return NOTHING if arm.usd_per_call is None else dollars(arm.usd_per_call * 1000)


def times_line(report: CanaryReport) -> str:
    """Give times and cost of both arms in a line."""
    candidate, control = report.arms["candidate"], report.arms["control"]
    return "   ".join(
        (
            f"p95 {duration(candidate.latency[1])} / {duration(control.latency[1])}{_ratio(report.latency_p95)}",
            f"TTFT p95 {duration(candidate.ttft[1])} / {duration(control.ttft[1])}{_ratio(report.ttft_p95)}",
            f"1,000 calls {_cost(candidate)} / {_cost(control)}{_ratio(report.usd_per_call)}",
        )
    )


def _ratio(ratio: Range) -> str:
    return "" if ratio.estimate is None else f" (x {ratio.estimate:.2f})"


def verdict_line(report: CanaryReport) -> str:
    """Give the verdict, and why or what is missing."""
    return f"{VERDICT_WORDS[report.verdict]}  {reason_line(report)}"


def reason_line(report: CanaryReport) -> str:
    """Say why, and where more calls would help, how many."""
    if report.verdict != "hold":
        return "; ".join(report.reasons)
    needs = [_need(one, report) for one in report.metrics if one.is_guardrail and one.says == "undecided"]
    return "; ".join(need for need in needs if need) or "; ".join(report.reasons)


def _need(metric: MetricReport, report: CanaryReport) -> str:
    word = METRIC_WORDS[metric.name]
    if metric.needed_count is None:
        return f"{word} is undecided"
    in_s = _time_of(metric.needed_count, report)
    return f"{word} needs about {count(rounded(metric.needed_count), 'more call', 'more calls')}{in_s}"


def _time_of(needed_count: int, report: CanaryReport) -> str:
    calls = report.arms["candidate"].call_count
    if not calls:
        return ""
    seconds = needed_count * (_moment(report.until) - _moment(report.since)) / calls
    return f" (about {span(max(seconds, 60))} at this rate)"


def rounded(number: int) -> int:
    """Round up to two digits: a forecast knows no more."""
    unit = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // unit) * unit


def replay_rows(report: CanaryReport) -> Iterator[tuple[str, str, str]]:
    """Give a row for each hour whose verdict is not that of the hour before."""
    before = ""
    for one in report.replay:
        if one.verdict != before:
            yield one.at, VERDICT_WORDS[one.verdict], one.reason
        before = one.verdict
