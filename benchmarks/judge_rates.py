"""How often the intervals of rates corrected by a judge's measured error contain the true rate, and how wide they are.

100 labelled and 1,000 judged answers; true rates of .01 to .5, TPR and TNR of .7 to .99. The labels are half faulty and
half sound, or drawn at random from the answers: at a true rate of .01 then about one of them is faulty, and an interval
can be no narrower than one hit or miss allows. The coverage of a corrected rate is exact, a sum over all outcomes.
Differences of two arms and prediction-powered means are simulated (20,000 draws a cell, whose smallest coverage is low
by chance, by up to 0.5 points). Both use limits in arrays that are compared with the functions' in the same run. "At"
is the cell with the least coverage.
"""

from __future__ import annotations

import argparse
import math
import sys
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np  # noqa: TID251 - all outcomes at once

from flowai.calibration import JudgeCounts
from flowai.statistics import (
    Interval,
    clopper_pearson,
    corrected_difference,
    corrected_rate,
    prediction_powered_mean,
    wilson,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray  # noqa: TID251 - as above

    Numbers = NDArray[np.float64]
    Counts = NDArray[np.int64]
    Flags = NDArray[np.bool_]

HEADER = ("interval", "labels", "cells", "worst coverage", "at", "mean width", "target", "met")
LABELS, JUDGED = 100, 1_000
RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
JUDGE_RATES = (0.7, 0.8, 0.9, 0.95, 0.99)
CELLS = tuple((tpr, tnr) for tpr in JUDGE_RATES for tnr in JUDGE_RATES)
"""TPR and TNR of a judge."""
DIFFERENCES = (0.0, 0.05, 0.2)
DESIGNS = ("half", "random")
TARGET = 0.94
DRAWS = 20_000
WIDTH_DRAWS = 10
CHECKED = 200
SEED = 20_261_130
Z = 1.959963984540054
_LEAST_WEIGHT = 1e-7
Row = tuple[str, ...]


class Part(NamedTuple):
    """Rates with their limits."""

    rate: Numbers
    low: Numbers
    high: Numbers

    def at(self, *index: object) -> Part:
        """Return a part of the arrays, or another shape of them."""
        return Part(self.rate[index], self.low[index], self.high[index])  # type: ignore[index]


def table(limits: Callable[..., Interval], totals: list[int]) -> Part:
    """Return a rate and its limits for each count and total."""
    size = (max(totals) + 1, len(totals))
    found = Part(np.zeros(size), np.zeros(size), np.ones(size))
    for column, total in enumerate(totals):
        for count in range(total + 1):
            one = limits(count, total)
            found.rate[count, column] = 0.0 if one.estimate is None else one.estimate
            found.low[count, column], found.high[count, column] = one.low, one.high
    return found


SHARE = table(wilson, [JUDGED]).at(slice(None), 0)
ALL_SHARE = table(wilson, [JUDGED + LABELS]).at(slice(None), 0)
EXACT = table(clopper_pearson, list(range(LABELS + 1)))


class Outcome(NamedTuple):
    """Outcomes as arrays: counts among the labelled answers, and flagged shares."""

    faulty: Counts
    hit: Part
    false: Part

    @classmethod
    def of(cls, faulty: Counts, hits: Counts, false: Counts) -> Outcome:
        """Look up the limits of the judge's rates."""
        return cls(faulty, EXACT.at(hits, faulty), EXACT.at(false, LABELS - faulty))

    @property
    def says_nothing(self) -> Flags:
        """The interval is everything: a class has no labels, or the judge does not separate the classes."""
        nothing: Flags = (self.faulty == 0) | (self.faulty == LABELS) | (self.hit.rate <= self.false.rate)
        return nothing


def keeps_rate(rate: float, share: Part, seen: Outcome) -> Flags:
    """Return whether `corrected_rate` contains a rate, by the test that it inverts."""
    gap = share.rate - rate * seen.hit.rate - (1 - rate) * seen.false.rate
    below = _squares((1, share), (-rate, seen.hit), (rate - 1, seen.false), sign=-1)
    above = _squares((1, share), (-rate, seen.hit), (rate - 1, seen.false), sign=1)
    return np.where(gap > 0, gap * gap <= below, gap * gap <= above) | seen.says_nothing


def keeps_difference(difference: float, first: Part, second: Part, seen: Outcome) -> Flags:
    """Return whether `corrected_difference` contains a difference, by the test that it inverts."""
    gap = first.rate - second.rate - difference * (seen.hit.rate - seen.false.rate)
    terms = ((1, first), (-1, second), (-difference, seen.hit), (difference, seen.false))
    below, above = _squares(*terms, sign=-1), _squares(*terms, sign=1)
    return np.where(gap > 0, gap * gap <= below, gap * gap <= above) | seen.says_nothing


def _squares(*terms: tuple[float, Part], sign: int) -> Numbers:
    """Return the squared reach of a linear combination to one side."""
    reach: Numbers = np.zeros(1)
    for weight, one in terms:
        end = one.high if weight * sign > 0 else one.low
        reach = reach + (weight * (end - one.rate)) ** 2
    return reach


def powered_limits(cells: Counts, flagged: Counts) -> tuple[Numbers, Numbers]:
    """Return the limits of `prediction_powered_mean`, without its estimate."""
    hits, misses, false, sound = cells.T
    share = ALL_SHARE.at(hits + false + flagged)
    strata = (EXACT.at(hits, hits + false), EXACT.at(misses, misses + sound))
    limits = []
    for sign in (-1, 1):
        ends = [one.high if sign > 0 else one.low for one in strata]
        empty = (hits + false == 0, misses + sound == 0)
        v, o = (np.where(bare, end, one.rate) for bare, end, one in zip(empty, ends, strata, strict=True))
        q_end = np.where(sign * (v - o) > 0, share.high, share.low)
        q = share.rate
        reach = ((v - o) * (q_end - q)) ** 2 + (q * (ends[0] - v)) ** 2 + ((1 - q) * (ends[1] - o)) ** 2
        limits.append(q * v + (1 - q) * o + sign * np.sqrt(reach))
    return limits[0], limits[1]


def delta_limits(share: Part, seen: Outcome) -> tuple[Numbers, Numbers]:
    """Return 1.96 standard errors around the estimate of Rogan and Gladen, as textbooks do."""
    hit, false = seen.hit.rate, seen.false.rate
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = (share.rate - false) / (hit - false)
        spread = share.rate * (1 - share.rate) / JUDGED + estimate**2 * hit * (1 - hit) / seen.faulty
        spread = spread + (1 - estimate) ** 2 * false * (1 - false) / (LABELS - seen.faulty)
        reach = Z * np.sqrt(spread) / (hit - false)
        return _cut(estimate - reach, estimate + reach, seen)


def lang_reiczigel_limits(share: Part, seen: Outcome) -> tuple[Numbers, Numbers]:
    """Return the limits of Lang and Reiczigel, Preventive Veterinary Medicine 113 (2014) 13."""
    sound = LABELS - seen.faulty
    observed = (share.rate * JUDGED + Z * Z / 2) / (JUDGED + Z * Z)
    hit = (seen.hit.rate * seen.faulty + 1) / (seen.faulty + 2)
    passed = ((1 - seen.false.rate) * sound + 1) / (sound + 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = (observed + passed - 1) / (hit + passed - 1)
        first, second = hit * (1 - hit) / (seen.faulty + 2), passed * (1 - passed) / (sound + 2)
        shift = 2 * Z * Z * (estimate * first - (1 - estimate) * second)
        spread = observed * (1 - observed) / (JUDGED + Z * Z) + estimate**2 * first + (1 - estimate) ** 2 * second
        reach = Z * np.sqrt(spread) / (hit + passed - 1)
        return _cut(estimate + shift - reach, estimate + shift + reach, seen)


def _cut(low: Numbers, high: Numbers, seen: Outcome) -> tuple[Numbers, Numbers]:
    nothing = seen.says_nothing | ~np.isfinite(low) | ~np.isfinite(high)
    return np.where(nothing, 0.0, np.clip(low, 0, 1)), np.where(nothing, 1.0, np.clip(high, 0, 1))


def flagged_rate(rate: float, tpr: float, tnr: float) -> float:
    """Return the share of the answers that a judge flags."""
    return rate * tpr + (1 - rate) * (1 - tnr)


def binomial(total: int, rate: float) -> Numbers:
    """Return the chance of each count."""
    counts = range(total + 1)
    choose = [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in counts]
    chances = [c + k * math.log(rate) + (total - k) * math.log1p(-rate) for k, c in enumerate(choose)]
    found: Numbers = np.exp(np.array(chances))
    return found


def label_weights(design: str, rate: float) -> dict[int, float]:
    """Return the chance of each number of faulty labels."""
    if design == "half":
        return {LABELS // 2: 1.0}
    chances = enumerate(binomial(LABELS, rate))
    return {faulty: float(chance) for faulty, chance in chances if chance > _LEAST_WEIGHT}


def exact_coverage(keeps: Callable[[float, Part, Outcome], Flags], design: str, rate: float) -> dict[str, float]:
    """Return the coverage of a rate's interval, by cell."""
    flagged = np.array([binomial(JUDGED, flagged_rate(rate, *cell)) for cell in CELLS]).T.astype(np.float32)
    weights = label_weights(design, rate)
    covered = np.zeros(len(CELLS))
    for faulty, weight in weights.items():
        hits, false = np.arange(faulty + 1).reshape(-1, 1, 1), np.arange(LABELS - faulty + 1).reshape(1, -1, 1)
        kept = keeps(rate, SHARE.at(None, None, slice(None)), Outcome.of(np.array(faulty), hits, false))
        shape = (faulty + 1, LABELS - faulty + 1, JUDGED + 1)
        by_labels = np.broadcast_to(kept, shape).reshape(-1, JUDGED + 1).astype(np.float32) @ flagged
        by_cell = by_labels.reshape(*shape[:2], len(CELLS))
        for index, (tpr, tnr) in enumerate(CELLS):
            covered[index] += weight * (
                binomial(faulty, tpr) @ by_cell[:, :, index] @ binomial(LABELS - faulty, 1 - tnr)
            )
    covered /= sum(weights.values())
    return {cell_name(rate, *cell): float(one) for cell, one in zip(CELLS, covered, strict=True)}


def cell_name(rate: float, tpr: float, tnr: float, more: str = "") -> str:
    """Return the name of a cell."""
    return f"p {rate:g}{more}, TPR {tpr:g}, TNR {tnr:g}"


def draw_outcomes(rng: np.random.Generator, design: str, rate: float, cell: tuple[float, float], size: int) -> Outcome:
    """Draw the verdicts on the labelled answers."""
    faulty = np.full(size, LABELS // 2) if design == "half" else rng.binomial(LABELS, rate, size)
    return Outcome.of(faulty, rng.binomial(faulty, cell[0]), rng.binomial(LABELS - faulty, 1 - cell[1]))


def counts_of(seen: Outcome, index: int) -> JudgeCounts:
    """Return the counts of one outcome."""
    faulty = int(seen.faulty[index])
    hits, false = round(seen.hit.rate[index] * faulty), round(seen.false.rate[index] * (LABELS - faulty))
    return JudgeCounts(
        true_positive_count=hits,
        false_negative_count=faulty - hits,
        true_negative_count=LABELS - faulty - false,
        false_positive_count=false,
    )


def rate_rows(rng: np.random.Generator) -> Iterator[Row]:
    """Yield a row for each way to a corrected rate, and kind of labels."""
    ways: dict[
        str, tuple[Callable[[float, Part, Outcome], Flags], Callable[[Part, Outcome], tuple[Numbers, Numbers]]]
    ] = {
        "corrected rate": (keeps_rate, _function_limits),
        "Lang-Reiczigel, for comparison": (_within(lang_reiczigel_limits), lang_reiczigel_limits),
        "Rogan-Gladen with 1.96 standard errors, for comparison": (_within(delta_limits), delta_limits),
    }
    for name, (keeps, limits) in ways.items():
        for design in DESIGNS:
            covered: dict[str, float] = {}
            widths: list[float] = []
            for rate in RATES:
                covered |= exact_coverage(keeps, design, rate)
                for cell in CELLS:
                    seen = draw_outcomes(rng, design, rate, cell, WIDTH_DRAWS)
                    low, high = limits(SHARE.at(rng.binomial(JUDGED, flagged_rate(rate, *cell), WIDTH_DRAWS)), seen)
                    widths.append(float(np.mean(high - low)))
            yield row_of(name, design, covered, widths, is_ours=keeps is keeps_rate)


def _within(
    limits: Callable[[Part, Outcome], tuple[Numbers, Numbers]],
) -> Callable[[float, Part, Outcome], Flags]:
    def keeps(rate: float, share: Part, seen: Outcome) -> Flags:
        low, high = limits(share, seen)
        return (low <= rate) & (rate <= high)

    return keeps


def _function_limits(share: Part, seen: Outcome) -> tuple[Numbers, Numbers]:
    """Return the limits of `corrected_rate` itself; the test of the arrays must contain the same rates."""
    flagged = np.rint(share.rate * JUDGED).astype(int)
    found = [corrected_rate(int(count), JUDGED, counts_of(seen, index)) for index, count in enumerate(flagged)]
    low, high = np.array([one.low for one in found]), np.array([one.high for one in found])
    for rate in RATES:
        check("corrected_rate", keeps_rate(rate, share, seen), low, high, rate)
    return low, high


def check(name: str, kept: Flags, low: Numbers, high: Numbers, value: float) -> None:
    """Exit if a function's limits leave out a value that the arrays count as covered."""
    if np.any(kept & ((value < low) | (value > high))):
        sys.exit(f"{name}: the arrays count {value:g} as covered where the function's limits leave it out")


def difference_rows(rng: np.random.Generator) -> Iterator[Row]:
    """Yield a row for the corrected difference of two arms for each kind of labels."""
    for design in DESIGNS:
        covered: dict[str, float] = {}
        widths: list[float] = []
        for rate, difference, cell in product(RATES, DIFFERENCES, CELLS):
            seen = draw_outcomes(rng, design, rate, cell, DRAWS)
            flagged = [rng.binomial(JUDGED, flagged_rate(p, *cell), DRAWS) for p in (rate + difference, rate)]
            kept = keeps_difference(difference, SHARE.at(flagged[0]), SHARE.at(flagged[1]), seen)
            covered[cell_name(rate, *cell, f" and {rate + difference:g}")] = float(np.mean(kept))
            first = [(int(one[0]), JUDGED) for one in flagged]
            one = corrected_difference(first[0], first[1], counts_of(seen, 0))
            check("corrected_difference", kept[:1], np.array([one.low]), np.array([one.high]), difference)
            widths.append(one.high - one.low)
        yield row_of("corrected difference of two arms", design, covered, widths, is_ours=True)


def powered_rows(rng: np.random.Generator) -> Iterator[Row]:
    """Yield the row of the prediction-powered mean: its labels must be drawn at random."""
    covered: dict[str, float] = {}
    widths: list[float] = []
    for rate, (tpr, tnr) in product(RATES, CELLS):
        shares = [rate * tpr, rate * (1 - tpr), (1 - rate) * (1 - tnr), (1 - rate) * tnr]
        cells = rng.multinomial(LABELS, shares, DRAWS)
        flagged = rng.binomial(JUDGED, flagged_rate(rate, tpr, tnr), DRAWS)
        low, high = powered_limits(cells, flagged)
        kept = (low <= rate) & (rate <= high)
        covered[cell_name(rate, tpr, tnr)] = float(np.mean(kept))
        pairs = [
            pair for pair, count in zip(((1, 1), (1, 0), (0, 1), (0, 0)), cells[0], strict=True) for _ in range(count)
        ]
        judged = [1] * int(flagged[0]) + [0] * (JUDGED - int(flagged[0]))
        one = prediction_powered_mean(pairs, judged)
        check("prediction_powered_mean", kept[:1], np.array([one.low]), np.array([one.high]), rate)
        widths.append(one.high - one.low)
    yield row_of("prediction-powered mean", "random", covered, widths, is_ours=True)


def row_of(name: str, design: str, covered: dict[str, float], widths: list[float], *, is_ours: bool) -> Row:
    """Return a row: the worst of the cells."""
    cell = min(covered, key=covered.__getitem__)
    labels = "50 faulty, 50 sound" if design == "half" else "100 at random"
    is_met = "yes" if covered[cell] >= TARGET else "**no**"
    goal = (f">= {TARGET:.0%}".replace("%", " %"), is_met) if is_ours else ("-", "-")
    shown = f"{covered[cell] * 100:.1f} %"
    return (name, labels, str(len(covered)), shown, cell, f"{np.mean(widths) * 100:.1f} pt", *goal)


def rows() -> Iterator[Row]:
    """Yield the table, each row as `HEADER` says."""
    rng = np.random.default_rng(SEED)
    for part in (rate_rows, difference_rows, powered_rows):
        yield from part(rng)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    sys.stdout.write("| " + " | ".join(HEADER) + " |\n| " + " | ".join("---" for _ in HEADER) + " |\n")
    for row in rows():
        sys.stdout.write("| " + " | ".join(row) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
