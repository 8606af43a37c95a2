"""Texts about the arms of a comparison that the reports of rollouts and experiments share; not escaped."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from flowai.rendering.formatting import MISSING_TEXT, dollars
from flowai.statistics.srm import MISMATCH_ALPHA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.analytics.records import Metric
    from flowai.comparison.records import ArmReport, MetricReport

SUCCESS_METRICS = frozenset({"json_valid", "acceptance", "save_rate"})
"""Metrics that people know by their successes; evidence is always about failures."""


def shown_rate(name: Metric, failure_rate: float | None) -> float | None:
    """Return the rate that people know a metric by: of successes or of failures."""
    return 1 - failure_rate if failure_rate is not None and name in SUCCESS_METRICS else failure_rate


def format_difference(metric: MetricReport) -> str:
    """Format a difference in points; better ones point upwards for success metrics: `+0.1 [-0.3, +0.5] pt`."""
    difference = metric.difference
    if difference.estimate is None or difference.low is None or difference.high is None:
        return MISSING_TEXT
    points = (difference.estimate, difference.low, difference.high)
    if metric.name in SUCCESS_METRICS:
        points = (-difference.estimate, -difference.high, -difference.low)
    estimate, low, high = (f"{point * 100:+.1f}".replace("-0.0", "+0.0") for point in points)
    return f"{estimate} [{low}, {high}] pt"


def format_cost(arm: ArmReport) -> str:
    """Format the cost of 1,000 calls."""
    return MISSING_TEXT if arm.usd_per_call is None else dollars(arm.usd_per_call * 1000)


def format_split(e_values: Iterable[float]) -> str:
    """Check whether users divide among the arms as configured, by evidence of a mismatch."""
    return "split WRONG" if any(one >= 1 / MISMATCH_ALPHA for one in e_values) else "split ok"


def seconds_between(since: str, until: str) -> float:
    """Return the length of a time range given in RFC 3339."""
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
