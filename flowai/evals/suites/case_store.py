"""Holds the cases of a suite: in memory if there are few, else in a temporary file, decoded when they are read."""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, overload

import msgspec

from flowai.evals.suites.records import Assertion, Case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_HELD_COUNT = 2_000
"""Cases of a larger suite are kept on disk."""
_BLOCK_BYTES = 2**20


class _StoredCase(msgspec.Struct, array_like=True, frozen=True):
    """A case, and which of its assertions are shared with other cases."""

    case: Case
    assertions: tuple[int | Assertion, ...]
    """Number of a shared assertion, or an assertion of this case alone."""


class CaseStore(Sequence[Case]):
    """Cases on disk, in order. Assertions that cases share are decoded once and stay the same object."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self._offsets = array("Q", [0])
        self._shared: list[Assertion] = []
        self._decoder = msgspec.json.Decoder(_StoredCase)
        numbers: dict[int, int] = {}  # by identity: `_shared` holds them alive
        previous: tuple[Assertion, ...] = ()
        with tempfile.TemporaryFile() as file:
            for case in cases:
                for assertion in case.assertions:
                    if id(assertion) not in numbers and any(assertion is other for other in previous):
                        numbers[id(assertion)] = len(self._shared)
                        self._shared.append(assertion)
                previous = case.assertions
                parts = tuple([numbers.get(id(assertion), assertion) for assertion in case.assertions])
                stored = _StoredCase(msgspec.structs.replace(case, assertions=()), parts)
                file.write(msgspec.json.encode(stored))
                self._offsets.append(file.tell())
            file.flush()
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __iter__(self) -> Iterator[Case]:
        offsets, count, index = self._offsets, len(self), 0
        while index < count:
            start, last = offsets[index], index + 1
            while last < count and offsets[last + 1] - start <= _BLOCK_BYTES:
                last += 1
            block = memoryview(os.pread(self._descriptor, offsets[last] - start, start))
            for number in range(index, last):
                yield self._decode(block[offsets[number] - start : offsets[number + 1] - start])
            index = last

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Case]: ...
    def __getitem__(self, index: int | slice) -> Case | Sequence[Case]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        start, end = self._offsets[number], self._offsets[number + 1]
        return self._decode(memoryview(os.pread(self._descriptor, end - start, start)))

    def _decode(self, data: memoryview) -> Case:
        stored = self._decoder.decode(data)
        assertions = [self._shared[part] if isinstance(part, int) else part for part in stored.assertions]
        return msgspec.structs.replace(stored.case, assertions=tuple(assertions))


def hold_cases(cases: Iterable[Case]) -> Sequence[Case]:
    """Hold cases in memory if there are few, else on disk."""
    iterator = iter(cases)
    held = tuple(islice(iterator, MAX_HELD_COUNT + 1))
    if len(held) <= MAX_HELD_COUNT:
        return held
    return CaseStore(_chain(list(held), iterator))


def _chain(first: list[Case], rest: Iterator[Case]) -> Iterator[Case]:
    first.reverse()
    while first:
        yield first.pop()  # frees each case once it is stored
    yield from rest
