"""The ledger of an environment: each step of its releases, who took it, when, and on what evidence; only added to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from flowai.errors import Place, ProjectError
from flowai.storage.jsonl import AppendLog

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.project import Project
    from flowai.registry import Registry


SCHEMA_VERSION = 1

LedgerAction = Literal["publish", "promote", "complete", "rollback", "stop", "adopt"]
"""`publish`: a rollout begins. `promote`: it moves a stage. `complete`: its release became current. `rollback`:
releases were left and are bad. `stop`: an experiment was ended. `adopt`: an arm of it was made a release."""


def entry_id(action: LedgerAction, at: datetime, name: str) -> str:
    """Return the identity of a step: what was done, when, to which release or experiment."""
    return f"{action}-{at:%Y%m%dT%H%M%S.%fZ}-{name}"


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One step."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format: 1."""
    id: str
    """Names the step; two lines with one id are one step, written again by who could not know of the first."""
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    """When it was taken (RFC 3339, UTC)."""
    actor: str
    """Who took it, as far as the machine knows (`ann@build-7`)."""
    action: LedgerAction
    """What was done."""
    release: str
    """The release it is about; of a rollback the one that was left; empty where an experiment was stopped."""
    serving: str | None = None
    """The baseline afterwards; None where it did not change."""
    rolled_back: tuple[str, ...] = ()
    """Of a rollback: every release that was left and marked bad."""
    from_stage: int | str | None = None
    """Stage before, `dogfood` or a percentage; None where there was none."""
    to_stage: int | str | None = None
    """Stage afterwards; None where no rollout is on any more."""
    forced: bool = False
    """Whether a rule was overridden."""
    reason: str | None = None
    """Why, in a person's words."""
    evidence: dict[str, Any] = {}
    """What it rests on: smoke, counts, confirmed processes, what an experiment was."""
    report_digest: str | None = None
    """Digest of the report it rests on; None where it rests on none."""
    experiment: str | None = None
    """The experiment that ended; None for rollouts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """What stands in a ledger."""

    entries: tuple[LedgerEntry, ...] = ()
    """The steps, oldest first, each once."""
    damaged: tuple[int, ...] = ()
    """Lines that cannot be read, counted from 1; they are passed over, not repaired."""
    file: str
    """The file, as a person would type it."""

    @property
    def last(self) -> LedgerEntry | None:
        """The newest step of a rollout; the end of an experiment changes none."""
        return next((one for one in reversed(self.entries) if one.experiment is None), None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know: each damaged line."""
        return tuple(f"{self.file}:{line}: not a line of the ledger; it is passed over" for line in self.damaged)

    def newest(self, release: str, *actions: LedgerAction) -> LedgerEntry | None:
        """Give the newest step of a release among these actions."""
        return next((one for one in reversed(self.entries) if one.release == release and one.action in actions), None)


def ledger_file(project: Project, environment: str | None) -> Path:
    """Give the ledger's file of an environment."""
    return project.ledger / f"{environment or 'default'}.jsonl"


def read_ledger(project: Project, environment: str | None) -> Ledger:
    """Read a ledger; one that does not exist is empty.

    Raises:
        ProjectError: the file cannot be read at all.
    """
    path = ledger_file(project, environment)
    shown = project.show(path)
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return Ledger(file=shown)
    except OSError as error:
        raise ProjectError(f"cannot be read: {error.strerror}", place=Place(file=shown)) from error
    entries: dict[str, LedgerEntry] = {}
    damaged: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = msgspec.json.decode(line, type=LedgerEntry)
        except (msgspec.DecodeError, UnicodeDecodeError):
            damaged.append(number)
            continue
        if entry.schema_version != SCHEMA_VERSION:
            damaged.append(number)
            continue
        entries.setdefault(entry.id, entry)
    return Ledger(entries=tuple(entries.values()), damaged=tuple(damaged), file=shown)


def open_ledger(project: Project, environment: str | None) -> AppendLog:
    """Open a ledger to add steps to it; what `append` has taken, a killed process does not lose.

    Raises:
        InfrastructureError: the file cannot be written.
    """
    return AppendLog(ledger_file(project, environment))


_WHY = "by hand, or elsewhere"


def find_inconsistencies(registry: Registry, ledger: Ledger) -> tuple[str, ...]:
    """Say where the registry's rollout is not what the ledger says; nothing where there is no ledger yet."""
    rollout, last = registry.rollout, ledger.last
    if last is None:
        return ()
    if rollout is None:
        if last.action in ("publish", "promote") and last.release not in (registry.current, *registry.bad):
            return (f"the rollout of `{last.release}` is in `{ledger.file}`, but not in the registry: ended {_WHY}",)
        return ()
    step = ledger.newest(rollout.candidate, "publish", "promote")
    if step is None:
        return (f"`{ledger.file}` knows nothing of the rollout of `{rollout.candidate}`: begun {_WHY}",)
    if step.to_stage != rollout.stage:
        said = f"`{ledger.file}` has `{rollout.candidate}` at `{step.to_stage}`, the registry at `{rollout.stage}`"
        return (f"{said}: moved {_WHY}",)
    return ()
