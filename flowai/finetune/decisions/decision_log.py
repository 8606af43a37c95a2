"""Decision log of a feature: reads it, appends to it, and sees lines that others add meanwhile.

The file is opened again for every decision, because version control replaces files: a decision written to a replaced
file would be lost.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from flowai.finetune.decisions.decisions import ReviewDecision, merge
from flowai.storage.files import FileFingerprint
from flowai.storage.jsonl import AppendLog, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_TICK = timedelta(microseconds=1)


class DecisionLog:
    """The decisions on the pairs of one feature; raises ProjectError if a line of the file is not a decision."""

    def __init__(self, path: Path, *, name: str) -> None:
        self.path = path
        self.name = name
        self._load(FileFingerprint.of(path))

    @property
    def decisions(self) -> tuple[ReviewDecision, ...]:
        """All lines of the file, in order of time."""
        self._read()
        return self._decisions

    def for_pair(self, pair: str) -> tuple[ReviewDecision, ...]:
        """Return the decisions on one pair, in order of time."""
        self._read()
        return tuple(self._by_pair.get(pair, ()))

    def add(self, decision: ReviewDecision) -> ReviewDecision:
        """Append a decision; it is on disk when this returns.

        Its time is made later than all others', so that the last line is the last decision, whatever the clock shows.
        """
        self._read()
        if self._decisions and self._decisions[-1].at >= decision.at:
            decision = replace(decision, at=self._decisions[-1].at + _TICK)
        self._write((decision,))
        return decision

    def import_decisions(self, decisions: Iterable[ReviewDecision]) -> int:
        """Append decisions that are not in the log yet, unchanged; return their number."""
        known = set(self.decisions)
        new = [decision for decision in merge(decisions) if decision not in known]
        self._write(new)
        return len(new)

    def _write(self, decisions: Iterable[ReviewDecision]) -> None:
        with AppendLog(self.path) as log:
            for decision in decisions:
                log.append(decision)

    def _read(self) -> None:
        fingerprint = FileFingerprint.of(self.path)
        if fingerprint != self._fingerprint:
            self._load(fingerprint)

    def _load(self, fingerprint: FileFingerprint | None) -> None:
        lines = read_lines(self.path, ReviewDecision, name=self.name)
        self.damaged = lines.damaged
        self._decisions = merge(lines.records)
        self._by_pair: defaultdict[str, list[ReviewDecision]] = defaultdict(list)
        for decision in self._decisions:
            self._by_pair[decision.pair].append(decision)
        self._fingerprint = fingerprint
