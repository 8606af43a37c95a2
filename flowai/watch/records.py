"""The records of `flowai watch`: what was asked for, what each look found, how it ended.

In: nothing. Out: records. Must never know how any of it is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from flowai.watch.attribution import AttributionVerdict
from flowai.watch.incidents import Incident

SCHEMA_VERSION = 1
MAX_ROLLBACK_TRIES = 5

Status = Literal["ok", "no_calls", "alert"]
"""`ok`: nothing burns. `no_calls`: nothing came in the window, so nobody knows. `alert`: an incident is open."""

WatchEventKind = Literal["opened", "resolved", "rolled_back", "rollback_failed", "told", "waits"]
"""`opened`, `resolved`: an incident. `rolled_back`, `rollback_failed`: its release. `told`: a message went out.
`waits`: it did not, and will be tried again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchOptions:
    """What was asked for.

    Args:
        env: the environment; None for FLOWAI_ENV or the only one.
        state: where processes share what they know; None for what the registry says.
        interval_s: seconds between two looks, > 0.
        for_s: seconds after which it ends, > 0; None for never.
        once: whether to look only once.
        dry_run: only say what would be done.
    """

    env: str | None = None
    state: str | None = None
    interval_s: float = 30.0
    for_s: float | None = None
    once: bool = False
    dry_run: bool = False


class WatchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that changed at a look.

    Args:
        what: see `WatchEventKind`.
        message: in words, secrets redacted.
        cause: the incident's cause; None where it is about no incident.
        is_dry_run: whether it is only what would have been done.
    """

    event: WatchEventKind
    message: str
    cause: str | None = None
    is_dry_run: bool = False


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """How the release that is being rolled out fares.

    Args:
        release: the release.
        stage: the percentage it has reached.
        baseline: what serves otherwise.
        verdict: see `flowai.watch.attribution.Verdict`.
        user_count: users of the last hour (or a random part of them) that the release served, >= 0.
        failed_user_count: those who met a failure.
        witness_count: users who stand against them.
        failed_witness_count: those who met a failure.
        log_e: natural logarithm of the evidence that the release fails more often.
    """

    release: str
    stage: int
    baseline: str
    verdict: AttributionVerdict
    user_count: int
    failed_user_count: int
    witness_count: int
    failed_witness_count: int
    log_e: float


class WatchTick(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found.

    Args:
        schema_version: version of this format: 1.
        at: when (RFC 3339, UTC).
        environment: the environment; None for the plain registry.
        status: see `Status`.
        window_s: seconds that the counts below are about.
        call_count: calls in the window, >= 0.
        failure_count: those that failed.
        silent_s: seconds since the last call, in whole minutes; None when none came in an hour.
        rollout: the release that is being rolled out; None where none is, or only to ourselves.
        incidents: those open.
        happened: what changed.
        warnings: what a person should know; one line each.
        is_hindered: whether something that had to be done could not be.
    """

    schema_version: int = SCHEMA_VERSION
    at: datetime
    environment: str | None
    status: Status
    window_s: float
    call_count: int
    failure_count: int
    since_last_call_s: float | None
    rollout: RolloutView | None
    incidents: tuple[Incident, ...]
    events: tuple[WatchEvent, ...]
    warnings: tuple[str, ...]
    has_errors: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchHead:
    """What is watched.

    Args:
        environment: the environment; None for the plain registry.
        error_rate: share of failed calls that is borne, 0 to 1.
        window_s: over which it is measured, seconds.
        min_calls: fewer calls say nothing.
        receivers: who is told.
    """

    environment: str | None
    error_rate: float
    window_s: float
    min_calls: int
    recipients: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchEnd:
    """How it ended.

    Args:
        open_count: incidents that stay open.
        has_rolled_back: whether a release was rolled back, or would have been.
        has_seen_calls: whether there were any calls.
        is_hindered: whether the last look could not do what it had to.
        is_stopped: whether it was told to stop.
    """

    open_count: int
    has_rolled_back: bool
    has_seen_calls: bool
    has_errors: bool
    is_stopped: bool
