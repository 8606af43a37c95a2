"""Writes a release step into the event log, for reports; the ledger stays the record of truth."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError
from flowai.events import EventLog, ReleaseEvent
from flowai.registry import events_directory

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.releases.ledger import LedgerEntry
    from flowai.releases.registry_source import RegistrySource

WRITE_TIMEOUT_S = 0.5
"""A write to a hanging disk is abandoned after this time."""


def log_step(source: RegistrySource, entry: LedgerEntry) -> tuple[str, ...]:
    """Write the event of a step, within `WRITE_TIMEOUT_S`; return warnings if that failed.

    A fetched registry has no event log on this machine: nothing is written.
    """
    registry = source.registry
    if registry is None or source.is_remote:
        return ()
    problems: list[str] = []

    def write() -> None:
        try:
            _write(events_directory(registry, source.project), source, entry)
        except FlowaiError as error:
            problems.append(str(error))

    writer = threading.Thread(target=write, name="flowai-release-event", daemon=True)
    writer.start()
    writer.join(WRITE_TIMEOUT_S)
    if writer.is_alive():
        problems.append(f"not written within {WRITE_TIMEOUT_S} s")
    return tuple(f"the event log lacks this step: {problem}" for problem in problems)


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
