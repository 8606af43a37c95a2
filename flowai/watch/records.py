"""The records of `flowai watch`: what was asked for, what each look found, how it ended."""

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
    """What was asked for."""

    env: str | None = None
    """The environment; None for FLOWAI_ENV or the only one."""
    state: str | None = None
    """Where processes share what they know; None for what the registry says."""
    interval_s: float = 30.0
    """Seconds between two looks, > 0."""
    for_s: float | None = None
    """Seconds after which it ends, > 0; None for never."""
    once: bool = False
    """Whether to look only once."""
    dry_run: bool = False
    """Only say what would be done."""


class WatchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that changed at a look."""

    event: WatchEventKind
    """See `WatchEventKind`."""
    message: str
    """In words, secrets redacted."""
    cause: str | None = None
    """The incident's cause; None where it is about no incident."""
    is_dry_run: bool = False
    """Whether it is only what would have been done."""


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """How the release that is being rolled out fares."""

    release: str
    """The release."""
    stage: int
    """The percentage it has reached."""
    baseline: str
    """What serves otherwise."""
    verdict: AttributionVerdict
    """See `flowai.watch.attribution.Verdict`."""
    user_count: int
    """Users of the last hour (or a random part of them) that the release served, >= 0."""
    failed_user_count: int
    """Those who met a failure."""
    witness_count: int
    """Users who stand against them."""
    failed_witness_count: int
    """Those who met a failure."""
    log_e: float
    """Natural logarithm of the evidence that the release fails more often."""


class WatchTick(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format: 1."""
    at: datetime
    """When (RFC 3339, UTC)."""
    environment: str | None
    """The environment; None for the plain registry."""
    status: Status
    """See `Status`."""
    window_s: float
    """Seconds that the counts below are about."""
    call_count: int
    """Calls in the window, >= 0."""
    failure_count: int
    """Those that failed."""
    since_last_call_s: float | None
    """Seconds since the last call, in whole minutes; None when none came in an hour."""
    rollout: RolloutView | None
    """The release that is being rolled out; None where none is, or only to ourselves."""
    incidents: tuple[Incident, ...]
    """Those open."""
    events: tuple[WatchEvent, ...]
    """What changed."""
    warnings: tuple[str, ...]
    """What a person should know; one line each."""
    has_errors: bool
    """Whether something that had to be done could not be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchHead:
    """What is watched."""

    environment: str | None
    """The environment; None for the plain registry."""
    error_rate: float
    """Share of failed calls that is borne, 0 to 1."""
    window_s: float
    """Over which it is measured, seconds."""
    min_calls: int
    """Fewer calls say nothing."""
    recipients: tuple[str, ...]
    """Who is told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchEnd:
    """How it ended."""

    open_count: int
    """Incidents that stay open."""
    has_rolled_back: bool
    """Whether a release was rolled back, or would have been."""
    has_seen_calls: bool
    """Whether there were any calls."""
    has_errors: bool
    """Whether the last look could not do what it had to."""
    is_stopped: bool
    """Whether it was told to stop."""
