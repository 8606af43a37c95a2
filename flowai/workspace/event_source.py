"""Where a command finds the event log: a directory, or an object store brought here for the days it asks for."""

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

    Where the registry names an object store, its days are brought here first; events that were written here and not
    shipped yet are read with them, each once.

    Args:
        registry: names the log.
        project: where it lies, and where what was brought is kept.
        environ: variables, the store's credentials among them.
        days: the first and the last day that matter; None for all.

    Yields:
        Directories that hold one log together.

    Raises:
        RegistryError: the registry names a store that is not known.
        UsageError: a directory lies outside the project, or the extra `lake` is not installed.
        InfrastructureError: the store is away, refuses or lacks something, or the disk is full.
    """
    here = events_directory(registry, project)
    address = events_store(registry, project)
    if address is None:
        yield (here,)
        return
    from flowai.events.lake.local_copy import DownloadOptions, local_copy
    from flowai.events.lake.object_store import open_store

    def is_day(day: date | None) -> bool:
        return days is None or day is None or days[0] <= day <= days[1]

    cache = project.lake / name_of(address)
    wanted = DownloadOptions(
        is_needed=is_day, local_directories=(here,), max_bytes=_most_bytes(environ), clock_s=time.monotonic
    )
    with local_copy(open_store(address, environ), cache, wanted):
        yield (here, cache)


def name_of(address: str) -> str:
    """Give the name under which something about an address is kept."""
    return hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]


def _most_bytes(environ: Mapping[str, str]) -> int:
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
