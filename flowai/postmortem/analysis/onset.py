"""Finds onset and recovery in counts by time slice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.statistics.binomial_tails import log_binomial_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.postmortem.analysis.records import Bucket

CONFIDENCE = 1e-4
"""Significance level at which a slice counts as anomalous."""
MIN_RATE = 0.001
"""Minimum of the baseline rate: without earlier failures, lower rates are not anomalous."""
MIN_BAD = 3


def anomalous_buckets(buckets: Sequence[Bucket], rate: float) -> list[bool]:
    """Return for each slice whether far more calls failed than at `rate`, the baseline's failure rate."""
    usual = min(1.0, max(rate, MIN_RATE))
    return [
        one.bad_count >= MIN_BAD and log_binomial_tail(one.bad_count, one.at_risk_count, usual) < math.log(CONFIDENCE)
        for one in buckets
    ]


def onset_s(buckets: Sequence[Bucket], rate: float, *, since_s: int) -> int | None:
    """Return the start of the first anomalous slice that ends after a time, seconds since 1970."""
    width_s = buckets[1].at_s - buckets[0].at_s if len(buckets) > 1 else 0
    marks = zip(buckets, anomalous_buckets(buckets, rate), strict=True)
    return next((max(one.at_s, since_s) for one, is_bad in marks if is_bad and one.at_s + width_s > since_s), None)


def recovery_s(buckets: Sequence[Bucket], rate: float) -> int | None:
    """Return the start of the first slice with calls after the last anomalous one; None without recovery.

    A slice without calls proves nothing, so a log that ends during an incident does not recover.
    """
    marks = anomalous_buckets(buckets, rate)
    if True not in marks:
        return None
    last = len(marks) - 1 - marks[::-1].index(True)
    later = [one for one in buckets[last + 1 :] if one.at_risk_count]
    if not later or sum(one.at_risk_count for one in later) < MIN_BAD:
        return None
    return later[0].at_s
