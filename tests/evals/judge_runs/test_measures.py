"""Measures of a judge's error against values computed elsewhere, and labels of several people."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta

import pytest

from flowai.evals.assertions.graded.jury import Jury
from flowai.evals.assertions.records import CheckResult
from flowai.evals.judge_runs.asking import Verdict
from flowai.evals.judge_runs.labels import AnswerLabel, active_labels, consensus, label_agreement
from flowai.evals.judge_runs.measures import (
    Judged,
    JudgedPair,
    correlation,
    count_verdicts,
    label_kappa,
    measure_position,
    measure_rates,
)

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def judged(label: str, passed: bool | None) -> Judged:
    verdict = Verdict(passed=passed, score=None, reason="", call_count=1, cost_usd=0.0, failure=None)
    return Judged(case="c", label="pass" if label == "pass" else "fail", length=5, verdicts=(verdict,))


def test_rates_and_kappa_of_a_known_table() -> None:
    answers = [
        *[judged("fail", passed=False)] * 40,
        *[judged("fail", passed=True)] * 10,
        *[judged("pass", passed=True)] * 35,
        *[judged("pass", passed=False)] * 15,
        *[judged("pass", passed=None)] * 7,
    ]
    positive, negative, youden = measure_rates(count_verdicts(answers))
    assert (positive.value, negative.value) == (0.8, 0.7)
    assert youden.value == pytest.approx(0.5)
    assert positive.low == pytest.approx(0.6696, abs=1e-4)  # Wilson
    assert positive.high == pytest.approx(0.8876, abs=1e-4)
    assert youden.low is not None
    assert youden.high is not None
    assert youden.low < 0.5 < youden.high
    assert label_kappa(answers) == pytest.approx(0.5)  # observed 0.75, by chance 0.5


def test_a_correlation_has_fisher_s_interval() -> None:
    first = [0.0, 1.0] * 14
    second = [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0] * 3 + [0.0, 1.0, 0.0, 1.0]
    found = correlation(first, second)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    reach = 1.959964 / math.sqrt(25)
    assert found.low == pytest.approx(math.tanh(math.atanh(found.value) - reach), abs=1e-6)
    assert found.high == pytest.approx(math.tanh(math.atanh(found.value) + reach), abs=1e-6)
    assert correlation([1.0] * 9, second[:9]).value is None
    assert correlation([1.0, 2.0], [0.0, 1.0]).value is None


def test_a_judge_that_follows_the_position_is_right_half_of_the_time() -> None:
    found = measure_position(
        [JudgedPair(sound_first=0, sound_second=0)] * 9 + [JudgedPair(sound_first=None, sound_second=1)]
    )
    assert found is not None
    assert (found.unread_count, found.same_choice.value, found.first_chosen.value, found.right.value) == (
        1,
        0.0,
        1.0,
        0.5,
    )
    assert measure_position([]) is None


def label(answer: str, reviewer: str, value: str | None, minute: int) -> AnswerLabel:
    return AnswerLabel(
        output_hash=answer,
        reviewer=reviewer,
        label=None if value is None else "pass" if value == "pass" else "fail",
        at=NOW + timedelta(minutes=minute),
    )


def test_the_last_label_counts_and_the_first_one_for_agreement() -> None:
    labels = [
        label("x", "ann", "fail", 3),
        label("x", "ann", "pass", 1),
        label("x", "bob", "pass", 2),
        label("y", "ann", "pass", 1),
        label("y", "ann", None, 2),
        label("z", "ann", "fail", 1),
        label("z", "bob", "fail", 1),
    ]
    active = active_labels(labels)
    assert set(active) == {"x", "z"}
    assert (consensus(active["x"]), consensus(active["z"])) == (None, "fail")
    (agreement,) = label_agreement(labels).values()
    assert (agreement.agreed_count, agreement.rated_by_both_count, agreement.kappa) == (2, 2, 1.0)


@pytest.mark.parametrize(
    ("combine", "results", "threshold", "passed"),
    [
        ("majority", [(True, 1.0), (True, 0.9), (False, 0.0)], None, True),
        ("majority", [(True, 1.0), (None, None), (False, 0.0)], None, None),
        ("majority", [(None, None), (None, None), (False, 0.0)], None, False),
        ("mean", [(True, 0.9), (True, 0.6), (False, 0.1)], None, True),
        ("mean", [(True, 0.9), (True, 0.6), (False, 0.1)], 0.6, False),
        ("mean", [(True, None), (False, None), (None, None)], None, True),
        ("cyclic", [(None, None), (None, None), (None, None)], None, None),
    ],
)
def test_a_jury_combines_what_can_be_read(
    combine: str, results: list[tuple[bool | None, float | None]], threshold: float | None, passed: bool | None
) -> None:
    by_model = dict(zip("abc", results, strict=True))

    async def grade(model: str) -> CheckResult:
        verdict, score = by_model[model]
        return CheckResult(passed=verdict, score=score, detail=f": {model}")

    kind = "majority" if combine == "majority" else "mean" if combine == "mean" else "cyclic"
    jury = Jury(("a", "b", "c"), kind, threshold=threshold)  # type: ignore[arg-type]
    result = asyncio.run(jury.judge(grade, turn="case"))
    assert result.passed is passed
    for model, (verdict, _) in by_model.items():
        if verdict is None:
            assert f"{model}: {model}" in result.detail or "against" in result.detail
