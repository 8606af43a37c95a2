"""Evidence that is expected before there is any, against the e-processes themselves."""

from __future__ import annotations

import math
from random import Random

import pytest

from flowai.statistics.evalues import Block, EProcess, RateEProcess, RatioEProcess
from flowai.statistics.expected_evidence import log_e_of_failures, log_e_of_rates
from flowai.statistics.sample_size import draw_binomial

ERRORS = 0.8416  # standard errors of the 20 % quantile
BLOCKS = 40


def reached(process: EProcess, users: tuple[int, int], rates: tuple[float, float], rng: Random) -> float:
    """Return the log evidence of users of candidate and control, divided into blocks."""
    for _ in range(BLOCKS):
        counts = [count // BLOCKS for count in users]
        failures = [draw_binomial(rng, count, rate) for count, rate in zip(counts, rates, strict=True)]
        process.add(
            Block(
                candidate_count=counts[0],
                control_count=counts[1],
                candidate_failure_count=failures[0],
                control_failure_count=failures[1],
            )
        )
    return process.log_e


def share_above(level: float, seen: list[float]) -> float:
    return sum(one >= level for one in seen) / len(seen)


@pytest.mark.parametrize(
    ("users", "rates", "tolerated"),
    [
        ((8_000, 8_000), (0.03, 0.02), 1.0),
        ((4_000, 36_000), (0.03, 0.02), 1.0),
        ((2_000, 18_000), (0.03, 0.01), 1.2),
        ((400, 39_600), (0.1, 0.02), 1.0),
    ],
)
def test_four_in_five_have_the_expected_evidence_of_rare_failures(
    users: tuple[int, int], rates: tuple[float, float], tolerated: float
) -> None:
    rng = Random(3)  # noqa: S311 - a simulation
    expected = log_e_of_failures(
        users[0] * rates[0],
        users[1] * rates[1],
        share=users[0] / sum(users),
        tolerated_ratio=tolerated,
        errors=ERRORS,
    )
    seen = [
        reached(RatioEProcess(tolerated_ratio=tolerated, failures_only=True), users, rates, rng) for _ in range(150)
    ]
    assert expected > 2
    assert 0.7 <= share_above(expected, seen) <= 0.97


@pytest.mark.parametrize(("users", "rates"), [((4_000, 4_000), (0.43, 0.38)), ((2_000, 18_000), (0.44, 0.38))])
def test_four_in_five_have_the_expected_evidence_of_frequent_failures(
    users: tuple[int, int], rates: tuple[float, float]
) -> None:
    rng = Random(4)  # noqa: S311 - as above
    expected = log_e_of_rates(*users, candidate_rate=rates[0], control_rate=rates[1], errors=ERRORS)
    seen = [reached(RateEProcess(), users, rates, rng) for _ in range(150)]
    assert expected > 2
    assert 0.7 <= share_above(expected, seen) <= 0.97


def test_without_a_difference_no_evidence_is_expected() -> None:
    assert log_e_of_failures(20.0, 180.0, share=0.1, errors=0.0) < 0
    assert log_e_of_rates(100, 900, candidate_rate=0.4, control_rate=0.4, errors=0.0) < 0
    assert log_e_of_rates(0, 0, candidate_rate=0.4, control_rate=0.4, errors=0.0) == 0
    assert math.isfinite(log_e_of_failures(0.0, 0.0, share=0.5, errors=ERRORS))
