"""Judgement of a rollout's guardrails: the verdict of `flowai canary-report`, and where each worse guardrail fails."""

from __future__ import annotations

from datetime import datetime

import msgspec

from flowai.analytics.records import CountOfTotal, Metric
from flowai.comparison.records import CanaryVerdict


class WorseGuardrail(msgspec.Struct, frozen=True, kw_only=True):
    """A guardrail that is worse than the control's."""

    name: Metric
    feature: str | None = None
    """Feature with the largest excess of failures, secrets redacted; None for means, for feedback and scores, and if it
    is unknown."""
    candidate: CountOfTotal
    """Calls of the feature, or of all features, and failures among them, in the latest stage with calls; nothing for a
    mean."""
    control: CountOfTotal
    candidate_value: float | None
    """Mean over the users of all features: of the share of failures, of milliseconds or of US dollars."""
    control_value: float | None
    is_corrected: bool = False
    """Whether the values are corrected by the calibration of the judge that measured them."""


class RolloutJudgement(msgspec.Struct, frozen=True, kw_only=True):
    """Verdict on the candidate of a rollout."""

    at: datetime
    """Time of the evaluation (RFC 3339, UTC); it is not repeated at each check."""
    release: str
    stage: int
    """Percentage."""
    verdict: CanaryVerdict
    worse: tuple[WorseGuardrail, ...]
    """Watched guardrails that are worse, in the order of the policy."""

    @property
    def demands_rollback(self) -> bool:
        """Return whether a watched guardrail is worse and the comparison can be trusted."""
        return self.verdict == "rollback" and bool(self.worse)
