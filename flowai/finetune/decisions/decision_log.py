"""The file of decisions while somebody works with it: reads it, adds to it, sees what others add meanwhile.

The file is opened anew for every decision: version control replaces files, and a decision written to a replaced one
would be lost.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from flowai.finetune.decisions.decisions import ReviewDecision, merged
from flowai.storage.files import FileFingerprint
from flowai.storage.jsonl import AppendLog, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_TICK = timedelta(microseconds=1)


class DecisionLog:
    """The decisions on the pairs of one feature.

    Args:
        path: the file; it need not be there yet.
        name: how messages call it.

    Raises:
        ProjectError: a line of it is no decision.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        self.path = path
        self.name = name
        self._load(FileFingerprint.of(path))

    @property
    def decisions(self) -> tuple[ReviewDecision, ...]:
        """Every line of the file, in order of time."""
        self._read()
        return self._decisions

    def for_pair(self, pair: str) -> tuple[ReviewDecision, ...]:
        """Give the lines on one pair, in order of time."""
        self._read()
        return tuple(self._by_pair.get(pair, ()))

    def add(self, decision: ReviewDecision) -> ReviewDecision:
        """Write a decision; it is on disk when this returns.

        Its time is put after all others': what came last is last, whatever the clock says.

        Raises:
            InfrastructureError: the disk is full or the file cannot be written; nothing was decided then.
        """
        self._read()
        if self._decisions and self._decisions[-1].at >= decision.at:
            decision = replace(decision, at=self._decisions[-1].at + _TICK)
        self._write((decision,))
        return decision

    def import_decisions(self, others: Iterable[ReviewDecision]) -> int:
        """Add what is not there yet, as it is; give how many that were.

        Raises:
            InfrastructureError: as `add`; what was added before is kept, and not added again.
        """
        known = set(self.decisions)
        new = [one for one in merged(others) if one not in known]
        self._write(new)
        return len(new)

    def _write(self, decisions: Iterable[ReviewDecision]) -> None:
        with AppendLog(self.path) as log:
            for one in decisions:
                log.append(one)

    def _read(self) -> None:
        """Read the file again if it has changed."""
        fingerprint = FileFingerprint.of(self.path)
        if fingerprint != self._fingerprint:
            self._load(fingerprint)

    def _load(self, fingerprint: FileFingerprint | None) -> None:
        lines = read_lines(self.path, ReviewDecision, name=self.name)
        self.damaged = lines.damaged
        self._decisions = merged(lines.records)
        self._by_pair: defaultdict[str, list[ReviewDecision]] = defaultdict(list)
        for one in self._decisions:
            self._by_pair[one.pair].append(one)
        self._fingerprint = fingerprint
