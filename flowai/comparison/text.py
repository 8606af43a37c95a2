"""Texts about the arms of a comparison that the reports of rollouts and experiments share; not escaped."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from flowai.comparison.metrics import METRIC_KINDS, MIN_RATE_MARGIN
from flowai.rendering.formatting import MISSING_TEXT, dollars, duration, format_evidence, rate
from flowai.statistics.srm import MISMATCH_ALPHA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowai.analytics.records import CountOfTotal, Range
    from flowai.comparison.records import ArmReport, MetricReport


def format_value(metric: MetricReport, value: float | None) -> str:
    """Format the value of an arm as people know it: a rate (of successes for some), a time, dollars of 1,000 calls."""
    if value is None:
        return MISSING_TEXT
    if metric.name == "cost":
        return dollars(value * 1000)
    if metric.scale == "ratio":
        return duration(value)
    share = 1 - value if METRIC_KINDS[metric.name].is_success else value
    digits = 2 if metric.candidate.count + metric.control.count > _MANY else 1
    return f"{share * 100:.{digits}f} %"


def format_effect(metric: MetricReport) -> str:
    """Format a difference in points, or a ratio; better ones point upwards for success metrics."""
    effect = metric.effect
    if effect.estimate is None or effect.low is None or effect.high is None:
        return MISSING_TEXT
    if metric.scale == "ratio":
        return f"x {effect.estimate:.2f} [{effect.low:.2f}, {effect.high:.2f}]"
    points = (effect.estimate, effect.low, effect.high)
    if METRIC_KINDS[metric.name].is_success:
        points = (-effect.estimate, -effect.high, -effect.low)
    estimate, low, high = (f"{point * 100:+.1f}".replace("-0.0", "+0.0") for point in points)
    return f"{estimate} [{low}, {high}] pt"


def format_margin(metric: MetricReport) -> str:
    """Format a margin as its effect: in points, or as a ratio."""
    return f"x {metric.margin:g}" if metric.scale == "ratio" else f"{tolerated_difference(metric) * 100:.2g} pt"


def tolerated_difference(metric: MetricReport) -> float:
    """Return the margin of a rate as a difference (0 to 1); a margin that is a ratio is of the baseline's rate."""
    if not METRIC_KINDS[metric.name].has_ratio_margin:
        return metric.margin
    return max((metric.margin - 1) * (metric.control_value or 0.0), MIN_RATE_MARGIN)


def judged_texts(metrics: Iterable[MetricReport]) -> Iterator[str]:
    """Yield how the rates of each calibrated judge were corrected, and by how much they could still be wrong."""
    for metric in metrics:
        judged = metric.judged
        if judged is None or judged.calibrated_at is None:
            continue
        flagged = format_rates(judged.flagged_candidate, judged.flagged_control)
        bias = (
            ""
            if judged.bias_per_point is None
            else "; each point by which the judge's rates differ between the arms shifts the difference by up to "
            f"{judged.bias_per_point:.1f} pt"
        )
        yield (
            f"{METRIC_KINDS[metric.name].label}: corrected by the judge's calibration of {judged.calibrated_at[:10]} "
            f"(it flags {_percent(judged.true_positive_rate)} of faulty answers and passes "
            f"{_percent(judged.true_negative_rate)} of sound ones); flagged {flagged}; "
            f"the margin of {format_margin(metric)} is {(judged.flagged_margin or 0.0) * 100:.2g} pt of flagged answers"
            f"{bias}"
        )


def judged_notes(metrics: Iterable[MetricReport]) -> Iterator[str]:
    """Yield the same as whole sentences."""
    yield from (f"{text[:1].upper()}{text[1:]}." for text in judged_texts(metrics))


def _percent(share: Range) -> str:
    if share.estimate is None or share.low is None or share.high is None:
        return MISSING_TEXT
    return f"{share.estimate * 100:.0f} % [{share.low * 100:.0f}, {share.high * 100:.0f}]"


def format_worse(metric: MetricReport) -> str:
    """Format the evidence that the candidate is worse, and the evidence that decides."""
    return _evidence(metric, metric.e_value_peak, metric.alpha)


def format_safe(metric: MetricReport) -> str:
    """Format the evidence that the candidate is not worse by the margin, and the evidence that decides."""
    return _evidence(metric, metric.safe_e_value_peak, metric.safe_alpha)


def _evidence(metric: MetricReport, e_value: float, alpha: float) -> str:
    if not metric.candidate.count or not metric.control.count:
        return MISSING_TEXT
    return f"{format_evidence(e_value)} of {format_evidence(1 / alpha)}"


def format_failures(counted: CountOfTotal) -> str:
    """Format failures and their share: `54 of 6,023 (0.9 %)`."""
    if not counted.count:
        return MISSING_TEXT
    return f"{counted.failure_count:,} of {counted.count:,} ({rate(counted.rate)})"


def format_rates(*rates: float | None) -> str:
    """Format the rates of arms side by side: `0.9 / 1.2 %`."""
    if all(one is None for one in rates):
        return MISSING_TEXT
    return " / ".join(MISSING_TEXT if one is None else f"{one * 100:.1f}" for one in rates) + " %"


def format_share(part: int, total: int) -> str:
    """Format a part of a total with its share: `54 (0.9 %)`."""
    return MISSING_TEXT if not total else f"{part:,} ({rate(part / total)})"


_MANY = 100_000
"""Users of which 0.01 % are still ten."""


def format_cost(arm: ArmReport) -> str:
    """Format the cost of 1,000 calls."""
    return MISSING_TEXT if arm.usd_per_call is None else dollars(arm.usd_per_call * 1000)


def format_split(e_values: Iterable[float]) -> str:
    """Check whether users divide among the arms as configured, by evidence of a mismatch."""
    return "split WRONG" if any(one >= 1 / MISMATCH_ALPHA for one in e_values) else "split ok"


def seconds_between(since: str, until: str) -> float:
    """Return the length of a time range given in RFC 3339."""
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
