"""The gate against itself: the trials of one run, divided at random into two runs that must not differ."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING

import msgspec

from flowai.evals.gates.case_results import case_results
from flowai.evals.gates.comparing import ComparisonNames, compare_pairs, pair_results
from flowai.evals.gates.limits import decide, effective_gate
from flowai.evals.reports.aggregate import totals_of
from flowai.evals.reports.gate_records import SelfComparison
from flowai.evals.reports.records import Gate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.evals.reports.records import Trial

_SEED = 1


def compare_with_itself(trials: Sequence[Trial], gates: Mapping[str, Gate | None], round_count: int) -> SelfComparison:
    """Divide the judged trials of every case at random into two halves, `round_count` times, and judge both.

    A case with an odd number of trials leaves one out, each time another; a case with one trial has it in both halves.
    """
    cases: dict[tuple[str, str, str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.outcome in ("pass", "fail"):
            cases[trial.suite, trial.case, trial.prompt, trial.model].append(trial)
    rng = Random(_SEED)  # noqa: S311 - a simulation
    red = undecided = flips = 0
    for _ in range(round_count):
        before, after = _halves(cases, rng)
        passed = _compared(before, after, gates)
        red += passed is False
        undecided += passed is None
        flips += _verdict(before, gates) != _verdict(after, gates)
    return SelfComparison(
        round_count=round_count,
        red_count=red,
        undecided_count=undecided,
        flip_count=flips,
        single_case_count=sum(len(group) == 1 for group in cases.values()),
    )


def _halves(cases: Mapping[tuple[str, str, str, str], list[Trial]], rng: Random) -> tuple[list[Trial], list[Trial]]:
    before: list[Trial] = []
    after: list[Trial] = []
    for group in cases.values():
        shuffled = rng.sample(group, len(group))
        half = len(group) // 2
        before += shuffled[:half] or group
        after += shuffled[half : 2 * half] or group
    return before, after


def _compared(before: Sequence[Trial], after: Sequence[Trial], gates: Mapping[str, Gate | None]) -> bool | None:
    """Return False if one group of the second half is called worse, None if one is undecided, else True."""
    earlier, later = case_results(before, {}), case_results(after, {})
    groups = list(dict.fromkeys(result.group for result in later))
    found: list[bool | None] = []
    for group in groups:
        gate = msgspec.structs.replace(gates.get(group[0]) or Gate(), stops_early=False)
        known = {result.case: result for result in earlier if result.group == group}
        pairs = pair_results([result for result in later if result.group == group], known)
        names = ComparisonNames(suite=group[0], prompt=group[1], model=group[2], baseline="itself")
        found.append(compare_pairs(names, pairs, gate, share=1 / len(groups)).passed)
    if False in found:
        return False
    return None if None in found else True


def _verdict(trials: Sequence[Trial], gates: Mapping[str, Gate | None]) -> str:
    suites = dict.fromkeys(trial.suite for trial in trials)
    totals = {suite: totals_of([trial for trial in trials if trial.suite == suite]) for suite in suites}
    return decide(totals, {suite: _limits_only(gates.get(suite)) for suite in suites}).verdict


def _limits_only(gate: Gate | None) -> Gate | None:
    """Return the gate; one that only compares with a baseline has no limit that could flip."""
    is_compared_only = (
        gate is not None
        and gate.baseline is not None
        and effective_gate(msgspec.structs.replace(gate, baseline=None)) != msgspec.structs.replace(gate, baseline=None)
    )
    return Gate(pass_rate=0.0) if is_compared_only else gate
