"""The event log of a command: a directory, or a local copy of the requested days of an object store."""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.registry import events_directory, events_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date
    from pathlib import Path

    from flowai.project import Project
    from flowai.registry import Registry

CACHE_VARIABLE = "FLOWAI_LAKE_CACHE_GB"


@contextmanager
def open_event_source(
    registry: Registry, project: Project, environ: Mapping[str, str], days: tuple[date, date] | None
) -> Iterator[tuple[Path, ...]]:
    """Open the event log for reading.

    The requested days of an object store are copied to this machine first. Local events that are not synced yet are
    read too; each event counts once.

    Args:
        registry: names the log.
        project: directory of the log and of the copies.
        environ: variables, with the store's credentials.
        days: first and last day; None for all.

    Yields:
        Directories that together contain the log.

    Raises:
        RegistryError: the registry names an unknown kind of store.
        UsageError: a directory is outside the project, or the extra `lake` is not installed.
        InfrastructureError: the store is unreachable, refuses the request or lacks a file, or the disk is full.
    """
    local = events_directory(registry, project)
    address = events_store(registry, project)
    if address is None:
        yield (local,)
        return
    from flowai.events.lake.local_copy import DownloadOptions, local_copy
    from flowai.events.lake.object_store import open_store

    def is_day(day: date | None) -> bool:
        return days is None or day is None or days[0] <= day <= days[1]

    cache = project.lake / name_of(address)
    download = DownloadOptions(
        is_needed=is_day, local_directories=(local,), max_bytes=_max_bytes(environ), clock_s=time.monotonic
    )
    with local_copy(open_store(address, environ), cache, download):
        yield (local, cache)


def name_of(address: str) -> str:
    """Return the file name for data about an address."""
    return hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]


def _max_bytes(environ: Mapping[str, str]) -> int:
    from flowai.events.lake.local_copy import MAX_BYTES

    text = environ.get(CACHE_VARIABLE)
    if not text:
        return MAX_BYTES
    try:
        size = float(text)
    except ValueError:
        size = 0
    if not 0 < size < float("inf"):
        raise UsageError(f"{CACHE_VARIABLE}: found `{text}`, expected gigabytes, such as `20`")
    return int(size * 1e9)
