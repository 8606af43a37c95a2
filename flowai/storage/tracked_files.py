"""Reads from git's index which files it tracks, in a millisecond; starting git takes ten.

Source: git's Documentation/gitformat-index.txt: an entry's flags hold the length of its path, which ends with a NUL.
"""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from pathlib import Path

_GIT_LIMIT_S = 5.0
_HEADER = struct.Struct(">4sII")
_FLAGS = struct.Struct(">H")
_NAME_LENGTH = 0xFFF  # the flags' bits with a path's length; the greatest value means "as long or longer"
_PREFIX_COMPRESSED = 4  # version of an index whose paths are not complete


def is_tracked(path: Path, *, below: str) -> bool:
    """Return whether git tracks a file; False outside a repository, or where its index cannot be read.

    The index is read once per process for each directory named `below` in the path, or for the file's own.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - a link must not be resolved: git tracks the link
    root = next((parent for parent in path.parents if (parent / ".git").exists()), None)
    if root is None:
        return False
    directory = next((parent for parent in path.parents if parent.name == below), path.parent)
    if not directory.is_relative_to(root):
        directory = root
    prefix = "" if directory == root else f"{directory.relative_to(root).as_posix()}/"
    return os.fsencode(path.relative_to(root).as_posix()).lower() in _tracked_names(root, prefix)


def first_tracked(directory: Path) -> str | None:
    """Return the first file below a directory that git tracks, from the top of the repository; None if there is none.

    The name is in lower case.
    """
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 - as above
    root = next((parent for parent in directory.parents if (parent / ".git").exists()), None)
    if root is None:
        return None
    names = _tracked_names(root, f"{directory.relative_to(root).as_posix()}/")
    return min(map(os.fsdecode, names), default=None)


@lru_cache(maxsize=16)
def _tracked_names(root: Path, prefix: str) -> frozenset[bytes]:
    """Return the tracked paths that begin with a prefix, in lower case: some file systems ignore it."""
    try:
        index = _index_file(root / ".git").read_bytes()
    except OSError:
        return frozenset()
    if prefix and _is_whole(index):
        return frozenset(_names(index, os.fsencode(prefix).lower()))
    return _ask_git(root, prefix)


def _index_file(git: Path) -> Path:
    """Return a repository's index; in a worktree or submodule `.git` is a file that names the directory."""
    if git.is_file():
        text = git.read_text(encoding="utf-8", errors="surrogateescape")
        git = git.parent / text.removeprefix("gitdir:").strip()
    return git / "index"


def _is_whole(index: bytes) -> bool:
    """Return whether an index contains every path in full: version 2 or 3, not split."""
    if len(index) < _HEADER.size:
        return False
    signature, version, _ = _HEADER.unpack_from(index)
    return signature == b"DIRC" and version < _PREFIX_COMPRESSED and b"link\x00" not in index


def _names(index: bytes, prefix: bytes) -> set[bytes]:
    folded, names = index.lower(), set()
    at = folded.find(prefix)
    while at >= 0:
        if name := _name_at(index, at):
            names.add(name)
        at = folded.find(prefix, at + 1)
    return names


def _name_at(index: bytes, at: int) -> bytes:
    """Return the path that begins at a position, in lower case; empty if none begins there."""
    name = index[at : index.find(b"\x00", at)]
    for back in (2, 4):  # version 3 may have two more bytes between flags and path
        (flags,) = _FLAGS.unpack_from(index, at - back)
        if name and flags & _NAME_LENGTH == min(len(name), _NAME_LENGTH):
            return name.lower()
    return b""


def _ask_git(root: Path, prefix: str) -> frozenset[bytes]:
    import subprocess  # 10 ms, for rare kinds of index, and files at the top of a repository

    command = ["git", "-C", str(root), "-c", "core.fsmonitor=false", "ls-files", "-z", "--", f":(icase,glob){prefix}**"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_LIMIT_S, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset(done.stdout.lower().split(b"\x00")) if done.returncode == 0 else frozenset()
