"""The gate's decision: comparisons, confidence, slices, critical cases, flaky cases, quarantine, errors."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_samples import trial

from flowai.evals.gates import GateInputs, GateOutcome, exit_code, judge_run
from flowai.evals.gates.records import Baseline, CaseFacts, CaseResult
from flowai.evals.reports import AssertionResult, Gate, Trial

SUITE = "evals/s.yaml"
OUTCOMES = st.sampled_from(["pass", "fail"])


def run_of(outcomes: str, *, repeats: int = 1, **changes: Any) -> list[Trial]:
    """Return trials from `p`, `f`, `e` and `u`; with repeats, so many letters per case."""
    words = {"p": "pass", "f": "fail", "e": "error", "u": "unscored"}
    return [
        trial(
            f"c{index // repeats:04d}",
            words[letter],
            repeat=index % repeats,
            key=f"{SUITE}::c{index // repeats:04d}::prompts/p_v1::m::{index % repeats}",
            **changes,
        )
        for index, letter in enumerate(outcomes)
    ]


def baseline_of(outcomes: str, *, repeats: int = 1, **metrics: float) -> Baseline:
    """Return a baseline's results from `p` and `f`."""
    chunks = [outcomes[start : start + repeats] for start in range(0, len(outcomes), repeats)]
    results = [
        CaseResult(
            suite=SUITE,
            case=f"c{index:04d}",
            prompt="prompts/p_v1",
            model="m",
            first=tuple(float(letter == "p") for letter in chunk),
            metrics=metrics,
        )
        for index, chunk in enumerate(chunks)
    ]
    return Baseline(name="run 0001", results=tuple(results))


def judged(trials: list[Trial], gate: Gate | None = None, before: Baseline | None = None, **facts: Any) -> GateOutcome:
    """Judge trials of one suite."""
    baselines = {} if before is None else {SUITE: before}
    return judge_run(trials, GateInputs(gates={SUITE: gate}, baselines=baselines, **facts))


COMPARED = Gate(baseline="last")


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ("p" * 100, "p" * 100, "pass"),
        ("p" * 100, "p" * 90 + "f" * 10, "fail"),
        ("p" * 100, "p" * 97 + "f" * 3, "inconclusive"),
        ("f" * 100, "f" * 100, "pass"),
        ("f" * 100, "p" * 100, "pass"),
        ("p" * 2000, "p" * 1980 + "f" * 20, "pass"),
        ("pf" * 100, "fp" * 100, "inconclusive"),
        ("p" * 5, "f" * 5, "fail"),
        ("p" * 4, "f" * 4, "inconclusive"),
    ],
)
def test_comparison_with_a_baseline(before: str, after: str, verdict: str) -> None:
    assert judged(run_of(after), COMPARED, baseline_of(before)).decision.verdict == verdict


def test_a_comparison_says_interval_p_value_and_number_of_cases() -> None:
    outcome = judged(run_of("p" * 90 + "f" * 10), COMPARED, baseline_of("p" * 100))
    (found,) = outcome.comparison
    assert found.method == "McNemar's exact test"
    assert (found.worse_count, found.better_count, found.case_count) == (10, 0, 100)
    assert found.difference == pytest.approx(-0.1)
    assert found.low < -0.1 < found.high < 0
    assert found.p_value == pytest.approx(0.5**10)
    assert found.worse_cases[0] == "c0090"
    assert "not met: -10.0 [-1" in outcome.decision.sentence
    assert "10 worse, 0 better, p 0.00098, n = 100" in outcome.decision.sentence


