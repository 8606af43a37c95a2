"""Results by case: repeats of a case are together, and never count as cases."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from flowai.evals.gates.records import CaseIdentity, CaseResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.evals.reports.records import Gate, Trial


def case_results(
    trials: Iterable[Trial],
    repeats: Mapping[str, int] | None = None,
    judged_metrics: frozenset[tuple[str, str]] = frozenset(),
) -> list[CaseResult]:
    """Group judged trials by case, prompt and model, in order of appearance.

    `repeats` is the number of planned trials per case by suite; later ones were run because it failed. Without it,
    the smallest number of trials of any case of the suite is taken for it. Errors and answers without a judgement are
    left out; a case without a judged trial has no result. `judged_metrics` are suites and metrics of which the verdicts
    are counted too.
    """
    members: dict[tuple[str, str, str, str], list[_JudgedTrial]] = defaultdict(list)
    trial_counts: dict[tuple[str, str, str, str], int] = {}
    for trial in trials:
        key = (trial.suite, trial.case, trial.prompt, trial.model)
        trial_counts[key] = max(trial_counts.get(key, 0), trial.repeat + 1)
        if trial.outcome in ("pass", "fail"):
            members[key].append(_judged(trial, judged_metrics))
    planned_counts = _fewest(trial_counts) if repeats is None else repeats
    results = []
    for (suite, case, prompt, model), group in members.items():
        planned = planned_counts.get(suite, math.inf)
        results.append(
            CaseResult(
                suite=suite,
                case=case,
                prompt=prompt,
                model=model,
                first=tuple(trial.value for trial in group if trial.repeat < planned),
                again=tuple(trial.value for trial in group if trial.repeat >= planned),
                metrics=_means(trial.scores for trial in group),
                verdicts=_means(trial.verdicts for trial in group) if judged_metrics else {},
                identity=group[0].identity,
            )
        )
    return results


class _JudgedTrial(NamedTuple):
    """All that the gate needs of a trial: a large run's trials are not held in memory."""

    repeat: int
    value: float
    scores: tuple[tuple[str, float], ...]
    verdicts: tuple[tuple[str, float], ...]
    identity: CaseIdentity


def _judged(trial: Trial, judged_metrics: frozenset[tuple[str, str]]) -> _JudgedTrial:
    scores = [
        (check.metric, check.score) for check in trial.checks if check.metric is not None and check.passed is not None
    ]
    verdicts = [
        (check.metric, float(check.passed))
        for check in trial.checks
        if check.metric is not None and check.passed is not None and (trial.suite, check.metric) in judged_metrics
    ]
    identity = CaseIdentity(
        called_model=trial.called_model,
        served_model=trial.served_model,
        fingerprint=trial.fingerprint,
        prompt_hash=trial.prompt_hash or None,
        request_hash=trial.request_hash,
    )
    return _JudgedTrial(trial.repeat, float(trial.outcome == "pass"), tuple(scores), tuple(verdicts), identity)


def case_passed(result: CaseResult, gate: Gate) -> bool:
    """Return whether enough trials of a case passed: all of them, or `passes_needed`, else more than half."""
    needed = gate.passes_needed or len(result.values) // 2 + 1
    return all(result.values) or sum(result.values) >= needed


def counts_cases(gate: Gate) -> bool:
    """Return whether a pass rate is of cases, not of trials."""
    return gate.passes_needed is not None or gate.max_trials is not None


def _fewest(trial_counts: Mapping[tuple[str, str, str, str], int]) -> dict[str, int]:
    """Return the smallest number of trials of any case, by suite."""
    fewest: dict[str, int] = {}
    for (suite, *_), count in trial_counts.items():
        fewest[suite] = min(fewest.get(suite, count), count)
    return fewest


def _means(trials: Iterable[Iterable[tuple[str, float]]]) -> dict[str, float]:
    by_name: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        for name, value in trial:
            by_name[name].append(value)
    return {name: math.fsum(values) / len(values) for name, values in sorted(by_name.items())}
