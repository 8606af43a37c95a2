"""Output directory of an export: it appears complete and in one step, or not at all."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError, Place, UsageError
from flowai.storage.files import take_lock, writing
from flowai.storage.own_files import check_no_link, make_private, make_private_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST = "manifest.json"
"""Every export has this file; a directory without it is never overwritten."""


@contextmanager
def open_output_directory(path: Path, *, name: str, replace: bool) -> Iterator[Path]:
    """Yield an empty directory on the same disk, and rename it to `path` if the block ends without an error.

    A directory that a killed export left behind is removed first; with `replace`, so is an existing export. Raises
    UsageError for another directory that is not empty, InfrastructureError if another export writes to it. `name` is
    the path as messages show it.
    """
    check_no_link(path)
    _check(path, Place(file=name), replace=replace)
    temporary = path.with_name(f".{path.name}.partial")
    with writing(path):
        check_no_link(temporary)  # it will be emptied
        make_private_directory(temporary)
        handle = os.open(temporary, os.O_RDONLY)
    try:
        if not take_lock(handle, limit_s=0.0, clock_s=time.monotonic):
            place = Place(file=name)
            raise InfrastructureError("another export writes to it", place=place, hint="wait until it has finished")
        _empty(temporary)
        try:
            yield temporary
            _publish(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    finally:
        os.close(handle)


def _check(path: Path, place: Place, *, replace: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / MANIFEST).is_file():
        raise UsageError("not an export, and not empty", place=place, hint="name a new directory with `--output`")
    if not replace:
        raise UsageError("the directory has an export already", place=place, hint="overwrite it with `--force`")


def _empty(directory: Path) -> None:
    with writing(directory):
        for path in directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _publish(temporary: Path, path: Path) -> None:
    with writing(path):
        for file in sorted(temporary.iterdir()):
            make_private(file)
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)
