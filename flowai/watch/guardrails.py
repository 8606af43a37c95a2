"""Judges the guardrails of the active rollout for a watch, by the code of `flowai canary-report`.

An evaluation reads the log of the whole rollout. It is repeated as often as its own duration allows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.canary.report import CanaryOptions, evaluate_log
from flowai.errors import FlowaiError, InconclusiveError
from flowai.prompts import PromptLibrary
from flowai.watch.judgement import RolloutJudgement, WorseGuardrail
from flowai.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from flowai.analytics.records import CountOfTotal, Metric
    from flowai.canary.report import CanaryEvaluation
    from flowai.canary.report_records import CanaryReport
    from flowai.comparison.counts import Counts
    from flowai.comparison.records import MetricReport
    from flowai.redaction import Redactor
    from flowai.registry.policies import Policies
    from flowai.watch.session import ActiveRollout, ObservedRelease
    from flowai.workspace.workspace import CommandContext

MAX_TIME_SHARE = 0.05
"""Evaluations take at most this share of the time."""

MIN_EVALUATION_INTERVAL_S = 30.0
"""Time between two evaluations, even if they are fast."""

_CANDIDATE, _CONTROL = "canary", "control"  # variants of calls
_NUMBER = re.compile(r"\d[\d,.]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardrailCheck:
    """Result of a check."""

    judgement: RolloutJudgement | None = None
    """The latest judgement; None without a rollout below 100 %, without watched guardrails, and before there is one."""
    doubts: tuple[str, ...] = ()
    """New reasons why the rollout cannot be judged."""
    error: str | None = None
    """The error of the latest evaluation."""


_NOTHING = GuardrailCheck()


class GuardrailMonitor:
    """Judges the active rollout repeatedly; remembers the latest judgement and the doubts that are known already."""

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._subject: tuple[ActiveRollout, Policies] | None = None
        self._due_s = 0.0
        self._latest = GuardrailCheck()
        self._known_doubts: set[str] = set()

    def check(self, observed: ObservedRelease) -> GuardrailCheck:
        """Return the judgement of the active rollout, a new one if it is due; no error of an evaluation is raised."""
        rollout, policies = observed.rollout, observed.registry.policies
        if rollout is None or rollout.suspect.is_full or not policies.watched_guardrails:
            self._subject = None
            return _NOTHING
        start_s = self._context.clock_s()
        if (rollout, policies) != self._subject:
            self._subject, self._due_s, self._latest, self._known_doubts = (rollout, policies), start_s, _NOTHING, set()
        if start_s < self._due_s:
            return replace(self._latest, doubts=())
        self._latest = self._evaluate(observed, rollout)
        duration_s = self._context.clock_s() - start_s
        self._due_s = start_s + max(MIN_EVALUATION_INTERVAL_S, duration_s / MAX_TIME_SHARE)
        return self._latest

    def _evaluate(self, observed: ObservedRelease, rollout: ActiveRollout) -> GuardrailCheck:
        """Evaluate the rollout; after an error, the latest judgement stays."""
        try:
            evaluation = evaluate_log(_workspace(self._context, observed, rollout), CanaryOptions())
        except InconclusiveError:  # the stage has just started
            return GuardrailCheck(judgement=self._latest.judgement)
        except FlowaiError as error:
            return GuardrailCheck(judgement=self._latest.judgement, error=str(error))
        except Exception as bug:  # noqa: BLE001 - failed calls must be watched on, whatever an evaluation raises
            return GuardrailCheck(judgement=self._latest.judgement, error=f"{type(bug).__name__}: {bug}")
        guardrails, now = observed.registry.policies.watched_guardrails, self._context.now()
        judgement = _judgement_of(evaluation, rollout, guardrails, now, observed.redactor)
        return GuardrailCheck(judgement=judgement, doubts=self._new_doubts(evaluation.report))

    def _new_doubts(self, report: CanaryReport) -> tuple[str, ...]:
        """Return the reasons of an invalid comparison that this stage did not have; numbers in them may change."""
        doubts = {_NUMBER.sub("", reason): reason for reason in report.reasons} if report.verdict == "invalid" else {}
        new = tuple(reason for key, reason in doubts.items() if key not in self._known_doubts)
        self._known_doubts |= doubts.keys()
        return new


def _workspace(context: CommandContext, observed: ObservedRelease, rollout: ActiveRollout) -> Workspace:
    """Return the workspace of the watched environment, with the last valid registry."""
    source = observed.source
    return Workspace(
        context=replace(context, found_project=source.project),
        project=source.project,
        environ=source.environ,
        registry=observed.registry,
        release=rollout.baseline,
        library=PromptLibrary(source.project),
        redactor=observed.redactor,
        warnings=(),
    )


def _judgement_of(
    evaluation: CanaryEvaluation, rollout: ActiveRollout, guardrails: Sequence[str], at: datetime, redactor: Redactor
) -> RolloutJudgement:
    """Build the judgement of an evaluation, restricted to some guardrails."""
    report, counts = evaluation.report, evaluation.counts
    worse = [one for one in report.metrics if one.is_guardrail and one.status == "inferior" and one.name in guardrails]
    stage = max((stage for _, stage, *_ in counts.calls), default=0)
    return RolloutJudgement(
        at=at,
        release=rollout.suspect.release,
        stage=rollout.stage,
        verdict=report.verdict,
        worse=tuple(_worse_guardrail(one, counts, stage, redactor) for one in worse),
    )


def _worse_guardrail(metric: MetricReport, counts: Counts, stage: int, redactor: Redactor) -> WorseGuardrail:
    worst = max(_by_feature(metric.name, counts, stage), key=_excess, default=None)
    feature, candidate, control = worst or (None, metric.candidate_calls, metric.control_calls)
    return WorseGuardrail(
        name=metric.name,
        feature=None if feature is None else redactor.text(feature),
        candidate=candidate,
        control=control,
        candidate_value=metric.candidate_value,
        control_value=metric.control_value,
        is_corrected=metric.judged is not None and metric.judged.calibrated_at is not None,
    )


def _by_feature(metric: Metric, counts: Counts, stage: int) -> Iterator[tuple[str, CountOfTotal, CountOfTotal]]:
    """Yield each feature with calls of the candidate; none for metrics that are not counted by feature."""
    if metric not in ("error_rate", "json_valid", "slow_calls", "cancelled", "degraded"):
        return
    for feature in counts.features():
        candidate, control = (counts.call_tally(metric, arm, stage, feature) for arm in (_CANDIDATE, _CONTROL))
        if feature and candidate.count:
            yield feature, candidate, control


def _excess(of_feature: tuple[str, CountOfTotal, CountOfTotal]) -> float:
    """Return how many more calls of the candidate failed than at the control's rate."""
    _, candidate, control = of_feature
    return candidate.failure_count - candidate.count * (control.rate or 0.0)
