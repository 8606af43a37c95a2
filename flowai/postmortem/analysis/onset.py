"""Tells from counts by slices of time when things began to go wrong, and when they were well again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.statistics.binomial_tails import log_binomial_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.postmortem.analysis.records import Bucket

CONFIDENCE = 1e-4
"""Chance at which a bucket counts as bad."""
MIN_RATE = 0.001
"""Where nothing ever went wrong before, a rate below this is not yet trouble."""
MIN_BAD = 3


def anomalous_buckets(buckets: Sequence[Bucket], rate: float) -> list[bool]:
    """Tell of each bucket whether far more calls went wrong in it than did before.

    Args:
        buckets: in order of time.
        rate: at which calls went wrong before, 0 to 1.
    """
    usual = min(1.0, max(rate, MIN_RATE))
    return [
        one.bad_count >= MIN_BAD and log_binomial_tail(one.bad_count, one.at_risk_count, usual) < math.log(CONFIDENCE)
        for one in buckets
    ]


def onset_s(buckets: Sequence[Bucket], rate: float, *, since_s: int) -> int | None:
    """Give the begin of the first bad bucket that ends after a moment, seconds since 1970; None without any."""
    width_s = buckets[1].at_s - buckets[0].at_s if len(buckets) > 1 else 0
    marks = zip(buckets, anomalous_buckets(buckets, rate), strict=True)
    return next((max(one.at_s, since_s) for one, is_bad in marks if is_bad and one.at_s + width_s > since_s), None)


def recovery_s(buckets: Sequence[Bucket], rate: float) -> int | None:
    """Give the begin of the first bucket with calls after the last bad one; None where it never went well again.

    A bucket without calls proves nothing, so a log that ends in the middle of an incident does not recover.
    """
    marks = anomalous_buckets(buckets, rate)
    if True not in marks:
        return None
    last = len(marks) - 1 - marks[::-1].index(True)
    later = [one for one in buckets[last + 1 :] if one.at_risk_count]
    if not later or sum(one.at_risk_count for one in later) < MIN_BAD:
        return None
    return later[0].at_s
