"""The metrics of a comparison: what each measures, on which scale, and how strictly it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.analytics.records import Metric

Scale = Literal["difference", "ratio"]
"""`difference`: of failure rates, with a margin from 0 to 1. `ratio`: of means, with a margin of at least 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricKind:
    """Properties of a metric."""

    label: str
    severity: float = 1.0
    """Weight by which alpha is shared out over the guardrails: most for those that must detect harm within a number of
    calls (decision 0045). Half of a weight costs 0.7 in log evidence."""
    scale: Scale = "difference"
    is_delayed: bool = False
    """Whether it depends on feedback or scores, which arrive after the call."""
    is_frequent: bool = False
    """Whether failures are frequent; that selects the e-process."""
    is_success: bool = False
    """Whether people know it by its successes; evidence is always about failures."""
    has_ratio_margin: bool = False
    """Whether the margin of a rate is a ratio: the rate may grow by it, or by `MIN_RATE_MARGIN` if that is more."""


MIN_RATE_MARGIN = 0.01
"""Tolerated difference of a rate whose margin is a ratio, where the control's rate is near 0."""

METRIC_KINDS: Mapping[Metric, MetricKind] = {
    "error_rate": MetricKind(label="error rate", severity=12.0),
    "json_valid": MetricKind(label="valid JSON", severity=6.0, is_success=True),
    "slow_calls": MetricKind(label="slow calls", severity=6.0),
    "latency": MetricKind(label="latency", severity=0.5, scale="ratio"),
    "slow_ttft": MetricKind(label="slow TTFT"),
    "ttft": MetricKind(label="TTFT", severity=2.0, scale="ratio"),
    "cost": MetricKind(label="cost", severity=2.0, scale="ratio"),
    "cancelled": MetricKind(label="cancelled calls", severity=0.5, has_ratio_margin=True),
    "degraded": MetricKind(label="degraded answers", severity=2.0, has_ratio_margin=True),
    "acceptance": MetricKind(label="acceptance", severity=9.0, is_delayed=True, is_frequent=True, is_success=True),
    "save_rate": MetricKind(label="save rate", severity=7.0, is_delayed=True, is_frequent=True, is_success=True),
    "hallucination": MetricKind(label="hallucination", severity=3.0, is_delayed=True),
}
"""All metrics, in the order of reports."""

METRICS: tuple[Metric, ...] = tuple(name for name in METRIC_KINDS if name != "save_rate")
"""Metrics of a rollout; guardrails, or only shown."""

RATIO_METRICS: tuple[Metric, ...] = tuple(name for name, kind in METRIC_KINDS.items() if kind.scale == "ratio")
DELAYED_METRICS: tuple[Metric, ...] = tuple(name for name, kind in METRIC_KINDS.items() if kind.is_delayed)


def label_of(metric: Metric) -> str:
    """Return the metric's name in texts."""
    return METRIC_KINDS[metric].label


def severities(metrics: Iterable[Metric]) -> dict[str, float]:
    """Return the weights by which alpha is shared out over some metrics."""
    return {name: METRIC_KINDS[name].severity for name in metrics}


def tolerated_difference(metric: Metric, margin: float, control_rate: float) -> float:
    """Return the tolerated difference of a rate, 0 to 1; `margin` is a difference, or a ratio to the control's rate."""
    if not METRIC_KINDS[metric].has_ratio_margin:
        return margin
    return max((margin - 1) * control_rate, MIN_RATE_MARGIN)
