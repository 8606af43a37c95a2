"""Corrected rates: equal to truescore's, and what must hold for any counts; the coverage is measured by a benchmark.

Frozen values are of truescore 0.7.4, which is asked again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.calibration import JudgeCounts
from flowai.statistics import (
    Interval,
    clopper_pearson,
    corrected_difference,
    corrected_gap,
    corrected_rate,
    corrected_share,
    difference_bias,
    difference_interval,
    flagged_margin,
    rogan_gladen,
    true_negative_interval,
    true_positive_interval,
    wilson,
    youden_interval,
)

Z = 1.959963984540054
WIDE = JudgeCounts(true_positive_count=0, false_negative_count=0, true_negative_count=0, false_positive_count=0)


def counts(hits: int, misses: int, passed: int, false: int) -> JudgeCounts:
    return JudgeCounts(
        true_positive_count=hits, false_negative_count=misses, true_negative_count=passed, false_positive_count=false
    )


GOOD = counts(40, 10, 45, 5)

some = st.integers(0, 60)
any_counts = st.builds(counts, some, some, some, some)
judged = st.integers(0, 400).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


class Reference(NamedTuple):
    """A calibration, flagged and judged answers; estimate and limits by truescore 0.7.4, cut to 0 to 1."""

    judge: JudgeCounts
    flagged: int
    judged: int
    estimate: float
    low: float
    high: float


REFERENCES = [
    Reference(counts(40, 10, 45, 5), 150, 1000, 0.07142857142857148, 0.0, 0.18673300059306272),
    Reference(counts(35, 15, 48, 2), 300, 1000, 0.393939393939394, 0.2935020533888335, 0.49437673448995445),
    Reference(counts(18, 2, 70, 10), 260, 900, 0.21146953405017907, 0.12100444708600216, 0.301934621014356),
    Reference(counts(9, 3, 80, 8), 120, 400, 0.31724137931034463, 0.1675077209511819, 0.4669750376695073),
]


@pytest.mark.parametrize("reference", REFERENCES)
def test_estimate_and_variance_are_those_of_truescore(reference: Reference) -> None:
    found = rogan_gladen(reference.flagged, reference.judged, reference.judge)
    assert found is not None
    reach = Z * math.sqrt(found.variance)
    assert found.estimate == pytest.approx(reference.estimate, abs=1e-9)
    assert max(found.estimate - reach, 0.0) == pytest.approx(reference.low, abs=1e-9)
    assert found.estimate + reach == pytest.approx(reference.high, abs=1e-9)


@pytest.mark.parametrize("reference", REFERENCES)
def test_the_references_are_still_what_truescore_says(reference: Reference) -> None:
    import truescore

    judge = reference.judge
    labels = [1] * (judge.true_positive_count + judge.false_negative_count)
    labels += [0] * (judge.true_negative_count + judge.false_positive_count)
    verdicts = [1] * judge.true_positive_count + [0] * (judge.false_negative_count + judge.true_negative_count)
    verdicts += [1] * judge.false_positive_count
    flagged = reference.flagged - sum(verdicts)
    verdicts += [1] * flagged + [0] * (reference.judged - len(verdicts) - flagged)
    found = truescore.rogan_gladen_estimate(verdicts, labels, list(range(len(labels))))
    assert (found.point, found.low, found.high) == pytest.approx(
        (reference.estimate, reference.low, reference.high), abs=1e-9
    )


@given(judged, any_counts)
def test_the_estimate_is_between_its_limits(seen: tuple[int, int], judge: JudgeCounts) -> None:
    found = corrected_rate(*seen, judge)
    assert 0 <= found.low <= found.high <= 1
    if found.estimate is None:
        assert (found.low, found.high) == (0, 1)
    else:
        moments = rogan_gladen(*seen, judge)
        assert moments is not None
        assert found.low <= found.estimate <= found.high
        assert found.estimate == pytest.approx(min(max(moments.estimate, 0), 1))


@given(judged, judged, any_counts)
def test_a_difference_is_refuted_exactly_if_equal_flagged_shares_are(
    first: tuple[int, int], second: tuple[int, int], judge: JudgeCounts
) -> None:
    found = corrected_difference(first, second, judge)
    assert -1 <= found.low <= found.high <= 1
    if found.estimate is not None:
        shares = difference_interval(wilson(*first), wilson(*second))
        assert (found.low <= 0 <= found.high) == (shares.low <= 0 <= shares.high)
        assert found.low <= found.estimate <= found.high


@given(judged, judged, any_counts)
def test_swapped_arms_mirror_the_difference(
    first: tuple[int, int], second: tuple[int, int], judge: JudgeCounts
) -> None:
    found, mirrored = corrected_difference(first, second, judge), corrected_difference(second, first, judge)
    assert (found.low, found.high) == pytest.approx((-mirrored.high, -mirrored.low), abs=1e-12)


def test_a_perfect_judge_with_many_labels_corrects_nothing() -> None:
    perfect = counts(10**6, 0, 10**6, 0)
    assert corrected_rate(150, 1000, perfect).estimate == pytest.approx(0.15)
    found, plain = corrected_rate(150, 1000, perfect), wilson(150, 1000)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-4)


def test_false_alarms_alone_are_a_rate_of_zero() -> None:
    found = corrected_rate(100, 1000, GOOD)
    assert found.estimate == pytest.approx(0.0)
    assert found.low == 0
    assert found.high == pytest.approx(0.11, abs=0.02)


@pytest.mark.parametrize(
    ("flagged", "total", "judge"),
    [
        (0, 0, GOOD),
        (5, 10, WIDE),
        (5, 10, counts(20, 5, 0, 0)),
        (5, 10, counts(0, 0, 20, 5)),
        (5, 10, counts(10, 10, 10, 10)),
        (5, 10, counts(2, 18, 10, 10)),
        (1, 1000, counts(40, 10, 25, 25)),
    ],
    ids=["nothing judged", "no labels", "no sound label", "no faulty label", "coin", "inverted", "contradicts labels"],
)
def test_counts_that_determine_nothing_yield_everything(flagged: int, total: int, judge: JudgeCounts) -> None:
    assert corrected_rate(flagged, total, judge) == Interval(estimate=None, low=0.0, high=1.0)


def test_more_labels_and_more_answers_narrow_the_interval() -> None:
    def width(scale: int, total: int) -> float:
        judge = counts(40 * scale, 10 * scale, 45 * scale, 5 * scale)
        found = corrected_rate(round(0.24 * total), total, judge)
        return found.high - found.low

    assert width(1, 1000) > width(4, 1000) > width(4, 100_000)


def test_limits_of_the_judge_are_exact() -> None:
    assert true_positive_interval(GOOD) == clopper_pearson(40, 50)
    assert true_negative_interval(GOOD) == clopper_pearson(45, 50)
    youden = youden_interval(GOOD)
    assert youden.estimate == pytest.approx(0.7)
    assert 0.5 < youden.low < 0.7 < youden.high < 0.83
    assert youden_interval(WIDE) == Interval(estimate=None, low=-1.0, high=1.0)


def test_a_margin_is_translated_at_the_conservative_end() -> None:
    assert flagged_margin(0.05, GOOD) == pytest.approx(0.05 * youden_interval(GOOD).low)
    assert flagged_margin(0.05, GOOD) < 0.05 * 0.7
    assert flagged_margin(0.05, counts(10, 10, 10, 10)) == 0
    assert flagged_margin(0.05, WIDE) == 0


@given(st.floats(0, 1), st.floats(0, 0.1), st.floats(0, 0.1), st.floats(0.7, 0.9), st.floats(0.7, 0.9), st.floats(0, 1))
def test_the_bias_of_a_difference_is_bounded(
    rate: float, tpr_gap: float, tnr_gap: float, tpr: float, tnr: float, other: float
) -> None:
    control = other * tpr + (1 - other) * (1 - tnr)
    youden = tpr + tnr - 1
    bound = difference_bias(rate, youden, tpr_gap=tpr_gap, tnr_gap=tnr_gap)
    for first in (-tpr_gap, tpr_gap):
        for second in (-tnr_gap, tnr_gap):
            candidate = rate * (tpr + first) + (1 - rate) * (1 - tnr - second)
            assert abs((candidate - control) / youden - (rate - other)) <= bound + 1e-12


def test_shares_with_limits_of_their_own_are_corrected_alike() -> None:
    assert corrected_share(wilson(240, 1000), GOOD) == corrected_rate(240, 1000, GOOD)
    gap = difference_interval(wilson(240, 1000), wilson(200, 1000))
    assert corrected_gap(gap, GOOD) == corrected_difference((240, 1000), (200, 1000), GOOD)
    unknown = Interval(estimate=None, low=-1.0, high=1.0)
    assert corrected_gap(unknown, GOOD) == unknown
