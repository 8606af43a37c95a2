"""Writer of the audit log: one file a month, one line and one sync per record, readable by its owner only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.storage.jsonl import AppendLog

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.audit.records import AuditRecord
    from flowai.project import Project


def audit_directory(project: Project) -> Path:
    """Return the directory of a project's audit log."""
    return project.local / "audit"


class AuditLog:
    """Audit log in a directory, `YYYY-MM.jsonl`; several processes may append to it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def append(self, record: AuditRecord) -> None:
        """Append a record; it is on the disk when this returns.

        Raises:
            InfrastructureError: it cannot be written, is a symbolic link, or git tracks it.
        """
        with AppendLog(self._directory / f"{record.at:%Y-%m}.jsonl") as log:
            log.append(record)
            log.sync()
