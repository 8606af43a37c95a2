"""Puts a step of a rollout into the event log, beside the calls that it changed; the ledger is the record of it."""

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

WRITE_LIMIT_S = 0.5
"""A disk that hangs is left to itself after this."""


def log_step(source: RegistrySource, entry: LedgerEntry) -> tuple[str, ...]:
    """Write the event of a step, within the limit.

    Args:
        source: the registry; one from the network has no log here.
        entry: the step.

    Returns:
        A warning where the log has no line of it; else nothing.
    """
    registry = source.registry
    if registry is None or source.is_remote:
        return ()
    told: list[str] = []

    def write() -> None:
        try:
            _write(events_directory(registry, source.project), source, entry)
        except FlowaiError as error:
            told.append(str(error))

    writer = threading.Thread(target=write, name="flowai-release-event", daemon=True)
    writer.start()
    writer.join(WRITE_LIMIT_S)
    if writer.is_alive():
        told.append(f"not written within {WRITE_LIMIT_S} s")
    return tuple(f"the event log has no line of this: {why}" for why in told)


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
