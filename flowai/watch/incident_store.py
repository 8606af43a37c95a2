"""The open incidents of an environment in a file, so that a killed watch continues with them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from flowai.storage.files import take_lock, write_atomic, writing
from flowai.storage.own_files import TRACKED_HINT, check_own_file, open_private_file
from flowai.watch.incidents import Incident
from flowai.watch.retirements import RetirementNotice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK_TIMEOUT_S = 10.0
SCHEMA_VERSION = 1


class IncidentState(msgspec.Struct, frozen=True, kw_only=True):
    """Content of the file."""

    schema_version: int = SCHEMA_VERSION
    incidents: tuple[Incident, ...] = ()
    """Open incidents."""
    resolved: tuple[Incident, ...] = ()
    """Resolved incidents, until their messages are queued."""
    notices: tuple[RetirementNotice, ...] = ()
    """Models that are retired soon."""

    def with_incident(self, incident: Incident) -> IncidentState:
        """Return the state with a new version of an open incident."""
        incidents = tuple(incident if one.id == incident.id else one for one in self.incidents)
        return msgspec.structs.replace(self, incidents=incidents)


class IncidentStore:
    """The file of open incidents; created with the first one.

    Args:
        path: path of the file.
        clock_s: monotonic clock, seconds.
    """

    def __init__(self, path: Path, *, clock_s: Callable[[], float]) -> None:
        self._path = path
        self._clock_s = clock_s
        self._unsaved: IncidentState | None = None

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Lock out other watches; yield False if the lock was not free within `LOCK_TIMEOUT_S`.

        Raises:
            InfrastructureError: the lock file cannot be written.
        """
        lock = self._path.with_suffix(".lock")
        with writing(lock):
            stream = os.fdopen(open_private_file(lock, os.O_RDWR | os.O_APPEND), "ab")
        with stream:
            with writing(lock):
                is_alone = take_lock(stream, limit_s=LOCK_TIMEOUT_S, clock_s=self._clock_s)
            yield is_alone

    def load(self) -> tuple[IncidentState, str | None]:
        """Return the state, or the unsaved one after a failed save, and a warning about an invalid file."""
        if self._unsaved is not None:
            return self._unsaved, None
        check_own_file(self._path, TRACKED_HINT, is_shared=True)
        try:
            state = msgspec.json.decode(self._path.read_bytes(), type=IncidentState)
        except FileNotFoundError:
            return IncidentState(), None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return IncidentState(), f"`{self._path.name}` cannot be read, its open incidents are lost: {error}"
        if state.schema_version != SCHEMA_VERSION:
            return IncidentState(), f"`{self._path.name}` is of schema version {state.schema_version}; it is ignored"
        return state, None

    def save(self, state: IncidentState) -> None:
        """Write the state.

        Raises:
            InfrastructureError: the file cannot be written.
        """
        self._unsaved = state
        data = msgspec.json.format(msgspec.json.encode(state), indent=1)
        if not self._path.exists() and state == IncidentState():
            self._unsaved = None
            return
        write_atomic(self._path, data + b"\n", is_private=True)
        self._unsaved = None
