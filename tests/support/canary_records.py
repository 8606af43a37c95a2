"""Builds canary reports by hand, for tests of their texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.analytics.records import NOT_MEASURED, CountOfTotal, Range
from flowai.canary.report_records import CanaryReport, EvidencePlot, Plots, Point, StageReport, TrafficSplit
from flowai.comparison.records import ArmReport, CallShares, FeatureReport, MetricReport

if TYPE_CHECKING:
    from flowai.analytics.records import Metric
    from flowai.comparison.records import CanaryVerdict

SHARES = CallShares(calls=6000, cached=600, cancelled=54, failed=107, errors=60, fell_back=47)


def metric(name: Metric, **changes: Any) -> MetricReport:
    """Build a guardrail whose rate is non-inferior."""
    facts: dict[str, Any] = {
        "is_guardrail": True,
        "scale": "difference",
        "candidate": CountOfTotal(count=3000, failure_count=90),
        "control": CountOfTotal(count=9000, failure_count=240),
        "candidate_calls": CountOfTotal(count=5346, failure_count=107),
        "control_calls": CountOfTotal(count=5400, failure_count=103),
        "candidate_value": 0.02,
        "control_value": 0.019,
        "effect": Range(estimate=0.001, low=-0.004, high=0.006),
        "margin": 0.01,
        "alpha": 0.024,
        "safe_alpha": 0.05,
        "e_value": 0.2,
        "e_value_peak": 1.3,
        "safe_e_value": 400.0,
        "safe_e_value_peak": 410.0,
        "status": "non_inferior",
    }
    return MetricReport(name=name, **(facts | changes))


def ratio(name: Metric, **changes: Any) -> MetricReport:
    """Build a guardrail whose mean is non-inferior."""
    facts: dict[str, Any] = {
        "scale": "ratio",
        "candidate_calls": CountOfTotal(),
        "control_calls": CountOfTotal(),
        "candidate_value": 830.0,
        "control_value": 800.0,
        "effect": Range(estimate=1.04, low=1.01, high=1.07),
        "margin": 1.2,
    }
    return metric(name, **(facts | changes))


def arm(release: str, **changes: Any) -> ArmReport:
    """Build an arm."""
    facts: dict[str, Any] = {
        "unit_count": 3010,
        "anonymous_count": 10,
        "shares": SHARES,
        "call_count": 6000,
        "latency": (800.0, 1550.0, 2070.0),
        "ttft": (200.0, 380.0, 490.0),
        "cost_usd": 5.4,
        "priced_count": 5400,
    }
    return ArmReport(release=release, **(facts | changes))


def feature(name: str) -> FeatureReport:
    """Build the calls of a feature."""
    json = CountOfTotal(count=5000, failure_count=25)
    return FeatureReport(feature=name, candidate=SHARES, control=SHARES, candidate_bad_json=json, control_bad_json=json)


def canary_record(verdict: CanaryVerdict = "promote", **changes: Any) -> CanaryReport:
    """Build a report of v2 at 25 %."""
    arms = ("candidate", "control", "stable")
    points = (Point(at_s=1_777_881_600, value=-0.2), Point(at_s=1_777_885_200, value=0.4))
    metrics = changes.get("metrics", (metric("error_rate"), ratio("latency")))
    facts: dict[str, Any] = {
        "reasons": ("every guardrail is non-inferior",),
        "candidate": "v2",
        "baseline": "v1",
        "environment": "prod",
        "stage": "25",
        "since": "2026-05-04T08:00:00Z",
        "until": "2026-05-04T20:00:00Z",
        "unit": "user",
        "arms": {"candidate": arm("v2"), "control": arm("v1")},
        "metrics": metrics,
        "features": (feature("chat"),),
        "error_classes": {"ServerError": (40, 38)},
        "stages": (
            StageReport(
                stage="25",
                since="2026-05-04T08:00:00Z",
                until="2026-05-04T20:00:00Z",
                users=dict.fromkeys(arms, 3010),
                anonymous=dict.fromkeys(arms, 10),
                calls=dict.fromkeys(arms, SHARES),
            ),
        ),
        "splits": (TrafficSplit(stage="25", counts=dict.fromkeys(arms, 3010), e_value=0.2),),
        "problems": (),
        "warnings": (),
        "latency_p95": Range(estimate=1.06, low=1.01, high=1.11),
        "ttft_p95": NOT_MEASURED,
        "slow_above": {},
        "replay": (),
        "plots": Plots(
            evidence={
                one.name: EvidencePlot(worse=points, worse_acts_at=1.62, safe=points, safe_acts_at=1.3)
                for one in metrics
                if one.is_guardrail
            },
            latency={"candidate": ((100.0, 0.4), (200.0, 0.6)), "control": ((100.0, 0.5), (200.0, 0.5))},
            errors={"candidate": points, "control": points},
        ),
    }
    return CanaryReport(verdict=verdict, **(facts | changes))
