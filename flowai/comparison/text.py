"""Texts about the arms of a comparison that the reports of rollouts and experiments share; not escaped."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from flowai.comparison.metrics import METRIC_KINDS
from flowai.rendering.formatting import MISSING_TEXT, dollars, duration
from flowai.statistics.srm import MISMATCH_ALPHA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.comparison.records import ArmReport, MetricReport


def format_value(metric: MetricReport, value: float | None) -> str:
    """Format the value of an arm as people know it: a rate (of successes for some), a time, dollars of 1,000 calls."""
    if value is None:
        return MISSING_TEXT
    if metric.name == "cost":
        return dollars(value * 1000)
    if metric.scale == "ratio":
        return duration(value)
    rate = 1 - value if METRIC_KINDS[metric.name].is_success else value
    digits = 2 if metric.candidate.count + metric.control.count > _MANY else 1
    return f"{rate * 100:.{digits}f} %"


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
    """Format a margin: in points, or as a ratio."""
    is_ratio = metric.scale == "ratio" or METRIC_KINDS[metric.name].has_ratio_margin
    return f"x {metric.margin:g}" if is_ratio else f"{metric.margin * 100:g} pt"


_MANY = 100_000
"""Users with whom 0.01 % is still ten of them."""


def format_cost(arm: ArmReport) -> str:
    """Format the cost of 1,000 calls."""
    return MISSING_TEXT if arm.usd_per_call is None else dollars(arm.usd_per_call * 1000)


def format_split(e_values: Iterable[float]) -> str:
    """Check whether users divide among the arms as configured, by evidence of a mismatch."""
    return "split WRONG" if any(one >= 1 / MISMATCH_ALPHA for one in e_values) else "split ok"


def seconds_between(since: str, until: str) -> float:
    """Return the length of a time range given in RFC 3339."""
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
