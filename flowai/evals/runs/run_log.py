"""Append-only log of one run, written as trials finish, so that an interrupted or killed run can be resumed."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.evals.reports import Outcome, Trial
from flowai.storage.files import writing
from flowai.storage.jsonl import AppendLog
from flowai.storage.own_files import (
    PRIVATE_DIRECTORY_MODE,
    TRACKED_HINT,
    check_no_link,
    check_own_file,
    make_private_directory,
    open_private_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FILE = "run.jsonl"


class RunStarted(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """First line of a run, and of each time it is resumed."""

    run_id: str
    """Consecutive number, at least four digits."""
    target: str
    """As typed."""
    plan_digest: str
    """Hash of everything that determines the trials; runs with equal digests can be resumed."""
    started_at: str


class TrialRecord(msgspec.Struct, frozen=True, kw_only=True, tag="trial"):
    """A finished trial; a later line with the same key replaces an earlier one."""

    trial: Trial


class TrialOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a trial that a list of runs shows; the decoder skips the others."""

    key: str
    suite: str
    case: str
    outcome: Outcome
    cache: str
    cost_usd: float | None = None


class TrialOutcomeRecord(msgspec.Struct, frozen=True, kw_only=True, tag="trial"):
    """A line of the log as a list of runs reads it."""

    trial: TrialOutcome


class RunFinished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """Last line of a finished run."""

    elapsed_s: float
    """Wall time since its `started` line."""


_DECODER: msgspec.json.Decoder[RunStarted | TrialRecord | RunFinished] = msgspec.json.Decoder(
    RunStarted | TrialRecord | RunFinished
)

