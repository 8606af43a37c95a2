"""How often an experiment names a false winner, and how soon a true one, at 1,000 simulated users an hour.

What ships is what is played, every arm against every other: frequent failures over blocks of cells of five minutes,
rare ones by cell, among new users alone; each arm's goal at alpha 0.05 / arms, guardrails at their parts of alpha over
all pairs of arms. Evidence decides whenever it changes, for a week, which is oftener than hourly looks. Whether the
winner still leads is not asked, which only adds false ones. In brackets: 95 % intervals.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - thousands of experiments at once
from verdict_twin import Histories, failures_log_e, joined, rates_log_e

from flowai.comparison.metrics import METRIC_KINDS, severities
from flowai.statistics import clopper_pearson, split_alpha

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray  # noqa: TID251 - as above

    from flowai.analytics.records import Metric

    Counts = NDArray[np.int64]
    Numbers = NDArray[np.float64]

HEADER = ("what", "seen", "target", "met")
RUNS = 1_000
SAVED = 0.3
RUNS_AT_ONCE = 250
CELLS_PER_HOUR = 12
CELLS = 168 * CELLS_PER_HOUR
"""A week."""
USERS_PER_CELL = 1_000 / CELLS_PER_HOUR
ALPHA = 0.05
DRIFT = np.linspace(1, 3, CELLS)
"""Factor that grows over the week."""
GUARDRAILS: dict[Metric, float] = {"error_rate": 0.02, "json_valid": 0.01, "slow_calls": 0.05, "acceptance": 0.38}
"""Rates at which guardrails fail where nothing is wrong."""
Row = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arms:
    """Users and failures of each arm: arrays of runs x cells."""

    users: tuple[Counts, ...]
    failures: tuple[Counts, ...]

    def pair(self, arm: int, other: int) -> Histories:
        """Return one arm as the candidate, another as its control."""
        return Histories(n1=self.users[arm], n0=self.users[other], k1=self.failures[arm], k0=self.failures[other])


def _play(rng: np.random.Generator, runs: int, rates: Sequence[Numbers | float], cells: int = CELLS) -> Arms:
    """Draw cells of arms with equal shares that fail at these rates."""
    users = tuple(rng.poisson(USERS_PER_CELL / len(rates), (runs, cells)) for _ in rates)
    return Arms(users=users, failures=tuple(rng.binomial(n, rate) for n, rate in zip(users, rates, strict=True)))


def _worse(arms: Arms, *, is_frequent: bool) -> dict[tuple[int, int], Numbers]:
    """Return, for every ordered pair, the largest evidence so far that the first is worse than the second."""
    log_e = rates_log_e if is_frequent else failures_log_e
    found = {}
    for arm, other in combinations(range(len(arms.users)), 2):
        pair = arms.pair(arm, other)
        blocks = joined(pair) if is_frequent else pair
        mirrored = Histories(n1=blocks.n0, n0=blocks.n1, k1=blocks.k0, k0=blocks.k1)
        found[arm, other] = np.maximum.accumulate(log_e(blocks), axis=-1)
        found[other, arm] = np.maximum.accumulate(log_e(mirrored), axis=-1)
    return found


def _wins(arms: Arms) -> Counts:
    """Return, by run and arm, the cell in which the arm has won over every other; `CELLS` for never."""
    count, worse = len(arms.users), _worse(arms, is_frequent=True)
    enough = math.log(count / ALPHA)
    ends = []
    for arm in range(count):
        won = np.min([worse[other, arm] for other in range(count) if other != arm], axis=0) >= enough
        ends.append(np.where(won.any(-1), won.argmax(-1), CELLS))
    return np.stack(ends, axis=-1)


def _in_parts(runs: int, play: Callable[[int], Counts]) -> Counts:
    sizes = [min(RUNS_AT_ONCE, runs - begin) for begin in range(0, runs, RUNS_AT_ONCE)]
    return np.concatenate([play(some) for some in sizes])


def no_difference(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play experiments in which no arm is better than every other."""
    for count in (2, 4):
        wins = _in_parts(runs, lambda some, n=count: _wins(_play(rng, some, [1 - SAVED] * n)))  # type: ignore[misc]
        yield _limit(f"false winner, {count} equal arms, a week", int((wins < CELLS).any(-1).sum()), runs)
    day = (1 - SAVED) - 0.1 * (DRIFT - 1)  # the rate of saves goes from 30 to 50 % in all arms
    wins = _in_parts(runs, lambda some: _wins(_play(rng, some, [day] * 2)))
    yield _limit("the same, 2 arms whose save rate drifts from 30 to 50 %", int((wins < CELLS).any(-1).sum()), runs)
    tied = [1 - SAVED, 1 - SAVED, 1 - SAVED + 0.05, 1 - SAVED + 0.05]
    wins = _in_parts(runs, lambda some: _wins(_play(rng, some, tied)))
    yield _limit("false winner, 2 of 4 arms tied, the others 5 points below", int((wins < CELLS).any(-1).sum()), runs)
    for count in (2, 4):
        found = int(_in_parts(runs, lambda some, n=count: _alarms(rng, some, n)).sum())  # type: ignore[misc]
        yield _limit(f"a guardrail is called worse, {count} equal arms, four guardrails, a week", found, runs)