def test_an_undecided_comparison_says_how_many_cases_it_needs() -> None:
    outcome = judged(run_of("p" * 98 + "f" * 2), COMPARED, baseline_of("p" * 100))
    (found,) = outcome.comparison
    assert found.passed is None
    assert found.needed_case_count is not None
    assert found.needed_case_count > 100
    assert f"needs about {found.needed_case_count - 100} more cases" in outcome.decision.sentence
    again = judged(
        run_of(("p" * 98 + "f" * 2) * (found.needed_case_count // 100 + 1)),
        COMPARED,
        baseline_of("p" * 100 * (found.needed_case_count // 100 + 1)),
    )
    assert again.comparison[0].passed is True


def test_a_small_loss_within_the_margin_is_met_although_it_is_sure() -> None:
    before, after = "p" * 5000, "p" * 4950 + "f" * 50
    assert judged(run_of(after), Gate(baseline="b", margin=0.03), baseline_of(before)).decision.verdict == "pass"
    assert judged(run_of(after), Gate(baseline="b", margin=0.005), baseline_of(before)).decision.verdict == "fail"


@given(st.lists(st.tuples(OUTCOMES, OUTCOMES), min_size=1, max_size=12), st.integers(2, 4))
def test_repeats_of_a_case_never_count_as_cases(pairs: list[tuple[str, str]], repeats: int) -> None:
    before = "".join(one[0][0] * repeats for one in pairs)
    after = "".join(one[1][0] * repeats for one in pairs)
    once = judged(run_of("".join(one[1][0] for one in pairs)), COMPARED, baseline_of("".join(p[0][0] for p in pairs)))
    many = judged(
        run_of(after, repeats=repeats), COMPARED, baseline_of(before, repeats=repeats), repeats={SUITE: repeats}
    )
    assert many.comparison[0].case_count == once.comparison[0].case_count == len(pairs)
    assert many.comparison[0].low == pytest.approx(once.comparison[0].low)
    assert many.comparison[0].p_value == pytest.approx(once.comparison[0].p_value)


@given(st.text("pf", min_size=6, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_trials_does_not_matter(outcomes: str, rng: random.Random) -> None:
    trials = run_of(outcomes)
    before = baseline_of("p" * len(outcomes))
    shuffled = rng.sample(trials, len(trials))
    one, other = judged(trials, COMPARED, before), judged(shuffled, COMPARED, before)
    assert one.decision.verdict == other.decision.verdict
    assert one.comparison[0].p_value == pytest.approx(other.comparison[0].p_value)


def test_cases_without_a_partner_or_a_judgement_are_counted_apart() -> None:
    outcome = judged(run_of("p" * 100 + "u" * 3), Gate(baseline="b", max_error_count=5), baseline_of("p" * 90))
    (found,) = outcome.comparison
    assert (found.case_count, found.unpaired_count) == (90, 10)


def test_a_baseline_without_these_cases_leaves_the_gate_undecided() -> None:
    outcome = judged(run_of("p" * 100), COMPARED, Baseline(name="run 0001", results=()))
    assert outcome.decision.verdict == "inconclusive"
    assert "run 0001 has no result of these cases" in outcome.decision.sentence


def test_repeats_sharpen_a_case() -> None:
    # every case passes half of its trials: noise of one trial, almost none of twenty
    rng = random.Random(4)  # noqa: S311 - a simulation
    half = "".join(rng.choice("pf") for _ in range(100))
    once = judged(run_of(half[:50]), COMPARED, baseline_of(half[50:]))
    even = "pf" * 10 * 50
    many = judged(run_of(even, repeats=20), COMPARED, baseline_of(even, repeats=20), repeats={SUITE: 20})
    assert once.decision.verdict == "inconclusive"
    assert many.comparison[0].high - many.comparison[0].low < (once.comparison[0].high - once.comparison[0].low) / 2


def test_failing_cases_that_were_run_again_decide_together_with_the_first_trials() -> None:
    first = run_of("p" * 24 + "f")
    again = [trial("c0024", "fail", repeat=number, key=f"k{number}") for number in range(1, 5)]
    before = baseline_of("p" * 250, repeats=10)
    gate = Gate(baseline="b", max_trials=5, margin=0.2)
    outcome = judged([*first, *again], gate, before, repeats={SUITE: 1})
    assert outcome.comparison[0].p_value == pytest.approx(1 / 1001 / 0.8)
    flaky = [trial("c0024", "pass", repeat=number, key=f"k{number}") for number in range(1, 5)]
    outcome = judged([*first, *flaky], gate, before, repeats={SUITE: 1})
    assert outcome.decision.verdict == "pass"
    assert "flaky: `c0024` passed 4 of 5" in outcome.decision.sentence


def test_lost_cases_are_not_worse_where_as_many_are_gained() -> None:
    first = run_of("p" * 20 + "f" * 5)
    again = [
        trial(f"c{case:04d}", "fail", repeat=number, key=f"k{case}-{number}")
        for case in range(20, 25)
        for number in range(1, 5)
    ]
    before = baseline_of("f" * 50 + "p" * 200, repeats=10)
    outcome = judged([*first, *again], Gate(baseline="b", max_trials=5, margin=0.1), before, repeats={SUITE: 1})
    assert outcome.comparison[0].difference == pytest.approx(0)
    assert outcome.decision.verdict == "inconclusive"


def test_a_slice_that_collapses_is_not_hidden_by_the_mean() -> None:
    before = "p" * 400
    after = "p" * 390 + "f" * 10
    facts = {
        (SUITE, f"c{n:04d}"): CaseFacts(slices=("language=nl" if n >= 385 else "language=en",)) for n in range(400)
    }
    gate = Gate(baseline="b", margin=0.05, slices=("language",))
    outcome = judged(run_of(after), gate, baseline_of(before), facts=facts)
    assert outcome.comparison[0].passed is True
    assert outcome.decision.verdict == "fail"
    assert [(item.name, item.passed) for item in outcome.slices] == [("language=en", True), ("language=nl", False)]
    assert "slice `language=nl` 33 % of 15 cases" in outcome.decision.sentence
    without = judged(run_of(after), Gate(pass_rate=0.9, slices=("language",)), facts=facts)
    assert [(item.name, item.passed) for item in without.slices] == [("language=en", True), ("language=nl", False)]
    for found in (outcome, without):
        assert found.decision.sentence.count("language=nl") == 1


def test_holms_correction_covers_all_slices() -> None:
    facts = {(SUITE, f"c{n:04d}"): CaseFacts(slices=(f"k={n // 5}",)) for n in range(100)}
    after = "f" * 5 + "p" * 95
    outcome = judged(run_of(after), Gate(baseline="b", margin=0.2, slices=("k",)), baseline_of("p" * 100), facts=facts)
    (lowest, *_) = sorted(outcome.slices, key=lambda item: item.p_value)
    assert lowest.p_value == pytest.approx(20 * 0.5**5)
    assert outcome.decision.verdict == "pass"


def test_a_critical_case_that_fails_is_not_met() -> None:
    facts = {(SUITE, "c0003"): CaseFacts(is_critical=True), (SUITE, "c0004"): CaseFacts(is_critical=True)}
    gate = Gate(pass_rate=0.5)
    assert judged(run_of("fffpppppp"), gate, facts=facts).decision.verdict == "pass"
    outcome = judged(run_of("pppfppppp"), gate, facts=facts)
    assert outcome.decision.verdict == "fail"
    assert "critical cases 0.5, limit at least 1, n = 2" in outcome.decision.sentence
    floor = Gate(pass_rate=0.5, critical_rate=0.5)
    assert judged(run_of("pppfppppp"), floor, facts=facts).decision.verdict == "pass"


@pytest.mark.parametrize(
    ("outcomes", "gate", "verdict"),
    [
        ("p" * 200, Gate(pass_rate=0.95, alpha=0.05), "pass"),
        ("p" * 160 + "f" * 40, Gate(pass_rate=0.95, alpha=0.05), "fail"),
        ("p" * 190 + "f" * 10, Gate(pass_rate=0.95, alpha=0.05), "inconclusive"),
        ("p" * 190 + "f" * 10, Gate(pass_rate=0.95), "pass"),
        ("p" * 190 + "f" * 10, Gate(pass_rate=0.95, alpha=0.05, margin=0.05), "pass"),
        ("p" * 96 + "e" * 4, Gate(pass_rate=0.9, max_error_rate=0.05), "pass"),
        ("p" * 94 + "e" * 6, Gate(pass_rate=0.9, max_error_rate=0.05), "error"),
        ("p" * 96 + "u" * 4, Gate(pass_rate=0.9, max_error_count=4), "pass"),
        ("p" * 95 + "u" * 5, Gate(pass_rate=0.9, max_error_count=4), "error"),
        ("p" * 95 + "e" * 5, Gate(pass_rate=0.9, max_error_count=9, alpha=0.05), "pass"),
    ],
)
def test_confidence_and_the_budget_of_errors(outcomes: str, gate: Gate, verdict: str) -> None:
    assert judged(run_of(outcomes), gate).decision.verdict == verdict


def test_a_case_passes_with_enough_of_its_trials() -> None:
    gate = Gate(pass_rate=1.0, passes_needed=2, max_trials=3)
    trials = [trial("a"), *[trial("b", o, repeat=n, key=f"b{n}") for n, o in enumerate(["fail", "pass", "pass"])]]
    outcome = judged(trials, gate, repeats={SUITE: 1}, earlier_flakes={(SUITE, "b"): 2})
    assert outcome.decision.verdict == "pass"
    (flaky,) = outcome.flaky
    assert (flaky.case, flaky.pass_count, flaky.trial_count, flaky.passed, flaky.earlier_count) == ("b", 2, 3, True, 2)
    assert "flaky: `b` passed 2 of 3" in outcome.decision.sentence
    trials[-1] = trial("b", "fail", repeat=2, key="b2")
    assert judged(trials, gate, repeats={SUITE: 1}).decision.verdict == "fail"


def test_quarantined_cases_are_left_out() -> None:
    outcome = judged(run_of("pppf"), quarantined=frozenset({(SUITE, "c0003"), (SUITE, "other")}))
    assert outcome.decision.verdict == "pass"
    assert outcome.quarantined == ("evals/s.yaml::c0003",)


def test_metrics_are_compared_too() -> None:
    def scored(score: float) -> tuple[AssertionResult, ...]:
        return (AssertionResult(type="similar", passed=True, score=score, metric="tone"),)

    trials = run_of("p" * 100, checks=scored(0.7))
    gate = Gate(baseline="b", metrics={"tone": 0.5})
    outcome = judged(trials, gate, baseline_of("p" * 100, tone=0.9))
    assert [(item.metric, item.passed) for item in outcome.comparison] == [("pass_rate", True), ("metrics.tone", False)]
    assert outcome.decision.verdict == "fail"
    assert judged(trials, gate, baseline_of("p" * 100, tone=0.7)).decision.verdict == "pass"


def test_each_prompt_and_model_has_a_comparison_of_its_own() -> None:
    trials = [*run_of("p" * 120), *run_of("f" * 20 + "p" * 100, model="n")]
    before = Baseline(
        name="run 0001",
        results=(
            *baseline_of("p" * 120).results,
            *[
                CaseResult(suite=SUITE, case=one.case, prompt=one.prompt, model="n", first=one.first)
                for one in baseline_of("p" * 120).results
            ],
        ),
    )
    outcome = judged(trials, COMPARED, before)
    assert [(item.model, item.passed, item.alpha) for item in outcome.comparison] == [
        ("m", True, 0.025),
        ("n", False, 0.025),
    ]
    assert "of prompts/p_v1 on n against run 0001" in outcome.decision.checks[1].metric


def test_a_stopped_run_is_met_only_with_confidence() -> None:
    assert judged(run_of("pp"), is_partial=True).decision.verdict == "inconclusive"
    assert judged(run_of("pf"), is_partial=True).decision.verdict == "fail"
    sure = Gate(pass_rate=0.5, alpha=0.05, stops_early=True)
    outcome = judged(run_of("p" * 40), sure, is_partial=True)
    assert outcome.decision.verdict == "pass"
    assert int(exit_code(outcome.decision)) == 0
