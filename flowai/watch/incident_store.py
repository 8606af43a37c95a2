"""What a watch must still know after it was killed: the incidents it opened. One file for an environment."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from flowai.storage.files import take_lock, write_atomic, writing
from flowai.watch.incidents import Incident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK_LIMIT_S = 10.0
SCHEMA_VERSION = 1


class IncidentState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format: 1."""
    incidents: tuple[Incident, ...] = ()
    """Those open."""
    resolved: tuple[Incident, ...] = ()
    """Those that ended, as long as it is not certain that their messages are kept."""


class IncidentStore:
    """The file.

    Args:
        path: where it lies; made with the first incident.
        clock_s: a clock that never goes back, seconds.
    """

    def __init__(self, path: Path, *, clock_s: Callable[[], float]) -> None:
        self._path = path
        self._clock_s = clock_s
        self._unsaved: IncidentState | None = None

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Keep other watches from deciding; tells whether that was possible in time.

        Raises:
            InfrastructureError: the place cannot be written.
        """
        lock = self._path.with_suffix(".lock")
        with writing(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            stream = lock.open("ab")
        with stream:
            with writing(lock):
                is_alone = take_lock(stream, limit_s=LOCK_LIMIT_S, clock_s=self._clock_s)
            yield is_alone

    def load(self) -> tuple[IncidentState, str | None]:
        """Give what is remembered, and what is wrong with the file; what could not be saved is not forgotten."""
        if self._unsaved is not None:
            return self._unsaved, None
        try:
            memory = msgspec.json.decode(self._path.read_bytes(), type=IncidentState)
        except FileNotFoundError:
            return IncidentState(), None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            return IncidentState(), f"`{self._path.name}` cannot be read, open incidents are forgotten: {error}"
        if memory.schema_version != SCHEMA_VERSION:
            return IncidentState(), f"`{self._path.name}` is of schema version {memory.schema_version}; it is not used"
        return memory, None

    def save(self, memory: IncidentState) -> None:
        """Keep it.

        Raises:
            InfrastructureError: the disk is full, or the place cannot be written.
        """
        self._unsaved = memory
        data = msgspec.json.format(msgspec.json.encode(memory), indent=1)
        if not self._path.exists() and memory == IncidentState():
            self._unsaved = None
            return
        write_atomic(self._path, data + b"\n")
        self._unsaved = None
