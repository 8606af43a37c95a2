"""Writes a release step into the event log, for reports; the ledger stays the record of truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.events import EventLog, ReleaseEvent
from flowai.registry import events_directory
from flowai.rollouts.bounded_write import write_copy

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.releases.ledger import LedgerEntry
    from flowai.releases.registry_source import RegistrySource


def log_step(source: RegistrySource, entry: LedgerEntry) -> tuple[str, ...]:
    """Write the event of a step, as `write_copy` does; return its warnings.

    A fetched registry has no event log on this machine: nothing is written.
    """
    registry = source.registry
    if registry is None or source.is_remote:
        return ()
    return write_copy(lambda: _write(events_directory(registry, source.project), source, entry), log="event log")


def _write(directory: Path, source: RegistrySource, entry: LedgerEntry) -> None:
    event = ReleaseEvent(
        at=entry.at,
        action=entry.action,
        release=entry.release or None,
        serving=entry.serving,
        from_stage=None if entry.from_stage == "?" else entry.from_stage,
        to_stage=entry.to_stage,
        experiment=entry.experiment,
        actor=entry.actor,
        reason=entry.reason,
    )
    with EventLog(directory, entry.id, source.redactor, clock=lambda: entry.at) as log:
        log.append(event)
