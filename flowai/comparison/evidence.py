"""Compares two arms: evidence, status of each metric and verdict, as of now and of the end of any earlier hour.

Harm is shown by first failures of users (`blocks`), over the whole rollout; that no harm is done, by the means of all
users of the stage (`means`): users who always fail leave the first, and stay in the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from flowai.comparison.blocks import CallsPerUser, EvidenceSeries, accumulate, accumulate_failures
from flowai.comparison.means import MeanSeries, mean_series
from flowai.comparison.metrics import METRIC_KINDS, severities
from flowai.comparison.spec import HOUR_US
from flowai.comparison.verdict import MIN_COUNT, MetricFinding, decide, status_of
from flowai.statistics.corrected_rates import flagged_margin
from flowai.statistics.forecast import SafeForecast, forecast_safe
from flowai.statistics.mixture import log_mixture
from flowai.statistics.multiple_testing import split_alpha

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.analytics.records import Metric
    from flowai.calibration import JudgeStanding
    from flowai.comparison.blocks import ArmPair
    from flowai.comparison.counts import Counts
    from flowai.comparison.records import CanaryVerdict, MetricStatus
    from flowai.comparison.spec import ComparisonSpec

STAGE_WEIGHT = 0.25
"""Share of the evidence of a mean that starts on each of the first three compared stages, and half of the one before on
each later one: users stay from stage to stage, so that the stages' evidence must not be multiplied."""

_FULL_PERCENT = 100
_LEAST_LOG_E = math.log(2)
"""Evidence below this decides nothing: no alpha is above a half."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionRules:
    """Decision rules of a rollout or an experiment."""

    alpha: float
    """Chance of a wrong verdict."""
    guardrails: tuple[Metric, ...]
    """Metrics that must not get worse."""
    margins: Mapping[Metric, float]
    """Margin of each metric, also of those that are not guardrails: see `MetricKind`."""
    baseline: str
    """The release that the control serves."""
    environment: str | None = None
    judged: Mapping[Metric, JudgeStanding] = field(default_factory=dict)
    """By metric that judges measure, whether their scores may decide; none for scores without a judge's hash."""

    def margin_of(self, metric: Metric) -> float:
        """Return the margin of the measured rates: of a judge's, the difference that the margin causes at least."""
        standing = self.judged.get(metric)
        if standing is None or standing.calibration is None:
            return self.margins[metric]
        return flagged_margin(self.margins[metric], standing.calibration.counts)

    @property
    def alphas(self) -> dict[str, float]:
        """Alpha by guardrail, shared out by severity."""
        return split_alpha(self.alpha, severities(self.guardrails))


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Comparison of two arms; create it with `build`."""

    counts: Counts
    spec: ComparisonSpec
    rules: DecisionRules
    pair: ArmPair
    worse: Mapping[Metric, EvidenceSeries]
    """Evidence of harm by metric, over the whole rollout."""
    means: Mapping[tuple[Metric, int], MeanSeries]
    """By metric and stage."""

    @classmethod
    def build(cls, counts: Counts, spec: ComparisonSpec, rules: DecisionRules, pair: ArmPair) -> Self:
        """Accumulate the evidence of all metrics."""
        means = {name: _means_by_stage(counts, spec, rules, pair, name) for name in spec.metrics}
        calls_per_user = CallsPerUser(counts, pair)
        return cls(
            counts=counts,
            spec=spec,
            rules=rules,
            pair=pair,
            worse={
                name: _evidence_of_harm(counts, spec, rules, pair, name, means[name], calls_per_user)
                for name in spec.metrics
            },
            means={(name, stage): one for name, series in means.items() for stage, one in enumerate(series)},
        )

    def as_of(self, moment_us: int) -> Comparison:
        """Return the comparison that a look at the end of an hour found."""
        return replace(self, counts=self.counts.as_of(moment_us), spec=self.spec.as_of(moment_us))

    @property
    def stage(self) -> int:
        """Index of the stage that is judged."""
        return len(self.spec.stages) - 1

    def findings(self) -> list[MetricFinding]:
        """Return the finding of each metric, guardrails first."""
        others = (name for name in self.spec.metrics if name not in self.rules.guardrails)
        return [self._finding(name) for name in (*self.rules.guardrails, *others)]

    def verdict(
        self, findings: Sequence[MetricFinding], doubts: Sequence[str]
    ) -> tuple[CanaryVerdict, tuple[str, ...], dict[Metric, MetricStatus]]:
        """Return the verdict, its reasons and the status of each metric."""
        statuses = {one.name: status_of(one, safe_alpha=self.rules.alpha) for one in findings}
        verdict, reasons = decide(statuses, findings, doubts)
        return verdict, reasons, statuses

    def _finding(self, name: Metric) -> MetricFinding:
        now_us = self.spec.now_us
        means, safe_peak = self.means[name, self.stage].at(now_us)
        log_e, peak = self.worse[name].at(now_us)
        top = self.counts.top_caller(name, self.pair.candidate) if peak >= _LEAST_LOG_E else None
        return MetricFinding(
            name=name,
            is_guardrail=name in self.rules.guardrails,
            means=means,
            candidate_calls=self.counts.call_tally(name, self.pair.candidate, self.stage),
            control_calls=self.counts.call_tally(name, self.pair.control, self.stage),
            is_due=self._is_due(name),
            applies=name != "json_valid" or self._promises_json(),
            margin=self.rules.margins[name],
            standing=self.rules.judged.get(name),
            alpha=self.rules.alphas.get(name, self.rules.alpha),
            log_e=log_e,
            log_e_peak=peak,
            top_caller=top,
            rest_log_e_peak=peak if top is None else self._peak_without(name, top.caller),
            safe_log_e=means.safe_log_e,
            safe_log_e_peak=safe_peak,
        )

    def _peak_without(self, name: Metric, caller: int) -> float:
        """Return the largest evidence of harm so far without the calls of a caller."""
        counts, spec, rules, pair = self.counts.without(caller), self.spec, self.rules, self.pair
        is_mean = METRIC_KINDS[name].scale == "ratio"
        means = _means_by_stage(counts, spec, rules, pair, name) if is_mean else ()
        calls_per_user = CallsPerUser(counts, pair)
        return _evidence_of_harm(counts, spec, rules, pair, name, means, calls_per_user).at(spec.now_us)[1]

    def _promises_json(self) -> bool:
        calls = self.counts.calls.values()
        return any(sums.promised_json_count for sums in calls) or not any(sums.ended_count for sums in calls)

    def _is_due(self, name: Metric) -> bool:
        """Return whether data of a metric are missing if there are none by now.

        Enough users must have had the time: an hour, that of feedback, and that in which the baseline's limit freezes.
        """
        delay_us = HOUR_US + (self.spec.feedback_us if METRIC_KINDS[name].is_delayed else 0)
        limits = self.counts.limits.get(name)
        if limits is not None:
            if not limits and any(metric == name for metric, *_ in self.counts.times):
                return False  # the baseline has too few calls so far
            delay_us = max([delay_us, *(one.known_us + HOUR_US - self._begin_us() for one in limits.values())])
        if self.spec.now_us < self._begin_us() + delay_us:
            return False
        users, _ = self.means["error_rate", self.stage].at(self.spec.now_us - delay_us + HOUR_US)
        return min(users.candidate.count, users.baseline.count) >= MIN_COUNT

    def _begin_us(self) -> int:
        return self.spec.stages[-1].time_range.since_us

    def forecast(self, finding: MetricFinding) -> SafeForecast | None:
        """Return how many more calls of the candidate make a metric non-inferior; None if that is unknown."""
        compared = finding.means.compared
        if compared is None or not finding.means.candidate.count:
            return None
        return forecast_safe(
            compared,
            margin=finding.means.margin,
            log_enough=-math.log(self.rules.alpha),
            calls=self.candidate_calls(),
            users=finding.means.candidate.count,
            min_users=MIN_COUNT,
        )

    def candidate_calls(self) -> int:
        """Return the calls of the candidate in this stage that reached a model."""
        return self.counts.for_stage(self.pair.candidate, self.stage).reached_count

    def time_of(self, call_count: int) -> float | None:
        """Return the seconds that a number of calls of the candidate take at this stage's pace."""
        time_range = self.spec.stages[-1].time_range
        so_far = self.candidate_calls()
        return None if not so_far else call_count * (time_range.until_us - time_range.since_us) / 1e6 / so_far


