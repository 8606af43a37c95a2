"""Early stop: after each case, is the gate's answer certain? Also which failing cases are run again.

Cases are judged in an order that does not depend on their results or on the file: by a hash of their names.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from flowai.evals.gates.case_results import case_results
from flowai.evals.gates.comparing import early_comparison, pair_results
from flowai.evals.gates.rates import early_rate, rate_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flowai.evals.gates.early_evidence import EarlyEvidence
    from flowai.evals.gates.records import Baseline, CaseKey, CaseResult, GroupKey
    from flowai.evals.reports.records import Gate, Trial


class CertainResult:
    """Stops as soon as one suite is certainly not met, or all certainly are.

    `counts` are the planned trials by suite and case, over all prompts and models; `group_counts` the pairs of a prompt
    and a model by suite, without those of the baseline: they share alpha.
    """

    def __init__(
        self,
        gates: Mapping[str, Gate | None],
        counts: Mapping[CaseKey, int],
        baselines: Mapping[str, Baseline],
        group_counts: Mapping[str, int],
        baseline_groups: frozenset[GroupKey] = frozenset(),
    ) -> None:
        self._counts = counts
        self._trials: dict[CaseKey, list[Trial]] = defaultdict(list)
        self._baseline_groups = baseline_groups
        by_suite: dict[str, list[str]] = defaultdict(list)
        for suite, case in sorted(counts, key=early_order):
            by_suite[suite].append(case)
        self._suites = {
            suite: _SuiteEvidence(cases, gates.get(suite), baselines.get(suite), group_counts[suite])
            for suite, cases in by_suite.items()
        }

    def stop_reason(self, trial: Trial) -> str | None:
        """Return why the run may stop after this trial, in words that follow `stopped`; None to go on."""
        key = (trial.suite, trial.case)
        self._trials[key].append(trial)
        if key not in self._counts or len(self._trials[key]) < self._counts[key]:
            return None
        own: list[Trial] = []
        before: list[Trial] = []
        for item in self._trials.pop(key):
            is_before = (item.suite, item.prompt, item.model) in self._baseline_groups
            (before if is_before else own).append(item)
        self._suites[trial.suite].finish(trial.case, case_results(own), case_results(before))
        found = [suite.passed for suite in self._suites.values()]
        return "because the result is certain" if False in found or None not in found else None


class _SuiteEvidence:
    """Evidence about one suite, case after case."""

    def __init__(self, cases: Sequence[str], gate: Gate | None, baseline: Baseline | None, group_count: int) -> None:
        self._group_count = group_count
        self._waiting = list(reversed(cases))
        self._finished: dict[str, tuple[list[CaseResult], list[CaseResult]]] = {}
        self._gate = gate
        self._baseline = baseline
        is_early = gate is not None and gate.stops_early
        self._rate: EarlyEvidence | None = None
        if is_early and gate is not None and gate.alpha is not None and gate.pass_rate is not None:
            self._rate = early_rate(gate)
        self._is_compared = is_early and baseline is not None
        self._comparisons: dict[GroupKey, EarlyEvidence] = {}
        self._needs_all = gate is None or bool(gate.slices) or not (self._rate is not None or self._is_compared)

    @property
    def passed(self) -> bool | None:
        """The certain result; None if there is none yet, or only the complete run has one."""
        every = [*([self._rate] if self._rate else []), *self._comparisons.values()]
        found = [None if item.result is None else item.result.passed for item in every]
        if False in found:
            return False
        if self._needs_all or None in found or (self._is_compared and len(self._comparisons) < self._group_count):
            return None
        return True

    def finish(self, case: str, results: list[CaseResult], before: list[CaseResult]) -> None:
        """Add a finished case, with the baseline's results if they are of this run.

        Evidence grows in the fixed order of the cases.
        """
        self._finished[case] = (results, before)
        while self._waiting and self._waiting[-1] in self._finished:
            self._bet(*self._finished.pop(self._waiting.pop()))

    def _bet(self, results: list[CaseResult], before: list[CaseResult]) -> None:
        if self._gate is None or not results:
            return
        if self._rate is not None:
            for value in rate_values(results, self._gate):
                self._rate.add(value)
        if self._is_compared and self._baseline is not None:
            baseline = replace(self._baseline, results=tuple(before)) if before else self._baseline
            for result in results:
                for pair in pair_results([result], baseline.find(*result.group)):
                    if result.group not in self._comparisons:
                        share = 1 / self._group_count * (0.5 if self._gate.slices or self._gate.metrics else 1.0)
                        self._comparisons[result.group] = early_comparison(self._gate, share=share)
                    self._comparisons[result.group].add(pair.first.difference)


def early_order(key: CaseKey) -> str:
    """Return the sort key of the order in which cases are judged."""
    return hashlib.sha256(f"{key[0]}::{key[1]}".encode()).hexdigest()


def trials_again(results: Iterable[CaseResult], gates: Mapping[str, Gate | None]) -> list[tuple[CaseResult, int]]:
    """Return the cases with a failed planned trial, and how many more trials each gets."""
    again = []
    for result in results:
        gate = gates.get(result.suite)
        if gate is None or gate.max_trials is None or all(result.first):
            continue
        missing = gate.max_trials - len(result.values)
        if missing > 0:
            again.append((result, missing))
    return again
