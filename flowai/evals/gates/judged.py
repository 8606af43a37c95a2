"""Limits on rates that a judge gave: corrected by its measured error, or shown and not judged. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.evals.gates.case_results import counts_cases
from flowai.evals.gates.sample_needs import full_run_alpha, margin_of
from flowai.rendering.formatting import format_number
from flowai.statistics import Interval, bounded_mean_interval, corrected_gap, corrected_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.calibration import Calibration, JudgeStanding
    from flowai.evals.gates.records import CaseResult
    from flowai.evals.reports.gate_records import PairedComparison
    from flowai.evals.reports.records import Gate, GateCheck

PASS_RATE = "pass_rate"  # noqa: S105 - the name of a limit
METRIC_PREFIX = "metrics."
_REPORTED_ALPHA = 0.05
"""Of the interval of a limit without confidence; it decides nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GatingJudge:
    """A judge on whose verdicts limits of a suite depend."""

    standing: JudgeStanding
    is_measured: bool
    """Whether a judge of this property was measured, be it another one."""
    limits: frozenset[str]
    """Limits that its verdicts influence: `pass_rate`, `metrics.NAME`."""
    own_limits: frozenset[str]
    """Those that consist of its verdicts alone: they can be corrected."""

    @property
    def metrics(self) -> frozenset[str]:
        """Names of the metrics that consist of its verdicts alone."""
        return frozenset(limit.removeprefix(METRIC_PREFIX) for limit in self.own_limits if limit != PASS_RATE)


def problem_of(limit: str, judges: Iterable[GatingJudge]) -> str | None:
    """Return why a limit is shown and not judged; None if it is judged."""
    problems = (judge.standing.problem for judge in judges if limit in judge.limits)
    return next((f"shown, not judged: {problem}" for problem in problems if problem is not None), None)


def judged_check(
    check: GateCheck, results: Sequence[CaseResult], judges: Iterable[GatingJudge], gate: Gate
) -> GateCheck:
    """Return a limit with the corrected rate, or undecided if a judge must not decide; else as it is."""
    problem = problem_of(check.metric, judges)
    if problem is not None:
        return msgspec.structs.replace(check, passed=None, needed_case_count=None, note=problem)
    calibration = _calibration(check.metric, judges, gate)
    values = _pass_shares(check.metric, results) if calibration is not None else []
    if calibration is None or not values:
        return check
    alpha = _REPORTED_ALPHA if gate.alpha is None else 2 * full_run_alpha(gate)
    flagged = bounded_mean_interval([1 - value for value in values], low=0, high=1, confidence=1 - alpha)
    fault = corrected_share(flagged, calibration.counts, alpha=alpha)
    observed = None if fault.estimate is None else 1 - fault.estimate
    interval = Interval(estimate=observed, low=1 - fault.high, high=1 - fault.low)
    raw = math.fsum(values) / len(values)
    return msgspec.structs.replace(
        check,
        observed=observed,
        low=interval.low,
        high=interval.high,
        passed=_meets(interval, check.threshold, gate),
        p_value=None,
        case_count=len(values),
        needed_case_count=None,
        note=_correction(calibration, format_number(raw), is_contradicted=observed is None),
    )


def judged_comparison(item: PairedComparison, judges: Iterable[GatingJudge], gate: Gate) -> PairedComparison:
    """Return a comparison with the corrected difference, or undecided if a judge must not decide; else as it is.

    The p-value needs no correction: as long as the judge errs alike on both sides, equal rates give equal verdicts.
    """
    problem = problem_of(item.metric, judges)
    if problem is not None:
        return msgspec.structs.replace(item, passed=None, needed_case_count=None, note=problem)
    calibration = _calibration(item.metric, judges, gate) if item.metric == PASS_RATE else None
    if calibration is None or item.difference is None:
        return item
    flagged = Interval(estimate=-item.difference, low=-item.high, high=-item.low)
    gap = corrected_gap(flagged, calibration.counts, alpha=1 - item.confidence)
    passed: bool | None = None
    if -gap.high > -margin_of(gate):
        passed = True
    elif item.passed is False:
        passed = False
    return msgspec.structs.replace(
        item,
        difference=item.difference if gap.estimate is None else -gap.estimate,
        low=-gap.high,
        high=-gap.low,
        passed=passed,
        needed_case_count=item.needed_case_count if item.passed is None else None,
        note=_correction(
            calibration, f"{100 * item.difference:+.1f} points", is_contradicted=gap.estimate is None
        ),
    )  # fmt: skip


def _calibration(limit: str, judges: Iterable[GatingJudge], gate: Gate) -> Calibration | None:
    """Return the calibration that corrects a limit; None if its verdicts are not those of one judge, one by one."""
    if limit == PASS_RATE and counts_cases(gate):
        return None  # the verdict on a case is one of several answers
    deciding = [judge for judge in judges if limit in judge.limits]
    if len(deciding) != 1 or limit not in deciding[0].own_limits:
        return None
    return deciding[0].standing.calibration


def _pass_shares(limit: str, results: Iterable[CaseResult]) -> list[float]:
    """Return the share of passed verdicts of each case; a case on several prompts or models is one case."""
    shares: dict[str, list[float]] = {}
    for result in results:
        if limit == PASS_RATE:
            shares.setdefault(result.case, []).extend(result.values)
        elif (share := result.verdicts.get(limit.removeprefix(METRIC_PREFIX))) is not None:
            shares.setdefault(result.case, []).append(share)
    return [math.fsum(values) / len(values) for values in shares.values() if values]


def _meets(rate: Interval, limit: float, gate: Gate) -> bool | None:
    if rate.estimate is None:
        return None
    if gate.alpha is None:
        return rate.estimate >= limit
    return True if rate.low >= limit - (gate.margin or 0.0) else False if rate.high < limit else None


def _correction(calibration: Calibration, raw: str, *, is_contradicted: bool) -> str:
    if is_contradicted:
        return f"{raw} as judged contradicts the judge's calibration of {calibration.at:%Y-%m-%d}"
    return f"corrected by the judge's calibration of {calibration.at:%Y-%m-%d}, {raw} as judged"