def _means_by_stage(
    counts: Counts, spec: ComparisonSpec, rules: DecisionRules, pair: ArmPair, name: Metric
) -> list[MeanSeries]:
    return [
        mean_series(
            counts, name, pair, stage=stage, margin=rules.margin_of(name), min_users=MIN_COUNT, now_us=spec.now_us
        )
        for stage in range(len(spec.stages))
    ]


def _evidence_of_harm(
    counts: Counts,
    spec: ComparisonSpec,
    rules: DecisionRules,
    pair: ArmPair,
    name: Metric,
    means: Sequence[MeanSeries],
    calls_per_user: CallsPerUser,
) -> EvidenceSeries:
    kind = METRIC_KINDS[name]
    if kind.scale == "ratio":
        return _mixed_over_stages(spec, means)
    if kind.is_frequent:
        return accumulate(counts.cells.get(name, []), pair, until_us=spec.now_us)
    return accumulate_failures(
        counts.risks.get(name, []),
        pair,
        until_us=spec.now_us,
        calls_per_user=calls_per_user,
        tolerated_ratio=rules.margins[name] if kind.has_ratio_margin else 1.0,
        keeps_failed_users=name in rules.judged,
    )


def _mixed_over_stages(spec: ComparisonSpec, stages: Sequence[MeanSeries]) -> EvidenceSeries:
    """Return the evidence of a mean over all stages: an average, as the stages share users."""
    series = EvidenceSeries()
    compared = [
        index for index, stage in enumerate(spec.stages) if 0 < stage.percent < _FULL_PERCENT or len(spec.stages) == 1
    ]
    if not compared:
        return series
    weights = {index: STAGE_WEIGHT / 2 ** max(0, number - 2) for number, index in enumerate(compared)}
    if len(spec.stages) == 1 and not spec.stages[0].percent:
        weights = {0: 1.0}  # an experiment has one stage
    log_es = dict.fromkeys(compared, 0.0)
    moments = sorted({moment_us for index in compared for moment_us in stages[index].moments_us})
    for moment_us in moments:
        for index in compared:
            log_es[index] = stages[index].at(moment_us)[0].worse_log_e
        parts = [(log_es[index], weight) for index, weight in weights.items()]
        if (rest := 1 - sum(weights.values())) > 0:
            parts.append((0.0, rest))
        series.append(moment_us, log_mixture([log_e for log_e, _ in parts], [weight for _, weight in parts]))
    return series
