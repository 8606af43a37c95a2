"""Asks git for tracked, staged and ignored files; no shell, and no program that a repository's settings name."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

_LIMIT_S = 120.0
_SAFE_SETTINGS = ("-c", "core.fsmonitor=false", "-c", "core.quotepath=false")
_SUBMODULE = "160000"


class StagedVersion(NamedTuple):
    """A version of a file in git's index that differs from the last commit."""

    path: str
    """From the repository's top directory."""
    object_id: str


class GitRepository:
    """A repository; `find_repository` opens it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def tracked(self, paths: Sequence[str] | None = None) -> list[str]:
        """Return the tracked files below absolute paths, or all, from the top directory."""
        limits = self._limits(paths)
        return [] if limits is None else _split(self._run("ls-files", "-z", "--cached", "--full-name", "--", *limits))

    def not_ignored(self, directory: Path) -> list[str] | None:
        """Return the files of a directory that git does not ignore; None if it ignores the directory itself."""
        ignored = self._ask("check-ignore", "-q", "--", str(directory))
        if ignored.returncode == 0:
            return None
        options = ("-z", "--cached", "--others", "--exclude-standard", "--full-name")
        return _split(self._run("ls-files", *options, "--", f":(literal){directory}"))

    def staged(self, paths: Sequence[str] | None = None) -> list[StagedVersion]:
        """Return the staged files below absolute paths, or all; deleted ones have no text."""
        options = ("--cached", "--raw", "-z", "--no-abbrev", "--no-renames", "--no-ext-diff", "--diff-filter=ACMT")
        limits = self._limits(paths)
        fields = [] if limits is None else _split(self._run("diff", *options, "--", *limits))
        staged = []
        for status, path in zip(fields[::2], fields[1::2], strict=True):
            _, mode, _, object_id, _ = status.split(" ")
            if mode != _SUBMODULE:
                staged.append(StagedVersion(path, object_id))
        return staged

    def size_bytes(self, staged: StagedVersion) -> int:
        """Return the size of a staged version."""
        return int(self._run("cat-file", "-s", staged.object_id))

    @contextmanager
    def open_staged(self, staged: StagedVersion) -> Iterator[IO[bytes]]:
        """Open a staged version."""
        command = self._command("cat-file", "blob", staged.object_id)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - fixed words and an object's id
            if process.stdout is not None:
                yield process.stdout

    def _limits(self, paths: Sequence[str] | None) -> list[str] | None:
        """Return paths as git reads them without patterns; none for all files, None if none is in the repository."""
        if paths is None:
            return []
        return [f":(literal){path}" for path in paths if Path(path).is_relative_to(self.root)] or None

    def _run(self, *arguments: str) -> bytes:
        done = self._ask(*arguments)
        if done.returncode != 0:
            raise _failure(arguments[0], done)
        return done.stdout

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return _git(self._command(*arguments))

    def _command(self, *arguments: str) -> list[str]:
        return ["git", "-C", str(self.root), *_SAFE_SETTINGS, *arguments]


def find_repository(directory: Path) -> GitRepository | None:
    """Return the repository that contains a directory; None outside one.

    Raises:
        InfrastructureError: git is not installed, or refuses the repository.
    """
    if not any((parent / ".git").exists() for parent in (directory, *directory.parents)):
        return None
    done = _git(["git", "-C", str(directory), *_SAFE_SETTINGS, "rev-parse", "--show-toplevel"])
    if done.returncode != 0:
        raise _failure("rev-parse", done)
    return GitRepository(Path(os.fsdecode(done.stdout.removesuffix(b"\n"))))


def _failure(command: str, done: subprocess.CompletedProcess[bytes]) -> InfrastructureError:
    reason = done.stderr.decode(errors="replace").strip().splitlines()
    return InfrastructureError(
        f"git {command} failed: {reason[0] if reason else done.returncode}",
        hint="name the files to scan: `flowai secrets scan FILE`",
    )


def _git(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, capture_output=True, timeout=_LIMIT_S, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - no shell; paths follow `--`
    except FileNotFoundError:
        raise InfrastructureError("git is not installed", hint="name the files to scan") from None
    except subprocess.TimeoutExpired:
        raise InfrastructureError(
            f"git did not answer within {_LIMIT_S:.0f} s", hint="name the files to scan"
        ) from None


def _split(output: bytes) -> list[str]:
    return [os.fsdecode(part) for part in output.split(b"\x00") if part]
