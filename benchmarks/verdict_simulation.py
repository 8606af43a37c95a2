"""How often a verdict is wrong, and how soon it is right, in simulated rollouts of 1,000 calls an hour.

What ships is what is played: cells of five minutes are joined into blocks, the canary is compared with every concurrent
call of the release that serves, each guardrail acts at its own part of alpha 0.05, with five guardrails, whenever a
block closes, which is oftener than one looks. A vectorised twin of the library does it thousands of times; a test shows
that the two agree. In brackets: 95 % intervals.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - thousands of rollouts at once
from verdict_twin import Histories, joined, log_e, mismatch_log_e

from flowai.comparison.baseline_latency import FROZEN_SHARE, MIN_BASELINE_ANSWERS
from flowai.comparison.evidence import SEVERITIES
from flowai.statistics import MISMATCH_ALPHA, clopper_pearson, split_alpha

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray  # noqa: TID251 - as above

    Counts = NDArray[np.int64]
    Numbers = NDArray[np.float64]

HEADER = ("what", "seen", "target", "met")
RUNS = 2_000
RUNS_BY_CALL = 500
RUNS_AT_ONCE = 250
HOURS = 168
CELLS_PER_HOUR = 12
CELLS = HOURS * CELLS_PER_HOUR
CALLS_PER_CELL = 1_000 / CELLS_PER_HOUR
ALPHA = 0.05
MOST_ASSIGNMENTS = 10_000
Row = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A guardrail: how often it fails where nothing is wrong, and whose construction judges it."""

    rate: float
    rare: bool = True


METRICS = {
    "error_rate": Metric(rate=0.02),
    "json_valid": Metric(rate=0.01),
    "hallucination": Metric(rate=0.03),
    "slow_calls": Metric(rate=0.05),
    "acceptance": Metric(rate=0.38, rare=False),
}
ALPHAS = split_alpha(ALPHA, {name: severity for name, severity in SEVERITIES.items() if name in METRICS})


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Parameters that all metrics share: the canary's share, by cell or constant, and the calls per cell."""

    share: Numbers | float = 0.1
    units: float = CALLS_PER_CELL
    cells: int = CELLS


def _play(
    rng: np.random.Generator, runs: int, stage: Stage, rates: tuple[Numbers | float, Numbers | float]
) -> Histories:
    """Draw cells; rates of candidate and control, one, or one for each cell or run."""
    calls = rng.poisson(stage.units, (runs, stage.cells))
    n1 = rng.binomial(calls, stage.share)
    n0 = calls - n1
    return Histories(n1=n1, n0=n0, k1=rng.binomial(n1, rates[0]), k0=rng.binomial(n0, rates[1]))


def _false_rollbacks(runs: int, play: Callable[[Metric, int], Histories], begins: tuple[int, ...] = ()) -> int:
    """Count the runs in which any guardrail acts."""
    found = 0
    for begin in range(0, runs, RUNS_AT_ONCE):
        some = min(RUNS_AT_ONCE, runs - begin)
        acted = np.zeros(some, dtype=bool)
        for name, metric in METRICS.items():
            evidence = log_e(joined(play(metric, some), begins), "worse", rare=metric.rare)
            acted |= evidence.max(-1) >= math.log(1 / ALPHAS[name])
        found += int(acted.sum())
    return found


RAMP = np.repeat([0.01, 0.1, 0.5], [24 * CELLS_PER_HOUR, 72 * CELLS_PER_HOUR, 72 * CELLS_PER_HOUR])
STAGES = (24 * CELLS_PER_HOUR, 96 * CELLS_PER_HOUR)
DRIFT = np.linspace(1, 3, CELLS)
"""Factors of both arms' rates during the drift."""


