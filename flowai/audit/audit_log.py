"""Writer of the audit log: one file a month, one line and one sync per record, readable by its owner only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from flowai.storage.files import writing

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.audit.records import AuditRecord
    from flowai.project import Project

_encoder = msgspec.json.Encoder()


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
            InfrastructureError: it cannot be written, or the file is a symbolic link.
        """
        path = self._directory / f"{record.at:%Y-%m}.jsonl"
        with writing(path):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                os.write(descriptor, (b"\n" if is_torn else b"") + _encoder.encode(record) + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
