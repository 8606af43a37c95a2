"""Records of `flowai watch`: options, result of each check, and end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from flowai.watch.attribution import AttributionVerdict
from flowai.watch.incidents import Incident
from flowai.watch.judgement import RolloutJudgement

SCHEMA_VERSION = 1
MAX_ROLLBACK_TRIES = 5

Status = Literal["ok", "no_calls", "worse", "alert"]
"""`no_calls`: no calls in the window, so the state is unknown. `worse`: a guardrail of the rollout is worse, but the
comparison cannot be trusted or another watch acts on it. `alert`: an incident is open."""

WatchEventKind = Literal["opened", "resolved", "rolled_back", "rollback_failed", "notified", "waiting", "retiring"]
"""`opened`, `resolved`: an incident. `rolled_back`, `rollback_failed`: its release. `notified`: a message was
delivered. `waiting`: its delivery failed and will be retried. `retiring`: a model ends soon; no incident."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchOptions:
    """Options of `flowai watch`."""

    env: str | None = None
    """None for FLOWAI_ENV or the only environment."""
    state: str | None = None
    """Redis URL or directory of the shared state; None for the registry's `state`."""
    interval_s: float = 30.0
    """Time between two checks."""
    for_s: float | None = None
    """Time after which the watch ends; None for never."""
    once: bool = False
    dry_run: bool = False


class WatchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A change at a check."""

    event: WatchEventKind
    message: str
    """Secrets redacted."""
    cause: str | None = None
    """Cause of the incident; None for deliveries."""
    is_dry_run: bool = False


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """Attribution of failures to the candidate of the rollout."""

    release: str
    stage: int
    """Percentage."""
    baseline: str
    verdict: AttributionVerdict
    user_count: int
    """Users of the candidate in the last hour, or a random sample of them."""
    failed_user_count: int
    """Users of the candidate with a failure."""
    control_user_count: int
    """Users of the control."""
    failed_control_user_count: int
    """Users of the control with a failure."""
    log_e: float
    """Natural logarithm of the e-value that the candidate fails more often."""


class WatchTick(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a check."""

    schema_version: int = SCHEMA_VERSION
    at: datetime
    """Time of the check (RFC 3339, UTC)."""
    environment: str | None
    """Environment; None for the plain registry."""
    status: Status
    window_s: float
    """Length of the window of the next two counts."""
    call_count: int
    failure_count: int
    since_last_call_s: float | None
    """Time since the last call, in whole minutes; None if there was none in the last hour."""
    rollout: RolloutView | None
    """None without a rollout, and in the dogfood stage."""
    judgement: RolloutJudgement | None = None
    """Of the rollout's guardrails; None without a rollout below 100 %, without watched guardrails, and before there is
    one."""
    incidents: tuple[Incident, ...]
    """Open incidents."""
    events: tuple[WatchEvent, ...]
    warnings: tuple[str, ...]
    has_errors: bool
    """Whether an action or a read failed."""


def failed_tick(at: datetime, environment: str | None, warning: str) -> WatchTick:
    """Return the result of a check that counted nothing; its open incidents stay stored, and are not listed."""
    return WatchTick(
        at=at,
        environment=environment,
        status="no_calls",
        window_s=0.0,
        call_count=0,
        failure_count=0,
        since_last_call_s=None,
        rollout=None,
        incidents=(),
        events=(),
        warnings=(warning,),
        has_errors=True,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchHead:
    """Rule and recipients of a watch."""

    environment: str | None
    """Environment; None for the plain registry."""
    error_rate: float
    """Maximum failure rate, 0 to 1."""
    window_s: float
    min_calls: int
    """Minimum number of calls for an alert."""
    recipients: tuple[str, ...]
    """Labels of the alert channels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchEnd:
    """End of a watch."""

    open_count: int
    """Incidents that stay open."""
    has_rolled_back: bool
    """Whether a release was rolled back; in a dry run: would have been."""
    has_worse_guardrail: bool
    """Whether a guardrail of the rollout was worse at the last check."""
    has_seen_calls: bool
    has_errors: bool
    """Whether an action or a read failed at the last check."""
    is_stopped: bool
    """Whether a signal ended it."""
