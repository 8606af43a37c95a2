"""Audit of keys: refused ones, and changes of the registry's keys while the server runs."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from flowai.audit import AuditRecord
from flowai.errors import FlowaiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from flowai.audit import AuditLog
    from flowai.registry import ServeKey
    from flowai.server.auth import RefusedKeyError

MAX_REFUSED_AT_ONCE = 100
REFUSED_PER_MINUTE = 6
"""Lines of refused keys: at most about 3 MB a day in each process."""
_MINUTE_S = 60.0


class KeyAudit:
    """Writes audit records of keys in a thread of its own; used within one event loop.

    Args:
        log: the audit log.
        now: returns the current time.
        on_error: called with the first failure to write, and again after a success.
    """

    def __init__(
        self, log: AuditLog, *, now: Callable[[], datetime], on_error: Callable[[BaseException], None]
    ) -> None:
        self._log = log
        self._now = now
        self._on_error = on_error
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._keys: Mapping[str, ServeKey] | None = None
        self._allowed_lines = float(MAX_REFUSED_AT_ONCE)
        self._refused_at_s = 0.0
        self._suppressed_count = 0
        self._has_failed = False
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flowai-audit")

    def key_refused(self, refusal: RefusedKeyError, address: str) -> None:
        """Record a refused key; above the limit of lines it is only counted."""
        at = self._now()
        minutes = max(0.0, at.timestamp() - self._refused_at_s) / _MINUTE_S
        self._refused_at_s = at.timestamp()
        self._allowed_lines = min(MAX_REFUSED_AT_ONCE, self._allowed_lines + minutes * REFUSED_PER_MINUTE)
        if self._allowed_lines < 1:
            self._suppressed_count += 1
            return
        self._allowed_lines -= 1
        record = AuditRecord(
            at=at,
            action="key_refused",
            actor=address,
            result="refused",
            process=self._process,
            key=refusal.name,
            hash_prefix=refusal.hash_prefix,
            reason=refusal.reason,
            suppressed_count=self._suppressed_count,
        )
        self._suppressed_count = 0
        self._writer.submit(self._write, record)

    def check_keys(self, keys: Mapping[str, ServeKey]) -> None:
        """Record how the registry's keys differ from those of the last check."""
        known, self._keys = self._keys, keys
        if known is None or known is keys:
            return
        for record in self._changes(known, keys):
            self._writer.submit(self._write, record)

    def _changes(self, known: Mapping[str, ServeKey], keys: Mapping[str, ServeKey]) -> Iterator[AuditRecord]:
        for name in sorted({*known, *keys}):
            old, new = known.get(name), keys.get(name)
            if old == new:
                continue
            changed: tuple[str, ...] = ()
            if old is not None and new is not None:
                changed = tuple(field for field in new.__struct_fields__ if getattr(old, field) != getattr(new, field))
            key = new or old
            yield AuditRecord(
                at=self._now(),
                action="key_added" if old is None else "key_removed" if new is None else "key_changed",
                actor="registry",
                result="done",
                process=self._process,
                key=name,
                tenant=None if key is None else key.tenant,
                changed=changed,
            )

    def _write(self, record: AuditRecord) -> None:
        try:
            self._log.append(record)
        except FlowaiError as error:
            if not self._has_failed:
                self._on_error(error)
            self._has_failed = True
        else:
            self._has_failed = False

    def close(self) -> None:
        """Write what is left."""
        self._writer.shutdown()
