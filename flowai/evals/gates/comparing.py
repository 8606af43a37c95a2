"""Paired comparison of a run with a baseline: worse, not worse by more than a margin, or undecided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.evals.gates.early_evidence import EarlyEvidence
from flowai.evals.gates.sample_needs import alpha_of, full_run_alpha, margin_of, needed_count
from flowai.evals.reports.gate_records import PairedComparison
from flowai.statistics import Interval, bounded_mean_interval
from flowai.statistics.paired import PairedTrials, broken_case_p, worse_p

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.evals.gates.records import CaseResult
    from flowai.evals.reports.records import Gate

MAX_WORSE_CASES = 100

RERUN_SHARE = 0.8
"""Part of alpha for the trials of cases that failed and were run again; the rest is for the first trials of all
cases. A case that breaks is seen best in the former, a small loss over many cases in the latter (decision 0128)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CasePair:
    """A case on both sides."""

    case: str
    first: PairedTrials
    """The planned trials."""
    again: PairedTrials | None = None
    """The baseline's trials and those that were run because the case failed; None if there are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonNames:
    """Names of what is compared, for people."""

    suite: str
    prompt: str
    model: str
    baseline: str
    metric: str = "pass_rate"


def pair_results(here: Sequence[CaseResult], before: Mapping[str, CaseResult]) -> list[CasePair]:
    """PairedTrials the cases that both sides judged, in the order of the run."""
    pairs = []
    for result in here:
        earlier = before.get(result.case)
        if earlier is not None and earlier.values and result.first:
            again = PairedTrials(before=earlier.values, after=result.again) if result.again else None
            first = PairedTrials(before=earlier.first or earlier.again, after=result.first)
            pairs.append(CasePair(case=result.case, first=first, again=again))
    return pairs


def pair_metric(here: Sequence[CaseResult], before: Mapping[str, CaseResult], name: str) -> list[CasePair]:
    """PairedTrials the cases that both sides scored by a metric; the repeats of a case are averaged first."""
    return [
        CasePair(case=result.case, first=PairedTrials(before=(earlier[name],), after=(result.metrics[name],)))
        for result in here
        if (earlier := before[result.case].metrics if result.case in before else {}) and name in earlier
        if name in result.metrics
    ]


def early_comparison(gate: Gate, *, share: float = 1.0) -> EarlyEvidence:
    """Return the evidence that the difference is above the negative margin, or below 0."""
    return EarlyEvidence(met=-margin_of(gate), unmet=0.0, low=-1, high=1, alpha=full_run_alpha(gate) * share)


def compare_pairs(
    names: ComparisonNames,
    pairs: Sequence[CasePair],
    gate: Gate,
    *,
    unpaired_count: int = 0,
    share: float = 1.0,
    is_complete: bool = True,
) -> PairedComparison:
    """Compare pairs of cases; the comparison has `share` of the gate's alpha.

    The candidate is worse if the exact p-value says so. It is not worse by more than the margin if the interval of the
    difference excludes that; then the gate is met, even if the candidate is a little worse.
    """
    alpha = full_run_alpha(gate) * share
    differences = [pair.first.difference for pair in pairs]
    early = early_comparison(gate, share=share).add_until_certain(differences) if gate.stops_early else None
    passed: bool | None = None
    if early is not None:
        interval, p_value, passed = early.interval, early.p_value, early.passed
        method = "betting on one case after the other, valid at every time"
    else:
        interval = bounded_mean_interval(differences, low=-1, high=1, confidence=1 - 2 * alpha)
        p_value, method = _p_value(pairs)
        passed = _passed(p_value, interval, alpha, gate) if pairs and (is_complete or not gate.stops_early) else None
    needed = None
    if passed is None and interval.estimate is not None:
        half_width = (interval.high - interval.low) / 2
        needed = needed_count(len(pairs), interval.estimate, half_width, (-margin_of(gate), 0.0), gate)
    worse = sorted((pair for pair in pairs if pair.first.difference < 0), key=lambda pair: pair.first.difference)
    return PairedComparison(
        suite=names.suite,
        prompt=names.prompt,
        model=names.model,
        baseline=names.baseline,
        metric=names.metric,
        method=method,
        case_count=len(pairs) if early is None else early.case_count,
        unpaired_count=unpaired_count,
        worse_count=len(worse),
        better_count=sum(difference > 0 for difference in differences),
        before=_mean([_average(pair.first.before) for pair in pairs]),
        after=_mean([_average(pair.first.after) for pair in pairs]),
        difference=interval.estimate,
        low=interval.low,
        high=interval.high,
        confidence=1 - 2 * alpha,
        p_value=p_value,
        alpha=alpha_of(gate) * share,
        margin=margin_of(gate),
        passed=passed,
        needed_case_count=needed,
        worse_cases=tuple(pair.case for pair in worse[:MAX_WORSE_CASES]),
    )


def _p_value(pairs: Sequence[CasePair]) -> tuple[float, str]:
    p_first = worse_p([pair.first for pair in pairs])
    is_lower = math.fsum(pair.first.difference for pair in pairs) < 0
    again = [pair.again for pair in pairs if pair.again is not None]
    is_single = all(len(pair.first.before) == len(pair.first.after) == 1 for pair in pairs)
    is_binary = all(value in (0.0, 1.0) for pair in pairs for value in pair.first.before + pair.first.after)
    method = "permutation of cases"
    if is_single and is_binary:
        method = "McNemar's exact test"
    if not again:
        return p_first, method
    p_again = broken_case_p(again) if is_lower else 1.0  # a candidate that gains as many cases is not worse
    combined = min(1.0, p_first / (1 - RERUN_SHARE), p_again / RERUN_SHARE)
    return combined, f"{method}, and of failing cases run again"


def _passed(p_value: float, interval: Interval, alpha: float, gate: Gate) -> bool | None:
    if interval.low > -margin_of(gate):
        return True
    return False if p_value <= alpha else None


def _average(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean(values: Sequence[float]) -> float | None:
    return _average(values) if values else None
