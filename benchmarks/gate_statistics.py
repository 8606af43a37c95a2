"""How often the gate of an evaluation is wrong, and how many calls it needs, on simulated suites.

Every verdict is the gate's own code (`flowai.evals.gates`). The pass rate of each case is drawn from a beta
distribution; "agreement 0.5" means that two trials of a case are correlated by 0.5, "cases alike" that every case has
the same rate. A true loss is spread over all cases, or breaks single cases. In brackets: 95 % intervals. The gate with
one pass rate (Wilson's 95 % interval below the limit) counts every trial as a case; it is computed exactly.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np  # noqa: TID251 - thousands of suites at once

from flowai.evals.gates.comparing import CasePair, ComparisonNames, compare_pairs
from flowai.evals.gates.rates import rate_check
from flowai.evals.reports import Gate
from flowai.statistics import clopper_pearson, wilson
from flowai.statistics.beta import binomial_cdf
from flowai.statistics.paired import PairedTrials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray  # noqa: TID251 - as above

    Numbers = NDArray[np.float64]

HEADER = ("what", "seen", "target", "met")
RUNS = 10_000
SUITE_SIZE = 1_319
"""Questions of GSM8K's test set."""
LIMIT, TRUE_RATE = 0.90, 0.85
FEW_CASES, FEW_MARGIN = 25, 0.1
"""The smallest margin, about, that so few cases can show."""
Row = tuple[str, ...]
WORSE, NOT_WORSE = False, True
"""Results of a comparison; None is undecided."""
NAMES = ComparisonNames(suite="s", prompt="p", model="m", baseline="b")


class World(NamedTuple):
    """Pass rates of the cases of a suite."""

    name: str
    rate: float
    agreement: float
    """Correlation of two trials of a case; 0: cases alike."""

    def draw(self, rng: np.random.Generator, cases: int) -> Numbers:
        """Draw the pass rate of every case; the mean of a suite is exactly `rate`."""
        if self.agreement == 0:
            return np.full(cases, self.rate)
        size = 1 / self.agreement - 1
        return shift(rng.beta(self.rate * size, (1 - self.rate) * size, cases), self.rate)


MIXED = World("agreement 0.5", LIMIT, 0.5)
FIRM = World("agreement 0.8", LIMIT, 0.8)
ALIKE = World("cases alike", LIMIT, 0.0)


def shift(rates: Numbers, mean: float) -> Numbers:
    """Move the odds of all cases by one factor, so that the mean is as given."""
    clipped = np.clip(rates, 1e-12, 1 - 1e-12)
    odds = np.log(clipped / (1 - clipped))
    low, high = -60.0, 60.0
    for _ in range(70):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 / (1 + np.exp(-(odds + middle)))).mean() < mean else (low, middle)
    moved: Numbers = 1 / (1 + np.exp(-(odds + low)))
    return moved


def spread(rng: np.random.Generator, rates: Numbers, loss: float) -> Numbers:
    """Lower every case a little."""
    del rng
    return shift(rates, float(rates.mean()) - loss)


def broken(rng: np.random.Generator, rates: Numbers, loss: float) -> Numbers:
    """Break one case after the other until the mean is lower by `loss`."""
    lowered, left = rates.copy(), loss * len(rates)
    for case in rng.permutation(len(rates)):
        taken = min(left, lowered[case])
        lowered[case] -= taken
        left -= taken
        if left <= 0:
            break
    return lowered


Harm = tuple[str, "Callable[[np.random.Generator, Numbers, float], Numbers]"]
SPREAD: Harm = ("spread over all cases", spread)
BROKEN: Harm = ("cases that break", broken)


@cache
def single_trials(lost: int, gained: int, alpha: float, margin: float) -> bool | None:
    """Return the gate's result on pairs of single trials: it depends on the changed ones only."""
    pairs = [
        *[CasePair(case="", first=PairedTrials(before=(1.0,), after=(0.0,)))] * lost,
        *[CasePair(case="", first=PairedTrials(before=(0.0,), after=(1.0,)))] * gained,
        *[CasePair(case="", first=PairedTrials(before=(1.0,), after=(1.0,)))] * (SUITE_SIZE - lost - gained),
    ]
    return compare_pairs(NAMES, pairs, Gate(baseline="b", alpha=alpha, margin=margin)).passed


def compared(
    rng: np.random.Generator, runs: int, world: World, harm: Harm | None, loss: float, *, alpha: float = 0.01
) -> list[bool | None]:
    """Compare suites of 1,319 cases with one trial on each side."""
    results = []
    for _ in range(runs):
        before = world.draw(rng, SUITE_SIZE)
        after = before if harm is None else harm[1](rng, before, loss)
        first, second = rng.random(SUITE_SIZE) < before, rng.random(SUITE_SIZE) < after
        lost, gained = int((first & ~second).sum()), int((~first & second).sum())
        results.append(single_trials(lost, gained, alpha, 0.05))
    return results


