"""Pairs of results of both models, case by case, in an order that does not depend on the results."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from flowai.evals.gates.case_results import case_results
from flowai.evals.gates.stopping import early_order
from flowai.statistics.paired_trials import PairedTrials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flowai.evals.gates.records import CaseKey, CaseResult
    from flowai.evals.reports import Trial
    from flowai.upgrades.verdict import RunningVerdict


class CaseOutcome(NamedTuple):
    """Results of one case on both models; None for a model whose answers could not be judged."""

    key: CaseKey
    old: CaseResult | None
    new: CaseResult | None

    @property
    def pair(self) -> PairedTrials | None:
        """The pair; None if a side is missing."""
        if self.old is None or self.new is None:
            return None
        return PairedTrials(before=self.old.first, after=self.new.first)


class PairCollector:
    """Collects the trials of cases until both models have answered them; says when the verdict is certain.

    Args:
        counts: planned trials of each case, of both models together.
        old: name of the old model.
        before: results of the old model from a baseline, instead of its trials.
        running: evidence that may stop the run; None to run every case.
    """

    def __init__(
        self,
        counts: Mapping[CaseKey, int],
        *,
        old: str,
        before: Mapping[CaseKey, CaseResult] | None = None,
        running: RunningVerdict | None = None,
    ) -> None:
        self._counts = counts
        self._old = old
        self._before = before
        self._running = running
        self._trials: dict[CaseKey, dict[str, Trial]] = defaultdict(dict)
        self._waiting = sorted(counts, key=early_order, reverse=True)
        self._finished: dict[CaseKey, CaseOutcome] = {}
        self.outcomes: list[CaseOutcome] = []
        """Finished cases in their order, up to the first that is not finished."""

    def stop_reason(self, trial: Trial) -> str | None:
        """Add a trial; return why the run may stop, in words that follow `stopped`; None to go on."""
        key = (trial.suite, trial.case)
        if key not in self._counts:
            return None
        trials = self._trials[key]
        trials[trial.key] = trial
        if len(trials) < self._counts[key]:
            return None
        self._finished[key] = self._outcome(key, list(self._trials.pop(key).values()))
        is_certain = False
        while self._waiting and self._waiting[-1] in self._finished:
            outcome = self._finished.pop(self._waiting.pop())
            self.outcomes.append(outcome)
            pair = outcome.pair
            if self._running is not None and pair is not None:
                is_certain |= self._running.add(pair.difference) is not None
        return "because the verdict is certain" if is_certain else None

    def add_all(self, trials: Iterable[Trial]) -> Sequence[CaseOutcome]:
        """Add the trials of a finished run and return the outcomes."""
        for trial in trials:
            self.stop_reason(trial)
        return self.outcomes

    def _outcome(self, key: CaseKey, trials: Sequence[Trial]) -> CaseOutcome:
        results = {result.model: result for result in case_results(trials) if result.first}
        old = results.pop(self._old, None) if self._before is None else self._before.get(key)
        return CaseOutcome(key, old, next(iter(results.values()), None))
