"""Runs many simulated rollouts under a policy, in several processes if that is faster."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Self

from flowai.canary.planning.simulated_verdicts import judge_simulated
from flowai.comparison.sampling import UNSAMPLED_CALLS
from flowai.simulation.harm import add_harm
from flowai.simulation.resample import draw_rollout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from flowai.canary.planning.simulated_verdicts import RolloutOutcome
    from flowai.comparison.evidence import DecisionRules
    from flowai.comparison.spec import ComparisonSpec
    from flowai.simulation.calls import SimulatedCalls
    from flowai.simulation.harm import FailureShares, Harm
    from flowai.simulation.resample import Assignment, UserHistories
    from flowai.simulation.scenario import Scenario

_RUNS_PER_TASK = 10
_MIN_PARALLEL_ROLLOUTS = 100  # fewer take less time than the start of processes


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutCase:
    """A kind of rollout."""

    harm: Harm | None
    shares: FailureShares | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyRuns:
    """Everything that a process needs to simulate rollouts."""

    histories: UserHistories
    assignment: Assignment
    scenario: Scenario
    spec: ComparisonSpec
    rules: DecisionRules
    limits: NDArray[np.float64]
    user_count: int
    """Users to draw."""
    user_share: float
    """As a share of those that the log has."""
    seed: int

    def draw(self, run: int) -> SimulatedCalls:
        """Draw the calls of a rollout of an equal candidate."""
        return draw_rollout(
            self.histories,
            self.assignment,
            seed=(self.seed, run),
            user_count=self.user_count,
            max_arm_calls=UNSAMPLED_CALLS,
        )

    def judge(self, case: RolloutCase, runs: Sequence[int]) -> list[RolloutOutcome]:
        """Judge some rollouts of a kind."""
        outcomes = []
        for run in runs:
            calls = self.draw(run)
            if case.harm is not None:
                calls = add_harm(calls, case.harm, shares=case.shares, limits=self.limits, seed=run)
            outcomes.append(judge_simulated(calls, self.scenario, self.rules, self.spec))
        return outcomes


class RolloutRunner:
    """Judges rollouts in several processes, if that is faster; the outcomes do not depend on it."""

    def __init__(self, simulation: PolicyRuns, total: int, on_progress: Callable[[int, int], None]) -> None:
        self._simulation = simulation
        self._total = total
        self._done = 0
        self._on_progress = on_progress
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        processes = os.cpu_count() or 1
        if processes > 1 and self._total >= _MIN_PARALLEL_ROLLOUTS:
            # not forked: the parent had threads
            self._pool = ProcessPoolExecutor(
                processes, get_context("spawn"), initializer=_set_up, initargs=(self._simulation,)
            )
        self._on_progress(0, self._total)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def judge(self, cases: Sequence[RolloutCase], runs: Sequence[int]) -> list[list[RolloutOutcome]]:
        """Return the outcomes of each case, in order of the runs."""
        parts = [runs[begin : begin + _RUNS_PER_TASK] for begin in range(0, len(runs), _RUNS_PER_TASK)]
        pool = self._pool
        if pool is None:
            return [
                [one for part in parts for one in self._counted(self._simulation.judge(case, part))] for case in cases
            ]
        tasks = [[pool.submit(_judge, case, part) for part in parts] for case in cases]
        return [[one for task in several for one in self._counted(task.result())] for several in tasks]

    def _counted(self, outcomes: list[RolloutOutcome]) -> list[RolloutOutcome]:
        self._done += len(outcomes)
        self._on_progress(self._done, self._total)
        return outcomes


_process_simulation: list[PolicyRuns] = []


def _set_up(simulation: PolicyRuns) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the processes
    _process_simulation.append(simulation)


def _judge(case: RolloutCase, runs: Sequence[int]) -> list[RolloutOutcome]:
    return _process_simulation[0].judge(case, runs)