def _alarms(rng: np.random.Generator, runs: int, count: int) -> Counts:
    """Return by run whether any guardrail of any arm is called worse."""
    alphas = split_alpha(ALPHA / (count * (count - 1)), severities(GUARDRAILS))
    acted = np.zeros(runs, dtype=np.int64)
    for name, rate in GUARDRAILS.items():
        worse = _worse(_play(rng, runs, [rate] * count), is_frequent=METRIC_KINDS[name].is_frequent)
        for pair in permutations(range(count), 2):
            acted |= worse[pair][:, -1] >= math.log(1 / alphas[name])
    return acted


def difference(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play experiments with one better arm: users in each arm until half of them, and four in five, name it."""
    for count, better in ((2, 0.05), (4, 0.05), (2, 0.10)):
        rates = [1 - SAVED] * (count - 1) + [1 - SAVED - better]
        ends = _in_parts(runs, lambda some, r=rates: _ends(rng, some, r))  # type: ignore[misc]
        median, late = (float(np.quantile(ends, share, method="inverted_cdf")) for share in (0.5, 0.8))
        what = f"save rate {SAVED:.0%} -> {SAVED + better:.0%}, {count} arms: users in each"
        yield what, f"{median:,.0f} (80 %: {late:,.0f})", "", ""
        fixed = _fixed_size(SAVED, SAVED + better, ALPHA / count)
        yield f"for contrast: {what}, one look at a size fixed beforehand (80 % for a pair)", f"{fixed:,.0f}", "", ""


def _ends(rng: np.random.Generator, runs: int, rates: list[float]) -> Counts:
    """Return users in an arm until the last arm has won; a very large number for never."""
    cells = CELLS // 4
    arms = _play(rng, runs, rates, cells)
    at = _wins(arms)[:, -1]
    users = np.take_along_axis(np.cumsum(arms.users[-1], axis=-1), np.minimum(at, cells - 1)[:, None], axis=-1)[:, 0]
    return np.where(at < CELLS, users, 10**9)


def _fixed_size(low: float, high: float, alpha: float) -> float:
    """Return users in each arm for a one-sided z-test of two proportions with a power of 80 %.

    Source: Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions (2003), 4.2, without the continuity
    correction.
    """
    normal, mean = NormalDist(), (low + high) / 2
    spread = normal.inv_cdf(1 - alpha) * math.sqrt(2 * mean * (1 - mean))
    spread += normal.inv_cdf(0.8) * math.sqrt(low * (1 - low) + high * (1 - high))
    return (spread / (high - low)) ** 2


def rows(runs: int = RUNS, seed: int = 1) -> Iterator[Row]:
    """Play everything; each row as `HEADER` says."""
    rng = np.random.default_rng(seed)
    yield from no_difference(rng, runs)
    yield from difference(rng, max(runs // 2, 1))


def _limit(what: str, found: int, runs: int) -> Row:
    """Hold false alarms against alpha."""
    interval = clopper_pearson(found, runs)
    seen = f"{100 * found / runs:.2f} % ({100 * interval.low:.2f} to {100 * interval.high:.2f})"
    return what, seen, f"{100 * ALPHA:.2f} %", "yes" if found / runs <= ALPHA else "**no**"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="experiments of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.stdout.write("| " + " | ".join(HEADER) + " |\n| " + " | ".join("---" for _ in HEADER) + " |\n")
    for row in rows(options.runs, options.seed):
        sys.stdout.write("| " + " | ".join(row) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
