"""How often a verdict is wrong, and how soon it is right, in simulated rollouts.

A vectorised twin of `flowai.statistics` (a test shows that the two agree) plays thousands of rollouts: a look every
hour for a week at 1,000 calls an hour, alpha 0.05 split over five metrics by severity. Against "all", the canary is
compared with every concurrent call of the release that serves (control and stable); against "equal", with the
equal-sized control.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - thousands of rollouts at once

from flowai.statistics import MISMATCH_ALPHA, clopper_pearson, split_alpha
from flowai.statistics import sequential as exact
from flowai.statistics.mismatch import PRIOR_ASSIGNMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray  # noqa: TID251 - as above

    Counts = NDArray[np.int64]
    Numbers = NDArray[np.float64]

HEADER = ("what", "canary against", "seen", "target", "met")
RUNS = 2_000
HOURS = 168
ALPHA = 0.05
MOST_ASSIGNMENTS = 10_000
Row = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A guardrail: how often it fails where nothing is wrong, how severe that is, and whose construction judges it."""

    rate: float
    severity: float
    rare: bool = True


METRICS = {
    "error_rate": Metric(rate=0.02, severity=4),
    "json_valid": Metric(rate=0.01, severity=1),
    "hallucination": Metric(rate=0.03, severity=1),
    "slow_calls": Metric(rate=0.05, severity=1),
    "acceptance": Metric(rate=0.38, severity=3, rare=False),
}
ALPHAS = split_alpha(ALPHA, {name: metric.severity for name, metric in METRICS.items()})


@dataclass(frozen=True, kw_only=True, slots=True)
class Histories:
    """Blocks of many rollouts: arrays of runs x blocks; n: calls, k: failures, 1: candidate, 0: control."""

    n1: Counts
    n0: Counts
    k1: Counts
    k0: Counts


def log_e(histories: Histories, claim: exact.Claim, *, rare: bool, margin: float = 0.0) -> Numbers:
    """Give the evidence after each block: the twin of `RatioEvidence` (rare) and of `RateEvidence`."""
    return _mixed(np.cumsum(_log_factors(histories, claim, rare=rare, margin=margin), axis=-1), claim, rare, margin)


def _mixed(bets: Numbers, claim: exact.Claim, rare: bool, margin: float) -> Numbers:  # noqa: FBT001 - as log_e has it
    weights = np.log(_grid(claim, rare, margin)[1]).reshape(-1, *(1,) * (bets.ndim - 1))
    return np.asarray(np.logaddexp.reduce(bets + weights, axis=0))


def _grid(claim: exact.Claim, rare: bool, margin: float) -> tuple[Numbers, Numbers]:  # noqa: FBT001 - as log_e has it
    """Give the bets of a construction and their weights."""
    if rare:
        return np.array(exact.RATE_RATIOS), np.array(exact.RATIO_WEIGHTS)
    if claim == "not_worse" and margin > 0:
        return np.array(exact.MARGIN_BETS), np.array(exact.MARGIN_WEIGHTS)
    return np.array(exact.LOG_ODDS), np.array(exact.LOG_ODDS_WEIGHTS)


def _log_factors(histories: Histories, claim: exact.Claim, *, rare: bool, margin: float = 0.0) -> Numbers:
    """Give what each bet makes of each block: bets x runs x blocks."""
    both = (histories.n1 > 0) & (histories.n0 > 0)
    share = np.where(both, histories.n1 / np.maximum(histories.n1 + histories.n0, 1), 0.5)
    sign = 1 if claim == "worse" else -1
    a, b = (np.full(share.shape, margin), np.zeros(share.shape)) if rare else _centres(histories, share, margin)
    grid = _grid(claim, rare, margin)[0].reshape(-1, *(1,) * share.ndim)
    if rare:
        stakes = (grid**sign - 1) / (1 + share * (grid**sign - 1))
    elif claim == "not_worse" and margin > 0:
        stakes = -grid * margin / np.maximum((1 - share) * a * (1 - a) + share * b * (1 - b), 1e-12)
    else:
        stakes = sign * grid * np.ones(share.shape)
    gains = ((1 - share) * (1 - a), -(1 - share) * a, -share * (1 - b), share * b)
    counts = (histories.k1, histories.n1 - histories.k1, histories.k0, histories.n0 - histories.k0)
    stakes = sign * np.minimum(np.abs(stakes), 0.95 / np.max([-sign * gain for gain in gains], axis=0))
    factors = sum(count * np.log1p(stakes * gain) for count, gain in zip(counts, gains, strict=True))
    return np.asarray(np.where(both, factors, 0.0))