def no_difference(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play rollouts in which the candidate is just as good."""

    def steady(m: Metric, some: int) -> Histories:
        return _play(rng, some, Stage(), (m.rate, m.rate))

    yield _limit("five guardrails, a week, canary 10 %", _false_rollbacks(runs, steady), runs)

    def drifting(times: int, units: float) -> Callable[[Metric, int], Histories]:
        def play(m: Metric, some: int) -> Histories:
            rates = m.rate / 2 * DRIFT if m.rare else np.full(CELLS, m.rate)
            one = _play(rng, some, Stage(share=RAMP, units=units), (rates, rates))
            return Histories(n1=one.n1 * times, n0=one.n0 * times, k1=one.k1 * times, k0=one.k0 * times)

        return play

    ramp = "ramp 1 -> 10 -> 50 %, errors drift 1 -> 3 %"
    yield _limit(f"the same, {ramp}", _false_rollbacks(runs, drifting(1, CALLS_PER_CELL), STAGES), runs)
    chains = f"the same, {ramp}, retries in clumps of three"
    found = _false_rollbacks(runs, drifting(1, CALLS_PER_CELL / 3), STAGES)
    yield _limit(f"{chains}, a chain counted once", found, runs)
    yield from _returning(rng, runs)
    yield from _by_call(rng, min(runs, RUNS_BY_CALL))
    few = max(runs // 4, 1)
    contrast = "for contrast:"
    found = _false_rollbacks(few, drifting(3, CALLS_PER_CELL / 3), STAGES)
    yield _record(f"{contrast} {chains}, each call counted", _share(found, few))
    cells = _play(rng, few, Stage(), (0.02, 0.02))
    yield _record(f"{contrast} errors alone, a z-test for one look, hourly", _share(_fixed_test(cells), few))
    cells = drifting(1, CALLS_PER_CELL)(METRICS["error_rate"], few)
    yield _record(f"{contrast} errors alone, {ramp}, pooled into one block", _share(_pooled(cells), few))


def _hourly(cells: Histories) -> Histories:
    """Return what there was of everything so far at the end of each hour."""
    parts = (np.cumsum(each, axis=-1)[:, CELLS_PER_HOUR - 1 :: CELLS_PER_HOUR] for each in _parts(cells))
    n1, n0, k1, k0 = parts
    return Histories(n1=n1, n0=n0, k1=k1, k0=k0)


def _parts(cells: Histories) -> tuple[Counts, Counts, Counts, Counts]:
    return cells.n1, cells.n0, cells.k1, cells.k0


def _fixed_test(cells: Histories) -> int:
    """Count the runs in which a one-sided z-test of two proportions, made for one look, ever acts."""
    n1, n0, k1, k0 = _parts(_hourly(cells))
    rate = (k1 + k0) / (n1 + n0)
    z = (k1 / n1 - k0 / n0) / np.sqrt(np.maximum(rate * (1 - rate), 1e-12) * (1 / n1 + 1 / n0))
    return int((z.max(-1) > NormalDist().inv_cdf(1 - ALPHA)).sum())


def _pooled(cells: Histories) -> int:
    """Count the runs that act with all blocks so far thrown into one, as evidence must not be used."""
    n1, n0, k1, k0 = _parts(_hourly(cells))
    best = np.full(n1.shape[0], -np.inf)
    for hour in range(n1.shape[1]):
        one = Histories(n1=n1[:, [hour]], n0=n0[:, [hour]], k1=k1[:, [hour]], k0=k0[:, [hour]])
        best = np.maximum(best, log_e(one, "worse", rare=True)[:, 0])
    return int((best >= math.log(1 / ALPHA)).sum())


USERS = (200, 1_800)
"""Users of candidate and control who come back all week."""

VISITS = 1 / 36
"""Visits of each in a cell: every third hour."""


def _returning(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play users who come back, each with a rate of their own (beta), at risk until their first failure."""

    def own_rates(m: Metric, some: int) -> list[Numbers]:
        return [rng.beta(10 * m.rate, 10 * (1 - m.rate), (some, users)) for users in USERS]

    def once(m: Metric, some: int) -> Histories:
        arms = [_until_first_failure(rng, rates) for rates in own_rates(m, some)]
        return Histories(n1=arms[0][0], n0=arms[1][0], k1=arms[0][1], k0=arms[1][1])

    def anew(m: Metric, some: int) -> Histories:
        means = [rates.mean(-1, keepdims=True) for rates in own_rates(m, some)]
        calls = [rng.binomial(users, VISITS, (some, CELLS)) for users in USERS]
        k1, k0 = (rng.binomial(n, mean) for n, mean in zip(calls, means, strict=True))
        return Histories(n1=calls[0], n0=calls[1], k1=k1, k0=k0)

    what = "five guardrails, a week, 2,000 users who come back"
    yield _limit(f"{what}, at risk until their first failure", _false_rollbacks(runs, once), runs)
    few = max(runs // 4, 1)
    yield _record(f"for contrast: {what}, each visit counted", _share(_false_rollbacks(few, anew), few))


def _until_first_failure(rng: np.random.Generator, rates: Numbers) -> tuple[Counts, Counts]:
    """Return users at risk and failures by cell; a visit without a failure is about as likely whatever the rate."""
    runs, users = rates.shape
    last = rng.geometric(np.maximum(rates * VISITS, 1e-12)) - 1
    index = np.arange(runs)[:, None] * (CELLS + 1) + np.minimum(last, CELLS)
    failures = np.bincount(index.ravel(), minlength=runs * (CELLS + 1)).reshape(runs, CELLS + 1)[:, :CELLS]
    left = users - np.cumsum(failures, axis=1)
    return failures + rng.binomial(left, VISITS), failures


def _by_call(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Return the verdict after each of 20,000 calls: each is a cell of its own."""

    def play(m: Metric, some: int) -> Histories:
        n1 = rng.binomial(1, 0.1, (some, 20_000))
        n0 = 1 - n1
        return Histories(n1=n1, n0=n0, k1=rng.binomial(n1, m.rate), k0=rng.binomial(n0, m.rate))

    what = f"five guardrails, a look after each of 20,000 calls ({runs:,} runs)"
    yield _limit(what, _false_rollbacks(runs, play), runs)


def _calls_until(histories: Histories, evidence: Numbers, alpha: float) -> Numbers:
    """Return each run's candidate calls until it acts; inf for never."""
    acted = evidence >= math.log(1 / alpha)
    calls = np.take_along_axis(np.cumsum(histories.n1, axis=-1), acted.argmax(-1)[:, None], axis=-1)[:, 0]
    return np.where(acted.any(-1), calls, np.inf)


def _seen(calls: Numbers) -> tuple[float, str]:
    """Return the median, and it with what four in five need, spelled."""
    seen, late = (float(np.quantile(calls, share, method="inverted_cdf")) for share in (0.5, 0.8))
    return seen, f"{seen:,.0f} calls (80 %: {late:,.0f})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A change for the worse, and by when half of the rollouts must have found it; None for the record."""

    what: str
    metric: str
    rates: tuple[Numbers | float, Numbers | float]
    target: int | None = None
    share: float = 0.1
    cells: int = 400


def _changes(rng: np.random.Generator, runs: int) -> Iterator[Change]:
    yield Change(what="errors 2 -> 3 %", metric="error_rate", rates=(0.03, 0.02), target=1800, cells=1000)
    yield Change(what="errors 2 -> 10 % at 1 % share", metric="error_rate", rates=(0.1, 0.02), target=60, share=0.01)
    # the threshold is one of the baseline's first latencies: the share above it is a beta variable
    rank = math.ceil(FROZEN_SHARE * MIN_BASELINE_ANSWERS)
    above = rng.beta(MIN_BASELINE_ANSWERS - rank + 1, rank, (runs, 1))
    for sigma in (0.5, 0.7):
        slower = _slower(above, math.log(1.2) / sigma)
        what = f"p95 +20 % (lognormal, sigma {sigma})"
        yield Change(what=what, metric="slow_calls", rates=(slower, above), target=500)
    yield Change(what="acceptance 62 -> 57 %", metric="acceptance", rates=(0.43, 0.38), target=1000)
    yield Change(what="invalid JSON 1 -> 2 %", metric="json_valid", rates=(0.02, 0.01), cells=1000)
    yield Change(what="hallucinations 3 -> 5 %", metric="hallucination", rates=(0.05, 0.03), cells=1000)


def _slower(above: Numbers, steps: float) -> Numbers:
    """Return the share above a threshold after normal values moved up by so many standard deviations."""
    normal = NormalDist()
    return np.asarray(np.vectorize(lambda share: 1 - normal.cdf(normal.inv_cdf(1 - share) - steps))(above))


def difference(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play rollouts of a worse candidate: candidate calls until half of them, and four in five, act."""
    for change in _changes(rng, runs):
        stage = Stage(share=change.share, cells=change.cells)
        blocks = joined(_play(rng, runs, stage, change.rates))
        evidence = log_e(blocks, "worse", rare=METRICS[change.metric].rare)
        alpha = ALPHAS[change.metric]
        median, seen = _seen(_calls_until(blocks, evidence, alpha))
        what = f"{change.what} (alpha {alpha:.2g})"
        if change.target is None:
            yield _record(what, seen)
            continue
        yield what, seen, f"{change.target:,}", _yes(median <= change.target)
        _, alone = _seen(_calls_until(blocks, evidence, ALPHA))
        yield _record(f"for contrast: {change.what}, the only guardrail (alpha {ALPHA})", alone)


MARGINS = {"error_rate": 0.01, "json_valid": 0.01, "hallucination": 0.01, "slow_calls": 0.02, "acceptance": 0.02}


def promotion(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play promotions: how soon an equal candidate passes, and how often one that is worse by the margin."""
    for name, margin in MARGINS.items():
        metric, ends = METRICS[name], []
        for worse in (0.0, margin):
            blocks = joined(_play(rng, runs, Stage(cells=1500), (metric.rate + worse, metric.rate)))
            evidence = log_e(blocks, "not_worse", rare=metric.rare, margin=margin)
            ends.append(_calls_until(blocks, evidence, ALPHA))
        yield _record(f"promote: {name} within {margin:g}, no difference", _seen(ends[0])[1])
        # the worst case, where alpha is all but reached: it is held against what the noise of so few runs allows
        passed = int(np.isfinite(ends[1]).sum())
        met = _yes(clopper_pearson(passed, runs).low <= ALPHA)
        yield f"promote: {name} worse by {margin:g}", _share(passed, runs), _percent(ALPHA), met


def mismatch(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play assignments: a look after every 10 of them."""
    for arms, shares in (
        ("canary, control, stable", (0.01, 0.01, 0.98)),
        ("canary and the rest", (0.01, 0.99)),
    ):
        ends = _mismatch_ends(rng, runs, shares, (0.015, *shares[1:-1], shares[-1] - 0.005))
        seen, within = np.quantile(ends, 0.5, method="inverted_cdf"), _percent(np.isfinite(ends).mean())
        found = f"{seen:,.0f} assignments; {within} within 10,000"
        yield f"mismatch: 1 % that delivers 1.5 % ({arms})", found, "10,000", _yes(seen <= MOST_ASSIGNMENTS)
        # one in a thousand shows only in many more runs, and even then with some noise around it
        alarms = int(np.isfinite(_mismatch_ends(rng, 10 * runs, shares, shares)).sum())
        met = _yes(clopper_pearson(alarms, 10 * runs).low <= MISMATCH_ALPHA)
        yield f"mismatch: shares as given ({10 * runs:,} runs)", _share(alarms, 10 * runs), "0.10 %", met
    known = 1.5 / 1.0 * 0.99 / 0.985
    counts = np.cumsum(rng.binomial(10, 0.015, (runs, MOST_ASSIGNMENTS // 10)), axis=1)
    totals = 10 * np.arange(1, counts.shape[1] + 1)
    acted = counts * math.log(known) - totals * math.log1p(0.01 * (known - 1)) >= math.log(1 / MISMATCH_ALPHA)
    within = _percent(acted.any(-1).mean())
    yield _record("for contrast: 1.5 % found by a test that knew it", f"{within} within 10,000")


def _mismatch_ends(
    rng: np.random.Generator, runs: int, shares: tuple[float, ...], delivered: tuple[float, ...]
) -> Numbers:
    """Return each run's assignments until a mismatch is called; inf for not within `MOST_ASSIGNMENTS`."""
    found = []
    for _ in range(math.ceil(runs / 100)):
        counts = np.cumsum(rng.multinomial(10, delivered, (100, MOST_ASSIGNMENTS // 10)), axis=1)
        acted = mismatch_log_e(counts, shares) >= math.log(1 / MISMATCH_ALPHA)
        found.append(np.where(acted.any(-1), 10.0 * (acted.argmax(-1) + 1), np.inf))
    return np.concatenate(found)[:runs]


def rows(runs: int = RUNS, seed: int = 1) -> Iterator[Row]:
    """Play everything; each row as `HEADER` says."""
    rng = np.random.default_rng(seed)
    yield from no_difference(rng, runs)
    yield from difference(rng, runs)
    yield from promotion(rng, max(runs // 2, 1))
    yield from mismatch(rng, runs)


def _limit(what: str, found: int, runs: int) -> Row:
    """Hold false alarms against alpha."""
    return what, _share(found, runs), _percent(ALPHA), _yes(found / runs <= ALPHA)


def _share(found: int, runs: int) -> str:
    interval = clopper_pearson(found, runs)
    return f"{_percent(found / runs)} ({100 * interval.low:.2f} to {100 * interval.high:.2f})"


def _record(what: str, seen: str) -> Row:
    return what, seen, "", ""


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _yes(met: bool | np.bool) -> str:  # noqa: FBT001 - a cell of the table
    return "yes" if met else "**no**"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="rollouts of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.stdout.write("| " + " | ".join(HEADER) + " |\n| " + " | ".join("---" for _ in HEADER) + " |\n")
    for row in rows(options.runs, options.seed):
        sys.stdout.write("| " + " | ".join(row) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
