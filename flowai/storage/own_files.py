"""Opens the files that flowai itself writes: never through a symbolic link, and readable by their owner only.

A pull request can contain any file and any link; commands of flowai run in a checkout of it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError, Place
from flowai.storage.tracked_files import is_tracked

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_FILE_MODE = 0o600
"""Of files with texts of users and models; the umask narrows it further."""
PRIVATE_DIRECTORY_MODE = 0o700
REGISTRY_FILE = "registry.yaml"
"""Name of the file that makes a directory a project."""
LOCAL_DIRECTORY = ".flowai"
"""Directory of a project with the files that flowai manages."""
TRACKED_HINT = "add `.flowai/` to `.gitignore`"
_SYSTEM_PATH_PARTS = 2  # `/tmp` and `/var` are links on some systems, where only root can plant one
_untracked: set[tuple[str, int]] = set()  # path and inode of files that git does not track; asked once per process


def check_no_link(path: Path) -> None:
    """Raise InfrastructureError if a path leads through a symbolic link within a project, or is no file or directory.

    Outside projects only the path itself and its directory are checked. A missing file passes.
    """
    is_inside = False
    for part in (*reversed(path.parents), path):
        is_inside = is_inside or part.name == LOCAL_DIRECTORY
        if (is_inside or part in {path, path.parent}) and len(part.parts) > _SYSTEM_PATH_PARTS:
            _check_part(part)
        is_inside = is_inside or (part / REGISTRY_FILE).is_file()


def check_own_file(path: Path, hint: str, *, is_shared: bool = False) -> None:
    """Raise InfrastructureError, with a remedy, for a file that someone else may have written; a missing one passes.

    Refused are links, files of another user, unless `is_shared`, and files that git tracks.
    """
    check_no_link(path)
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    place = Place(file=str(path))
    if not is_shared and status.st_uid not in {os.geteuid(), 0}:
        problem = f"belongs to another user (uid {status.st_uid}), expected one of your own"
        raise InfrastructureError(problem, place=place, hint=hint)
    if (str(path), status.st_ino) in _untracked:
        return
    if is_tracked(path, below=LOCAL_DIRECTORY):
        raise InfrastructureError(
            "git tracks this file, so that a pull request decides its content",
            place=place,
            hint=f"`git rm --cached {path}`, then delete it; {hint}",
        )
    _untracked.add((str(path), status.st_ino))


def make_private_directory(path: Path) -> None:
    """Create a directory and its missing parents for their owner only; existing ones keep their rights."""
    if path.is_dir():
        return
    make_private_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=PRIVATE_DIRECTORY_MODE)


def open_private_file(path: Path, flags: int) -> int:
    """Open a file that is no link and return its descriptor; creates it, and its directory, for its owner only.

    A file of flowai's own directory that git tracks is refused too. Raises OSError as well.
    """
    if LOCAL_DIRECTORY in path.parts:
        check_own_file(path, TRACKED_HINT, is_shared=True)
    else:  # recordings and decisions are committed
        check_no_link(path)
    make_private_directory(path.parent)
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE_MODE)


def make_private(path: Path) -> None:
    """Remove the rights of all but the owner from a file that another program wrote."""
    path.chmod(path.stat().st_mode & PRIVATE_FILE_MODE)


def _check_part(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISLNK(mode):
        raise InfrastructureError(
            "is a symbolic link, expected a file or directory of its own",
            place=Place(file=str(path)),
            hint="remove the link; flowai writes through none, because a pull request can contain one",
        )
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InfrastructureError(
            "is a device, pipe or socket, expected a file", place=Place(file=str(path)), hint="remove it"
        )
