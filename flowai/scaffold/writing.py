"""Writes files that must not replace a user's, each in one step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flowai.scaffold.records import FileOutcome
from flowai.storage.files import write_atomic, writing
from flowai.storage.own_files import check_no_link

if TYPE_CHECKING:
    from pathlib import Path


def create_file(root: Path, path: str, text: str) -> FileOutcome:
    """Write a file that does not exist; an existing one is left, also one that appears meanwhile.

    Raises:
        InfrastructureError: the folder cannot be written, or a link is in the way.
    """
    target = root / path
    check_no_link(target)
    content = text.encode()
    with writing(target):
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if _create_whole(target, content):
                return FileOutcome(path=path, status="wrote")
        if target.read_bytes() == content:
            return FileOutcome(path=path, status="unchanged")
    return FileOutcome(path=path, status="left", reason="it exists with other content")


def _create_whole(target: Path, content: bytes) -> bool:
    """Write a new file, so that no reader sees half of it; return False if it exists."""
    temporary = target.with_name(f".{target.name}.{os.urandom(6).hex()}")
    try:
        _write_new(temporary, content)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return _write_new_if_missing(target, content)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _write_new_if_missing(target: Path, content: bytes) -> bool:
    try:
        _write_new(target, content)
    except FileExistsError:
        return False
    except OSError:
        target.unlink(missing_ok=True)  # half of it would look like the user's own
        raise
    return True


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def add_lines(root: Path, path: str, lines: tuple[str, ...]) -> FileOutcome:
    """Add the lines that a file lacks to its end; everything before them is unchanged. A missing file is created.

    Raises:
        InfrastructureError: the file cannot be read or written, or a link is in the way.
    """
    target = root / path
    check_no_link(target)
    with writing(target):
        if not target.exists():
            return create_file(root, path, "".join(f"{line}\n" for line in lines))
        content = target.read_bytes()
    known = {line.strip().strip(b"/") for line in content.splitlines()}
    missing = [line for line in lines if line.encode().strip(b"/") not in known]
    if not missing:
        return FileOutcome(path=path, status="unchanged")
    end = b"\r\n" if b"\r\n" in content else b"\n"
    before = content if not content or content.endswith(b"\n") else content + end
    write_atomic(target, before + b"".join(line.encode() + end for line in missing))
    return FileOutcome(path=path, status="added", reason=", ".join(missing))


def write_own_file(root: Path, path: str, content: bytes) -> FileOutcome:
    """Write a file of flowai's own directory; an older version of it is replaced.

    Raises:
        InfrastructureError: it cannot be written, or a link is in the way.
    """
    target = root / path
    check_no_link(target)
    with writing(target):
        existed = target.is_file()
        if existed and target.read_bytes() == content:
            return FileOutcome(path=path, status="unchanged")
    write_atomic(target, content, is_private=True)
    return FileOutcome(path=path, status="updated" if existed else "wrote")
