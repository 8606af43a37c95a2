"""Writes synthetic event logs of rollouts through the real event log: users, failures, feedback, from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowai.events import CallEvent, EventLog, FeedbackEvent
from flowai.gateway.call_event import user_hash
from flowai.gateway.routing.assignment import assign_variant
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.events import Event, FeedbackVerdict

BEGIN = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """Rates, 0 to 1, latency and cost of an arm of a rollout."""

    error_rate: float = 0.01
    bad_json_rate: float = 0.005
    acceptance: float = 0.62
    latency_ms: float = 800.0
    cost_usd: float = 0.001


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A rollout: so many calls, one per user unless said otherwise, evenly over its hours."""

    calls_count: int = 4000
    hours: float = 4.0
    percent: int = 25
    candidate: str = "v2"
    baseline: str = "v1"
    canary: Side = Side()
    control: Side = Side()
    calls_per_user: int = 1
    feedback_rate: float = 0.5
    has_users: bool = True
    seed: int = 7
    begin: datetime = BEGIN
    feature: str = "chat"
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def end(self) -> datetime:
        """End of the rollout."""
        return self.begin + timedelta(hours=self.hours)


def events_of(scenario: Scenario) -> Iterator[Event]:
    """Yield the events of a rollout, in order of time."""
    rng = random.Random(scenario.seed)  # noqa: S311 - a simulation
    step = timedelta(hours=scenario.hours) / scenario.calls_count
    for number in range(scenario.calls_count):
        user = f"user-{scenario.seed}-{number // scenario.calls_per_user}"
        at = scenario.begin + number * step
        variant = assign_variant(
            candidate=scenario.candidate,
            stage=scenario.percent,
            unit=user,
            critical=False,
            critical_from=25,
            flagged=False,
        )
        side = scenario.canary if variant == "canary" else scenario.control
        failed = rng.random() < side.error_rate
        call = CallEvent(
            call_id=f"call-{scenario.seed}-{number:07d}",
            at=at,
            **{
                "origin": "library",
                "user_hash": user_hash(user) if scenario.has_users else None,
                "feature": scenario.feature,
                "release": scenario.candidate if variant == "canary" else scenario.baseline,
                "variant": variant,
                "is_sticky": scenario.has_users,
                "prompt_id": "prompts/echo_v1",
                "prompt_hash": "cd" * 32 if variant == "canary" else "ab" * 32,
                "requested_model": "m",
                "cost_usd": side.cost_usd,
                "ttft_ms": None if failed else rng.lognormvariate(0, 0.4) * side.latency_ms / 4,
                "latency_ms": rng.lognormvariate(0, 0.4) * side.latency_ms,
                "json_valid": None if failed else rng.random() >= side.bad_json_rate,
                "error_class": "ServerError" if failed else None,
                "input_tokens": 120,
                "output_tokens": None if failed else 40,
            }
            | scenario.changes,
        )
        yield call
        if not failed and rng.random() < scenario.feedback_rate:
            verdict: FeedbackVerdict = "accepted" if rng.random() < side.acceptance else "rejected"
            yield FeedbackEvent(
                call_id=call.call_id, at=at + timedelta(seconds=90), origin="library", verdict=verdict, feature="chat"
            )


def write_log(directory: Path, *scenarios: Scenario, process: str = "web-1") -> None:
    """Write rollouts, one process after the other, each on the day of its events."""
    for index, scenario in enumerate(scenarios):
        now = scenario.begin

        def clock() -> datetime:
            return now  # noqa: B023 - the log is closed before the next one begins

        with EventLog(directory, f"{process}-{index}", Redactor(()), clock) as log:
            for event in events_of(scenario):
                now = event.at
                log.append(event)
