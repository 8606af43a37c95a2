"""The directory an export goes to: whole or not there at all, whatever happens meanwhile."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError, Place, UsageError
from flowai.storage.files import take_lock, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST = "manifest.json"
"""What every export holds, by which one of ours is known."""

_LOCK_LIMIT_S = 0.0


@contextmanager
def open_output_directory(path: Path, *, name: str, replace: bool) -> Iterator[Path]:
    """Give a directory to write into; when nothing fails, it stands at `path` in one step.

    What a killed export left behind is removed first: it lies beside, under a name of its own.

    Args:
        path: where it shall stand.
        name: how messages call it.
        replace: whether an export that stands there may go.

    Yields:
        An empty directory on the same disk.

    Raises:
        UsageError: something stands there already.
        InfrastructureError: another export is writing there, or the place cannot be written.
    """
    _check(path, Place(file=name), replace=replace)
    beside = path.with_name(f".{path.name}.partial")
    with writing(path):
        beside.mkdir(parents=True, exist_ok=True)
        handle = os.open(beside, os.O_RDONLY)
    try:
        if not take_lock(handle, limit_s=_LOCK_LIMIT_S, clock_s=time.monotonic):
            place = Place(file=name)
            raise InfrastructureError("another export is writing there", place=place, hint="wait until it is done")
        _empty(beside)
        try:
            yield beside
            _put(beside, path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    finally:
        os.close(handle)


def _check(path: Path, place: Place, *, replace: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / MANIFEST).is_file():
        raise UsageError("something else stands there", place=place, hint="name a new directory with `--output`")
    if not replace:
        raise UsageError("an export stands there already", place=place, hint="replace it: --force")


def _empty(directory: Path) -> None:
    with writing(directory):
        for left in directory.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()


def _put(beside: Path, path: Path) -> None:
    with writing(path):
        for written in sorted(beside.iterdir()):
            descriptor = os.open(written, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        beside.rename(path)
        shutil.rmtree(old, ignore_errors=True)
