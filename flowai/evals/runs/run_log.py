"""The append-only log of one run: written as trials finish, so that a stopped or killed run can go on where it was."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.evals.reports import Trial
from flowai.storage.files import writing
from flowai.storage.jsonl import AppendLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FILE = "run.jsonl"


class RunStarted(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The first line of a run, and of each time it was taken up again."""

    run_id: str
    """Four digits or more, counted up."""
    target: str
    """What was asked for, as typed."""
    plan_digest: str
    """Hash over everything that decides what the trials are; equal digests make runs resumable."""
    started_at: str
    """UTC, RFC 3339."""


class TrialRecord(msgspec.Struct, frozen=True, kw_only=True, tag="trial"):
    """A finished trial; a later line with the same key replaces an earlier one."""

    trial: Trial


class RunFinished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The last line of a run that went through."""

    elapsed_s: float
    """Wall time since its `started` line."""


_LINE: msgspec.json.Decoder[RunStarted | TrialRecord | RunFinished] = msgspec.json.Decoder(
    RunStarted | TrialRecord | RunFinished
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PastRun:
    """What the log of a run holds."""

    run_id: str
    """Its number."""
    started: RunStarted
    """Its first line."""
    finished: bool
    """Whether it went through."""
    trials: dict[str, Trial]
    """Its trials by key, the latest of each."""


class RunLog:
    """The log of the run at hand, locked against a second process.

    Args:
        directory: the run's directory.
    """

    def __init__(self, directory: Path) -> None:
        self.run_id = directory.name
        self._path = directory / _FILE
        with writing(self._path):
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise InfrastructureError(
                f"run {self.run_id} is being written by another process",
                place=Place(file=str(self._path)),
                hint="wait for it, or start a run of its own without --resume",
            ) from None
        self._log = AppendLog(self._path)

    def start(self, started: RunStarted) -> None:
        """Write that the run starts or goes on."""
        self._log.append(started)

    def add(self, trial: Trial) -> None:
        """Write a finished trial; when this returns, kill -9 does not lose it.

        Raises:
            InfrastructureError: the disk is full.
        """
        self._log.append(TrialRecord(trial=trial))

    def finish(self, elapsed_s: float) -> None:
        """Write that the run went through."""
        self._log.append(RunFinished(elapsed_s=elapsed_s))

    def close(self) -> None:
        """Close the log and let others have it."""
        self._log.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def new_run(runs: Path) -> RunLog:
    """Begin a run with the next free number; two processes at once get two numbers.

    Args:
        runs: directory of all runs.
    """
    with writing(runs):
        runs.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in _run_directories(runs)), default=0)
    while True:
        number += 1
        directory = runs / f"{number:04d}"
        with writing(directory):
            try:
                directory.mkdir()
            except FileExistsError:
                continue
        return RunLog(directory)


def past_runs(runs: Path, wanted: Callable[[RunStarted], bool]) -> Iterator[PastRun]:
    """Read earlier runs, the latest first; runs whose log is missing or has no readable first line are passed over.

    Args:
        runs: directory of all runs.
        wanted: tells by a run's first line whether the rest is worth reading.
    """
    for directory in sorted(_run_directories(runs), key=lambda path: int(path.name), reverse=True):
        past = _read(directory, wanted)
        if past is not None:
            yield past


def _run_directories(runs: Path) -> list[Path]:
    if not runs.is_dir():
        return []
    return [path for path in runs.iterdir() if path.name.isdecimal() and path.is_dir()]


def _read(directory: Path, wanted: Callable[[RunStarted], bool]) -> PastRun | None:
    started: RunStarted | None = None
    finished = False
    trials: dict[str, Trial] = {}
    try:
        stream = (directory / _FILE).open("rb")
    except OSError:
        return None
    with stream:
        for raw in stream:
            line = _decode(raw)
            if isinstance(line, RunStarted):
                started, finished = line, False
                if not wanted(started):
                    return None
            elif isinstance(line, TrialRecord):
                trials[line.trial.key] = line.trial
            elif isinstance(line, RunFinished):
                finished = True
    if started is None:
        return None
    return PastRun(run_id=directory.name, started=started, finished=finished, trials=trials)


def _decode(raw: bytes) -> RunStarted | TrialRecord | RunFinished | None:
    """Read a line; None for one that was torn by a crash or written by another version."""
    try:
        return _LINE.decode(raw)
    except msgspec.DecodeError:
        return None