def mismatch_log_e(counts: Counts, shares: Sequence[float]) -> Numbers:
    """Give the evidence of a mismatch: the twin of `mismatch_log_e`; arms along the last axis."""

    def rising(prior: float, most: int) -> Numbers:
        """Give the logarithm of prior (prior + 1) ... by the number of factors."""
        return np.concatenate(([0.0], np.cumsum(np.log(prior + np.arange(most)))))

    total = counts.sum(-1)
    found: Numbers = -rising(PRIOR_ASSIGNMENTS, int(total.max()))[total]
    for arm, share in enumerate(shares):
        column = counts[..., arm]
        found = found + rising(PRIOR_ASSIGNMENTS * share, int(column.max()))[column] - column * math.log(share)
    return found


def _centres(histories: Histories, share: Numbers, margin: float) -> tuple[Numbers, Numbers]:
    failures, calls = histories.k1 + histories.k0, histories.n1 + histories.n0
    past_failures, past_calls = (np.cumsum(each, axis=-1) - each for each in (failures, calls))
    rate = (past_failures + exact.PLUG_IN_START) / (past_calls + 2 * exact.PLUG_IN_START)
    return rate + (1 - share) * margin, rate - share * margin


def _play(
    rng: np.random.Generator,
    runs: int,
    n1: Counts | Sequence[int],
    n0: Counts | Sequence[int],
    rates: tuple[Numbers | float, Numbers | float],
) -> Histories:
    """Draw the failures of runs x blocks; rates of candidate and control, one or one for each block or run."""
    calls1, calls0 = (np.broadcast_to(np.asarray(n), (runs, len(n))) for n in (n1, n0))
    return Histories(n1=calls1, n0=calls0, k1=rng.binomial(calls1, rates[0]), k0=rng.binomial(calls0, rates[1]))


def _false_rollbacks(runs: int, play: Callable[[Metric], Histories]) -> tuple[float, float]:
    """Give the share of runs in which a guardrail acts: by the split of alpha, by the average of evidence."""
    split, average = np.zeros(runs, dtype=bool), []
    for name, metric in METRICS.items():
        evidence = log_e(play(metric), "worse", rare=metric.rare)
        split |= evidence.max(-1) >= math.log(1 / ALPHAS[name])
        average.append(evidence + math.log(ALPHAS[name] / ALPHA))
    averaged = np.logaddexp.reduce(average, axis=0).max(-1) >= math.log(1 / ALPHA)
    return float(split.mean()), float(averaged.mean())


def _ramp(equal: bool) -> tuple[list[int], list[int]]:  # noqa: FBT001 - a row of the table
    candidate = [10] * 24 + [100] * 72 + [500] * 72
    return candidate, candidate if equal else [1000 - calls for calls in candidate]