def repeated(rng: np.random.Generator, runs: int, world: World, loss: float, repeats: int) -> list[bool | None]:
    """Compare suites of 1,319 cases with several trials of each case on each side."""
    gate = Gate(baseline="b", alpha=0.01)
    results = []
    for _ in range(runs):
        before = world.draw(rng, SUITE_SIZE)
        after = shift(before, world.rate - loss) if loss else before
        pairs = [
            CasePair(case="", first=PairedTrials(before=values(one, repeats), after=values(other, repeats)))
            for one, other in zip(rng.binomial(repeats, before), rng.binomial(repeats, after), strict=True)
        ]
        results.append(compare_pairs(NAMES, pairs, gate).passed)
    return results


def adaptive(
    rng: np.random.Generator, runs: int, world: World, harm: Harm | None, *, before_trials: int
) -> tuple[list[bool | None], float]:
    """Compare 25 cases with a known baseline; cases that fail are run again, up to 5 trials. Return the mean calls."""
    gate = Gate(baseline="b", alpha=0.05, margin=FEW_MARGIN)
    results: list[bool | None] = []
    calls = 0
    for _ in range(runs):
        before = world.draw(rng, FEW_CASES)
        after = before if harm is None else harm[1](rng, before, LIMIT - TRUE_RATE)
        pairs = []
        for known, rate in zip(rng.binomial(before_trials, before), after, strict=True):
            earlier = values(known, before_trials)
            passed = bool(rng.random() < rate)
            again = None if passed else PairedTrials(before=earlier, after=values(rng.binomial(4, rate), 4))
            pairs.append(CasePair(case="", first=PairedTrials(before=earlier, after=(float(passed),)), again=again))
            calls += 1 if passed else 5
        results.append(compare_pairs(NAMES, pairs, gate).passed)
    return results, calls / runs


def values(passed: int, trials: int) -> tuple[float, ...]:
    """Return results of trials."""
    return (1.0,) * int(passed) + (0.0,) * (trials - int(passed))


def one_rate_misses(calls: int) -> float:
    """Return how often a gate with one pass rate misses a true rate of 0.85 under a limit of 0.90, exactly."""
    most = max((passed for passed in range(calls + 1) if wilson(passed, calls).high < LIMIT), default=-1)
    return 1 - binomial_cdf(most, calls, TRUE_RATE)


def early(
    rng: np.random.Generator, runs: int, world: World, harm: Harm | None, loss: float
) -> tuple[list[bool | None], float]:
    """Compare suites of 1,319 cases, stopping as soon as the result is certain; return the mean share of the cases."""
    gate = Gate(baseline="b", alpha=0.01, margin=0.05, stops_early=True)
    results: list[bool | None] = []
    used = 0
    for _ in range(runs):
        before = world.draw(rng, SUITE_SIZE)
        after = before if harm is None else harm[1](rng, before, loss)
        first, second = rng.random(SUITE_SIZE) < before, rng.random(SUITE_SIZE) < after
        pairs = [
            CasePair(case="", first=PairedTrials(before=(float(one),), after=(float(other),)))
            for one, other in zip(first, second, strict=True)
        ]
        found = compare_pairs(NAMES, pairs, gate)
        results.append(found.passed)
        used += found.case_count
    return results, used / runs / SUITE_SIZE


def early_rates(rng: np.random.Generator, runs: int, rate: float) -> tuple[list[bool | None], float]:
    """Decide on a limit of 0.90 by up to 1,319 cases."""
    gate = Gate(pass_rate=LIMIT, alpha=0.01, stops_early=True)
    results: list[bool | None] = []
    used = 0
    for _ in range(runs):
        found = rate_check("s", (rng.random(SUITE_SIZE) < rate).astype(float).tolist(), gate, is_complete=True)
        results.append(found.passed)
        used += found.case_count or 0
    return results, used / runs / SUITE_SIZE


