"""Writes simulated calls as an event log: the files and events that serving processes would have written."""

from __future__ import annotations

import hashlib
import math
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from flowai.errors import AllModelsFailedError, ServerError
from flowai.events import Attempt, CallEvent, FeedbackEvent, ScoreEvent
from flowai.gateway.call_event import user_hash
from flowai.gateway.routing.attempts import CANCELLED
from flowai.simulation.calls import VARIANTS, call_id, user_name
from flowai.storage.files import writing
from flowai.timestamps import from_us

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.events import Event
    from flowai.simulation.calls import SimulatedCalls
    from flowai.simulation.scenario import Scenario

MODELS = ("primary", "fallback", "last_resort")
"""Fallback chain of every feature; each model is of a provider of its own."""


_DAY_US = 86_400_000_000
_SERVER_ERROR_STATUS = 503


def write_event_log(calls: SimulatedCalls, scenario: Scenario, directory: Path) -> int:
    """Write the log of some calls into `dt=YYYY-MM-DD/<process>.jsonl` files, each in order of time.

    Args:
        calls: all calls of a simulation, or a part of them.
        scenario: the scenario that they were simulated from.
        directory: the event log; it is created, and may have files of other processes.

    Returns:
        The number of events.

    Raises:
        InfrastructureError: a file exists already or cannot be written; files of other days may have been written.
    """
    encode = msgspec.json.Encoder().encode
    timed = sorted(
        ((process, at_us, encode(event)) for process, at_us, event in _events(calls, scenario)),
        key=itemgetter(0, 1),
    )
    for (process, day), lines in groupby(timed, key=lambda one: (one[0], one[1] // _DAY_US)):
        path = directory / f"dt={from_us(day * _DAY_US).date().isoformat()}" / f"web-{process}.jsonl"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as stream:
                stream.writelines(line + b"\n" for *_, line in lines)
    return len(timed)


class _Call(NamedTuple):
    """Row of `SimulatedCalls` in Python's own numbers: an element of an array is ten times slower."""

    number: int
    at_us: int
    user: int
    feature: int
    variant: int
    by_candidate: bool
    error: bool
    cancelled: bool
    primary_failed: bool
    degraded: bool
    json_invalid: int
    latency_ms: float
    ttft_ms: float
    cost_usd: float
    cached: bool
    feedback: int
    feedback_at_us: int
    score: int
    score_at_us: int
    process: int


def _events(calls: SimulatedCalls, scenario: Scenario) -> Iterator[tuple[int, int, Event]]:
    """Yield process, recorded time and event: each call, followed by its feedback and score."""
    names = [one.name for one in scenario.features]
    users = {user: user_hash(user_name(calls.seed, user)) for user in set(calls.user.tolist()) if user >= 0}
    for values in zip(*(getattr(calls, name).tolist() for name in _Call._fields), strict=True):
        call = _Call._make(values)
        event = _call_event(
            call,
            call_id=call_id(calls.seed, call.number),
            feature=names[call.feature],
            release=scenario.candidate_release if call.by_candidate else scenario.baseline_release,
            user=users.get(call.user),
        )
        yield call.process, call.at_us, event
        if call.feedback >= 0:
            yield (
                call.process,
                call.feedback_at_us,
                FeedbackEvent(
                    call_id=event.call_id,
                    at=from_us(call.feedback_at_us),
                    origin="library",
                    verdict="accepted" if call.feedback else "rejected",
                    user_hash=event.user_hash,
                    feature=event.feature,
                    release=event.release,
                    variant=event.variant,
                ),
            )
        if call.score >= 0:
            yield (
                call.process,
                call.score_at_us,
                ScoreEvent(
                    call_id=event.call_id,
                    at=from_us(call.score_at_us),
                    origin="judge",
                    name="hallucination",
                    passed=bool(call.score),
                    judge="simulated",
                    judge_hash=scenario.judge_hash,
                ),
            )


def _call_event(call: _Call, *, call_id: str, feature: str, release: str, user: str | None) -> CallEvent:
    is_answered = not (call.error or call.cancelled)
    attempts = () if call.cached else tuple(_attempts(call))
    message = "; ".join(f"{one.model} failed ({one.error_class})" for one in attempts) if call.error else None
    return CallEvent(
        call_id=call_id,
        at=from_us(call.at_us),
        origin="library",
        user_hash=user,
        feature=feature,
        release=release,
        variant=VARIANTS[call.variant],
        is_sticky=user is not None,
        prompt_id=f"prompts/{feature}_{release}",
        prompt_hash=_prompt_hash(feature, release),
        requested_model=MODELS[0],
        served_model=attempts[-1].model if is_answered and attempts else None,
        provider=attempts[-1].provider if attempts else None,
        attempts=attempts,
        degraded=call.degraded,
        cache="exact" if call.cached else "miss",
        cost_usd=_known(call.cost_usd),
        ttft_ms=_known(call.ttft_ms),
        latency_ms=call.latency_ms,
        finish_reason="stop" if is_answered else None,
        json_valid=None if call.json_invalid < 0 else not call.json_invalid,
        error_class=AllModelsFailedError.__name__ if call.error else CANCELLED if call.cancelled else None,
        error_message=message,
    )


def _attempts(call: _Call) -> Iterator[Attempt]:
    """Yield the attempts of a call that no cache answered; they have equal parts of its latency."""
    statuses = [ServerError.__name__] * (2 if call.error or call.degraded else int(call.primary_failed))
    if not call.error:
        statuses.append(CANCELLED if call.cancelled else "ok")
    part_ms = call.latency_ms / len(statuses)
    for index, (model, status) in enumerate(zip(MODELS, statuses, strict=False)):
        yield Attempt(
            model=model,
            provider=f"provider_{model}",
            status="ok" if status == "ok" else "error",
            http_status=_SERVER_ERROR_STATUS if status == ServerError.__name__ else None,
            error_class=None if status == "ok" else status,
            at_ms=part_ms * index,
            latency_ms=part_ms,
        )


@cache
def _prompt_hash(feature: str, release: str) -> str:
    return hashlib.sha256(f"prompts/{feature}_{release}".encode()).hexdigest()


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number
