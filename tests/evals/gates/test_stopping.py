"""Early stop: whatever the order in which trials finish, the report of a stopped run says the same."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from support.report_samples import trial

from flowai.evals.execution.limits import CallLimit
from flowai.evals.gates import GateInputs, judge_run
from flowai.evals.gates.case_results import case_results
from flowai.evals.gates.records import Baseline, CaseFacts
from flowai.evals.gates.stopping import CertainResult, early_order, trials_again
from flowai.evals.reports import Gate, Trial

SUITE = "evals/s.yaml"


def trials_of(rate: float, seed: int, count: int, model: str = "m") -> list[Trial]:
    """Return trials of which about a share passes."""
    rng = random.Random(seed)  # noqa: S311 - a simulation
    return [
        trial(f"c{number}", "pass" if rng.random() < rate else "fail", model=model, key=f"{number}-{model}")
        for number in range(count)
    ]


def rule(gate: Gate, count: int, before: list[Trial], groups: int = 1) -> CertainResult:
    """Return the rule of a run of one suite."""
    counts = {(SUITE, f"c{number}"): groups for number in range(count)}
    baseline = Baseline(name="b", results=tuple(case_results(before)))
    return CertainResult({SUITE: gate}, counts, {SUITE: baseline} if gate.baseline else {}, {SUITE: groups})


@settings(max_examples=25)
@given(
    st.sampled_from([0.4, 0.7, 0.85, 0.95, 1.0]),
    st.sampled_from(
        [Gate(pass_rate=0.8, alpha=0.05, stops_early=True), Gate(baseline="b", stops_early=True, margin=0.2)]
    ),
    st.integers(0, 99),
)
def test_a_stopped_run_has_the_result_that_stopped_it(rate: float, gate: Gate, seed: int) -> None:
    count = 250
    trials, before = trials_of(rate, seed, count), trials_of(0.9, seed + 1, count)
    shuffled = random.Random(seed).sample(trials, count)  # noqa: S311 - a simulation
    # a few are in flight at once: they finish in any order near that of the plan
    planned = sorted(trials, key=lambda item: early_order((SUITE, item.case)))
    finished = [item for start in range(0, count, 8) for item in shuffled if item in planned[start : start + 8]]
    stop = rule(gate, count, before)
    ends = next((place for place, item in enumerate(finished, start=1) if stop.stop_reason(item)), None)
    seen, is_certain = finished[:ends], ends is not None
    facts = {(SUITE, f"c{number}"): CaseFacts() for number in range(count)}
    baselines = {SUITE: Baseline(name="b", results=tuple(case_results(before)))} if gate.baseline else {}
    outcome = judge_run(
        random.Random(seed).sample(seen, len(seen)),  # noqa: S311 - a simulation
        GateInputs(gates={SUITE: gate}, facts=facts, baselines=baselines, is_partial=is_certain),
    )
    if is_certain:
        assert len(seen) <= count
        assert outcome.decision.verdict in ("pass", "fail")
        check = next(item for item in outcome.decision.checks if item.passed is not None)
        assert check.case_count is not None
        assert check.case_count <= len(seen)


def test_two_models_share_alpha_and_both_must_be_certain() -> None:
    gate = Gate(baseline="b", stops_early=True, margin=0.2)
    good, bad, before = trials_of(1.0, 1, 100), trials_of(0.3, 2, 100, "n"), trials_of(1.0, 3, 100)
    stop = rule(gate, 100, before, groups=2)
    order = sorted(range(100), key=lambda number: early_order((SUITE, f"c{number}")))
    used = next(
        place for place, number in enumerate(order) if stop.stop_reason(good[number]) or stop.stop_reason(bad[number])
    )
    assert used < 30, "one model is certainly worse"


def test_slices_need_the_whole_run_to_be_met() -> None:
    for slices, expected in (((), True), (("language",), False)):
        gate = Gate(pass_rate=0.5, alpha=0.05, stops_early=True, slices=slices)
        stop = rule(gate, 100, [])
        assert any(stop.stop_reason(item) for item in trials_of(1.0, 1, 100)) is expected
        stop = rule(gate, 100, [])
        assert any(stop.stop_reason(item) for item in trials_of(0.0, 1, 100))


def test_kept_trials_count_and_a_limit_of_calls_is_of_waiting_trials() -> None:
    gate = Gate(pass_rate=0.9, alpha=0.05, stops_early=True)
    stop = rule(gate, 100, [])
    assert any(stop.stop_reason(kept) is not None for kept in trials_of(0.0, 1, 100))
    limited = CallLimit(2)
    assert list(limited.take([1, 2])) == [1, 2]
    before = limited.reached
    assert before is None
    assert list(limited.take([3])) == []
    assert getattr(limited.reached, "what", None) == "at the limit of calls (--max-calls)"


def test_only_cases_that_failed_at_first_are_run_again() -> None:
    first = [trial("a"), trial("b", "fail"), trial("c", "error"), trial("d", "unscored")]
    again = trials_again(case_results(first, {SUITE: 1}), {SUITE: Gate(max_trials=3)})
    assert [(result.case, count) for result, count in again] == [("b", 2)]
    assert trials_again(case_results(first, {SUITE: 1}), {SUITE: Gate()}) == []
