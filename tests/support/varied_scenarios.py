"""Fifty small simulated rollouts: every complication alone, and at random together."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowai.simulation.scenario import Arm, Bots, CacheTraffic, FeatureTraffic, Outage, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

STAGES = ((0, 1.5), (10, 4.0), (50, 5.0))
PLAIN = Scenario(stages=STAGES, calls_per_hour=300, score_rate=0.3, feedback_rate=0.5)
BAD = Arm(error_rate=0.12, bad_json_rate=0.05, cancelled_rate=0.06, primary_failure_rate=0.1, degraded_rate=0.4)
WORSE = Arm(
    error_rate=0.06, bad_json_rate=0.05, acceptance=0.45, hallucination_rate=0.1, latency_ms=1200, cost_usd=0.002
)
FEATURES = tuple(
    FeatureTraffic(name=f"f{index}", weight=weight, end_weight=end, failure_factor=factor, is_json=index != 1)
    for index, (weight, end, factor) in enumerate(((3.0, 1.0, 0.5), (1.0, 2.0, 1.0), (0.5, None, 4.0)))
)
COMPLICATIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a worse candidate": {"candidate": WORSE},
    "both arms are bad": {"candidate": BAD, "control": BAD},
    "users differ a lot": {"user_concentration": 2.0, "user_sigma": 0.6},
    "users differ a little": {"user_concentration": 30.0, "user_sigma": 0.2},
    "features": {"features": FEATURES},
    "a cold cache": {"cache": CacheTraffic(hit_rate=0.5, warm_up_calls=300.0)},
    "an outage": {"outage": Outage(start_hour=5, hours=1, failure_rate=0.7)},
    "clock skew": {"process_count": 4, "clock_skew_s": 420.0},
    "bots": {"bots": (Bots(count=3, calls_per_hour=8, is_failing=True), Bots(count=1, calls_per_hour=40))},
    "a call per user": {"calls_per_user": 0.5, "activity_exponent": None},
    "late feedback": {"feedback_delay_min": 50.0, "score_delay_min": 55.0, "lost_feedback_rate": 0.2},
    "retries": {"retry_rate": 0.6, "repeated_failure_rate": 0.5},
    "anonymous calls": {"anonymous_rate": 0.5},
    "no users": {"anonymous_rate": 1.0},
    "drift and nights": {"drift": 3.0, "day_night": 0.8},
    "users who always fail": {"candidate": Arm(always_failing_user_rate=0.1), "control": Arm()},
    "no streams": {"candidate": Arm(ttft_ms=None), "control": Arm(ttft_ms=None)},
    "few users": {"calls_per_user": 200.0},
    "many stages": {"stages": ((0, 1), (1, 2), (5, 2), (25, 3), (100, 1.3))},
}
_COUNT = 50


def varied_scenarios() -> Iterator[tuple[str, Scenario]]:
    """Yield names and scenarios, each with a seed of its own and 2,000 to 6,000 calls."""
    for seed, (name, alone) in enumerate(COMPLICATIONS.items()):
        yield name, replace(PLAIN, seed=seed, **alone)
    names = list(COMPLICATIONS)
    for seed in range(len(names), _COUNT):
        rng = random.Random(seed)  # noqa: S311 - a test's choice
        chosen = rng.sample(names, 4)
        changes: dict[str, Any] = {}
        for name in chosen:
            changes |= COMPLICATIONS[name]
        pace = rng.choice((200, 350, 500))
        yield " + ".join(chosen), replace(PLAIN, seed=seed, **(changes | {"calls_per_hour": pace}))
