"""The outbox: messages stay here until they are delivered, whatever happens to the process that wrote them.

The file is append-only: a line says that a message was queued, failed or was sent. The holder of the file's lock sends.
If it dies before it writes the line about a message, the message is sent again; receivers get a key to detect that.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from flowai.notifications.records import Delivery, DeliveryError
from flowai.storage.files import take_lock, writing
from flowai.storage.jsonl import AppendLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from flowai.notifications.records import Sender

INITIAL_BACKOFF_S = 5.0
MAX_BACKOFF_S = 600.0
LOCK_TIMEOUT_S = 2.0
SCHEMA_VERSION = 1


class _OutboxLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    schema_version: int = SCHEMA_VERSION
    event: Literal["queued", "failed", "sent"]
    id: str
    at: datetime
    delivery: Delivery | None = None
    error: str | None = None
    """Why an attempt failed, secrets redacted."""
    retry_at: datetime | None = None
    """Earliest automatic retry; None if the failure is permanent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """A message that is not delivered yet."""

    delivery: Delivery
    queued_at: datetime
    attempt_count: int = 0
    error: str | None = None
    """Why the last attempt failed; None before the first."""
    retry_at: datetime | None
    """Earliest automatic retry; None if the failure is permanent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryOutcome:
    """Result of one attempt."""

    delivery: Delivery
    error: str | None
    elapsed_s: float


class Outbox:
    """The outbox of a project; the first message creates its file. `now` is UTC, `clock_s` monotonic."""

    def __init__(
        self, path: Path, *, now: Callable[[], datetime], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._now = now
        self._clock_s = clock_s

    def queue(self, deliveries: Sequence[Delivery]) -> None:
        """Store messages, except those whose id was queued before."""
        known = {line.id for line in self._lines()}
        new = [delivery for delivery in deliveries if delivery.id not in known]
        if not new:
            return
        with AppendLog(self._path) as log:
            for delivery in new:
                log.append(_OutboxLine(event="queued", id=delivery.id, at=self._now(), delivery=delivery))

    def pending(self) -> tuple[Pending, ...]:
        """Return undelivered messages, oldest first, without those replaced by a newer one of their slot."""
        pending: dict[str, Pending] = {}
        for line in self._lines():
            if line.event == "queued" and line.delivery is not None:
                slot = line.delivery.slot
                if slot is not None:
                    pending = {key: other for key, other in pending.items() if other.delivery.slot != slot}
                pending[line.id] = Pending(delivery=line.delivery, queued_at=line.at, retry_at=line.at)
            elif line.event == "sent":
                pending.pop(line.id, None)
            elif line.id in pending:
                before = pending[line.id]
                pending[line.id] = replace(
                    before, attempt_count=before.attempt_count + 1, error=line.error, retry_at=line.retry_at
                )
        return tuple(pending.values())

    def deliver(self, senders: Mapping[str, Sender], *, only_due: bool = False) -> tuple[DeliveryOutcome, ...]:
        """Attempt each message to a receiver in `senders` once; `only_due` skips those before their `retry_at`."""
        if not self._path.exists():
            return ()
        outcomes: list[DeliveryOutcome] = []
        with self._lock() as is_alone, AppendLog(self._path) as log:
            for message in self.pending():
                delivery, sender = message.delivery, senders.get(message.delivery.to)
                if sender is None or (only_due and not self._is_due(message)):
                    continue
                if not is_alone:
                    error: str | None = "another process is sending"
                    outcomes.append(DeliveryOutcome(delivery=delivery, error=error, elapsed_s=0.0))
                    continue
                started_s = self._clock_s()
                error = self._send(message, sender, log)
                outcomes.append(DeliveryOutcome(delivery=delivery, error=error, elapsed_s=self._clock_s() - started_s))
        return tuple(outcomes)

    def _is_due(self, message: Pending) -> bool:
        return message.retry_at is not None and message.retry_at <= self._now()

    def _send(self, message: Pending, sender: Sender, log: AppendLog) -> str | None:
        """Send one message and log the result."""
        delivery = message.delivery
        try:
            sender(delivery)
        except DeliveryError as error:
            backoff_s = min(INITIAL_BACKOFF_S * 2**message.attempt_count, MAX_BACKOFF_S)
            backoff_s = max(backoff_s, min(error.retry_after_s or 0.0, 86_400.0))
            retry_at = self._now() + timedelta(seconds=backoff_s) if error.is_transient else None
            log.append(_OutboxLine(event="failed", id=delivery.id, at=self._now(), error=error.what, retry_at=retry_at))
            return error.what
        log.append(_OutboxLine(event="sent", id=delivery.id, at=self._now()))
        return None

    def _lines(self) -> Iterator[_OutboxLine]:
        """Read the file; torn and unknown lines are skipped."""
        try:
            raw = self._path.read_bytes()
        except OSError:
            return
        for line in raw.splitlines():
            try:
                yield msgspec.json.decode(line, type=_OutboxLine)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue

    @contextmanager
    def _lock(self) -> Iterator[bool]:
        """Hold the file's lock, so that each message is sent once."""
        with writing(self._path):
            stream = self._path.open("rb")
        with stream:
            yield take_lock(stream, limit_s=LOCK_TIMEOUT_S, clock_s=self._clock_s)