def no_difference(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play rollouts in which the candidate is just as good."""
    drift = np.linspace(1, 3, HOURS)
    for against, control in (("all", 900), ("equal", 100)):

        def steady(m: Metric, control: int = control) -> Histories:
            return _play(rng, runs, [100] * HOURS, [control] * HOURS, (m.rate, m.rate))

        yield _limit("five metrics, hourly for a week, canary 10 %", against, _false_rollbacks(runs, steady))
        n1, n0 = _ramp(against == "equal")

        def drifting(m: Metric, n1: list[int] = n1, n0: list[int] = n0) -> Histories:
            rates = m.rate / 2 * drift if m.rare else np.full(HOURS, m.rate)
            return _play(rng, runs, n1, n0, (rates, rates))

        yield _limit("the same, ramp 1 -> 10 -> 50 %, errors drift 1 -> 3 %", against, _false_rollbacks(runs, drifting))
    alarms = _fixed_test(_play(rng, runs, [100] * HOURS, [900] * HOURS, (0.02, 0.02)))
    yield _record("for contrast: errors alone, a z-test for one look, hourly", "all", _percent(alarms))
    n1, n0 = _ramp(equal=False)
    blocks = _play(rng, runs, n1, n0, (0.01 * drift, 0.01 * drift))
    pooled = (max_pooled(blocks) >= math.log(1 / ALPHA)).mean()
    yield _record("for contrast: errors alone, that ramp pooled into one block", "all", _percent(pooled))
    yield from _dependent(rng, runs)


def _fixed_test(blocks: Histories) -> float:
    """Give the share of runs in which a one-sided z-test of two proportions, made for one look, ever acts."""
    n1, n0, k1, k0 = (np.cumsum(each, axis=-1) for each in (blocks.n1, blocks.n0, blocks.k1, blocks.k0))
    rate = (k1 + k0) / (n1 + n0)
    z = (k1 / n1 - k0 / n0) / np.sqrt(np.maximum(rate * (1 - rate), 1e-12) * (1 / n1 + 1 / n0))
    return float((z.max(-1) > NormalDist().inv_cdf(1 - ALPHA)).mean())


def max_pooled(blocks: Histories) -> Numbers:
    """Give the largest evidence with all blocks so far thrown into one, as evidence must not be used."""
    n1, n0, k1, k0 = (np.cumsum(each, axis=-1) for each in (blocks.n1, blocks.n0, blocks.k1, blocks.k0))
    best = np.full(n1.shape[0], -np.inf)
    for hour in range(n1.shape[1]):
        one = Histories(n1=n1[:, [hour]], n0=n0[:, [hour]], k1=k1[:, [hour]], k0=k0[:, [hour]])
        best = np.maximum(best, log_e(one, "worse", rare=True)[:, 0])
    return best


def _dependent(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play failures that come together: chains of three retries, and users who come back hour after hour."""

    def clumps(times: int) -> Callable[[Metric], Histories]:
        def play(m: Metric) -> Histories:
            one = _play(rng, runs, [33] * HOURS, [300] * HOURS, (m.rate, m.rate))
            return Histories(n1=one.n1 * times, n0=one.n0 * times, k1=one.k1 * times, k0=one.k0 * times)

        return play

    chains = "retries in clumps of three"
    yield _limit(f"five metrics, {chains}, a chain counted once", "all", _false_rollbacks(runs, clumps(1)))
    yield _record(f"for contrast: {chains}, each call counted", "all", _percent(_false_rollbacks(runs, clumps(3))[0]))

    def returning(m: Metric) -> Histories:
        # 200 of 2,000 users have the canary; each comes every third hour, with a rate of their own (beta)
        shapes = (10 * m.rate, 10 * (1 - m.rate))
        own = [rng.beta(*shapes, (runs, users)).mean(-1, keepdims=True) for users in (200, 1800)]
        return _play(rng, runs, [67] * HOURS, [600] * HOURS, (own[0], own[1]))

    def once(m: Metric) -> Histories:
        arrivals = [round(200 * (2 / 3) ** hour / 3) for hour in range(12)]
        return _play(rng, runs, arrivals, [9 * n for n in arrivals], (m.rate, m.rate))

    what = "five metrics, 2,000 users who come back, each counted once"
    yield _limit(f"{what} in the rollout", "all", _false_rollbacks(runs, once))
    yield _record(f"for contrast: {what} in an hour", "all", _percent(_false_rollbacks(runs, returning)[0]))


def after_every_call(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Look after each of 20,000 calls; a block closes after 50 calls, and only closed blocks count."""
    size, blocks, opened = 50, 400, 0
    n1 = rng.binomial(size, 0.1, (runs, blocks))

    def play(m: Metric) -> Histories:
        return Histories(n1=n1, n0=size - n1, k1=rng.binomial(n1, m.rate), k0=rng.binomial(size - n1, m.rate))

    yield _limit("five metrics, a look after each of 20,000 calls", "all", _false_rollbacks(runs, play))
    singles = max(runs // 4, 1)
    for _ in range(singles):
        arms, failed = rng.random((blocks, size)) < 0.1, rng.random((blocks, size)) < 0.02
        ones, k1, k = (np.cumsum(each, axis=1, dtype=np.int64) for each in (arms, arms & failed, failed))
        parts = Histories(n1=ones, n0=np.arange(1, size + 1) - ones, k1=k1, k0=k - k1)
        bets = _log_factors(parts, "worse", rare=True)
        closed = np.cumsum(bets[:, :, -1:], axis=1) - bets[:, :, -1:]
        opened += _mixed(bets + closed, "worse", rare=True, margin=0.0).max() >= math.log(1 / ALPHA)
    yield _record("for contrast: errors alone, the open block counted too", "all", _percent(opened / singles))


def _calls_until(histories: Histories, evidence: Numbers, alpha: float) -> Numbers:
    """Give each run's candidate calls until it acts; inf for never."""
    acted = evidence >= math.log(1 / alpha)
    calls = np.take_along_axis(np.cumsum(histories.n1, axis=-1), acted.argmax(-1)[:, None], axis=-1)[:, 0]
    return np.where(acted.any(-1), calls, np.inf)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A change for the worse, and by when half of the rollouts must have found it."""

    what: str
    metric: str
    rates: tuple[Numbers | float, Numbers | float]
    target: int
    candidate: int = 10
    share: float = 0.1
    blocks: int = 700


def _changes(rng: np.random.Generator, runs: int) -> Iterator[Change]:
    yield Change(what="errors 2 -> 3 %", metric="error_rate", rates=(0.03, 0.02), target=1800)
    rates = (0.1, 0.02)
    few = Change(
        what="errors 2 -> 10 % at 1 % share", metric="error_rate", rates=rates, target=60, candidate=2, share=0.01
    )
    yield replace(few, blocks=250)
    # the threshold is the 950th of the control's first 1,000 latencies: the share above it is a beta variable
    above = rng.beta(51, 950, (runs, 1))
    for sigma in (0.5, 0.7):
        slower = _slower(above, math.log(1.2) / sigma)
        what = f"p95 +20 % (lognormal, sigma {sigma})"
        yield Change(what=what, metric="slow_calls", rates=(slower, above), target=500, blocks=400)
    yield Change(what="acceptance 62 -> 57 %", metric="acceptance", rates=(0.43, 0.38), target=1000, blocks=500)


def _slower(above: Numbers, steps: float) -> Numbers:
    """Give the share above a threshold after normal values moved up by so many standard deviations."""
    normal = NormalDist()
    return np.asarray(np.vectorize(lambda share: 1 - normal.cdf(normal.inv_cdf(1 - share) - steps))(above))


def difference(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play rollouts of a worse candidate: candidate calls until half of them, and four in five, act."""
    for change in _changes(rng, runs):
        for against in ("all", "equal"):
            control = change.candidate if against == "equal" else round(change.candidate * (1 / change.share - 1))
            blocks = _play(rng, runs, [change.candidate] * change.blocks, [control] * change.blocks, change.rates)
            evidence = log_e(blocks, "worse", rare=METRICS[change.metric].rare)
            for alpha in (ALPHA, ALPHAS[change.metric]):
                calls = _calls_until(blocks, evidence, alpha)
                seen, late = (np.quantile(calls, share, method="inverted_cdf") for share in (0.5, 0.8))
                what = f"{change.what}, alpha {alpha:.3g}"
                yield (
                    what,
                    against,
                    f"{seen:,.0f} calls (80 %: {late:,.0f})",
                    f"{change.target:,}",
                    _yes(seen <= change.target),
                )


def promotion(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play promotions: how soon an equal candidate passes, and how often one that is worse by the margin."""
    for name, margin in (("error_rate", 0.01), ("slow_calls", 0.02), ("acceptance", 0.02)):
        metric, size = METRICS[name], 100 if METRICS[name].rare else 400
        for against, control in (("all", 9 * size), ("equal", size)):
            ends = []
            for worse in (0.0, margin):
                rates = (metric.rate + worse, metric.rate)
                blocks = _play(rng, runs, [size] * 100, [control] * 100, rates)
                evidence = log_e(blocks, "not_worse", rare=metric.rare, margin=margin)
                ends.append(_calls_until(blocks, evidence, ALPHA))
            seen, late = (np.quantile(ends[0], share, method="inverted_cdf") for share in (0.5, 0.8))
            yield _record(
                f"promote: {name} within {margin:g}, no difference", against, f"{seen:,.0f} calls (80 %: {late:,.0f})"
            )
            yield _limit(f"promote: {name} worse by {margin:g}", against, (float(np.isfinite(ends[1]).mean()),))


def mismatch(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Play assignments: a look after every 10 of them."""
    for against, shares in (("rest", (0.01, 0.99)), ("control, stable", (0.01, 0.01, 0.98))):
        ends = _mismatch_ends(rng, runs, shares, (0.015, *shares[1:-1], shares[-1] - 0.005))
        seen, within = np.quantile(ends, 0.5, method="inverted_cdf"), _percent(np.isfinite(ends).mean())
        found = f"{seen:,.0f} assignments; {within} within 10,000"
        yield "mismatch: 1 % that delivers 1.5 %", against, found, "10,000", _yes(seen <= MOST_ASSIGNMENTS)
        # one in a thousand shows only in many more runs, and even then with some noise around it
        alarms = int(np.isfinite(_mismatch_ends(rng, 10 * runs, shares, shares)).sum())
        rate, least = _percent(alarms / (10 * runs)), clopper_pearson(alarms, 10 * runs).low
        yield f"mismatch: shares as given ({10 * runs:,} runs)", against, rate, "0.10 %", _yes(least <= MISMATCH_ALPHA)


def _mismatch_ends(
    rng: np.random.Generator, runs: int, shares: tuple[float, ...], delivered: tuple[float, ...]
) -> Numbers:
    """Give each run's assignments until a mismatch is called; inf for not within `MOST_ASSIGNMENTS`."""
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
    yield from after_every_call(rng, runs)
    yield from difference(rng, runs)
    yield from promotion(rng, max(runs // 2, 1))
    yield from mismatch(rng, runs)


def _limit(what: str, against: str, rates: tuple[float, ...]) -> Row:
    """Hold false alarms against alpha; a second rate is that of the averaged evidence."""
    averaged = "".join(f" (averaged {_percent(rate)})" for rate in rates[1:])
    return what, against, _percent(rates[0]) + averaged, _percent(ALPHA), _yes(max(rates) <= ALPHA)


def _record(what: str, against: str, seen: str) -> Row:
    return what, against, seen, "", ""


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
