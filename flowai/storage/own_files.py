"""Opens the files that flowai itself writes: never through a symbolic link, and readable by their owner only.

A pull request can contain any file and any link; flowai runs in a checkout of it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError, Place

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PRIVATE_FILE_MODE = 0o600
"""Of files with texts of users and models; the umask narrows it further."""
_PRIVATE_DIRECTORY_MODE = 0o700
_SYSTEM_PATH_PARTS = 2  # `/tmp` and `/var` are links on some systems, and nobody but root can plant there
_NO_FILE = (FileNotFoundError, NotADirectoryError)


def check_no_link(path: Path) -> None:
    """Raise InfrastructureError if a file or its directory is a symbolic link, or the file is not a regular one.

    A missing file passes.
    """
    for part in (path.parent, path):
        try:
            mode = part.lstat().st_mode
        except _NO_FILE:
            continue
        if stat.S_ISLNK(mode) and len(part.parts) > _SYSTEM_PATH_PARTS:
            raise InfrastructureError(
                "is a symbolic link, expected a file or directory of its own",
                place=Place(file=str(part)),
                hint="remove the link; flowai writes through none, because a pull request can contain one",
            )
        if part is path and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise InfrastructureError(
                "is a device, pipe or socket, expected a file", place=Place(file=str(part)), hint="remove it"
            )


def linked_path(paths: Iterable[Path]) -> Path | None:
    """Return the first path that is a symbolic link; missing ones are none."""
    return next((path for path in paths if path.is_symlink()), None)


def make_private_directory(path: Path) -> None:
    """Create a directory and its missing parents for their owner only; existing ones keep their rights."""
    if path.is_dir():
        return
    make_private_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=_PRIVATE_DIRECTORY_MODE)


def open_private_file(path: Path, flags: int) -> int:
    """Open a file of `check_no_link`, created with its directory for the owner only; return its descriptor.

    Raises OSError too.
    """
    check_no_link(path)
    make_private_directory(path.parent)
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE_MODE)
