"""Sample-ratio mismatch: tests whether arms receive their configured shares."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.statistics.mixture import log_mixture

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MISMATCH_ALPHA = 0.001
"""A mismatch is reported at evidence 1 / 0.001: it makes the whole comparison invalid, so that a false alarm is
expensive."""

PRIOR_ASSIGNMENTS = 300.0
"""Weight of the prior in assignments: it expects the shares as if 300 assignments had divided exactly so."""

DIRICHLET_WEIGHT = 0.5
"""Share of the evidence that starts on the prior, which detects every mismatch eventually."""

ODDS_RATIOS = (1.5, 1 / 1.5)
"""Bets on each arm: half as many assignments again as expected, or a third fewer."""

ODDS_WEIGHTS = (0.35, 0.15)
"""Shares of the evidence that start on each of `ODDS_RATIOS`, divided among the arms."""


def srm_log_e_value(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Return the log evidence of a sample-ratio mismatch, 0 without assignments; it is valid after every assignment.

    `counts` are users, not calls, by arm within one stage; `shares` need not add up to 1. The evidence is inf if an arm
    without a share has assignments.

    Source: Lindon and Malek, Anytime-valid inference for multinomial count data (NeurIPS 2022): the sequential test of
    a multinomial hypothesis, Dirichlet-multinomial against multinomial; averaged with likelihood ratios of a few likely
    mismatches, which detect those sooner (decision 0046).
    """
    total_share = sum(shares.values())
    if not (math.isfinite(total_share) and total_share > 0 and all(share >= 0 for share in shares.values())):
        raise ValueError("shares must be 0 or more, and one of them above 0")
    if any(count < 0 for count in counts.values()):
        raise ValueError("an arm cannot have fewer than 0 assignments")
    if unexpected_arms(counts, shares):
        return math.inf
    arms = {arm: (counts.get(arm, 0), share / total_share) for arm, share in shares.items() if share > 0}
    total = sum(count for count, _ in arms.values())
    if not total:
        return 0.0
    bets = [(DIRICHLET_WEIGHT, _log_dirichlet(arms.values(), total))]
    for ratio, weight in zip(ODDS_RATIOS, ODDS_WEIGHTS, strict=True):
        bets += [
            (weight / len(arms), count * math.log(ratio) - total * math.log1p(share * (ratio - 1)))
            for count, share in arms.values()
        ]
    return log_mixture([log_e for _, log_e in bets], [weight for weight, _ in bets])


def _log_dirichlet(arms: Iterable[tuple[int, float]], total: int) -> float:
    """Return the log Bayes factor of arbitrary shares against the expected ones."""
    log_factor = math.lgamma(PRIOR_ASSIGNMENTS) - math.lgamma(PRIOR_ASSIGNMENTS + total)
    for count, share in arms:
        prior = PRIOR_ASSIGNMENTS * share
        log_factor += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return log_factor


def unexpected_arms(counts: Mapping[str, int], shares: Mapping[str, float]) -> tuple[str, ...]:
    """Return the arms that have assignments and no share, in alphabetical order."""
    return tuple(sorted(arm for arm, count in counts.items() if count > 0 and not shares.get(arm, 0.0) > 0))
