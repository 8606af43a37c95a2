"""The ledger of an environment: an append-only file with each release step, its time, actor and evidence."""

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


SCHEMA_VERSION = 1

LedgerAction = Literal["publish", "promote", "complete", "rollback", "stop", "adopt"]
"""`publish`: a rollout started. `promote`: it moved to the next stage. `complete`: its release became current.
`rollback`: releases stopped serving and are bad. `stop`: an experiment ended. `adopt`: an arm became a release."""

StepProgress = Literal["done", "started", "withdrawn"]
"""`started`: the command is about to change something. `done`: it has. `withdrawn`: nothing was changed."""


def entry_id(action: LedgerAction, at: datetime, name: str) -> str:
    """Return the id of a step: action, time, and release or experiment."""
    return f"{action}-{at:%Y%m%dT%H%M%S.%fZ}-{name}"


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A release step in the ledger."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format: 1."""
    id: str
    """Identifies the step; a `done` or `withdrawn` line replaces the `started` one with the same id, other second lines
    are ignored: a retry wrote them."""
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    """Time of the step (RFC 3339, UTC)."""
    actor: str
    """User and host that ran the command (`ann@build-7`)."""
    action: LedgerAction
    release: str
    """Release of the step; for a rollback the release that stopped serving; empty for a stopped experiment."""
    serving: str | None = None
    """Baseline after the step; None if unchanged."""
    rolled_back: tuple[str, ...] = ()
    """For a rollback: every release that stopped serving and is marked bad."""
    from_stage: int | str | None = None
    """Stage before the step: `dogfood` or a percentage; None without a rollout."""
    to_stage: int | str | None = None
    """Stage after the step; None if no rollout is active."""
    forced: bool = False
    """Whether the step was taken without the required evidence."""
    reason: str | None = None
    evidence: dict[str, Any] = {}
    """Smoke result, counts, confirmed processes, or the ended experiment."""
    report_digest: str | None = None
    """Digest of the report that is the evidence."""
    experiment: str | None = None
    """Experiment that ended; None for rollouts."""
    progress: StepProgress = "done"
    """Only steps that are `done` took place; see `StepProgress`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Content of a ledger."""

    entries: tuple[LedgerEntry, ...] = ()
    """Steps that are done, oldest first, each once."""
    unfinished: tuple[LedgerEntry, ...] = ()
    """Started steps, oldest first, after which no step of the same kind (rollouts, experiments) was done: a command was
    killed, or could change nothing."""
    damaged: tuple[int, ...] = ()
    """Numbers of unreadable lines, counted from 1; they are skipped."""
    file: str
    """Path of the file, for messages."""

    @property
    def last_step(self) -> LedgerEntry | None:
        """Newest step of a rollout or rollback; steps of experiments are skipped."""
        return next((one for one in reversed(self.entries) if one.experiment is None), None)

    @property
    def unfinished_step(self) -> LedgerEntry | None:
        """Newest started step of a rollout or rollback after `last_step`."""
        return next((one for one in reversed(self.unfinished) if one.experiment is None), None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning for each unreadable line."""
        return tuple(f"{self.file}:{line}: not a line of the ledger; it is skipped" for line in self.damaged)

    def latest(self, release: str, *actions: LedgerAction) -> LedgerEntry | None:
        """Return the newest step of a release with one of these actions."""
        return next((one for one in reversed(self.entries) if one.release == release and one.action in actions), None)


def ledger_file(project: Project, environment: str | None) -> Path:
    """Return the path of an environment's ledger."""
    return project.ledger / f"{environment or 'default'}.jsonl"


def read_ledger(project: Project, environment: str | None) -> Ledger:
    """Read a ledger; a missing file is an empty ledger.

    Raises:
        ProjectError: the file cannot be read.
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
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            damaged.append(number)
            continue
        if entry.schema_version != SCHEMA_VERSION:
            damaged.append(number)
            continue
        known = entries.get(entry.id)
        if known is None or (known.progress == "started" and entry.progress != "started"):
            entries.pop(entry.id, None)  # in the order in which steps were done
            entries[entry.id] = entry
    steps = tuple(entries.values())
    return Ledger(
        entries=tuple(step for step in steps if step.progress == "done"),
        unfinished=_find_unfinished(steps),
        damaged=tuple(damaged),
        file=shown,
    )


def _find_unfinished(steps: tuple[LedgerEntry, ...]) -> tuple[LedgerEntry, ...]:
    """Return the started steps after the newest done step of their kind."""
    unfinished: list[LedgerEntry] = []
    for step in steps:
        if step.progress == "done":
            unfinished = [one for one in unfinished if (one.experiment is None) != (step.experiment is None)]
        elif step.progress == "started":
            unfinished.append(step)
    return tuple(unfinished)


def open_ledger(project: Project, environment: str | None) -> AppendLog:
    """Open a ledger for appending; each appended entry survives a kill of the process.

    Raises:
        InfrastructureError: the file cannot be written.
    """
    return AppendLog(ledger_file(project, environment))
