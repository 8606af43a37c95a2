"""The records of a rollback: what was asked for, its steps, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from flowai.releases.diff import Difference

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from flowai.registry.writer import ManagedKeys
    from flowai.state import Heartbeat


StepStatus = Literal["done", "pending", "failed", "skipped"]
"""`done`; `pending`: it waits in the outbox, or for the same command; `failed`: it could not be done; `skipped`: there
was nothing to do, or it must not be done from here."""


class RollbackStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a rollback."""

    name: str
    """What it is about (`live overlay`, `registry.prod.yaml`, `PagerDuty`)."""
    status: StepStatus
    """See `StepStatus`."""
    detail: str
    """What came of it, in a few words, secrets redacted."""
    elapsed_ms: float | None = None
    """How long it took, >= 0; None where there was nothing to wait for."""


class RollbackResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a rollback."""

    schema_version: int = 1
    """Version of this format: 1."""
    environment: str | None
    """The environment; None for the plain registry."""
    rolled_back: tuple[str, ...]
    """Releases that were left and marked bad, the candidate last; empty where nothing was to be left."""
    serving: str
    """The release that serves."""
    stage: int | str | None
    """Stage of the rollout that ended; None where none did."""
    good_since: str | None
    """Day on which `serves` completed its own rollout; None where the ledger does not say."""
    changed: bool
    """Whether this run decided it; False where an earlier one had."""
    is_dry_run: bool
    """Whether nothing was changed."""
    reason: str | None
    """Why, in a person's words."""
    differences: tuple[Difference, ...]
    """What features use now, instead of what."""
    steps: tuple[RollbackStep, ...]
    """What was done, in order."""
    process_count: int
    """Live processes, >= 0."""
    unconfirmed: tuple[str, ...]
    """Live processes that do not confirm, and what they said last."""
    unreachable: tuple[str, ...]
    """Processes that could not be told, as far as they are known."""
    warnings: tuple[str, ...]
    """What a person should know; one line each."""
    registry_file: str
    """The file that holds flowai's own keys."""
    is_in_git: bool
    """Whether that file was changed here, so that it is to be committed."""
    since: str
    """From when on a post-mortem should look (RFC 3339, UTC)."""

    @property
    def is_confirmed(self) -> bool:
        """Whether nothing that decides what serves has failed."""
        return not any(step.status == "failed" for step in self.steps)

    @property
    def pending(self) -> tuple[RollbackStep, ...]:
        """What the same command will try again."""
        return tuple(step for step in self.steps if step.status == "pending")


@dataclass(frozen=True, kw_only=True, slots=True)
class RollbackOptions:
    """What was asked for."""

    to: str | None = None
    """The release that shall serve; None for the newest known good."""
    reason: str | None = None
    """Why."""
    env: str | None = None
    """The environment; None for FLOWAI_ENV or the only one."""
    state: str | None = None
    """Where processes share what they know; None for what the registry says."""
    registry: str | None = None
    """Path or URL of the registry; None for FLOWAI_REGISTRY or the nearest one."""
    force: bool = False
    """Whether `to` may be a release that was never good."""
    dry_run: bool = False
    """Only say what would be done."""


def changed_keys(own: ManagedKeys, wanted: ManagedKeys) -> list[str]:
    """Say in words what changes in the registry."""
    told = ["rollout ended"] if own.rollout is not None and wanted.rollout is None else []
    told += [f"current: {wanted.current}"] if own.current != wanted.current else []
    added = [name for name in wanted.bad if name not in own.bad]
    return [*told, *([f"bad: {', '.join(added)}"] if added else [])]


def last_heartbeat_text(beat: Heartbeat, now: datetime) -> str:
    """Say who a process is, and what it said last."""
    serves = beat.release if beat.candidate is None else f"{beat.release} and {beat.candidate}"
    return f"{beat.process} on {beat.host} (pid {beat.pid}) serves {serves}, heard {_ago(now - beat.at)} ago"


def _ago(passed: timedelta) -> str:
    """Give a short span of time (`4 s`, `3 min`)."""
    passed_s = max(0.0, passed.total_seconds())
    return f"{passed_s:.0f} s" if passed_s < 100 else f"{passed_s / 60:.0f} min"  # noqa: PLR2004 - as people say it