def false_alarms(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Compare a system with itself."""
    for world in (MIXED, FIRM, ALIKE, World("cases alike at 0.55", 0.55, 0.0)):
        results = compared(rng, runs, world, None, 0.0)
        yield _row(f"A/A at alpha 0.01, {world.name} ({runs:,} runs): called worse", results, WORSE, most=0.01)
    few = max(runs // 20, 20)
    results = repeated(rng, few, MIXED, 0.0, 3)
    yield _row(f"A/A at alpha 0.01, 3 trials per case ({few:,} runs): called worse", results, WORSE, most=0.01)
    results = compared(rng, runs, MIXED, SPREAD, 0.05)
    yield _row("true loss of exactly the margin, 5 points: called not worse", results, NOT_WORSE, most=0.01)


def detection(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Lose 5 points in 1,319 cases."""
    some = max(runs // 5, 20)
    for world in (MIXED, FIRM):
        for harm in (SPREAD, BROKEN):
            results = compared(rng, some, world, harm, 0.05)
            yield _row(f"-5 points at n = 1,319, {world.name}, {harm[0]}: found", results, WORSE, least=0.95)
    results = compared(rng, some, ALIKE, SPREAD, 0.05)
    yield _row("-5 points at n = 1,319, cases alike at 0.90: found", results, WORSE)
    harder = World("cases alike at 0.55", 0.55, 0.0)
    yield _row(f"-5 points at n = 1,319, {harder.name}: found", compared(rng, some, harder, SPREAD, 0.05), WORSE)
    few = max(runs // 50, 20)
    for repeats in (3, 5):
        results = repeated(rng, few, harder, 0.05, repeats)
        yield _row(f"the same with {repeats} trials per case: found", results, WORSE)


def few_cases(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Lose 5 points in 25 cases with up to 5 trials each."""
    some = max(runs // 5, 20)
    yield "25 cases, one pass rate, 62 calls: missed", _percent(one_rate_misses(62)), "", ""
    for world, before_trials in ((FIRM, 10), (MIXED, 10), (FIRM, 5), (MIXED, 5)):
        known = f"{world.name}, baseline of {before_trials} trials"
        for harm in (BROKEN, SPREAD):
            results, calls = adaptive(rng, some, world, harm, before_trials=before_trials)
            target = one_rate_misses(round(calls)) / 2
            missed = sum(found is not False for found in results)
            met = _yes(missed / some <= target) if harm is BROKEN else ""
            half = f"half of {_percent(2 * target)} at {calls:.0f} calls"
            yield f"25 cases, up to 5 trials, {known}, {harm[0]}: missed", _share(missed, some), half, met
        results, _ = adaptive(rng, some, world, None, before_trials=before_trials)
        yield _row(f"25 cases, up to 5 trials, {known}, no loss: called worse", results, WORSE, most=0.05)
    results, calls = adaptive(rng, some, ALIKE, SPREAD, before_trials=10)
    missed = sum(found is not False for found in results)
    yield (
        "25 cases, up to 5 trials, cases alike, spread over all cases: missed",
        _share(missed, some),
        f"one rate misses {_percent(one_rate_misses(round(calls)))} at {calls:.0f} calls",
        "",
    )


def early_stop(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Stop as soon as the result is certain."""
    few = max(runs // 20, 20)
    for name, harm, loss in (("no loss", None, 0.0), ("-10 points", SPREAD, 0.1), ("-15 points", BROKEN, 0.15)):
        results, share = early(rng, few, MIXED, harm, loss)
        saved = 1 - share
        wrong = results.count(harm is not None)
        what = f"early stop, margin 5 points, {name}: calls saved of 1,319"
        yield what, f"{_percent(saved)}; wrong {_share(wrong, few)}", "at least 40 %", _yes(saved >= 0.4)
    results, share = early(rng, few, MIXED, SPREAD, 0.05)
    yield (
        "early stop, a loss of exactly the margin: calls saved",
        f"{_percent(1 - share)}; called not worse {_share(results.count(True), few)}",
        "wrong at most 1 %",
        _yes(clopper_pearson(results.count(True), few).low <= 0.01),
    )
    for rate, wrong_result in ((0.95, False), (0.85, True), (0.98, False)):
        results, share = early_rates(rng, few, rate)
        saved, wrong = 1 - share, results.count(wrong_result)
        what = f"early stop, limit 0.90, true rate {rate}: calls saved of 1,319"
        yield what, f"{_percent(saved)}; wrong {_share(wrong, few)}", "at least 40 %", _yes(saved >= 0.4)


def rows(runs: int = RUNS) -> Iterator[Row]:
    """Yield the table."""
    for seed, part in enumerate((false_alarms, detection, few_cases, early_stop)):
        for row in part(np.random.default_rng([20_251_130, seed]), runs):
            sys.stderr.write(" | ".join(row) + "\n")
            yield row


def _row(
    what: str,
    results: list[bool | None],
    wanted: bool | None,  # noqa: FBT001 - one of WORSE and NOT_WORSE
    *,
    most: float | None = None,
    least: float | None = None,
) -> Row:
    count = sum(found is wanted for found in results)
    share = count / len(results)
    if most is not None:
        return what, _share(count, len(results)), f"at most {_percent(most)}", _yes(share <= most)
    target = "" if least is None else f"at least {_percent(least)}"
    return what, _share(count, len(results)), target, "" if least is None else _yes(share >= least)


def _share(count: int, total: int) -> str:
    interval = clopper_pearson(count, total)
    return f"{_percent(count / total)} [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.02 else f"{100 * share:.2f} %"


def _yes(is_met: bool) -> str:  # noqa: FBT001 - one word of a table
    return "yes" if is_met else "no"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    for line in (HEADER, ("---",) * len(HEADER), *rows(parser.parse_args().runs)):
        print("| " + " | ".join(line) + " |", flush=True)
