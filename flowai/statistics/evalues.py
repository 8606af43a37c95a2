"""E-processes for a candidate's failure rate: evidence that is valid at every time, updated block by block.

One inequality covers both constructions. In a block of n1 candidate and n0 control calls, s = n1 / (n1 + n0), every
call multiplies the evidence: a candidate call by 1 + stake (1 - s) (y - a), a control call by 1 - stake s (y - b). Here
y is 1 for a failure, else 0; a - b = margin; stake, a and b are chosen before the block. Weighted by s and 1 - s, the
expectations of the two factors have the mean 1 + stake s (1 - s) (p1 - p0 - margin), at most 1 under the null
hypothesis. The expectation of the block's product is then at most 1 too (geometric and arithmetic mean). Blocks
multiply, so rates and shares may change between them. Under the null hypothesis the evidence ever reaches 1 / alpha
with probability at most alpha.

Source: Turner, Ly and Grunwald, Generic E-variables for exact sequential k-sample tests that allow for optional
stopping, Journal of Statistical Planning and Inference 230 (2024), theorem 1; with a margin: Turner and Grunwald, Exact
anytime-valid confidence intervals for contingency tables and beyond (2023). Validity at every time: Ville (1939).
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from flowai.statistics.mixture import log_mixture

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE_RATIOS = (1.05, 1.15, 1.3, 1.65, 2.6, 5.0)
"""Ratios of failure rates, candidate to control, that `RatioEProcess` bets on. A bet on 1 + x gains wherever the true
ratio is above about 1 + x / 2."""

RATIO_WEIGHTS = (0.01, 0.02, 0.07, 0.5, 0.2, 0.2)
"""Shares of the evidence that start on each of `RATE_RATIOS`: most where the time to a verdict is limited (decision
0045). Half of a weight costs a bet 0.7 in log evidence."""

LOG_ODDS = (0.05, 0.1, 0.24, 0.5, 1.2)
"""Differences of log odds that `RateEProcess` bets on."""

LOG_ODDS_WEIGHTS = (0.02, 0.06, 0.84, 0.06, 0.02)
"""Shares of the evidence that start on each of `LOG_ODDS`; as `RATIO_WEIGHTS`."""

PLUG_IN_START = 0.18
"""Pseudo-counts of failures, and of successes, before a rate's first block (as the authors' `safestats`)."""

UNSEEN_CALLS = 100.0
"""Pseudo-count of calls without a failure before a stream's first block, for rare failures."""

_MAX_LOSS = 0.95
"""No call reduces the evidence by more than this share, so that a single surprise never ends it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Calls of both arms in a time range with a constant share of the canary, of one stage and feature.

    The end of a block may depend on time and on the number of calls, never on their outcomes; an open block adds
    nothing. A user (or session) counts once: failures of one user are not independent of each other.
    """

    candidate_count: int
    control_count: int
    candidate_failure_count: int
    control_failure_count: int
    exposure_ratio: float = 1.0
    """How often a candidate's unit could fail, relative to a control's, > 0; used with `failures_only`, where units are
    compared that make different numbers of calls."""

    def __post_init__(self) -> None:
        """Check that failures are from 0 to the number of calls."""
        for failures, calls in (
            (self.candidate_failure_count, self.candidate_count),
            (self.control_failure_count, self.control_count),
        ):
            if not 0 <= failures <= calls:
                raise ValueError(f"{failures} failures in {calls} calls cannot be")


class EProcess(ABC):
    """Evidence that the candidate fails more often, by more than a margin: an e-process over blocks.

    It is a mixture of bets, each of which multiplies its evidence over the blocks. `margin` is a difference of failure
    rates, candidate minus control, 0 to below 1.
    """

    _weights: Sequence[float] = ()

    def __init__(self, *, margin: float = 0.0) -> None:
        if not 0 <= margin < 1:
            raise ValueError(f"a margin of {margin} is not between 0 and 1")
        self.tolerated_ratio = 1.0
        self.margin = margin
        self._log_bets = [0.0] * len(self._weights)
        self._peak = 0.0
        self._past: dict[str, tuple[int, int]] = {}

    @property
    def log_e(self) -> float:
        """The natural logarithm of the evidence now; 0 before the first block. It decides at log(1 / alpha)."""
        return log_mixture(self._log_bets, self._weights)

    @property
    def peak_log_e(self) -> float:
        """The largest `log_e` at the end of any block so far, at least 0; it may be used just as well."""
        return self._peak

    def add(self, block: Block, *, stream: str = "") -> float:
        """Multiply by the evidence of one more block, later than the others of its stream; return `log_e`.

        `stream` names whose rates these are (a feature); rates are learnt per stream. A block without calls of both
        arms does not change `log_e`.
        """
        calls = block.candidate_count + block.control_count
        past_failures, past_calls = self._past.get(stream, (0, 0))
        if block.candidate_count and block.control_count:
            weight = block.candidate_count * block.exposure_ratio * self.tolerated_ratio
            share = weight / (weight + block.control_count)
            a, b = self._centres(share, past_failures, past_calls)
            stakes = self._stakes(share, a, b)
            gains = _gains(share, a, b)
            # calls that do not change the evidence are left out: there are many blocks
            terms = [(count, gain) for count, gain in zip(_outcomes(block), gains, strict=True) if count and gain]
            self._log_bets = [
                bet + math.fsum([count * math.log1p(stake * gain) for count, gain in terms])
                for bet, stake in zip(self._log_bets, stakes, strict=True)
            ]
        failures = block.candidate_failure_count + block.control_failure_count
        self._past[stream] = (past_failures + failures, past_calls + calls)
        now = self.log_e
        self._peak = max(self._peak, now)
        return now

    def fork(self) -> Self:
        """Return an independent copy."""
        return copy.deepcopy(self)

    @abstractmethod
    def _centres(self, share: float, failures: int, calls: int) -> tuple[float, float]:
        """Return a and b for the next block from the earlier counts of its stream."""

    @abstractmethod
    def _stakes(self, share: float, a: float, b: float) -> Sequence[float]:
        """Return the stake of each bet in the next block."""


