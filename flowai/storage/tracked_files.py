"""Reads from git's index whether a file is tracked, in a millisecond; starting git takes ten.

Source: git's Documentation/gitformat-index.txt: an entry's flags hold the length of its path, which ends with a NUL.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

_GIT_LIMIT_S = 5.0
_NAME_LENGTH = 0xFFF  # the flags' bits with a path's length; the greatest value means "as long or longer"
_PREFIX_COMPRESSED = 4  # version of an index whose paths are not complete


def is_tracked(path: Path) -> bool:
    """Return whether git tracks a file; False outside a repository, or where its index cannot be read."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - a link must not be resolved: git tracks the link
    root = next((parent for parent in path.parents if (parent / ".git").exists()), None)
    if root is None:
        return False
    try:
        index = _index_file(root / ".git").read_bytes()
    except OSError:
        return False
    relative = path.relative_to(root).as_posix()
    if _is_whole(index):
        return _has_entry(index, os.fsencode(relative))
    return _ask_git(root, relative)


def _index_file(git: Path) -> Path:
    """Return a repository's index; in a worktree or submodule `.git` is a file that names the directory."""
    if git.is_file():
        text = git.read_text(encoding="utf-8", errors="surrogateescape")
        git = git.parent / text.removeprefix("gitdir:").strip()
    return git / "index"


def _is_whole(index: bytes) -> bool:
    """Return whether an index contains every path in full: version 2 or 3, not split."""
    if len(index) < 12 or index[:4] != b"DIRC":  # noqa: PLR2004 - the size of its header
        return False
    version = struct.unpack(">I", index[4:8])[0]
    return version < _PREFIX_COMPRESSED and b"link\x00" not in index


def _has_entry(index: bytes, name: bytes) -> bool:
    folded, wanted = index.lower(), name.lower() + b"\x00"  # some file systems ignore case
    at = folded.find(wanted)
    while at >= 0:
        # two bytes of flags before the path, and in version 3 two more after those
        if any(
            struct.unpack(">H", index[at - back : at - back + 2])[0] & _NAME_LENGTH == min(len(name), _NAME_LENGTH)
            for back in (2, 4)
        ):
            return True
        at = folded.find(wanted, at + 1)
    return False


def _ask_git(root: Path, relative: str) -> bool:
    import subprocess  # 10 ms, for rare kinds of index

    pattern = f":(icase,glob){relative}"
    command = ["git", "-C", str(root), "-c", "core.fsmonitor=false", "ls-files", "-z", "--", pattern]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_LIMIT_S, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout)
