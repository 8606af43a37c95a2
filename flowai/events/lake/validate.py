"""Validates a log: every line against the event schema, every file of the lake against its manifest."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from flowai.errors import InfrastructureError
from flowai.events.lake.catalog import date_of, days_of, files_of_day, hold_read_lock, manifests_of
from flowai.events.lake.line_reader import LakeRow, LineReader, add_digests, digest_text, line_pieces
from flowai.events.lake.manifest import UNPARSED_NAME, ParquetFile, hash_blocks, parse_manifest, read_blocks
from flowai.events.lake.parquet import open_parquet
from flowai.events.records import CallEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from flowai.events.lake.line_reader import LineProblem
    from flowai.events.lake.manifest import LakeManifest
    from flowai.events.lake.object_store import ObjectInfo, ObjectStore
    from flowai.events.lake.parquet import ParquetCodec
    from flowai.events.records import Event

LogProblem = Literal["duplicate", "future", "missing_file", "damaged_file"]
"""Problems that a line alone does not show. `duplicate`: the event occurred before on the same day. `future`: its time
is after now. `missing_file`, `damaged_file`: the file differs from the manifest."""

MAX_LOCATIONS = 10
"""Locations that are reported, per problem."""

MAX_REMEMBERED_DIGESTS = 5_000_000
"""Events of a day that are remembered (about 350 MB); duplicates of later ones are not found."""

_HASH_MASK = (1 << 64) - 1


class ProblemLocation(msgspec.Struct, frozen=True, kw_only=True):
    """Line or file with a problem."""

    problem: str
    file: str
    """The file, relative to the target."""
    line: int | None
    """Line or row, from 1; None for a whole file."""
    detail: str | None = None


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `flowai events validate`."""

    target: str
    """Directory, file or address that was validated."""
    file_count: int
    """JSONL and Parquet files."""
    kinds: dict[str, int]
    """Events by kind."""
    problems: dict[str, int]
    """Lines and files by problem; empty if everything is valid."""
    locations: tuple[ProblemLocation, ...]
    """The first locations of each problem."""


class _Findings:
    def __init__(self, root: Path | None) -> None:
        self.file_count = 0
        self.kinds: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self._locations: list[ProblemLocation] = []
        self._root = root

    def add(
        self, problem: LineProblem | LogProblem, file: Path | str, line: int | None = None, *, detail: str | None = None
    ) -> None:
        self.problems[problem] += 1
        if self.problems[problem] <= MAX_LOCATIONS:
            self._locations.append(ProblemLocation(problem=problem, file=self._shown(file), line=line, detail=detail))

    def _shown(self, file: Path | str) -> str:
        if isinstance(file, str) or self._root is None or not file.is_relative_to(self._root):
            return str(file)
        return file.relative_to(self._root).as_posix()

    def result(self, target: str) -> Validation:
        return Validation(
            target=target,
            file_count=self.file_count,
            kinds=dict(sorted(self.kinds.items())),
            problems=dict(sorted(self.problems.items())),
            locations=tuple(self._locations),
        )


class _DuplicateFilter:
    def __init__(self) -> None:
        self._keys: set[int] = set()

    def add(self, event: Event, digest: int) -> bool:
        """Add an event, by its id for a call, else by its content; return whether it was there before."""
        key = hash(event.call_id) if isinstance(event, CallEvent) else digest & _HASH_MASK
        if key in self._keys:
            return True
        if len(self._keys) < MAX_REMEMBERED_DIGESTS:
            self._keys.add(key)
        return False


def validate(path: Path, *, future: datetime, shown: str) -> Validation:
    """Validate a log or one JSONL file, called `shown` in the result; events after `future` are problems."""
    if path.is_dir():
        check = _LakeValidator(_Findings(path), future)
        with hold_read_lock([path]):
            for name in days_of([path]):
                check.day(path, name)
    else:
        check = _LakeValidator(_Findings(None), future)
        check.lines((path,))
    return check.findings.result(shown)


def validate_store(store: ObjectStore) -> Validation:
    """Validate the files of a lake in an object store against its manifests."""
    findings = _Findings(None)
    for name in store.directories():
        if date_of(name) is None:
            continue
        objects = store.objects(name)
        for key in sorted(objects):
            inside = key.removeprefix(f"{name}/")
            if not (inside.startswith("manifest-") and inside.endswith(".json")):
                continue
            try:
                manifest = parse_manifest(store.read(key), day=name, name=inside, shown=key)
            except InfrastructureError as error:
                findings.add("damaged_file", key, detail=error.what)
                continue
            _check_files(manifest, findings, partial(_blocks, store, objects, name))
            findings.kinds["event"] += manifest.event_count
    return findings.result(store.address)


