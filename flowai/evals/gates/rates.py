"""Limits of rates with confidence: met, not met, or undecided with the number of cases that would decide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.evals.gates.case_results import case_passed, counts_cases
from flowai.evals.gates.early_evidence import EarlyEvidence
from flowai.evals.gates.sample_needs import full_run_alpha, needed_count
from flowai.evals.reports.records import GateCheck
from flowai.statistics import bounded_mean_interval
from flowai.statistics.beta import binomial_cdf

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.evals.gates.records import CaseResult
    from flowai.evals.reports.records import Gate


def rate_values(results: Iterable[CaseResult], gate: Gate) -> list[float]:
    """Return the value of each case, 0 to 1: whether it passed, or the share of its trials that did.

    A case on several prompts or models is one case.
    """
    cases: dict[tuple[str, str], list[float]] = {}
    for result in results:
        value = (
            float(case_passed(result, gate)) if counts_cases(gate) else math.fsum(result.values) / len(result.values)
        )
        cases.setdefault((result.suite, result.case), []).append(value)
    return [math.fsum(values) / len(values) for values in cases.values()]


def early_rate(gate: Gate) -> EarlyEvidence:
    """Return the evidence that a pass rate is above the limit less the margin, or below the limit."""
    limit = gate.pass_rate if gate.pass_rate is not None else 1.0
    return EarlyEvidence(
        met=max(limit - (gate.margin or 0.0), 0.0), unmet=limit, low=0, high=1, alpha=full_run_alpha(gate)
    )


def rate_check(suite: str, values: Sequence[float], gate: Gate, *, is_complete: bool) -> GateCheck:
    """Compare the pass rate of cases with its limit, with confidence; `is_complete` is False for a part of the plan."""
    limit = gate.pass_rate if gate.pass_rate is not None else 1.0
    floor = limit - (gate.margin or 0.0)
    alpha = full_run_alpha(gate)
    if gate.stops_early:
        early = early_rate(gate).add_until_certain(values)
        if early is not None:
            return GateCheck(
                suite=suite, metric="pass_rate", observed=early.interval.estimate, threshold=limit, direction="min",
                passed=early.passed, low=early.interval.low, high=early.interval.high, case_count=early.case_count,
                p_value=early.p_value,
            )  # fmt: skip
    interval = bounded_mean_interval(values, low=0, high=1, confidence=1 - 2 * alpha)
    passed: bool | None = None
    if values and (is_complete or not gate.stops_early):
        passed = True if interval.low >= floor else False if interval.high < limit else None
    needed = None
    if passed is None and interval.estimate is not None:
        half_width = (interval.high - interval.low) / 2
        needed = needed_count(len(values), interval.estimate, half_width, (floor, limit), gate)
    return GateCheck(
        suite=suite,
        metric="pass_rate",
        observed=interval.estimate,
        threshold=limit,
        direction="min",
        passed=passed,
        low=interval.low,
        high=interval.high,
        case_count=len(values),
        p_value=below_p(values, limit) if values else None,
        needed_case_count=needed,
    )


def below_p(values: Sequence[float], limit: float) -> float:
    """Return the one-sided p-value that a rate is below its limit: exact, parts of a case count as passed.

    Source: Hoeffding, Annals of Mathematical Statistics 27 (1956) 713: shares vary less than zeros and ones.
    """
    return (
        binomial_cdf(math.ceil(math.fsum(values) - 1e-9), len(values), limit)
        if limit < 1
        else float(math.fsum(values) >= len(values))
    )
