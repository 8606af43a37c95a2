"""Scenarios of simulated rollouts: a small one, one with much traffic at one stage, and one with every complication."""

from __future__ import annotations

from dataclasses import replace

from flowai.simulation.scenario import Bots, FeatureTraffic, Outage, Scenario

SMALL = Scenario(stages=((0, 2), (10, 10), (50, 12), (100, 4)), calls_per_hour=300)
LARGE = Scenario(stages=((50, 48),), calls_per_hour=1500)
BUSY = replace(
    SMALL,
    user_concentration=5.0,
    user_sigma=0.4,
    retry_rate=0.5,
    anonymous_rate=0.2,
    day_night=0.6,
    drift=2.0,
    features=(
        FeatureTraffic(name="chat"),
        FeatureTraffic(name="extract", weight=0.5, end_weight=2.0, failure_factor=3.0, latency_factor=2.0),
    ),
    bots=(Bots(count=2, calls_per_hour=10, is_failing=True), Bots(count=1, calls_per_hour=20)),
    outage=Outage(start_hour=8, hours=1, failure_rate=0.5),
    process_count=3,
)
