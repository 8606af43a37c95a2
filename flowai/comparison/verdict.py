"""Turns what was found about a candidate into a verdict: promote, hold, rollback or invalid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.analytics.records import CountOfTotal
from flowai.statistics.evalues import Block

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.analytics.records import Metric
    from flowai.comparison.records import CanaryVerdict, MetricStatus
    from flowai.errors import ExitCode

MIN_COUNT = 50
"""A stage proves nothing with fewer users (or calls) in an arm than this; and an arm with so many and no data is
missing."""

METRIC_LABELS: dict[Metric, str] = {
    "error_rate": "error rate",
    "json_valid": "JSON valid",
    "slow_calls": "slow calls",
    "slow_ttft": "slow TTFT",
    "acceptance": "acceptance",
    "save_rate": "save rate",
    "hallucination": "hallucination",
}
STATUS_LABELS: dict[MetricStatus, str] = {
    "safe": "safe",
    "undecided": "undecided",
    "worse": "WORSE",
    "missing": "NO DATA",
    "none": "does not apply",
}

_NOTHING = CountOfTotal()


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricFinding:
    """What was found about one metric."""

    name: Metric
    """The metric."""
    is_guardrail: bool
    """Whether the verdict hangs on it."""
    candidate: CountOfTotal = _NOTHING
    control: CountOfTotal = _NOTHING
    """Users at risk in this stage, and those who failed."""
    candidate_calls: CountOfTotal = _NOTHING
    control_calls: CountOfTotal = _NOTHING
    """The same of calls, not collapsed."""
    opportunities: tuple[int, int] = (0, 0)
    """Candidate, control: users in this stage who could have given data."""
    applies: bool = True
    """Whether the metric has a meaning here (somebody promised JSON)."""
    margin: float
    """How much more often the candidate may fail."""
    alpha: float
    """Chance of calling it worse when it is not."""
    log_e: float = 0.0
    log_e_peak: float = 0.0
    """Evidence that it is worse: now, and the largest so far."""
    safe_log_e: float = 0.0
    """Evidence that it is not worse by the margin."""

    @property
    def block(self) -> Block:
        """The users of both sides in this stage."""
        return Block(
            candidate_count=self.candidate.count,
            control_count=self.control.count,
            candidate_failure_count=self.candidate.failure_count,
            control_failure_count=self.control.failure_count,
        )


def status_of(finding: MetricFinding, *, safe_alpha: float) -> MetricStatus:
    """Say what a metric's figures mean.

    It is safe when the evidence of the rollout says so, the stage itself has seen enough users, and its calls do not
    contradict: users who fail once are not at risk any more, so that a small group that always fails shows in calls
    only.

    Args:
        finding: what was found.
        safe_alpha: chance of calling it safe when it is worse by the margin. All guardrails must be safe at once, so
            that this one is not shared out.
    """
    if not finding.applies:
        return "none"
    if min(finding.candidate.count, finding.control.count) == 0 and min(finding.opportunities) >= MIN_COUNT:
        return "missing"
    if (
        finding.safe_log_e >= -math.log(safe_alpha)
        and min(finding.candidate.count, finding.control.count) >= MIN_COUNT
        and is_within_margin(finding)
    ):
        return "safe"
    return "worse" if finding.log_e_peak >= -math.log(finding.alpha) else "undecided"


def is_within_margin(finding: MetricFinding) -> bool:
    """Tell whether this stage's calls and users differ by no more than the margin; without calls nothing is within."""
    for candidate, control in ((finding.candidate, finding.control), (finding.candidate_calls, finding.control_calls)):
        if candidate.rate is None or control.rate is None or candidate.rate - control.rate > finding.margin:
            return False
    return True


def decide(
    found: Mapping[Metric, MetricStatus], findings: Sequence[MetricFinding], doubts: Sequence[str]
) -> tuple[CanaryVerdict, tuple[str, ...]]:
    """Give the verdict and its reasons, the weightiest first.

    A doubt about the comparison outranks everything: what it says may be wrong either way. A guardrail that is worse
    outranks one without data: a candidate that fails every call gets no feedback.

    Args:
        found: what each metric says.
        findings: guardrails and others.
        doubts: why the comparison is not to be trusted; empty when it is.
    """
    guards = [finding.name for finding in findings if finding.is_guardrail]
    worse = tuple(f"{METRIC_LABELS[name]} is worse than the control's" for name in guards if found[name] == "worse")
    missing = tuple(f"no data for {METRIC_LABELS[name]}" for name in guards if found[name] == "missing")
    if doubts:
        return "invalid", (*doubts, *worse, *missing)
    if worse:
        return "rollback", (*worse, *missing)
    if missing:
        return "invalid", missing
    open_ones = tuple(f"{METRIC_LABELS[name]} is undecided" for name in guards if found[name] == "undecided")
    if open_ones or not any(found[name] == "safe" for name in guards):
        return "hold", open_ones or ("no guardrail has anything to say",)
    return "promote", ("every guardrail is safe",)


def exit_code(verdict: CanaryVerdict, fail_on: frozenset[CanaryVerdict] | None) -> ExitCode:
    """Give the exit status a verdict stands for.

    Args:
        verdict: the verdict.
        fail_on: the only verdicts that give a status other than 0; None for the usual rule.
    """
    from flowai.errors import ExitCode

    if verdict == "promote" and fail_on is None:
        return ExitCode.DONE
    if fail_on is not None and verdict not in fail_on:
        return ExitCode.DONE
    return ExitCode.GATE_NOT_MET if verdict in ("rollback", "promote") else ExitCode.INCONCLUSIVE
