"""Evidence that one arm fails more often, for thousands of comparisons at once: the library's, on arrays.

In: counts as arrays of runs x cells. Out: evidence. Must never know what is simulated with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - thousands of comparisons at once

from flowai.comparison.blocks import MIN_PART, MIN_UNITS_PER_BLOCK
from flowai.comparison.spec import CELL_US, HOUR_US
from flowai.statistics import evalues as exact
from flowai.statistics import srm as assigned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray  # noqa: TID251 - as above

    Counts = NDArray[np.int64]
    Numbers = NDArray[np.float64]

_MAX_LOSS = 0.95
"""As in the library: no user reduces the evidence by more than this share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Histories:
    """Cells or blocks of many comparisons: arrays of runs x cells; n: users, k: failures, 1: candidate, 0: control."""

    n1: Counts
    n0: Counts
    k1: Counts
    k0: Counts


def joined(cells: Histories) -> Histories:
    """Join cells of a stage into blocks, each where it closes (else nothing): the twin of `close_blocks`."""
    parts = np.stack([cells.n1, cells.n0, cells.k1, cells.k0])
    opened, blocks = np.zeros(parts.shape[:2], dtype=np.int64), np.zeros_like(parts)
    begin, before = np.zeros(parts.shape[1], dtype=np.int64), np.zeros(parts.shape[1], dtype=np.int64)
    for at in range(parts.shape[2]):
        begin[opened[:2].sum(0) == 0] = at
        opened += parts[:, :, at]
        users, is_old = opened[:2].sum(0), at + 1 - begin >= HOUR_US // CELL_US
        enough = np.maximum(MIN_UNITS_PER_BLOCK, before / MIN_PART)
        closes = (opened[:2].min(0) >= 1) & (is_old | (users >= enough))
        blocks[:, closes, at] = opened[:, closes]
        before[closes] += users[closes]
        opened[:, closes] = 0
    return Histories(n1=blocks[0], n0=blocks[1], k1=blocks[2], k0=blocks[3])


def rates_log_e(blocks: Histories) -> Numbers:
    """Return the evidence after each block: the twin of `RateEProcess`, for frequent failures."""
    failures, users = (np.cumsum(each, axis=-1) - each for each in (blocks.k1 + blocks.k0, blocks.n1 + blocks.n0))
    rate = (failures + exact.PLUG_IN_START) / (users + 2 * exact.PLUG_IN_START)
    share = _share(blocks)
    stakes = [np.full(share.shape, odds) for odds in exact.LOG_ODDS]
    return _mixed(blocks, share, rate, stakes, exact.LOG_ODDS_WEIGHTS)


def failures_log_e(cells: Histories) -> Numbers:
    """Return the evidence after each cell: the twin of `RatioEProcess` with `failures_only`, for rare failures."""
    share = _share(cells)
    stakes = [(ratio - 1) / (1 + share * (ratio - 1)) for ratio in exact.RATE_RATIOS]
    return _mixed(cells, share, np.zeros(share.shape), stakes, exact.RATIO_WEIGHTS)


def _share(histories: Histories) -> Numbers:
    both = (histories.n1 > 0) & (histories.n0 > 0)
    return np.where(both, histories.n1 / np.maximum(histories.n1 + histories.n0, 1), 0.5)


def _mixed(
    histories: Histories, share: Numbers, rate: Numbers, stakes: Sequence[Numbers], weights: Sequence[float]
) -> Numbers:
    """Return the weighted evidence of the bets around the rate of both arms."""
    both = (histories.n1 > 0) & (histories.n0 > 0)
    gains = ((1 - share) * (1 - rate), -(1 - share) * rate, -share * (1 - rate), share * rate)
    counts = (histories.k1, histories.n1 - histories.k1, histories.k0, histories.n0 - histories.k0)
    largest = _MAX_LOSS / np.max([-gain for gain in gains], axis=0)
    mixed = np.full(share.shape, -np.inf)
    for stake, weight in zip(stakes, weights, strict=True):
        bounded = np.minimum(stake, largest)
        factors = sum(count * np.log1p(bounded * gain) for count, gain in zip(counts, gains, strict=True))
        mixed = np.logaddexp(mixed, math.log(weight) + np.cumsum(np.where(both, factors, 0.0), axis=-1))
    return mixed


def mismatch_log_e(counts: Counts, shares: Sequence[float]) -> Numbers:
    """Return the evidence of a mismatch: the twin of `srm_log_e_value`; arms along the last axis."""

    def rising(prior: float, most: int) -> Numbers:
        """Return the logarithm of prior (prior + 1) ... by the number of factors."""
        return np.concatenate(([0.0], np.cumsum(np.log(prior + np.arange(most)))))

    total = counts.sum(-1)
    prior = assigned.PRIOR_ASSIGNMENTS
    dirichlet: Numbers = -rising(prior, int(total.max()))[total]
    tilted = np.full(total.shape, -np.inf)
    for arm, share in enumerate(shares):
        column = counts[..., arm]
        dirichlet = dirichlet + rising(prior * share, int(column.max()))[column] - column * math.log(share)
        for ratio, weight in zip(assigned.ODDS_RATIOS, assigned.ODDS_WEIGHTS, strict=True):
            bet = column * math.log(ratio) - total * math.log1p(share * (ratio - 1))
            tilted = np.logaddexp(tilted, bet + math.log(weight / len(shares)))
    return np.logaddexp(dirichlet + math.log(assigned.DIRICHLET_WEIGHT), tilted)
