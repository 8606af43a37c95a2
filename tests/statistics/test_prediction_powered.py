"""Prediction-powered means: equal to truescore's and ppi-python's.

Frozen values are of truescore 0.7.4, which is asked again, and of ppi-python 0.2.3, which would bring numba.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.statistics import Interval, prediction_powered_estimate, prediction_powered_mean

Z = 1.959963984540054


class Reference(NamedTuple):
    """Counts, and estimate, power and standard error by truescore 0.7.4, and the interval by ppi-python 0.2.3."""

    cells: tuple[int, int, int, int]
    """Labelled answers: faulty and flagged, faulty and passed, sound and passed, sound and flagged."""
    flagged: int
    judged: int
    estimate: float
    power: float
    standard_error: float
    low: float
    high: float


REFERENCES = [
    Reference(
        (20, 5, 65, 10), 150, 1000, 0.12556612318840626, 0.8295591787439581, 0.03669705035265818,
        0.053980541968739165, 0.19715170440807214,
    ),
    Reference(
        (8, 2, 80, 10), 130, 1000, 0.07581975357710659, 0.48360492845786857, 0.026048523672291872,
        0.025012488073940402, 0.12662701908027255,
    ),
    Reference(
        (30, 10, 55, 5), 320, 800, 0.4297382090709394, 0.5947641814187885, 0.03769517276465836,
        0.3562030733787106, 0.503273344763168,
    ),
    Reference(
        (45, 5, 48, 2), 500, 1000, 0.5234339203480434, 0.781130678268113, 0.028643162966482626,
        0.4675285210322072, 0.5793393196638797,
    ),
]  # fmt: skip

pairs = st.lists(st.tuples(st.sampled_from((0, 1)), st.sampled_from((0, 1))), max_size=40)
verdicts = st.lists(st.sampled_from((0, 1)), max_size=200)


def labelled(reference: Reference) -> list[tuple[int, int]]:
    hits, misses, passed, false = reference.cells
    return [(1, 1)] * hits + [(1, 0)] * misses + [(0, 0)] * passed + [(0, 1)] * false


def judged(reference: Reference) -> list[int]:
    return [1] * reference.flagged + [0] * (reference.judged - reference.flagged)


def variances(reference: Reference, power: float) -> tuple[float, float]:
    """Give the variances of both parts with the divisor n."""
    rest = [label - power * verdict for label, verdict in labelled(reference)]
    mean = math.fsum(rest) / len(rest)
    share = reference.flagged / reference.judged
    return math.fsum((one - mean) ** 2 for one in rest) / len(rest), power**2 * share * (1 - share)


@pytest.mark.parametrize("reference", REFERENCES)
def test_estimate_power_and_error_are_those_of_truescore(reference: Reference) -> None:
    found = prediction_powered_estimate(labelled(reference), judged(reference))
    assert found is not None
    assert found.estimate == pytest.approx(reference.estimate, abs=1e-9)
    assert found.power == pytest.approx(reference.power, abs=1e-9)
    assert found.standard_error == pytest.approx(reference.standard_error, abs=1e-9)


@pytest.mark.parametrize("reference", REFERENCES)
def test_ppi_python_has_the_same_interval_but_for_its_divisor(reference: Reference) -> None:
    found = prediction_powered_estimate(labelled(reference), judged(reference))
    assert found is not None
    assert found.estimate == pytest.approx((reference.low + reference.high) / 2, abs=1e-9)
    n, size = sum(reference.cells), reference.judged
    first, second = variances(reference, found.power)
    assert (reference.high - reference.low) / 2 == pytest.approx(Z * math.sqrt(first / n + second / size), abs=1e-9)
    assert found.standard_error == pytest.approx(math.sqrt(first / (n - 1) + second / (size - 1)), abs=1e-9)


def columns(reference: Reference) -> list[list[float]]:
    """Give labels, verdicts on the labelled answers, and verdicts on the others."""
    labels, paired = ([float(pair[side]) for pair in labelled(reference)] for side in (0, 1))
    return [labels, paired, [float(verdict) for verdict in judged(reference)]]


@pytest.mark.parametrize("reference", REFERENCES)
def test_the_references_are_still_what_truescore_says(reference: Reference) -> None:
    import truescore

    labels, paired, others = columns(reference)
    found = truescore.ppi_estimate([*paired, *others], labels, list(range(len(labels))))
    expected = (reference.estimate, reference.power, reference.standard_error)
    assert (found.point, found.lambda_, found.standard_error) == pytest.approx(expected, abs=1e-9)


def test_scores_between_0_and_1_count_as_they_are() -> None:
    paired = [((i * 37 % 100) / 100, round((i * 37 % 100) / 100 * 0.7 + (i * 53 % 31) / 100, 2)) for i in range(60)]
    others = [round((i * 29 % 100) / 100 * 0.8 + (i * 7 % 13) / 100, 2) for i in range(500)]
    found = prediction_powered_mean(paired, others)
    # truescore 0.7.4
    assert found.estimate == pytest.approx(0.4564956475728284, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((0.41784533212994346, 0.49514596301571334), abs=1e-9)


@given(pairs, verdicts)
def test_the_estimate_is_between_its_limits(labels: list[tuple[int, int]], others: list[int]) -> None:
    found = prediction_powered_mean(labels, others)
    assert 0 <= found.low <= found.high <= 1
    if min(len(labels), len(others)) < 2:
        assert found == Interval(estimate=None, low=0.0, high=1.0)
    else:
        assert found.estimate is not None
        assert found.low <= found.estimate <= found.high


def test_no_fault_among_the_labels_does_not_prove_that_there_is_none() -> None:
    found = prediction_powered_mean([(0, 0)] * 100, [0] * 1000)
    assert found.estimate == 0
    assert found.high > 0.03, "the rule of three: 100 labels show no less"


def test_a_useful_judge_narrows_the_interval_of_the_labels() -> None:
    paired = [(1, 1)] * 38 + [(1, 0)] * 2 + [(0, 0)] * 58 + [(0, 1)] * 2
    helped = prediction_powered_mean(paired, [1] * 400 + [0] * 600)
    useless = prediction_powered_mean([(label, 0) for label, _ in paired], [0] * 1000)
    assert helped.high - helped.low < 0.7 * (useless.high - useless.low)
