"""The evidence of a verdict for thousands of rollouts at once: the library's, on arrays.

In: counts as arrays of runs x cells. Out: evidence. Must never know what is simulated with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - thousands of rollouts at once

from flowai.comparison.blocks import MIN_PART, MIN_UNITS_PER_BLOCK
from flowai.comparison.spec import CELL_US, HOUR_US
from flowai.statistics import evalues as exact
from flowai.statistics import srm as assigned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray  # noqa: TID251 - as above

    Counts = NDArray[np.int64]
    Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Histories:
    """Cells or blocks of many rollouts: arrays of runs x cells; n: calls, k: failures, 1: candidate, 0: control."""

    n1: Counts
    n0: Counts
    k1: Counts
    k0: Counts


def joined(cells: Histories, begins: Sequence[int] = ()) -> Histories:
    """Join cells into blocks, each where it closes: the twin of `close_blocks`; elsewhere there is nothing.

    Args:
        cells: of one stream.
        begins: cells at which a stage begins; what is open there is left out.
    """
    parts = np.stack([cells.n1, cells.n0, cells.k1, cells.k0])
    opened, blocks = np.zeros(parts.shape[:2], dtype=np.int64), np.zeros_like(parts)
    begin, before = np.zeros(parts.shape[1], dtype=np.int64), np.zeros(parts.shape[1], dtype=np.int64)
    for at in range(parts.shape[2]):
        if at in begins:
            opened[:], before[:] = 0, 0
        begin[opened[:2].sum(0) == 0] = at
        opened += parts[:, :, at]
        users, is_old = opened[:2].sum(0), at + 1 - begin >= HOUR_US // CELL_US
        enough = np.where(is_old, MIN_UNITS_PER_BLOCK, np.maximum(MIN_UNITS_PER_BLOCK, before / MIN_PART))
        closes = (opened[:2].min(0) >= 1) & (users >= enough)
        blocks[:, closes, at] = opened[:, closes]
        before[closes] += users[closes]
        opened[:, closes] = 0
    return Histories(n1=blocks[0], n0=blocks[1], k1=blocks[2], k0=blocks[3])


def log_e(histories: Histories, claim: exact.Alternative, *, rare: bool, margin: float = 0.0) -> Numbers:
    """Return the evidence after each block: the twin of `RatioEProcess` (rare) and of `RateEProcess`."""
    bets, weights = _grid(claim, rare=rare, margin=margin)
    both = (histories.n1 > 0) & (histories.n0 > 0)
    share = np.where(both, histories.n1 / np.maximum(histories.n1 + histories.n0, 1), 0.5)
    a, b = _centres(histories, share, rare=rare, margin=margin)
    gains = ((1 - share) * (1 - a), -(1 - share) * a, -share * (1 - b), share * b)
    counts = (histories.k1, histories.n1 - histories.k1, histories.k0, histories.n0 - histories.k0)
    sign = 1 if claim == "worse" else -1
    most = 0.95 / np.max([-sign * gain for gain in gains], axis=0)
    mixed = np.full(share.shape, -np.inf)
    for bet, weight in zip(bets, weights, strict=True):
        if rare:
            stake = (bet**sign - 1) / ((1 + share * (bet**sign - 1)) * (1 - b))
        elif claim == "not_worse" and margin > 0:
            stake = -bet * margin / np.maximum((1 - share) * a * (1 - a) + share * b * (1 - b), 1e-12)
        else:
            stake = np.full(share.shape, sign * bet)
        stake = sign * np.minimum(np.abs(stake), most)
        factors = sum(count * np.log1p(stake * gain) for count, gain in zip(counts, gains, strict=True))
        mixed = np.logaddexp(mixed, math.log(weight) + np.cumsum(np.where(both, factors, 0.0), axis=-1))
    return mixed


def _grid(claim: exact.Alternative, *, rare: bool, margin: float) -> tuple[Sequence[float], Sequence[float]]:
    """Return the bets of a construction and their weights."""
    if rare:
        return exact.RATE_RATIOS, exact.RATIO_WEIGHTS
    if claim == "not_worse" and margin > 0:
        return exact.MARGIN_BETS, exact.MARGIN_WEIGHTS
    return exact.LOG_ODDS, exact.LOG_ODDS_WEIGHTS


def _centres(histories: Histories, share: Numbers, *, rare: bool, margin: float) -> tuple[Numbers, Numbers]:
    failures, calls = histories.k1 + histories.k0, histories.n1 + histories.n0
    failures, calls = (np.cumsum(each, axis=-1) - each for each in (failures, calls))
    if rare:
        b = np.maximum(failures / (calls + exact.UNSEEN_CALLS) - share * margin, 0.0)
        return b + margin, b
    rate = (failures + exact.PLUG_IN_START) / (calls + 2 * exact.PLUG_IN_START)
    return rate + (1 - share) * margin, rate - share * margin


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