def _blocks(store: ObjectStore, objects: Mapping[str, ObjectInfo], day: str, path: str) -> Iterator[bytes]:
    key = f"{day}/{path}"
    if key not in objects:
        raise FileNotFoundError(key)
    return store.blocks(key)


def _check_files(
    manifest: LakeManifest, findings: _Findings, blocks: Callable[[str], Iterator[bytes]]
) -> list[ParquetFile]:
    """Compare files with their manifest; return the intact Parquet files."""
    intact = []
    for file in manifest.files:
        findings.file_count += 1
        try:
            digest = hash_blocks(blocks(file.path))
        except FileNotFoundError:
            findings.add("missing_file", f"{manifest.day}/{file.path}")
            continue
        if digest != (file.sha256, file.byte_count):
            findings.add("damaged_file", f"{manifest.day}/{file.path}", detail="its digest is not the manifest's")
        elif isinstance(file, ParquetFile):
            intact.append(file)
    return intact


class _LakeValidator:
    def __init__(self, findings: _Findings, future: datetime) -> None:
        self.findings = findings
        self._future = future
        self._reader = LineReader()

    def day(self, directory: Path, name: str) -> None:
        day, seen = directory / name, _DuplicateFilter()
        named: set[Path] = set()
        try:
            manifests = manifests_of(day)
            files = files_of_day([directory], name)
        except InfrastructureError as error:
            self.findings.add("damaged_file", str(error.place), detail=error.what)
            return
        with open_parquet() as rows:
            for manifest in manifests.values():
                named |= {day / file.path for file in manifest.files}
                for part in _check_files(manifest, self.findings, lambda path: read_blocks(day / path)):
                    self._part(rows, day / part.path, part, seen)
            for path in files.parquet:
                if path not in named:
                    self._part(rows, path, None, seen)
        self.lines(tuple(path for path in files.lines if path.is_file()), seen)

    def lines(self, paths: tuple[Path, ...], seen: _DuplicateFilter | None = None) -> None:
        seen = seen or _DuplicateFilter()
        for path in paths:
            self.findings.file_count += path.parent.name != UNPARSED_NAME  # counted with their manifest
            try:
                self._lines(path, seen)
            except OSError as error:
                raise InfrastructureError(f"`{path}` cannot be read: {error.strerror or error}") from error

    def _lines(self, path: Path, seen: _DuplicateFilter) -> None:
        number, is_inside = 0, False
        with path.open("rb") as stream:
            for piece, is_last in line_pieces(stream):
                number += not is_inside
                if not is_inside and piece.strip():
                    self._line(path, number, piece if is_last else None, seen)
                is_inside = not is_last

    def _line(self, path: Path, number: int, line: bytes | None, seen: _DuplicateFilter) -> None:
        result = "too_long" if line is None else self._reader.read(line)
        if isinstance(result, LakeRow):
            self._event(result.event, result.digest, path, number, seen)
        else:
            self.findings.add(result, path, number)

    def _part(self, rows: ParquetCodec, path: Path, part: ParquetFile | None, seen: _DuplicateFilter) -> None:
        """Check the events of a Parquet file, and compare them with its entry in a manifest, if it has one."""
        self.findings.file_count += part is None
        count = total = 0
        try:
            for number, (line, others) in enumerate(rows.read(path), start=1):
                try:
                    event = self._reader.event_of(line)
                except (msgspec.DecodeError, RecursionError):
                    self.findings.add("schema_mismatch", path, number)
                    continue
                digest = self._reader.digest_of(event, others)
                count, total = count + 1, add_digests(total, digest)
                self._event(event, digest, path, number, seen)
        except InfrastructureError as error:
            self.findings.add("damaged_file", path, detail=error.what)
            return
        if part is not None and (count, digest_text(total)) != (part.event_count, part.events_digest):
            self.findings.add("damaged_file", path, detail="its events differ from its manifest")

    def _event(self, event: Event, digest: int, path: Path, number: int, seen: _DuplicateFilter) -> None:
        self.findings.kinds[str(event.__struct_config__.tag)] += 1
        if seen.add(event, digest):
            self.findings.add("duplicate", path, number)
        if event.at > self._future:
            self.findings.add("future", path, number)