_SCANNER: msgspec.json.Decoder[RunStarted | TrialOutcomeRecord | RunFinished] = msgspec.json.Decoder(
    RunStarted | TrialOutcomeRecord | RunFinished
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunScan:
    """Outcomes of a run's log."""

    started: RunStarted | None
    """None if the log has no readable first line."""
    is_finished: bool
    trials: dict[str, TrialOutcome]
    unreadable_line_count: int


class LoggedTrials(Mapping[str, Trial]):
    """The trials of a log by key, each decoded when it is read: only its position is in memory.

    Args:
        descriptor: the log, open for reading; closed with this object.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self._lines: dict[str, tuple[int, int, Outcome]] = {}

    def note(self, trial: Trial, offset: int, size_bytes: int) -> None:
        """Register the line of a trial; it replaces an earlier one with the same key."""
        self._lines[trial.key] = (offset, size_bytes, trial.outcome)

    def outcome(self, key: str) -> Outcome | None:
        """Return a trial's outcome without decoding it; None if it is not in the log."""
        line = self._lines.get(key)
        return None if line is None else line[2]

    def count(self, outcome: Outcome) -> int:
        """Count the trials with an outcome."""
        return sum(line[2] == outcome for line in self._lines.values())

    def drop(self, outcome: Outcome) -> None:
        """Forget the trials with an outcome; their lines stay in the log."""
        self._lines = {key: line for key, line in self._lines.items() if line[2] != outcome}

    def __getitem__(self, key: str) -> Trial:
        offset, size_bytes, _ = self._lines[key]
        line = _DECODER.decode(os.pread(self._descriptor, size_bytes, offset))
        assert isinstance(line, TrialRecord)  # noqa: S101 - only their lines are registered
        return line.trial

    def __contains__(self, key: object) -> bool:
        return key in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class PastRun:
    """Content of a run's log."""

    run_id: str
    started: RunStarted
    """Its newest first line."""
    finished: bool
    trials: LoggedTrials
    elapsed_s: float | None = None
    """Wall time of its last part; None if it is not finished."""
    unreadable_line_count: int = 0
    """Lines torn by a crash or written by another version."""


class TrialLog(Protocol):
    """Store of a run's finished trials."""

    trials: LoggedTrials

    def start(self, started: RunStarted) -> None:
        """Write that the run starts or is resumed."""
        ...

    def add(self, trial: Trial) -> None:
        """Write a finished trial."""
        ...

    def finish(self, elapsed_s: float) -> None:
        """Write that the run is finished."""
        ...

    def close(self) -> None:
        """Close the log; its trials can still be read."""
        ...


class TemporaryLog:
    """Log of a run that starts over every time, so that no later process needs it: an unnamed temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._encoder = msgspec.json.Encoder()
        self._size_bytes = 0
        self.trials = LoggedTrials(os.dup(self._file.fileno()))

    def start(self, started: RunStarted) -> None:
        """Do nothing: no other process reads the log."""

    def add(self, trial: Trial) -> None:
        """Write a finished trial."""
        data = self._encoder.encode(TrialRecord(trial=trial)) + b"\n"
        with writing(Path(tempfile.gettempdir())):
            written = os.write(self._file.fileno(), data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.trials.note(trial, self._size_bytes, len(data))
        self._size_bytes += len(data)

    def finish(self, elapsed_s: float) -> None:
        """Do nothing: no other process reads the log."""

    def close(self) -> None:
        """Close the log; its trials can still be read."""
        self._file.close()


class RunLog:
    """Log of the current run, locked against other processes."""

    def __init__(self, directory: Path) -> None:
        self.run_id = directory.name
        self._path = directory / _FILE
        with writing(self._path):
            self._lock = open_private_file(self._path, os.O_RDWR)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise InfrastructureError(
                f"run {self.run_id} is in use by another process",
                place=Place(file=str(self._path)),
                hint="wait for it, or start a new run without --resume",
            ) from None
        self._log = AppendLog(self._path)
        self._size_bytes = os.fstat(self._lock).st_size
        self.trials = LoggedTrials(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC))  # a copy would share the lock
        """The trials of this run that are finished."""

    def start(self, started: RunStarted) -> None:
        """Write that the run starts or is resumed."""
        self._append(started)

    def add(self, trial: Trial) -> None:
        """Write a finished trial; after this returns, kill -9 does not lose it."""
        offset = self._size_bytes
        self.trials.note(trial, offset, self._append(TrialRecord(trial=trial)))

    def finish(self, elapsed_s: float) -> None:
        """Write that the run is finished."""
        self._append(RunFinished(elapsed_s=elapsed_s))

    def close(self) -> None:
        """Close the log and release its lock."""
        self._log.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _append(self, record: object) -> int:
        size_bytes = self._log.append(record)
        self._size_bytes += size_bytes
        return size_bytes


def new_run(runs: Path) -> RunLog:
    """Start a run with the next free number; two processes at once get different numbers."""
    with writing(runs):
        check_no_link(runs)
        make_private_directory(runs)
    number = max((int(path.name) for path in run_directories(runs)), default=0)
    while True:
        number += 1
        directory = runs / f"{number:04d}"
        with writing(directory):
            try:
                directory.mkdir(mode=PRIVATE_DIRECTORY_MODE)
            except FileExistsError:
                continue
        return RunLog(directory)


def past_runs(runs: Path, is_match: Callable[[RunStarted], bool]) -> Iterator[PastRun]:
    """Yield earlier runs whose first line matches, the newest first; a run without a readable log is skipped."""
    for directory in sorted(run_directories(runs), key=lambda path: int(path.name), reverse=True):
        past = read_run(directory, is_match)
        if past is not None:
            yield past


def run_directories(runs: Path) -> list[Path]:
    """List the directories of runs, in no order."""
    if not runs.is_dir():
        return []
    return [path for path in runs.iterdir() if path.name.isdecimal() and path.is_dir()]


def is_in_use(directory: Path) -> bool:
    """Return whether a process is writing a run's log."""
    try:
        descriptor = os.open(directory / _FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_run(directory: Path, is_match: Callable[[RunStarted], bool] = lambda _: True) -> PastRun | None:
    """Read a run's log; None if it has no readable first line, or if that does not match."""
    started: RunStarted | None = None
    elapsed_s: float | None = None
    unreadable_line_count = 0
    check_own_file(directory / _FILE, TRACKED_HINT, is_shared=True)  # its trials can make a gate pass
    try:
        stream = (directory / _FILE).open("rb")
    except OSError:
        return None
    with stream:
        trials, end = LoggedTrials(os.dup(stream.fileno())), 0
        for raw in stream:
            offset, end = end, end + len(raw)
            line = _decode_line(raw)
            if isinstance(line, RunStarted):
                started, elapsed_s = line, None
                if not is_match(started):
                    return None
            elif isinstance(line, TrialRecord):
                trials.note(line.trial, offset, len(raw))
            elif isinstance(line, RunFinished):
                elapsed_s = line.elapsed_s
            else:
                unreadable_line_count += 1
    if started is None:
        return None
    return PastRun(
        run_id=directory.name,
        started=started,
        finished=elapsed_s is not None,
        trials=trials,
        elapsed_s=elapsed_s,
        unreadable_line_count=unreadable_line_count,
    )


def scan_run(directory: Path) -> RunScan:
    """Read the outcomes of a run's log, of any state."""
    started: RunStarted | None = None
    is_finished = False
    trials: dict[str, TrialOutcome] = {}
    unreadable_line_count = 0
    check_own_file(directory / _FILE, TRACKED_HINT, is_shared=True)
    try:
        stream = (directory / _FILE).open("rb")
    except OSError:
        return RunScan(started=None, is_finished=False, trials={}, unreadable_line_count=0)
    with stream:
        for raw in stream:
            try:
                line = _SCANNER.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                unreadable_line_count += 1
                continue
            if isinstance(line, RunStarted):
                started, is_finished = line, False
            elif isinstance(line, TrialOutcomeRecord):
                trials[line.trial.key] = line.trial
            else:
                is_finished = True
    return RunScan(started=started, is_finished=is_finished, trials=trials, unreadable_line_count=unreadable_line_count)


def _decode_line(raw: bytes) -> RunStarted | TrialRecord | RunFinished | None:
    """Decode a line; None if it was torn by a crash or written by another version."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
