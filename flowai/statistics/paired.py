"""Exact tests of pairs: is the second side worse than the first? Repeats of a pair never count as pairs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from flowai.statistics.beta import binomial_cdf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_LATTICE_STEPS = 2_000_000
"""Above this number of possible sums, the permutations are drawn instead of counted."""

MAX_DENOMINATOR = 5_040
DRAWS = 9_999
_DRAWN_AT_ONCE = 2_000_000
_SLACK = 1e-9
SCORE_BITS = 0.125
MIN_P_VALUE = 1e-12
"""Smaller ones are below the rounding error of a Fourier transform."""
_SEED = 20_251


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedTrials:
    """Results of one case on both sides, 0 to 1 each."""

    before: tuple[float, ...]
    """The baseline's trials; at least one."""
    after: tuple[float, ...]
    """The candidate's trials; at least one."""

    @property
    def difference(self) -> float:
        """Mean of the candidate's trials minus mean of the baseline's, -1 to 1."""
        return math.fsum(self.after) / len(self.after) - math.fsum(self.before) / len(self.before)


def mcnemar_p(lost: int, gained: int) -> float:
    """Return the two-sided exact p-value of McNemar's test from the pairs that changed: lost and gained.

    Source: McNemar, Psychometrika 12 (1947) 153; exact: the binomial distribution with rate one half.
    """
    return min(1.0, 2 * binomial_cdf(min(lost, gained), lost + gained, 0.5)) if lost + gained else 1.0


def worse_p(pairs: Sequence[PairedTrials]) -> float:
    """Return the one-sided p-value that the candidate is worse: whole cases are exchanged between the sides.

    The repeats of a case are averaged first, so that they never count as cases, however alike they are. With one trial
    on each side and results 0 and 1 it is McNemar's exact test, one-sided. Where the sides have different numbers of
    trials, `trial_exchange_p` must say so too: the mean of few trials is skewed.

    Source: Fisher, The Design of Experiments (1935), section 21.
    """
    is_even = all(len(pair.before) == len(pair.after) for pair in pairs)
    whole = _case_exchange_p(pairs)
    return whole if is_even else max(whole, trial_exchange_p(pairs))


def trial_exchange_p(pairs: Sequence[PairedTrials]) -> float:
    """Return the one-sided p-value that the candidate is worse: trials of each case are exchanged between the sides.

    It assumes that the trials of a case are independent of each other; cases may differ as they like. Results that are
    whole counts are counted exactly; others are drawn, with a fixed seed.

    Source: Pitman, Supplement to the Journal of the Royal Statistical Society 4 (1937) 119; of counts: the
    hypergeometric distribution in each stratum, as in Birch, Journal of the Royal Statistical Society B 26 (1964) 313.
    """
    informative = [pair for pair in pairs if len(set(pair.before + pair.after)) > 1]
    if not informative:
        return 1.0
    exact = _counted_p(informative) if _are_counts(informative) else None
    return _drawn_p(informative) if exact is None else exact


