"""Gate decisions by totals and limits."""

from __future__ import annotations

import pytest
from support.report_samples import trial

from flowai.errors import ExitCode
from flowai.evals.gates import decide, exit_code
from flowai.evals.reports import Gate, Trial, totals_of


@pytest.mark.parametrize(
    ("outcomes", "gate", "verdict"),
    [
        (["pass", "pass"], None, "pass"),
        (["pass", "fail"], None, "fail"),
        (["pass", "error"], None, "error"),
        (["fail", "error"], None, "error"),
        (["pass", "unscored"], None, "inconclusive"),
        (["fail", "unscored"], None, "fail"),
        (["unscored"], None, "inconclusive"),
        (["unscored"], Gate(pass_rate=0.5), "inconclusive"),
        (["pass", "unscored"], Gate(pass_rate=0.5), "pass"),
        (["pass", "fail"], Gate(pass_rate=0.5), "pass"),
        (["pass", "fail"], Gate(pass_rate=0.51), "fail"),
        (["pass", "error"], Gate(pass_rate=0.5), "error"),
        (["pass"], Gate(latency_p95_ms=900), "pass"),
        (["pass"], Gate(latency_p95_ms=700), "fail"),
        (["pass"], Gate(ttft_p95_ms=100), "fail"),
        (["pass"], Gate(cost_usd=0.001), "pass"),
        (["pass", "pass"], Gate(cost_usd=0.001), "fail"),
        (["pass"], Gate(json_valid_rate=0.9), "inconclusive"),
        (["pass"], Gate(metrics={"tone": 0.5}), "inconclusive"),
        (["pass"], Gate(baseline="last"), "pass"),
        (["pass", "fail"], Gate(baseline="last"), "fail"),
        (["pass", "fail"], Gate(max_trials=3), "fail"),
    ],
)
def test_decision(outcomes: list[str], gate: Gate | None, verdict: str) -> None:
    trials = [trial(str(number), outcome) for number, outcome in enumerate(outcomes)]
    assert decide({"s": totals_of(trials)}, {"s": gate}).verdict == verdict


def test_no_trials_are_inconclusive() -> None:
    assert decide({}, {}).verdict == "inconclusive"
    assert decide({"s": totals_of([])}, {}).verdict == "inconclusive"


def test_an_unknown_price_does_not_meet_a_cost_limit() -> None:
    priceless: list[Trial] = [trial(cost_usd=None)]
    decision = decide({"s": totals_of(priceless)}, {"s": Gate(cost_usd=1.0)})
    assert decision.verdict == "inconclusive"
    assert decision.checks[0].observed is None


def test_each_suite_has_its_own_gate_and_all_must_be_met() -> None:
    good, bad = totals_of([trial()]), totals_of([trial(outcome="fail")])
    assert decide({"a": good, "b": bad}, {"b": Gate(pass_rate=0.0)}).verdict == "pass"
    assert decide({"a": good, "b": bad}, {}).verdict == "fail"


def test_the_checks_explain_the_decision() -> None:
    (check,) = decide({"s": totals_of([trial(), trial("b", "fail")])}, {"s": Gate(pass_rate=0.95)}).checks
    assert check.suite == "s"
    assert check.metric == "pass_rate"
    assert check.observed == 0.5
    assert check.threshold == 0.95
    assert check.direction == "min"
    assert check.passed is False


def test_verdicts_have_their_exit_codes() -> None:
    codes = {
        "pass": ExitCode.DONE,
        "fail": ExitCode.GATE_NOT_MET,
        "error": ExitCode.INFRASTRUCTURE,
        "inconclusive": ExitCode.INCONCLUSIVE,
    }
    for outcome, verdict in (("pass", "pass"), ("fail", "fail"), ("error", "error"), ("unscored", "inconclusive")):
        assert exit_code(decide({"s": totals_of([trial(outcome=outcome)])}, {})) == codes[verdict]
