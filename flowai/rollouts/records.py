"""The records of a rollback: what was asked for, its steps, and what came of it.

In: nothing. Out: records. Must never know how any of it is done.
"""

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
    """One step of a rollback.

    Args:
        name: what it is about (`live overlay`, `registry.prod.yaml`, `PagerDuty`).
        status: see `StepStatus`.
        detail: what came of it, in a few words, secrets redacted.
        elapsed_ms: how long it took, >= 0; None where there was nothing to wait for.
    """

    name: str
    status: StepStatus
    detail: str
    elapsed_ms: float | None = None


class RollbackResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a rollback.

    Args:
        schema_version: version of this format: 1.
        environment: the environment; None for the plain registry.
        leaves: releases that were left and marked bad, the candidate last; empty where nothing was to be left.
        serves: the release that serves.
        stage: stage of the rollout that ended; None where none did.
        good_since: day on which `serves` completed its own rollout; None where the ledger does not say.
        is_new: whether this run decided it; False where an earlier one had.
        is_dry_run: whether nothing was changed.
        reason: why, in a person's words.
        differences: what features use now, instead of what.
        steps: what was done, in order.
        process_count: live processes, >= 0.
        silent: live processes that do not confirm, and what they said last.
        may_not_know: processes that could not be told, as far as they are known.
        warnings: what a person should know; one line each.
        registry_file: the file that holds flowai's own keys.
        is_in_git: whether that file was changed here, so that it is to be committed.
        since: from when on a post-mortem should look (RFC 3339, UTC).
    """

    schema_version: int = 1
    environment: str | None
    rolled_back: tuple[str, ...]
    serving: str
    stage: int | str | None
    good_since: str | None
    changed: bool
    is_dry_run: bool
    reason: str | None
    differences: tuple[Difference, ...]
    steps: tuple[RollbackStep, ...]
    process_count: int
    unconfirmed: tuple[str, ...]
    unreachable: tuple[str, ...]
    warnings: tuple[str, ...]
    registry_file: str
    is_in_git: bool
    since: str

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
    """What was asked for.

    Args:
        to: the release that shall serve; None for the newest known good.
        reason: why.
        env: the environment; None for FLOWAI_ENV or the only one.
        state: where processes share what they know; None for what the registry says.
        registry: path or URL of the registry; None for FLOWAI_REGISTRY or the nearest one.
        force: whether `to` may be a release that was never good.
        dry_run: only say what would be done.
    """

    to: str | None = None
    reason: str | None = None
    env: str | None = None
    state: str | None = None
    registry: str | None = None
    force: bool = False
    dry_run: bool = False


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
