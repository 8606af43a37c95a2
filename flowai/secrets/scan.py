"""Searches tracked, staged and logged files for secrets, and checks who can read `.env`."""

from __future__ import annotations

import os
import stat
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError, InfrastructureError, UsageError
from flowai.secrets.git_files import find_repository
from flowai.secrets.plausibility import ALLOW_MARK
from flowai.secrets.records import ScanReport, SecretFinding, UnsearchedFile
from flowai.secrets.text_search import BinaryStreamError, SecretSearch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import IO

    from flowai.secrets.git_files import GitRepository, StagedVersion
    from flowai.secrets.text_search import FoundSecret

MAX_FILE_BYTES = 256 * 1024 * 1024
"""Larger files are skipped, and named."""
MAX_FINDINGS = 100
"""Listed per file."""
READABLE_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH
BINARY = "binary"
_SECRET_HINT = (
    f"revoke it at the provider, then remove it; an invented one: write `{ALLOW_MARK}` in a comment on its line"
)
_TEMPLATE_ENDINGS = (".dist", ".example", ".sample", ".template")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanOptions:
    """Files to search."""

    directory: Path
    """Working directory."""
    paths: tuple[str, ...] = ()
    """Files and directories; empty for the tracked, staged and logged files of the repository and the project."""
    logs: tuple[Path, ...] = ()
    """Directories with logs, searched when no path is named; without duplicates."""
    dotenv: tuple[Path, ...] = ()
    """Files of variables whose rights are checked when no path is named."""
    only_staged: bool = False
    excluded: tuple[str, ...] = ()
    """Patterns of paths that are left out."""
    max_file_bytes: int = MAX_FILE_BYTES


def scan(options: ScanOptions) -> ScanReport:
    """Search files for secrets.

    Raises:
        UsageError: a named path does not exist, or staged files are asked for outside a repository.
        InfrastructureError: git fails.
    """
    return _SecretScan(options).run()


@dataclass(slots=True)
class _SecretScan:
    """Running scan."""

    options: ScanOptions
    repository: GitRepository | None = field(default=None, init=False)
    search: SecretSearch = field(default_factory=SecretSearch, init=False)
    findings: list[SecretFinding] = field(default_factory=list, init=False)
    skipped: list[UnsearchedFile] = field(default_factory=list, init=False)
    seen: set[tuple[str, FoundSecret]] = field(default_factory=set, init=False)
    file_count: int = field(default=0, init=False)
    size_bytes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        is_needed = self.options.only_staged or not self.options.paths
        with nullcontext() if is_needed else suppress(InfrastructureError):
            self.repository = find_repository(self.options.directory)
        if self.options.only_staged and self.repository is None:
            raise UsageError("nothing is staged: this is no git repository", hint="leave out --staged, or name files")
        for text in self.options.paths:
            if not self.options.only_staged and not os.path.lexists(self.options.directory / text):
                raise UsageError(f"`{text}` does not exist", hint="name files or directories; none for the repository")

    def run(self) -> ScanReport:
        """Search all files."""
        paths = [os.path.abspath(self.options.directory / text) for text in self.options.paths]  # noqa: PTH100 - a link stays one
        named = paths or None
        if not self.options.only_staged:
            for path in dict.fromkeys(self._files(paths)):
                self._search_file(path)
        if self.repository is not None and (self.options.only_staged or named is None):
            for staged in self.repository.staged(named):
                self._search_staged(self.repository, staged)
        self._check_dotenv(named)
        return ScanReport(
            findings=tuple(self.findings),
            skipped=tuple(self.skipped),
            file_count=self.file_count,
            size_bytes=self.size_bytes,
            is_repository=self.repository is not None,
        )

    def _files(self, named: Sequence[str]) -> Iterator[Path]:
        if named:
            for text in named:
                path = Path(text)
                yield from self._directory(path) if path.is_dir() and not path.is_symlink() else (path,)
            return
        if self.repository is None:
            yield from _committable(self.options.directory)
        else:
            yield from (self.repository.root / path for path in self.repository.tracked())
        for directory in self.options.logs:
            yield from _walk(directory)

    def _directory(self, path: Path) -> Iterable[Path]:
        """Return the files of a named directory: in a repository those that git does not ignore."""
        found = None
        with suppress(InfrastructureError):
            found = find_repository(path)
        if found is None:
            return _committable(path)
        names = found.not_ignored(path)
        return _walk(path) if names is None else (found.root / name for name in names)

    def _search_file(self, path: Path) -> None:
        shown = self._show(path)
        if self._is_excluded(shown):
            return
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                return  # a link's target is searched where it is; a submodule is a repository of its own
            if self._is_too_large(shown, status.st_size):
                return
            with path.open("rb") as stream:
                self._search_stream(stream, shown, status.st_size, is_staged=False)
        except FileNotFoundError:
            return  # deleted, and not staged yet
        except OSError as error:
            self.skipped.append(UnsearchedFile(file=shown, reason=error.strerror or str(error)))

    def _search_staged(self, repository: GitRepository, staged: StagedVersion) -> None:
        shown = self._show(repository.root / staged.path)
        if self._is_excluded(shown):
            return
        size_bytes = repository.size_bytes(staged)
        if not self._is_too_large(shown, size_bytes):
            with repository.open_staged(staged) as stream:
                self._search_stream(stream, shown, size_bytes, is_staged=True)

    def _search_stream(self, stream: IO[bytes], shown: str, size_bytes: int, *, is_staged: bool) -> None:
        try:
            for number, found in enumerate(self.search.stream(stream)):
                if number == MAX_FINDINGS:
                    reason = f"more than {MAX_FINDINGS} findings, the rest is not listed"
                    self.skipped.append(UnsearchedFile(file=shown, reason=reason))
                    break
                self._add(found, shown, is_staged=is_staged)
        except BinaryStreamError:
            if not any(each.file == shown for each in self.skipped[-1:]):
                self.skipped.append(UnsearchedFile(file=shown, reason=BINARY))
            return
        self.file_count += 1
        self.size_bytes += size_bytes

    def _add(self, found: FoundSecret, shown: str, *, is_staged: bool) -> None:
        """Add a finding, unless the working tree has the same one."""
        if (shown, found) in self.seen:
            return
        self.seen.add((shown, found))
        self.findings.append(
            SecretFinding(
                kind="secret",
                file=shown,
                place="staged" if is_staged else "file",
                line=found.line,
                column=found.column,
                shape=found.shape,
                masked=found.masked,
                hint=_SECRET_HINT,
            )
        )

    def _is_too_large(self, shown: str, size_bytes: int) -> bool:
        if size_bytes <= self.options.max_file_bytes:
            return False
        limit = self.options.max_file_bytes // (1024 * 1024)
        reason = f"{size_bytes / (1024 * 1024):,.0f} MiB, more than {limit:,} MiB"
        self.skipped.append(UnsearchedFile(file=shown, reason=reason))
        return True

    def _check_dotenv(self, named: Sequence[str] | None) -> None:
        if self.repository is not None:
            staged = [each.path for each in self.repository.staged(named)]
            tracked = staged if self.options.only_staged else [*self.repository.tracked(named), *staged]
            for path in dict.fromkeys(path for path in tracked if _is_dotenv(path)):
                shown = self._show(self.repository.root / path)
                if not self._is_excluded(shown):
                    hint = f"`git rm --cached {shown}`, add it to `.gitignore`, and replace its keys: commits keep them"
                    self.findings.append(SecretFinding(kind="env_tracked", file=shown, hint=hint))
        mine = self.options.dotenv if named is None else tuple(Path(text) for text in named if _is_dotenv(text))
        for file in dict.fromkeys(mine):
            shown = self._show(file)
            if not self._is_excluded(shown) and _is_readable_by_others(file):
                self.findings.append(SecretFinding(kind="env_readable", file=shown, hint=f"`chmod 600 {shown}`"))

    def _is_excluded(self, shown: str) -> bool:
        return any(fnmatch(shown, pattern) for pattern in self.options.excluded)

    def _show(self, path: Path) -> str:
        """Return a path from the working directory where possible, and as text that can be written."""
        if path.is_relative_to(self.options.directory):
            path = path.relative_to(self.options.directory)
        return os.fsencode(path).decode(errors="backslashreplace")


