"""Writes a release step into the audit log; a failure is a warning and never stops the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.audit import AuditLog, AuditRecord, audit_directory
from flowai.rollouts.bounded_write import write_copy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.releases.ledger import LedgerEntry
    from flowai.releases.registry_source import RegistrySource
    from flowai.rollouts.records import RollbackStep
    from flowai.workspace.workspace import CommandContext


def audit_step(source: RegistrySource, entry: LedgerEntry, *, failure: str | None = None) -> tuple[str, ...]:
    """Record a step and whether it failed, as `write_copy` does; return its warnings.

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
    return write_copy(lambda: AuditLog(audit_directory(source.project)).append(record), log="audit log")


def audit_rollback(
    context: CommandContext, source: RegistrySource, entry: LedgerEntry, steps: Iterable[RollbackStep]
) -> tuple[str, ...]:
    """Record a run of a rollback, which may repeat an earlier one's entry; it failed if one of its steps did."""
    failed = [f"{step.name}: {step.detail}" for step in steps if step.status == "failed"]
    entry = msgspec.structs.replace(entry, at=context.now(), actor=context.user)
    return audit_step(source, entry, failure="; ".join(failed) or None)
