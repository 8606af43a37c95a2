"""Forecast of how many more calls a verdict needs at the present rates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.statistics.evalues import Block

if TYPE_CHECKING:
    from random import Random

    from flowai.statistics.evalues import EProcess

RUNS = 200
"""Simulated futures."""

STEPS = 80
"""Blocks in each; with `GROWTH` they reach about 20,000 blocks of today's size ahead."""

GROWTH = 1.1
"""Ratio of the sizes of consecutive simulated blocks, so that near and far are reached with equal work."""

POWER = 0.8
"""Share of the futures in which the evidence must have been enough."""

_SMALL = 30.0
"""Up to this mean a binomial number is drawn exactly; above, a normal one is close enough for a forecast."""


def required_sample_size(
    evidence: EProcess, *, log_enough: float, observed: Block, pace: Block, rng: Random, stream: str = ""
) -> int | None:
    """Return how many more candidate calls are enough with a chance of 80 %, at the observed rates.

    `log_enough` is the `log_e` to reach: log(1 / alpha). To `observed`, half a failure and half a success are added for
    each arm (Jeffreys), so that no failure yet does not mean a rate of 0. `pace` is the calls of each arm per block;
    its failures are ignored. `evidence` is not changed. The result is None if the evidence will not be enough within
    about 20,000 blocks, or an arm has no calls.

    Source: power by simulation of the evidence itself; at most `RUNS` x `STEPS` blocks.
    """
    if evidence.peak_log_e >= log_enough:
        return 0
    if not (observed.candidate_count and observed.control_count and pace.candidate_count and pace.control_count):
        return None
    reached = sorted(_calls_until(evidence.fork(), log_enough, observed, pace, rng, stream) for _ in range(RUNS))
    enough = reached[math.ceil(POWER * RUNS) - 1]
    return None if math.isinf(enough) else int(enough)


def _calls_until(
    evidence: EProcess, log_enough: float, observed: Block, pace: Block, rng: Random, stream: str
) -> float:
    candidate_rate = (observed.candidate_failure_count + 0.5) / (observed.candidate_count + 1)
    control_rate = (observed.control_failure_count + 0.5) / (observed.control_count + 1)
    calls = 0
    for step in range(STEPS):
        candidate = round(pace.candidate_count * GROWTH**step)
        control = round(pace.control_count * GROWTH**step)
        calls += candidate
        block = Block(
            candidate_count=candidate,
            control_count=control,
            candidate_failure_count=draw_binomial(rng, candidate, candidate_rate),
            control_failure_count=draw_binomial(rng, control, control_rate),
        )
        if evidence.add(block, stream=stream) >= log_enough:
            return calls
    return math.inf


def draw_binomial(rng: Random, total: int, rate: float) -> int:
    """Return a random binomial number: exact for means up to 30, from the normal distribution above.

    Source: Devroye, Non-Uniform Random Variate Generation (1986), chapter X.4: waiting times between successes.
    """
    if rate > 0.5:  # noqa: PLR2004 - the rarer side takes less work
        return total - draw_binomial(rng, total, 1 - rate)
    if rate <= 0:
        return 0
    mean = total * rate
    if mean > _SMALL:
        drawn = round(rng.gauss(mean, math.sqrt(mean * (1 - rate))))
        return min(max(drawn, 0), total)
    log_miss = math.log1p(-rate)
    successes, left = 0, total
    while True:
        misses = math.log(1 - rng.random()) / log_miss
        if misses >= left:
            return successes
        successes, left = successes + 1, left - math.floor(misses) - 1
