"""Writes a release step into the audit log; a failure is a warning and never stops the step."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from flowai.audit import AuditLog, AuditRecord, audit_directory
from flowai.errors import FlowaiError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.releases.ledger import LedgerEntry
    from flowai.releases.registry_source import RegistrySource
    from flowai.rollouts.records import RollbackStep
    from flowai.workspace.workspace import CommandContext

WRITE_TIMEOUT_S = 0.5
"""A write to a hanging disk is abandoned after this time."""


def audit_step(source: RegistrySource, entry: LedgerEntry, *, failure: str | None = None) -> tuple[str, ...]:
    """Record a step and whether it failed, within `WRITE_TIMEOUT_S`; return warnings if that was not possible.

    A fetched registry has no audit log on this machine: nothing is written.
    """
    if source.is_remote:
        return ()
    record = AuditRecord(
        at=entry.at,
        action=entry.action,
        actor=entry.actor,
        result="done" if failure is None else "failed",
        environment=source.environment,
        release=entry.release or None,
        serving=entry.serving,
        experiment=entry.experiment,
        reason=entry.reason if failure is None else source.redactor.text(failure),
    )
    problems: list[str] = []

    def write() -> None:
        try:
            AuditLog(audit_directory(source.project)).append(record)
        except FlowaiError as error:
            problems.append(str(error))

    writer = threading.Thread(target=write, name="flowai-audit", daemon=True)
    writer.start()
    writer.join(WRITE_TIMEOUT_S)
    if writer.is_alive():
        problems.append(f"not written within {WRITE_TIMEOUT_S} s")
    return tuple(f"the audit log lacks this step: {problem}" for problem in problems)


def audit_rollback(
    context: CommandContext, source: RegistrySource, entry: LedgerEntry, steps: Iterable[RollbackStep]
) -> tuple[str, ...]:
    """Record a run of a rollback, which may repeat an earlier one's entry; it failed if one of its steps did."""
    failed = [f"{step.name}: {step.detail}" for step in steps if step.status == "failed"]
    entry = msgspec.structs.replace(entry, at=context.now(), actor=context.user)
    return audit_step(source, entry, failure="; ".join(failed) or None)
