"""The outbox: messages wait here until they are out, whatever happens to the process that wrote them.

The file is only added to: a line says that a message was queued, tried or sent. Whoever holds the file's lock sends; a
message whose sender dies between the sending and the line about it goes out twice, so receivers are told a key by which
they see that.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
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
MAX_PAUSE_S = 600.0
LOCK_LIMIT_S = 2.0
SCHEMA_VERSION = 1


class _OutboxLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the file."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format: 1."""
    what: Literal["queued", "tried", "sent"]
    """What happened to the message."""
    id: str
    """Which message."""
    at: datetime
    """When (RFC 3339, UTC)."""
    delivery: Delivery | None = None
    """The message, when it was queued."""
    error: str | None = None
    """Why a try failed, secrets redacted."""
    again_at: datetime | None = None
    """Before this nobody tries by itself; None where a person must act first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """A message that waits."""

    delivery: Delivery
    """The message."""
    queued_at: datetime
    """Since when."""
    tried_count: int = 0
    """How often it was tried, >= 0."""
    error: str | None = None
    """Why the last try failed; None when there was none."""
    again_at: datetime | None
    """Before this nobody tries by itself; None where a person must act first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryOutcome:
    """What came of one message."""

    delivery: Delivery
    """The message."""
    error: str | None
    """Why it waits; None when it is out."""
    elapsed_s: float
    """How long the try took, >= 0."""


class Outbox:
    """The outbox of a project.

    Args:
        path: its file; made with the first message.
        now: the time, UTC.
        clock_s: a clock that never goes back, seconds.
    """

    def __init__(
        self, path: Path, *, now: Callable[[], datetime], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._now = now
        self._clock_s = clock_s

    def queue(self, deliveries: Sequence[Delivery]) -> None:
        """Keep messages; one whose id was ever queued is not queued again.

        Raises:
            InfrastructureError: the file cannot be written.
        """
        known = {line.id for line in self._lines()}
        new = [delivery for delivery in deliveries if delivery.id not in known]
        if not new:
            return
        with AppendLog(self._path) as log:
            for delivery in new:
                log.append(_OutboxLine(what="queued", id=delivery.id, at=self._now(), delivery=delivery))

    def pending(self) -> tuple[Pending, ...]:
        """Give what waits, oldest first; a message that a newer one of its slot replaced waits no more."""
        found: dict[str, Pending] = {}
        for line in self._lines():
            if line.what == "queued" and line.delivery is not None:
                slot = line.delivery.slot
                if slot is not None:
                    found = {key: one for key, one in found.items() if one.delivery.slot != slot}
                found[line.id] = Pending(delivery=line.delivery, queued_at=line.at, again_at=line.at)
            elif line.what == "sent":
                found.pop(line.id, None)
            elif line.id in found:
                before = found[line.id]
                found[line.id] = Pending(
                    delivery=before.delivery,
                    queued_at=before.queued_at,
                    tried_count=before.tried_count + 1,
                    error=line.error,
                    again_at=line.again_at,
                )
        return tuple(found.values())

    def deliver(self, senders: Mapping[str, Sender], *, only_due: bool = False) -> tuple[DeliveryOutcome, ...]:
        """Send what waits; each message is tried once.

        Args:
            senders: by kind of receiver; a message without one waits on.
            only_due: leave alone what has to wait before it is tried again; a person who asks tries everything.

        Returns:
            What came of each message that was tried.

        Raises:
            InfrastructureError: the file cannot be written.
        """
        if not self._path.exists():
            return ()
        outcomes: list[DeliveryOutcome] = []
        with self._lock() as is_alone, AppendLog(self._path) as log:
            for waiting in self.pending():
                delivery, sender = waiting.delivery, senders.get(waiting.delivery.to)
                if sender is None or (only_due and not self._is_due(waiting)):
                    continue
                if not is_alone:
                    error: str | None = "another process is sending"
                    outcomes.append(DeliveryOutcome(delivery=delivery, error=error, elapsed_s=0.0))
                    continue
                began_s = self._clock_s()
                error = self._send(waiting, sender, log)
                outcomes.append(DeliveryOutcome(delivery=delivery, error=error, elapsed_s=self._clock_s() - began_s))
        return tuple(outcomes)

    def _is_due(self, waiting: Pending) -> bool:
        return waiting.again_at is not None and waiting.again_at <= self._now()

    def _send(self, waiting: Pending, sender: Sender, log: AppendLog) -> str | None:
        """Send one message and write down what came of it."""
        delivery = waiting.delivery
        try:
            sender(delivery)
        except DeliveryError as error:
            pause_s = min(INITIAL_BACKOFF_S * 2**waiting.tried_count, MAX_PAUSE_S)
            pause_s = max(pause_s, min(error.retry_after_s or 0.0, 86_400.0))
            again_at = self._now() + timedelta(seconds=pause_s) if error.will_pass else None
            log.append(_OutboxLine(what="tried", id=delivery.id, at=self._now(), error=error.what, again_at=again_at))
            return error.what
        log.append(_OutboxLine(what="sent", id=delivery.id, at=self._now()))
        return None

    def _lines(self) -> Iterator[_OutboxLine]:
        """Read the file; a torn or foreign line says nothing."""
        try:
            raw = self._path.read_bytes()
        except OSError:
            return
        for line in raw.splitlines():
            try:
                yield msgspec.json.decode(line, type=_OutboxLine)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue

    @contextmanager
    def _lock(self) -> Iterator[bool]:
        """Hold the file's lock, so that each message goes out once; the kernel frees it when a process dies."""
        with writing(self._path):
            stream = self._path.open("rb")
        with stream:
            yield take_lock(stream, limit_s=LOCK_LIMIT_S, clock_s=self._clock_s)
