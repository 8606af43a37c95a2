"""Totals of trials, and changes between runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.report_samples import trial

from flowai.evals.reports import AssertionResult, Failure, changes_between, groups_of, totals_of

outcomes = st.lists(st.sampled_from(["pass", "fail", "error", "unscored"]), max_size=40)


@given(outcomes)
def test_every_trial_is_counted_once(drawn: list[str]) -> None:
    totals = totals_of([trial(str(number), outcome) for number, outcome in enumerate(drawn)])
    assert totals.trial_count == len(drawn)
    parts = totals.pass_count + totals.fail_count + totals.error_count + totals.unscored_count
    assert parts == len(drawn)
    assert totals.cached_count + totals.fresh_count == len(drawn) - totals.error_count
    if totals.pass_rate is not None:
        assert totals.pass_rate == totals.pass_count / (totals.pass_count + totals.fail_count)


def test_a_request_that_cannot_be_answered_fails_without_an_answer() -> None:
    refused = Failure(kind="ContextTooLongError", message="too long")
    totals = totals_of([trial(), trial("b", "fail", failure=refused, output=None, cost_usd=None, latency_ms=None)])
    assert totals.fail_count == 1
    assert totals.fresh_count == 1
    assert totals.unpriced_count == 0
    assert totals.latency.count == 1


def test_cached_answers_cost_nothing_but_keep_their_times() -> None:
    totals = totals_of([trial(latency_ms=100.0), trial("b", cache="exact", latency_ms=300.0)])
    assert totals.cost_usd == 0.001
    assert totals.fresh_count == 1
    assert totals.cached_count == 1
    assert totals.latency.count == 2
    assert totals.latency.p50_ms == 200.0


def test_times_that_were_not_measured_do_not_count() -> None:
    totals = totals_of([trial(), trial("b", ttft_ms=None)])
    assert totals.ttft.count == 1
    assert totals.latency.count == 2


def test_json_counts_only_where_it_was_promised() -> None:
    totals = totals_of([trial(json_valid=True), trial("b", json_valid=False), trial("c")])
    assert totals.json_valid_count == 1
    assert totals.json_promised_count == 2


def test_metrics_are_means_of_judged_checks() -> None:
    def check(passed: bool | None, score: float) -> AssertionResult:
        return AssertionResult(type="equals", passed=passed, score=score, metric="tone")

    totals = totals_of([trial(checks=(check(True, 1.0), check(False, 0.5), check(None, 0.0)))])
    assert totals.metrics == {"tone": 0.75}


def test_groups_keep_suites_prompts_and_models_apart() -> None:
    groups = groups_of([trial(), trial("b", model="n"), trial("c", "fail")])
    assert [(group.model, group.totals.trial_count) for group in groups] == [("m", 2), ("n", 1)]


def test_changes_name_regressions_and_fixes() -> None:
    before = [trial("a"), trial("b", "fail"), trial("c"), trial("gone"), trial("d", "error")]
    now = [trial("a", "fail"), trial("b"), trial("c"), trial("new"), trial("d")]
    changes = changes_between("0006", {old.key: old for old in before}, now)
    assert changes is not None
    assert [key.split("::")[1] for key in changes.regressions] == ["a"]
    assert changes.shared_count == 3
    assert [key.split("::")[1] for key in changes.fixes] == ["b"]


def test_runs_without_shared_trials_have_no_changes() -> None:
    assert changes_between("0006", {}, [trial()]) is None
