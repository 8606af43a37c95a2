"""Records of a rollback: options, steps, result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from flowai.registry.resolve import VERSION_VARIABLE
from flowai.releases.diff import Difference
from flowai.state.store import SILENT_KEPT_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.registry.writer import ManagedKeys
    from flowai.releases.rollback_plan import RollbackPlan
    from flowai.state import Heartbeat, KnownProcess


StepStatus = Literal["done", "pending", "failed", "skipped"]
"""`pending`: in the outbox, or done by the next run of the command. `skipped`: nothing to do, or not allowed here."""


class RollbackStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a rollback."""

    name: str
    """`live overlay`, `registry.prod.yaml`, `PagerDuty` ..."""
    status: StepStatus
    detail: str
    """Result in a few words, secrets redacted."""
    elapsed_ms: float | None = None
    """None if nothing was waited for."""


class RollbackResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `flowai rollback`."""

    schema_version: int = 1
    environment: str | None
    """Environment; None for the plain registry."""
    rolled_back: tuple[str, ...]
    """Releases that stopped serving and are marked bad, the candidate last; empty if there were none."""
    serving: str
    """Release that serves now."""
    stage: int | str | None
    """Stage of the rollout that ended; None if none did."""
    good_since: str | None
    """Day on which `serving` completed its own rollout; None if the ledger does not contain it."""
    changed: bool
    """Whether this run decided; False if it completed an earlier run."""
    finishes: bool = False
    """Whether it carries out a decision that an earlier run only recorded."""
    is_dry_run: bool
    reason: str | None
    differences: tuple[Difference, ...]
    """Differences between the rolled back and the serving release."""
    steps: tuple[RollbackStep, ...]
    """In order."""
    process_count: int
    """Number of processes that have not deregistered."""
    unconfirmed: tuple[str, ...]
    """Live processes that did not confirm, with their last heartbeat."""
    silent: tuple[str, ...] = ()
    """Processes that sent no heartbeat for a while and did not deregister: they may still serve a bad release."""
    unreachable: tuple[str, ...]
    """Known processes that could not be notified."""
    warnings: tuple[str, ...]
    registry_file: str
    """File that contains flowai's own keys."""
    is_in_git: bool
    """Whether that file was changed in this checkout and must be committed."""
    since: str
    """Start of the time range for a post-mortem (RFC 3339, UTC)."""

    @property
    def changed_places(self) -> tuple[RollbackStep, ...]:
        """Steps that changed what serves: overlay, registry file, version targets."""
        places = ("live overlay", self.registry_file, VERSION_VARIABLE)
        return tuple(step for step in self.steps if step.name in places and step.status == "done")

    @property
    def is_confirmed(self) -> bool:
        """True if no step failed."""
        return not any(step.status == "failed" for step in self.steps)

    @property
    def pending(self) -> tuple[RollbackStep, ...]:
        """Steps that the next run of the command retries."""
        return tuple(step for step in self.steps if step.status == "pending")


@dataclass(frozen=True, kw_only=True, slots=True)
class RollbackOptions:
    """Options of `flowai rollback`."""

    to: str | None = None
    """Release that should serve; None for the newest known good one."""
    reason: str | None = None
    env: str | None = None
    """None for FLOWAI_ENV or the only environment."""
    state: str | None = None
    """Redis URL or directory of the shared state; None for the registry's `state`."""
    registry: str | None = None
    """Path or URL of the registry; None for FLOWAI_REGISTRY or the nearest one."""
    force: bool = False
    """Whether `to` may be a release that was never known good."""
    dry_run: bool = False
    ignored_processes: tuple[str, ...] = ()
    """Silent processes that the user knows to be dead."""


def changed_keys(old: ManagedKeys, new: ManagedKeys) -> list[str]:
    """Return the changes of the registry's keys as texts."""
    changes = ["rollout ended"] if old.rollout is not None and new.rollout is None else []
    changes += [f"current: {new.current}"] if old.current != new.current else []
    added = [name for name in new.bad if name not in old.bad]
    return [*changes, *([f"bad: {', '.join(added)}"] if added else [])]


def last_heartbeat_text(process: KnownProcess) -> str:
    """Return a process's name, host and last heartbeat as text."""
    heartbeat = process.heartbeat
    serving = heartbeat.release if heartbeat.candidate is None else f"{heartbeat.release} and {heartbeat.candidate}"
    return f"{_name(heartbeat)} serves {serving}, last heartbeat {_format_s(process.silent_s)} ago"


def silent_process_texts(processes: Sequence[KnownProcess], plan: RollbackPlan) -> tuple[str, ...]:
    """Return each silent process's name, and the releases that it may still serve, as text."""
    return tuple(_silent_process_text(process, plan) for process in processes)


def _silent_process_text(process: KnownProcess, plan: RollbackPlan) -> str:
    heartbeat = process.heartbeat
    last = [name for name in (heartbeat.release, heartbeat.candidate) if name is not None and name != plan.serving]
    releases = " or ".join(last or plan.rolled_back) or f"another release than {plan.serving}"
    gone_in = _format_s(SILENT_KEPT_S - process.silent_s)
    return (
        f"process {_name(heartbeat)} has been silent for {_format_s(process.silent_s)}: it may still serve {releases}; "
        f"it counts as gone in {gone_in}"
    )


def _name(heartbeat: Heartbeat) -> str:
    return f"{heartbeat.process} on {heartbeat.host} (pid {heartbeat.pid})"


def _format_s(duration_s: float) -> str:
    """Format a duration: `4 s`, `3 min`, `23 h`."""
    duration_s = max(0.0, duration_s)
    if duration_s < 100:  # noqa: PLR2004 - readable in seconds
        return f"{duration_s:.0f} s"
    return f"{duration_s / 60:.0f} min" if duration_s < 6000 else f"{duration_s / 3600:.0f} h"  # noqa: PLR2004 - as above