class RatioEProcess(EProcess):
    """Evidence from the ratio of failures of the arms, for rare failures: errors, invalid JSON, slow calls.

    Its bets are spread over ratios r of the arms' rates. Before the rate is known, it is the count ratio: given a
    failure, the chance that it is the candidate's is the candidate's share s of the calls, and the likelihood ratio
    multiplies by r / (s r + 1 - s) for a candidate's failure, by 1 / (s r + 1 - s) for a control's, by 1 for a success.
    As both arms' common rate becomes known from earlier blocks of the stream, successes count too.

    With `failures_only` the rate is not learnt. Then a block may hold all users who are at risk, whether they call or
    not, and each user's first failure is a draw from them: the log-rank test of survival analysis. With arms assigned
    at random, the draw is fair however users differ, while few of them have failed. Where many fail, those who came
    early and are still at risk are mostly users who call no more, and the arm that failed more by chance has fewer of
    them: its share of the users at risk is less than its share of the next failures. False alarms then exceed alpha: 6
    to 8 % at alpha 0.05 where half of the users fail (decision 0096).

    With a `tolerated_ratio` above 1 the claim is that the candidate's rate is above the control's by more than this
    ratio; s is the candidate's share of the failures then.

    Source: ter Schure, Perez-Ortiz, Ly and Grunwald, The safe logrank test (2020), for failures among users at risk.

    Source: the module's inequality with s a + (1 - s) b = the rate so far, or a = margin, b = 0 if that is less, and
    stake = (r - 1) / ((1 + s (r - 1)) (1 - b)). The conditional test of two Poisson rates: Przyborowski and Wilenski,
    Biometrika 31 (1940).
    """

    _weights = RATIO_WEIGHTS

    def __init__(self, *, margin: float = 0.0, tolerated_ratio: float = 1.0, failures_only: bool = False) -> None:
        super().__init__(margin=margin)
        if tolerated_ratio < 1 or ((tolerated_ratio > 1 or failures_only) and margin > 0):
            raise ValueError(f"a tolerated ratio of {tolerated_ratio} with a margin of {margin} cannot be")
        self.tolerated_ratio = tolerated_ratio
        self._failures_only = failures_only or tolerated_ratio > 1

    def _centres(self, share: float, failures: int, calls: int) -> tuple[float, float]:
        if self._failures_only:
            return 0.0, 0.0
        b = max(failures / (calls + UNSEEN_CALLS) - share * self.margin, 0.0)
        return b + self.margin, b

    def _stakes(self, share: float, a: float, b: float) -> Sequence[float]:
        return _bounded([(ratio - 1) / ((1 + share * (ratio - 1)) * (1 - b)) for ratio in RATE_RATIOS], share, a, b)


class RateEProcess(EProcess):
    """Evidence from failures and successes alike, for frequent failures: acceptance, save rate, thumbs.

    The safe 2x2 test over blocks. Its centres are the rate of both arms together in earlier blocks of the stream; its
    bets are spread over differences of log odds. One rate is learnt, not two: that is faster than the paper's plug-in
    of both (decision 0040). Before the first block the rate is assumed to be one half.

    Source: the module's inequality with s a + (1 - s) b = the rate so far; Turner, Ly and Grunwald (2024) for the plug-
    in and for alternatives restricted to effect sizes.
    """

    _weights = LOG_ODDS_WEIGHTS

    def _centres(self, share: float, failures: int, calls: int) -> tuple[float, float]:
        rate = (failures + PLUG_IN_START) / (calls + 2 * PLUG_IN_START)
        return rate + (1 - share) * self.margin, rate - share * self.margin

    def _stakes(self, share: float, a: float, b: float) -> Sequence[float]:
        return _bounded(LOG_ODDS, share, a, b)


def _gains(share: float, a: float, b: float) -> tuple[float, float, float, float]:
    """Return the change of a factor by a stake of 1: candidate's failure, success, control's failure, success."""
    return (1 - share) * (1 - a), -(1 - share) * a, -share * (1 - b), share * b


def _bounded(stakes: Sequence[float], share: float, a: float, b: float) -> list[float]:
    """Return the stakes, all > 0, cut so that no factor falls below 1 - `_MAX_LOSS`."""
    largest = _MAX_LOSS / -min(_gains(share, a, b))
    return [min(stake, largest) for stake in stakes]


def _outcomes(block: Block) -> tuple[int, int, int, int]:
    """Return the numbers of calls in the order of `_gains`."""
    return (
        block.candidate_failure_count,
        block.candidate_count - block.candidate_failure_count,
        block.control_failure_count,
        block.control_count - block.control_failure_count,
    )
