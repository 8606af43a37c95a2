"""Results by case: repeats of a case are together, and never count as cases."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from flowai.evals.gates.records import CaseResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.evals.reports.records import Gate, Trial


def case_results(trials: Iterable[Trial], repeats: Mapping[str, int] | None = None) -> list[CaseResult]:
    """Group judged trials by case, prompt and model, in order of appearance.

    `repeats` is the number of planned trials per case by suite; later ones were run because it failed. Without it,
    the smallest number of trials of any case of the suite is taken for it. Errors and answers without a judgement are
    left out; a case without a judged trial has no result.
    """
    cases: dict[tuple[str, str, str, str], _Tally] = defaultdict(_Tally)
    for trial in trials:
        cases[trial.suite, trial.case, trial.prompt, trial.model].add(trial)
    planned_counts = _fewest_trials(cases) if repeats is None else repeats
    results = []
    for (suite, case, prompt, model), tally in cases.items():
        if not tally.passes:
            continue
        planned = planned_counts.get(suite, math.inf)
        results.append(
            CaseResult(
                suite=suite,
                case=case,
                prompt=prompt,
                model=model,
                first=tuple([passed for repeat, passed in tally.passes if repeat < planned]),
                again=tuple([passed for repeat, passed in tally.passes if repeat >= planned]),
                metrics=tally.metrics(),
            )
        )
    return results


def case_passed(result: CaseResult, gate: Gate) -> bool:
    """Return whether enough trials of a case passed: all of them, or `passes_needed`, else more than half."""
    needed = gate.passes_needed or len(result.values) // 2 + 1
    return all(result.values) or sum(result.values) >= needed


def counts_cases(gate: Gate) -> bool:
    """Return whether a pass rate is of cases, not of trials."""
    return gate.passes_needed is not None or gate.max_trials is not None


class _Tally:
    """Judged trials of one case on one prompt and model; the trials themselves are not kept."""

    __slots__ = ("_scores", "count", "passes")

    def __init__(self) -> None:
        self.count = 0
        """Trials, those without a judgement included."""
        self.passes: list[tuple[int, float]] = []
        """Repeat, and 1 for passed."""
        self._scores: dict[str, list[float]] | None = None

    def add(self, trial: Trial) -> None:
        self.count = max(self.count, trial.repeat + 1)
        if trial.outcome not in ("pass", "fail"):
            return
        self.passes.append((trial.repeat, float(trial.outcome == "pass")))
        for check in trial.checks:
            if check.metric is not None and check.passed is not None:
                self._scores = self._scores or {}
                self._scores.setdefault(check.metric, []).append(check.score)

    def metrics(self) -> dict[str, float]:
        scores = self._scores or {}
        return {name: math.fsum(values) / len(values) for name, values in sorted(scores.items())}


def _fewest_trials(cases: Mapping[tuple[str, str, str, str], _Tally]) -> dict[str, int]:
    fewest: dict[str, int] = {}
    for (suite, *_), tally in cases.items():
        fewest[suite] = min(fewest.get(suite, tally.count), tally.count)
    return fewest