def broken_case_p(pairs: Sequence[PairedTrials]) -> float:
    """Return the one-sided p-value that some cases broke: results must be 0 and 1, trials are exchanged within cases.

    Each case has an exact p-value of its own; the sum of their logarithms has a distribution that is counted, too. A
    few cases that lose all of their trials stand out, while unreliable ones hardly add noise, as they do to a sum of
    passes.

    Source: Fisher, Statistical Methods for Research Workers (1932), section 21.1; of discrete p-values: counted exactly
    after rounding the logarithms to an eighth of a bit, which changes the statistic, not its validity.
    """
    kinds: Counter[tuple[int, int, int]] = Counter()
    observed = 0
    for pair in pairs:
        after = round(sum(pair.after))
        kind = (len(pair.before), len(pair.after), round(sum(pair.before)) + after)
        kinds[kind] += 1
        fewest, scores, _ = _loss_scores(*kind)
        observed += scores[after - fewest]
    largest = sum(max(_loss_scores(*kind)[1]) * count for kind, count in kinds.items())
    size = largest + 1
    product = np.ones(size // 2 + 1, dtype=np.complex128)
    for kind, count in sorted(kinds.items()):
        _, scores, masses = _loss_scores(*kind)
        own = np.zeros(size)
        np.add.at(own, scores, masses)
        product *= np.fft.rfft(own) ** count
    tail = float(np.fft.irfft(product, size)[observed:].sum())
    return min(1.0, max(tail, MIN_P_VALUE))


@cache
def _loss_scores(before: int, after: int, passed: int) -> tuple[int, list[int], list[float]]:
    """Return the fewest passes that one side of a case can have; of each number from there on, score and probability.

    The score of a number is that of the p-value "so few passes, or fewer".
    """
    fewest, most = max(0, passed - before), min(after, passed)
    total = math.comb(before + after, passed)
    ways = [math.comb(after, count) * math.comb(before, passed - count) for count in range(fewest, most + 1)]
    scores = [round(-math.log2(reached / total) / SCORE_BITS) for reached in accumulate(ways)]
    return fewest, scores, [way / total for way in ways]


def _case_exchange_p(pairs: Sequence[PairedTrials]) -> float:
    """Convolve the two signs of every difference; draw them if the differences have no coarse lattice."""
    changed = [pair for pair in pairs if pair.difference]
    if not changed:
        return 1.0
    denominator = math.lcm(*{len(pair.before) for pair in changed}, *{len(pair.after) for pair in changed})
    is_coarse = denominator <= MAX_DENOMINATOR and 2 * denominator * len(changed) <= MAX_LATTICE_STEPS
    if not (is_coarse and _are_counts(changed)):
        return _drawn_p([PairedTrials(before=(0.0,), after=(pair.difference,)) for pair in changed])
    steps = [round(pair.difference * denominator) for pair in changed]
    masses = np.ones(1)
    for size, count in sorted(Counter(map(abs, steps)).items()):
        signs = np.zeros(2 * size + 1)
        signs[[0, -1]] = 0.5
        masses = np.convolve(masses, _power(signs, count))
    lowest = -sum(map(abs, steps))
    return min(1.0, float(masses[: sum(steps) - lowest + 1].sum()))


def _are_counts(pairs: Sequence[PairedTrials]) -> bool:
    return all(value in (0.0, 1.0) for pair in pairs for value in pair.before + pair.after)


def _counted_p(pairs: Sequence[PairedTrials]) -> float | None:
    """Convolve the distributions of the cases on a common lattice; None if it is too fine."""
    denominator = math.lcm(*{len(pair.before) for pair in pairs}, *{len(pair.after) for pair in pairs})
    if denominator > MAX_DENOMINATOR or 2 * denominator * len(pairs) > MAX_LATTICE_STEPS:
        return None
    observed = 0
    kinds: Counter[tuple[int, int, int]] = Counter()
    for pair in pairs:
        passes = round(sum(pair.before)), round(sum(pair.after))
        kinds[len(pair.before), len(pair.after), sum(passes)] += 1
        observed += _steps(len(pair.before), len(pair.after), sum(passes), passes[1], denominator)
    offset, masses = 0, np.ones(1)
    for (before, after, passed), count in sorted(kinds.items()):
        start, own = _stratum(before, after, passed, denominator)
        offset += start * count
        masses = np.convolve(masses, _power(own, count))
    return min(1.0, float(masses[: observed - offset + 1].sum()))


def _steps(before: int, after: int, passed: int, passed_after: int, denominator: int) -> int:
    return passed_after * (denominator // after) - (passed - passed_after) * (denominator // before)


def _stratum(before: int, after: int, passed: int, denominator: int) -> tuple[int, NDArray[np.float64]]:
    """Return the smallest difference of a case, in steps, and the probability of each one from there on."""
    fewest, most = max(0, passed - before), min(after, passed)
    start = _steps(before, after, passed, fewest, denominator)
    stride = denominator // after + denominator // before
    masses = np.zeros((most - fewest) * stride + 1)
    total = math.comb(before + after, passed)
    for count in range(fewest, most + 1):
        masses[(count - fewest) * stride] = math.comb(after, count) * math.comb(before, passed - count) / total
    return start, masses


def _power(masses: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    result, square = np.ones(1), masses
    while count:
        if count % 2:
            result = np.convolve(result, square)
        count //= 2
        if count:
            square = np.convolve(square, square)
    return result


def _drawn_p(pairs: Sequence[PairedTrials]) -> float:
    """Draw permutations; the observed one is counted as one of them.

    Source: Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010) 39.
    """
    rng = np.random.default_rng(_SEED)
    observed = math.fsum(pair.difference for pair in pairs)
    sums = np.zeros(DRAWS)
    for before, after in sorted({(len(pair.before), len(pair.after)) for pair in pairs}):
        group = [pair for pair in pairs if (len(pair.before), len(pair.after)) == (before, after)]
        values = np.array(sorted(pair.before + pair.after for pair in group))
        weights = np.array([-1 / before] * before + [1 / after] * after)
        rows = max(1, _DRAWN_AT_ONCE // values.size)
        for first in range(0, DRAWS, rows):
            count = min(rows, DRAWS - first)
            shuffled = rng.permuted(np.broadcast_to(values, (count, *values.shape)), axis=2)
            sums[first : first + count] += (shuffled @ weights).sum(axis=1)
    return float((1 + np.count_nonzero(sums <= observed + _SLACK)) / (1 + DRAWS))
