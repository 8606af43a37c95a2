"""Users counted on arrays: sums that must not overflow."""

from __future__ import annotations

import numpy as np  # noqa: TID251 - columns of calls
import pytest

from flowai.comparison.counts import Counts
from flowai.comparison.spec import HOUR_US
from flowai.comparison.user_arrays import NEVER, CallRows, MetricValues, UserCounter


@pytest.mark.parametrize("nano_usd", [5_000, 500_000_000, 700_000_000_000_000])
def test_sums_of_squares_are_exact_however_dear_calls_are(nano_usd: int) -> None:
    user_count = 3_000
    costs = nano_usd + np.arange(user_count, dtype=np.int64) % 7
    zeros = np.zeros(user_count, dtype=np.int64)
    dropped_us = np.full(user_count, NEVER)
    dropped_us[:100] = 2 * HOUR_US
    rows = CallRows(
        sides=("canary",),
        stage_count=1,
        side=zeros,
        stage=zeros,
        unit=np.arange(user_count, dtype=np.int64),
        known_us=zeros,
        in_sample=np.ones(user_count, dtype=bool),
        dropped_us=dropped_us,
    )
    counts = Counts()
    counter = UserCounter(counts=counts)
    counter.add(rows, {"cost": MetricValues(measured=np.ones(user_count, dtype=bool), value=costs)})
    counter.finish()
    by_hour = counts.users["cost", "canary", 0]
    exact = costs.tolist()
    assert by_hour[0].total == sum(exact)
    assert by_hour[0].squares == sum(cost * cost for cost in exact)
    assert by_hour[2 * HOUR_US].squares == -sum(cost * cost for cost in exact[:100])
