"""The gate's decision on a run, from its trials and everything that is known about its cases. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from flowai.evals.gates import limits, sentences
from flowai.evals.gates.case_results import case_passed, case_results, counts_cases
from flowai.evals.gates.comparing import ComparisonNames, compare_pairs, pair_metric, pair_results
from flowai.evals.gates.flakes import flaky_cases
from flowai.evals.gates.judged import METRIC_PREFIX, PASS_RATE, judged_check, judged_comparison, problem_of
from flowai.evals.gates.rates import rate_check, rate_values
from flowai.evals.gates.sample_needs import alpha_of
from flowai.evals.gates.slices import slice_results
from flowai.evals.gates.stopping import early_order
from flowai.evals.reports.aggregate import RunTotals, no_metrics
from flowai.evals.reports.records import Gate, GateCheck, GateDecision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.evals.gates.comparing import CasePair
    from flowai.evals.gates.judged import GatingJudge
    from flowai.evals.gates.records import Baseline, CaseFacts, CaseKey, CaseResult, GroupKey
    from flowai.evals.reports.aggregate import Derive
    from flowai.evals.reports.gate_records import FlakyCase, PairedComparison, SliceResult
    from flowai.evals.reports.records import Totals, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class GateInputs:
    """Settings, baselines and facts about the cases of a run, beside its trials."""

    gates: Mapping[str, Gate | None]
    """By suite path; None for the default."""
    facts: Mapping[CaseKey, CaseFacts] = field(default_factory=dict)
    repeats: Mapping[str, int] | None = None
    """Planned trials per case by suite; later ones were run because the case failed."""
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    """By suite path; those of the suites that are compared."""
    baseline_groups: frozenset[GroupKey] = frozenset()
    """Suite, prompt and model of trials that were run only to compare with them."""
    quarantined: frozenset[CaseKey] = frozenset()
    earlier_flakes: Mapping[CaseKey, int] = field(default_factory=dict)
    unchecked: frozenset[str] = frozenset()
    """Paths of suites without gate and without any assertion: their answers are there to be looked at."""
    judges: Mapping[str, tuple[GatingJudge, ...]] = field(default_factory=dict)
    """Judges with a calibration by suite path; other graders' verdicts count as they are."""
    derive: Derive = no_metrics
    """Computes the derived metrics, which the gate may limit too."""
    is_complete: bool = True
    """Whether the run ended as planned: after all trials, or after the allowed number of calls."""
    is_partial: bool = False
    """Whether planned cases were not run; only a decision with confidence can then be met."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateOutcome:
    """The decision and what it was made of."""

    decision: GateDecision
    comparison: tuple[PairedComparison, ...] = ()
    slices: tuple[SliceResult, ...] = ()
    flaky: tuple[FlakyCase, ...] = ()
    quarantined: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _SuiteOutcome:
    checks: list[GateCheck]
    comparisons: list[PairedComparison]
    slices: list[SliceResult]


def judge_run(trials: Sequence[Trial], inputs: GateInputs) -> GateOutcome:
    """Decide on the trials of a run; trials of cases in quarantine and of baselines are left out.

    The trials are read several times and not kept: those of a large run are in a file.
    """
    left_out = {(trial.suite, trial.case) for trial in trials} & inputs.quarantined if inputs.quarantined else set()

    def counted() -> Iterator[Trial]:
        for trial in trials:
            is_baseline = (trial.suite, trial.prompt, trial.model) in inputs.baseline_groups
            if not is_baseline and (trial.suite, trial.case) not in left_out:
                yield trial

    totals = RunTotals(inputs.derive)
    for trial in counted():
        totals.add(trial)
    by_suite = totals.by_suite()
    by_case = {suite for suite in by_suite if _needs_cases(suite, inputs)}
    judged_metrics = frozenset(
        (suite, metric) for suite, judges in inputs.judges.items() for judge in judges for metric in judge.metrics
    )
    of_cases = (trial for trial in counted() if trial.suite in by_case)
    results = case_results(of_cases, inputs.repeats, judged_metrics) if by_case else []
    outcomes = []
    has_errors, is_unjudged = False, not by_suite
    for suite, suite_totals in by_suite.items():
        gate = inputs.gates.get(suite)
        has_errors |= limits.exceeds_errors(suite_totals, gate)
        if suite in inputs.unchecked and suite_totals.pass_rate is None:
            is_unjudged |= inputs.is_partial
            continue
        is_unjudged |= limits.is_unjudged_default(suite_totals, gate)
        is_unjudged |= inputs.is_partial and (gate is None or (gate.alpha is None and gate.baseline is None))
        own = [result for result in results if result.suite == suite]
        outcomes.append(_judge_suite(suite, suite_totals, own, limits.effective_gate(gate or Gate()), inputs))
    checks = [check for outcome in outcomes for check in outcome.checks]
    comparisons = [item for outcome in outcomes for item in outcome.comparisons]
    slices = [item for outcome in outcomes for item in outcome.slices]
    flaky = flaky_cases(
        results, {suite: inputs.gates.get(suite) or Gate() for suite in by_suite}, inputs.earlier_flakes
    )
    decision = GateDecision(
        verdict=limits.verdict_of(checks, has_errors=has_errors, is_unjudged=is_unjudged), checks=tuple(checks)
    )
    sentence = sentences.verdict_sentence(decision, comparisons, slices, flaky)
    return GateOutcome(
        decision=msgspec.structs.replace(decision, sentence=sentence),
        comparison=tuple(comparisons),
        slices=tuple(slices),
        flaky=flaky,
        quarantined=tuple(sorted(f"{suite}::{case}" for suite, case in left_out)),
    )


def _needs_cases(suite: str, inputs: GateInputs) -> bool:
    """Return whether a suite is judged case by case; totals are enough without gate, repeats and critical cases."""
    is_repeated = inputs.repeats is None or inputs.repeats.get(suite, 1) > 1
    is_judged = inputs.gates.get(suite) is not None or suite in inputs.judges
    return is_repeated or is_judged or any(key[0] == suite for key in inputs.facts)


def _judge_suite(
    suite: str, totals: Totals, results: list[CaseResult], gate: Gate, inputs: GateInputs
) -> _SuiteOutcome:
    if gate.stops_early:
        results = sorted(results, key=lambda result: early_order((suite, result.case)))
    checks = _limit_checks(suite, totals, results, gate, inputs)
    checks += _critical_checks(suite, results, gate, inputs)
    baseline = inputs.baselines.get(suite)
    has_secondary = bool(gate.slices) or (baseline is not None and bool(gate.metrics))
    share = 0.5 if has_secondary else 1.0
    comparisons: list[PairedComparison] = []
    pairs: list[CasePair] = []
    if gate.baseline is not None:
        comparisons, pairs = _comparisons(suite, results, gate, baseline, inputs, share=share)
        labels = sentences.comparison_labels(comparisons)
        checks += [_comparison_check(item, label) for item, label in zip(comparisons, labels, strict=True)]
    slices: list[SliceResult] = []
    if gate.slices:
        slices = slice_results(suite, results, pairs, inputs.facts, gate, alpha=alpha_of(gate) * share)
        if problem_of(PASS_RATE, inputs.judges.get(suite, ())) is None:
            checks += [_slice_check(item, gate) for item in slices]
    return _SuiteOutcome(checks=checks, comparisons=comparisons, slices=slices)


def _limit_checks(
    suite: str, totals: Totals, results: list[CaseResult], gate: Gate, inputs: GateInputs
) -> list[GateCheck]:
    """Compare totals with the limits; the pass rate with confidence if the gate has an alpha."""
    if counts_cases(gate):
        passes = [case_passed(result, gate) for result in results]
        rate = sum(passes) / len(passes) if passes else None
        totals = msgspec.structs.replace(totals, pass_rate=rate)
    checks = list(limits.limit_checks(suite, totals, gate))
    if gate.alpha is not None and gate.pass_rate is not None:
        sure = rate_check(suite, rate_values(results, gate), gate, is_complete=inputs.is_complete)
        checks = [sure if check.metric == PASS_RATE else check for check in checks]
    judges = inputs.judges.get(suite, ())
    return [judged_check(check, results, judges, gate) for check in checks] if judges else checks


def _critical_checks(suite: str, results: list[CaseResult], gate: Gate, inputs: GateInputs) -> list[GateCheck]:
    """Compare the share of critical cases that pass with its own floor; without `passes_needed` every trial counts."""
    passes = []
    for result in results:
        facts = inputs.facts.get((suite, result.case))
        if facts is not None and facts.is_critical:
            is_passed = case_passed(result, gate) if counts_cases(gate) else all(result.values)
            passes.append(is_passed)
    if not passes:
        return []
    rate = sum(passes) / len(passes)
    return [
        GateCheck(
            suite=suite,
            metric="critical cases",
            observed=rate,
            threshold=gate.critical_rate,
            direction="min",
            passed=rate >= gate.critical_rate,
            case_count=len(passes),
        )
    ]


def _comparisons(
    suite: str,
    results: list[CaseResult],
    gate: Gate,
    baseline: Baseline | None,
    inputs: GateInputs,
    *,
    share: float,
) -> tuple[list[PairedComparison], list[CasePair]]:
    """Compare every prompt and model, each with its part of alpha, and the metrics that the gate limits."""
    groups = list(dict.fromkeys(result.group for result in results))
    comparisons: list[PairedComparison] = []
    every_pair: list[CasePair] = []
    judges = inputs.judges.get(suite, ())
    for group in groups:
        own = [result for result in results if result.group == group]
        before = baseline.find(*group) if baseline is not None else {}
        name = baseline.name if baseline is not None else str(gate.baseline)
        for metric in (None, *(gate.metrics if baseline is not None else ())):
            pairs = pair_results(own, before) if metric is None else pair_metric(own, before, metric)
            if metric is None:
                every_pair += pairs
            elif not pairs:
                continue
            item = compare_pairs(
                ComparisonNames(
                    suite=suite,
                    prompt=group[1],
                    model=group[2],
                    baseline=name,
                    metric=PASS_RATE if metric is None else METRIC_PREFIX + metric,
                ),
                pairs,
                gate,
                unpaired_count=len(own) - len(pairs),
                share=share / len(groups) / (1 if metric is None else len(gate.metrics)),
                is_complete=inputs.is_complete,
            )
            comparisons.append(judged_comparison(item, judges, gate))
    return comparisons, every_pair


def _comparison_check(item: PairedComparison, label: str) -> GateCheck:
    return GateCheck(
        suite=item.suite,
        metric=label,
        observed=item.difference,
        threshold=-item.margin,
        direction="min",
        passed=item.passed,
        low=item.low,
        high=item.high,
        p_value=item.p_value,
        case_count=item.case_count,
        needed_case_count=item.needed_case_count,
        note=item.note,
    )


def _slice_check(item: SliceResult, gate: Gate) -> GateCheck:
    is_compared = item.difference is not None
    return GateCheck(
        suite=item.suite,
        metric=sentences.slice_label(item),
        observed=item.difference if is_compared else item.pass_rate,
        threshold=0.0 if is_compared or gate.pass_rate is None else gate.pass_rate,
        direction="min",
        passed=item.passed,
        p_value=item.p_value,
        case_count=item.case_count,
    )
