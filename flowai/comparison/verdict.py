"""Decides the status of a metric and the verdict: promote, hold, rollback or invalid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.analytics.records import CountOfTotal
from flowai.comparison.means import NO_USERS, UserMeans
from flowai.comparison.metrics import METRIC_KINDS, label_of
from flowai.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.analytics.records import Metric
    from flowai.calibration import JudgeStanding
    from flowai.comparison.counts import TopCaller
    from flowai.comparison.records import CanaryVerdict, MetricStatus

MIN_COUNT = 50
"""Minimum of users per arm for a non-inferior status; from this number on, missing measurements are `no_data`."""

STRONG_LOG_E = math.log(1000)
"""Evidence of harm beyond its threshold by this factor is not outranked by a doubt about the data."""

STATUS_LABELS: dict[MetricStatus, str] = {
    "non_inferior": "non-inferior",
    "inconclusive": "not enough data yet",
    "inferior": "worse",
    "no_data": "no data",
    "not_tested": "not tested",
    "not_judged": "shown, not judged",
}

_NOTHING = CountOfTotal()


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricFinding:
    """Counts and evidence of one metric."""

    name: Metric
    is_guardrail: bool
    means: UserMeans = NO_USERS
    """Users of this stage."""
    candidate_calls: CountOfTotal = _NOTHING
    control_calls: CountOfTotal = _NOTHING
    """Calls in this stage, not collapsed by user; nothing for means."""
    is_due: bool = False
    """Whether enough users have had the time to yield data."""
    applies: bool = True
    """Whether the metric applies (an answer had to be JSON)."""
    standing: JudgeStanding | None = None
    """Whether the scores of a judge may decide; None for other metrics, and for scores without a judge's hash."""
    margin: float
    """Tolerated difference of failure rates, or ratio."""
    alpha: float
    """Chance of a false `inferior`."""
    log_e: float = 0.0
    log_e_peak: float = 0.0
    """Log evidence that the candidate is worse: now, and its largest value so far."""
    top_caller: TopCaller | None = None
    """The caller with the most failures of the candidate; None if there is none, or little evidence of harm."""
    rest_log_e_peak: float = 0.0
    """The largest evidence of harm so far, without the calls of `top_caller`."""
    safe_log_e: float = 0.0
    safe_log_e_peak: float = 0.0
    """Log evidence that it is not worse by the margin: now, and its largest value in this stage."""

    @property
    def has_data(self) -> bool:
        """Both arms have users with this metric."""
        return min(self.means.candidate.count, self.means.baseline.count) > 0

    @property
    def unjudged_reason(self) -> str | None:
        """The reason why the metric is shown and decides nothing; None if it may decide."""
        return None if self.standing is None else self.standing.problem

    @property
    def proven_log_e(self) -> float:
        """Log evidence of harm that holds without any one caller."""
        return self.log_e_peak if self.top_caller is None else min(self.log_e_peak, self.rest_log_e_peak)

    @property
    def strength(self) -> float:
        """Log evidence of harm beyond its threshold."""
        return self.proven_log_e + math.log(self.alpha)

    @property
    def single_caller(self) -> CountOfTotal | None:
        """Failures of the candidate and those of one caller, if there is no proof of harm without them; else None."""
        top = self.top_caller
        if top is None or self.log_e_peak + math.log(self.alpha) < 0 or self.strength >= 0:
            return None
        return CountOfTotal(count=top.total_count, failure_count=top.failure_count)


def status_of(finding: MetricFinding, *, safe_alpha: float) -> MetricStatus:
    """Return the status of a metric.

    Once non-inferior, a metric remains so in its stage, until it is shown to be worse. `safe_alpha`, the chance of a
    false `non_inferior`, is not shared out: all guardrails must be non-inferior at once.
    """
    if not finding.applies:
        return "not_tested"
    if finding.unjudged_reason is not None:
        return "not_judged"
    if finding.strength >= 0:
        # worse, but within the margin that was allowed
        return "non_inferior" if finding.safe_log_e >= -math.log(safe_alpha) else "inferior"
    if finding.single_caller is not None:  # not proven, and not to be promoted on an earlier sign of safety
        return "non_inferior" if finding.safe_log_e >= -math.log(safe_alpha) else "inconclusive"
    if not finding.has_data:
        return "no_data" if finding.is_due else "inconclusive"
    return "non_inferior" if finding.safe_log_e_peak >= -math.log(safe_alpha) else "inconclusive"


def decide(
    statuses: Mapping[Metric, MetricStatus], findings: Sequence[MetricFinding], doubts: Sequence[str]
) -> tuple[CanaryVerdict, tuple[str, ...]]:
    """Return the verdict and its reasons, the most important first.

    `doubts` are reasons why the comparison is invalid. Only strong evidence of harm outranks them: they may explain a
    small difference, not a candidate whose calls all fail. An inferior guardrail outranks one without data: a candidate
    whose calls all fail gets no feedback.
    """
    guards = [finding for finding in findings if finding.is_guardrail]
    worse = [one for one in guards if statuses[one.name] == "inferior"]
    worse_reasons = tuple(f"{label_of(one.name)} is worse than the control's" for one in worse)
    missing_reasons = tuple(f"no data for {label_of(one.name)}" for one in guards if statuses[one.name] == "no_data")
    if worse and (not doubts or max(one.strength for one in worse) >= STRONG_LOG_E):
        return "rollback", (*worse_reasons, *doubts, *missing_reasons)
    if doubts:
        return "invalid", (*doubts, *worse_reasons, *missing_reasons)
    if missing_reasons:
        return "invalid", missing_reasons
    if not any(one.has_data for one in findings):
        return "hold", ("no calls of both arms yet",)
    undecided = [one for one in guards if statuses[one.name] == "inconclusive"]
    waiting = (
        *(single_caller_text(one.name, share) for one in undecided if (share := one.single_caller) is not None),
        *(f"not enough data yet for {label_of(one.name)}" for one in undecided if one.single_caller is None),
    )
    unjudged = tuple(f"{label_of(one.name)} is shown, not judged" for one in guards if one.unjudged_reason is not None)
    if waiting or not any(statuses[one.name] == "non_inferior" for one in guards):
        return "hold", waiting or unjudged or ("no guardrail has data yet",)
    return "promote", (f"every {'other ' if unjudged else ''}guardrail is non-inferior", *unjudged)


def unjudged_text(metric: Metric, reason: str) -> str:
    """Return the sentence about a metric that is shown and decides nothing."""
    return f"{label_of(metric)} is shown, not judged: {reason}"


def single_caller_text(metric: Metric, share: CountOfTotal) -> str:
    """Return the reason why evidence of harm demands no rollback: it is that of one caller."""
    calls = "calls" if METRIC_KINDS[metric].scale == "ratio" else "failures"
    return (
        f"{label_of(metric)} is worse than the control's only with one caller, who accounts for "
        f"{share.failure_count:,} of {share.count:,} {calls}: no rollback; send `user` with each call, so that users "
        "are counted"
    )


def exit_code(verdict: CanaryVerdict, fail_on: frozenset[CanaryVerdict] | None) -> ExitCode:
    """Return the exit status of a verdict; with `fail_on`, only its verdicts have a status other than 0."""
    if verdict == "promote" if fail_on is None else verdict not in fail_on:
        return ExitCode.DONE
    return ExitCode.GATE_NOT_MET if verdict in ("rollback", "promote") else ExitCode.INCONCLUSIVE
