"""Decides the status of a metric and the verdict: promote, hold, rollback or invalid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.analytics.records import CountOfTotal
from flowai.errors import ExitCode
from flowai.statistics.evalues import Block

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.analytics.records import Metric
    from flowai.comparison.records import CanaryVerdict, MetricStatus

MIN_COUNT = 50
"""Minimum of users (or calls) per arm for a non-inferior status; from this number on, missing measurements are
`no_data`."""

METRIC_LABELS: dict[Metric, str] = {
    "error_rate": "error rate",
    "json_valid": "valid JSON",
    "slow_calls": "slow calls",
    "slow_ttft": "slow TTFT",
    "acceptance": "acceptance",
    "save_rate": "save rate",
    "hallucination": "hallucination",
}
STATUS_LABELS: dict[MetricStatus, str] = {
    "non_inferior": "non-inferior",
    "inconclusive": "inconclusive",
    "inferior": "worse",
    "no_data": "no data",
    "not_tested": "not tested",
}

_NOTHING = CountOfTotal()


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricFinding:
    """Counts and evidence of one metric."""

    name: Metric
    is_guardrail: bool
    candidate: CountOfTotal = _NOTHING
    control: CountOfTotal = _NOTHING
    """Users at risk in this stage, and failures."""
    candidate_calls: CountOfTotal = _NOTHING
    control_calls: CountOfTotal = _NOTHING
    """Calls in this stage, not collapsed by user."""
    opportunities: tuple[int, int] = (0, 0)
    """Users of candidate and control in this stage who could have yielded data."""
    applies: bool = True
    """Whether the metric applies (an answer had to be JSON)."""
    margin: float
    """Tolerated difference of failure rates."""
    alpha: float
    """Chance of a false `inferior`."""
    log_e: float = 0.0
    log_e_peak: float = 0.0
    """Log evidence that the candidate is worse: now, and its largest value so far."""
    safe_log_e: float = 0.0
    """Log evidence that it is not worse by the margin."""

    @property
    def block(self) -> Block:
        """The users of both arms in this stage."""
        return Block(
            candidate_count=self.candidate.count,
            control_count=self.control.count,
            candidate_failure_count=self.candidate.failure_count,
            control_failure_count=self.control.failure_count,
        )


def status_of(finding: MetricFinding, *, safe_alpha: float) -> MetricStatus:
    """Return the status of a metric.

    It is non-inferior if the rollout's evidence shows it, the stage itself has enough users, and its calls do not
    contradict: users are at risk until their first failure only, so that a small group that always fails shows in calls
    alone. `safe_alpha`, the chance of a false `non_inferior`, is not shared out: all guardrails must be non-inferior at
    once.
    """
    if not finding.applies:
        return "not_tested"
    if min(finding.candidate.count, finding.control.count) == 0 and min(finding.opportunities) >= MIN_COUNT:
        return "no_data"
    if (
        finding.safe_log_e >= -math.log(safe_alpha)
        and min(finding.candidate.count, finding.control.count) >= MIN_COUNT
        and is_within_margin(finding)
    ):
        return "non_inferior"
    return "inferior" if finding.log_e_peak >= -math.log(finding.alpha) else "inconclusive"


def is_within_margin(finding: MetricFinding) -> bool:
    """Return whether calls and users of this stage differ by no more than the margin; False without calls."""
    for candidate, control in ((finding.candidate, finding.control), (finding.candidate_calls, finding.control_calls)):
        if candidate.rate is None or control.rate is None or candidate.rate - control.rate > finding.margin:
            return False
    return True


def decide(
    statuses: Mapping[Metric, MetricStatus], findings: Sequence[MetricFinding], doubts: Sequence[str]
) -> tuple[CanaryVerdict, tuple[str, ...]]:
    """Return the verdict and its reasons, the most important first.

    Reasons of invalidity come first: the evidence may be wrong either way. An inferior guardrail outranks one without
    data: a candidate whose calls all fail gets no feedback. `doubts` are reasons why the comparison is invalid.
    """
    guards = [finding.name for finding in findings if finding.is_guardrail]
    worse_reasons = tuple(
        f"{METRIC_LABELS[name]} is worse than the control's" for name in guards if statuses[name] == "inferior"
    )
    missing_reasons = tuple(f"no data for {METRIC_LABELS[name]}" for name in guards if statuses[name] == "no_data")
    if doubts:
        return "invalid", (*doubts, *worse_reasons, *missing_reasons)
    if worse_reasons:
        return "rollback", (*worse_reasons, *missing_reasons)
    if missing_reasons:
        return "invalid", missing_reasons
    inconclusive = tuple(
        f"{METRIC_LABELS[name]} is inconclusive" for name in guards if statuses[name] == "inconclusive"
    )
    if inconclusive or not any(statuses[name] == "non_inferior" for name in guards):
        return "hold", inconclusive or ("no guardrail has data yet",)
    return "promote", ("every guardrail is non-inferior",)


def exit_code(verdict: CanaryVerdict, fail_on: frozenset[CanaryVerdict] | None) -> ExitCode:
    """Return the exit status of a verdict; with `fail_on`, only its verdicts have a status other than 0."""
    if verdict == "promote" if fail_on is None else verdict not in fail_on:
        return ExitCode.DONE
    return ExitCode.GATE_NOT_MET if verdict in ("rollback", "promote") else ExitCode.INCONCLUSIVE