def log_directories(directory: Path, environ: Mapping[str, str], *, env: str | None) -> tuple[Path, ...]:
    """Return flowai's own directory of the project and that of its events; none outside a project.

    An invalid registry hides no log: the directory of flowai is searched in any case.
    """
    from flowai.project import find_project  # late: a scan of named files needs no project
    from flowai.registry import environment_of, events_directory, load_registry

    try:
        project = find_project(directory, environ)
    except FlowaiError:
        return ()
    found = [project.local]
    try:
        events = events_directory(load_registry(project, env=env, environ=environment_of(project, environ)), project)
    except FlowaiError:
        return tuple(found)
    if not events.is_relative_to(project.local):
        found.append(events)
    return tuple(found)


def dotenv_files(directory: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the `.env` of the directory, of the project and of the repository, where they exist."""
    from flowai.project import find_project  # late: as above

    folders = [directory]
    with suppress(FlowaiError):
        folders.append(find_project(directory, environ).root)
    with suppress(FlowaiError):
        repository = find_repository(directory)
        if repository is not None:
            folders.append(repository.root)
    return tuple(dict.fromkeys(path for folder in folders if (path := folder / ".env").is_file()))


def _walk(directory: Path) -> Iterator[Path]:
    """Yield the files of a directory in order, without git's own."""
    for folder, folders, names in os.walk(directory, onerror=_refuse):
        folders[:] = sorted(name for name in folders if name != ".git")
        yield from (Path(folder, name) for name in sorted(names) if name != ".git")


def _committable(directory: Path) -> Iterator[Path]:
    """Yield the files of a directory outside a repository, without `.env`, where keys belong."""
    return (path for path in _walk(directory) if not _is_dotenv(path.name))


def _refuse(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):
        return
    raise InfrastructureError(f"a directory cannot be read: {error.strerror}: `{error.filename}`") from None


def _is_dotenv(path: str) -> bool:
    """Return whether a file has the variables of a checkout, and is no template for one."""
    name = path.rpartition("/")[2]
    return (name == ".env" or name.startswith(".env.")) and not name.endswith(_TEMPLATE_ENDINGS)


def _is_readable_by_others(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return os.name == "posix" and bool(status.st_mode & READABLE_BY_OTHERS)
