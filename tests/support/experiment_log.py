"""Writes synthetic event logs of experiments through the real event log: arms, failures, saves, from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flowai.events import CallEvent, EventLog, FeedbackEvent
from flowai.gateway.call_event import user_hash
from flowai.gateway.routing.assignment import assign_arm
from flowai.redaction import Redactor
from support.rollout_log import BEGIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from flowai.events import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """Rates, 0 to 1, latency and cost of an arm."""

    save_rate: float = 0.30
    error_rate: float = 0.01
    bad_json_rate: float = 0.005
    latency_ms: float = 800.0
    cost_usd: float = 0.001


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """An experiment: so many calls, one per user unless said otherwise, evenly over its hours."""

    arms: dict[str, Arm] = field(default_factory=lambda: {"A": Arm(), "B": Arm()})
    name: str = "tone"
    feature: str = "chat"
    calls_count: int = 4000
    hours: float = 4.0
    calls_per_user: int = 1
    has_users: bool = True
    seed: int = 7
    begin: datetime = BEGIN
    changes: dict[str, Any] = field(default_factory=dict)


def experiment_events(trial: Trial) -> Iterator[Event]:
    """Yield the events of an experiment, in order of time."""
    rng = random.Random(trial.seed)  # noqa: S311 - a simulation
    step = timedelta(hours=trial.hours) / trial.calls_count
    for number in range(trial.calls_count):
        user = f"user-{trial.seed}-{number // trial.calls_per_user}"
        name = assign_arm(experiment=trial.name, arms=trial.arms, unit=user)
        arm, at = trial.arms[name], trial.begin + number * step
        failed = rng.random() < arm.error_rate
        facts: dict[str, Any] = {
            "origin": "library",
            "user_hash": user_hash(user) if trial.has_users else None,
            "feature": trial.feature,
            "release": "v1",
            "experiment": trial.name,
            "arm": name,
            "is_sticky": trial.has_users,
            "prompt_id": f"prompts/echo_{name}",
            "prompt_hash": name.encode().hex().rjust(64, "0"),
            "requested_model": "m",
            "cost_usd": arm.cost_usd,
            "ttft_ms": None if failed else rng.lognormvariate(0, 0.4) * arm.latency_ms / 4,
            "latency_ms": rng.lognormvariate(0, 0.4) * arm.latency_ms,
            "json_valid": None if failed else rng.random() >= arm.bad_json_rate,
            "error_class": "ServerError" if failed else None,
        }
        call = CallEvent(call_id=f"call-{trial.seed}-{number:07d}", at=at, **(facts | trial.changes))
        yield call
        if not failed and rng.random() < arm.save_rate:
            later = at + timedelta(seconds=90)
            yield FeedbackEvent(call_id=call.call_id, at=later, origin="library", verdict="saved", feature="chat")


def write_experiments(directory: Path, *trials: Trial, process: str = "web-1") -> None:
    """Write experiments, one process after the other, each on the days of its events."""
    for index, trial in enumerate(trials):
        now = trial.begin

        def clock() -> datetime:
            return now  # noqa: B023 - the log is closed before the next one begins

        with EventLog(directory, f"{process}-{index}", Redactor(()), clock) as log:
            for event in experiment_events(trial):
                now = event.at
                log.append(event)
