"""Sample-ratio mismatch: do the arms get the shares they were given?

In: assignments by arm, and each arm's share. Out: the logarithm of an e-value. Must never know what an arm serves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MISMATCH_ALPHA = 0.001
"""A mismatch is called at evidence 1 / 0.001: it makes the whole comparison invalid, so that a false alarm is dear."""

PRIOR_ASSIGNMENTS = 100.0
"""How many assignments the prior is worth: it expects the shares as if it had seen 100 that divided exactly so."""


def mismatch_log_e(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Give the evidence that assignments do not divide as they should; it may be looked at after every one of them.

    Args:
        counts: assignments (users, not calls) by arm within one stage, 0 or more.
        shares: expected share by arm, 0 or more; they need not add up to 1.

    Returns:
        Natural logarithm of the Bayes factor, 0 without assignments; inf when an arm without a share has some.

    Raises:
        ValueError: a count or a share is negative or no number, or no share is above 0.

    Source: Lindon and Malek, Anytime-valid inference for multinomial count data (NeurIPS 2022): the sequential test of
    a multinomial hypothesis, Dirichlet-multinomial against multinomial.
    """
    total_share = sum(shares.values())
    if not (math.isfinite(total_share) and total_share > 0 and all(share >= 0 for share in shares.values())):
        raise ValueError("shares must be 0 or more, and one of them above 0")
    if any(count < 0 for count in counts.values()):
        raise ValueError("an arm cannot have fewer than 0 assignments")
    if unexpected_arms(counts, shares):
        return math.inf
    total = sum(counts.values())
    log_factor = math.lgamma(PRIOR_ASSIGNMENTS) - math.lgamma(PRIOR_ASSIGNMENTS + total)
    for arm, count in counts.items():
        if count:
            share = shares[arm] / total_share
            prior = PRIOR_ASSIGNMENTS * share
            log_factor += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return log_factor


def unexpected_arms(counts: Mapping[str, int], shares: Mapping[str, float]) -> tuple[str, ...]:
    """Name the arms that have assignments and no share, in alphabetical order."""
    return tuple(sorted(arm for arm, count in counts.items() if count > 0 and not shares.get(arm, 0.0) > 0))
