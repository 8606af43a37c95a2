"""Cleans pairs in several processes: every step checks one pair, so that pairs can be cleaned side by side."""

from __future__ import annotations

import os
import signal
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError
from flowai.finetune.cleaning.pipeline import clean
from flowai.finetune.records import Pair, Quarantined, StepCount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future

    from flowai.finetune.cleaning.pipeline import CleaningStep

MIN_POOLED_COUNT = 2_000
"""Pairs below which the start of processes takes longer than they save."""

_BATCH_COUNT = 64
_BATCHES_PER_WORKER = 3  # in work or waiting: no process waits for the next, and memory stays small

_steps: Mapping[str, CleaningStep] = {}
"""Steps of this worker process; set when it is forked."""


class _BatchResult(msgspec.Struct, frozen=True):
    passed: list[Pair]
    rejected: list[Quarantined]
    counts: list[StepCount]


def worker_count() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def open_worker_pool(steps: Mapping[str, CleaningStep], count: int) -> Iterator[ProcessPoolExecutor]:
    """Open processes that have the steps, and whatever these read already; they are forked, so nothing is pickled."""
    pool = ProcessPoolExecutor(count, get_context("fork"), initializer=_install, initargs=(steps,))
    try:
        yield pool
    except BrokenProcessPool as error:
        hint = "a process may have been killed for its memory"
        raise InfrastructureError("a process that cleans pairs ended early", hint=hint) from error
    finally:
        pool.shutdown(cancel_futures=True)


def clean_in_pool(
    pool: ProcessPoolExecutor, count: int, pairs: Iterable[Pair], quarantine: Callable[[Quarantined], None]
) -> Iterator[tuple[list[Pair], list[StepCount]]]:
    """Yield the pairs that pass, by batch and in order, and the batch's counts by step; `count` processes work."""
    source = iter(pairs)
    running: deque[Future[bytes]] = deque()
    while True:
        while len(running) < count * _BATCHES_PER_WORKER and (batch := list(islice(source, _BATCH_COUNT))):
            running.append(pool.submit(_clean_batch, msgspec.msgpack.encode(batch)))
        if not running:
            return
        result = msgspec.msgpack.decode(running.popleft().result(), type=_BatchResult)
        for rejected in result.rejected:
            quarantine(rejected)
        yield result.passed, result.counts


def clean_here(
    steps: Mapping[str, CleaningStep], pairs: Iterable[Pair], quarantine: Callable[[Quarantined], None]
) -> Iterator[tuple[list[Pair], list[StepCount]]]:
    """Yield the same as `clean_in_pool`, in the same order, without other processes."""
    source = iter(pairs)
    while batch := list(islice(source, _BATCH_COUNT)):
        passed, counts = clean(batch, steps, quarantine)
        yield list(passed), list(counts())


def _install(steps: Mapping[str, CleaningStep]) -> None:
    global _steps  # noqa: PLW0603 - a worker process has one set of steps
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the processes
    _steps = steps


def _clean_batch(data: bytes) -> bytes:
    """Clean a batch in a worker process."""
    rejected: list[Quarantined] = []
    passed, counts = clean(msgspec.msgpack.decode(data, type=list[Pair]), _steps, rejected.append)
    kept = list(passed)
    return msgspec.msgpack.encode(_BatchResult(kept, rejected, list(counts())))
