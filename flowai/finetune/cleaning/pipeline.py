"""Runs pairs through the cleaning steps, and counts the results of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.finetune.records import Pair, Quarantined, StepCount

if TYPE_CHECKING:
    from flowai.finetune.records import QuarantineReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A pair that passed a step."""

    pair: Pair
    """A new object if the step changed it."""
    findings: Mapping[str, int] = field(default_factory=dict)
    """Replaced values by entity type."""


CleaningStep = Callable[[Pair], Kept | Quarantined]
"""Checks one pair: returns it, changed or not, or rejects it."""


class StepCounter:
    """Counts the results of one step."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._in_count = self._out_count = self._changed_count = 0
        self._rejected: Counter[QuarantineReason] = Counter()
        self._findings: Counter[str] = Counter()

    def passed(self, count: int = 1, *, changed: bool = False, findings: Mapping[str, int] | None = None) -> None:
        """Count a pair that passed, or several unchanged ones."""
        self._in_count += count
        self._out_count += count
        self._changed_count += changed
        self._findings.update(findings or {})

    def rejected(self, quarantined: Quarantined) -> None:
        """Count a rejected pair."""
        self._in_count += 1
        self._rejected[quarantined.reason] += 1

    def add(self, count: StepCount) -> None:
        """Add the counts of a batch."""
        self._in_count += count.in_count
        self._out_count += count.out_count
        self._changed_count += count.changed_count
        self._rejected.update(count.rejected)
        self._findings.update(count.findings)

    def count(self) -> StepCount:
        """Return the counts in a stable order."""
        return StepCount(
            step=self.name,
            in_count=self._in_count,
            out_count=self._out_count,
            changed_count=self._changed_count,
            rejected=dict(sorted(self._rejected.items())),
            findings=dict(sorted(self._findings.items())),
        )


def clean(
    pairs: Iterable[Pair], steps: Mapping[str, CleaningStep], quarantine: Callable[[Quarantined], None]
) -> tuple[Iterator[Pair], Callable[[], tuple[StepCount, ...]]]:
    """Run pairs through steps, one pair at a time, and pass rejected pairs to `quarantine`.

    Returns the pairs that pass, and a function that returns the counts; call it after all pairs were read.
    """
    counters = {name: StepCounter(name) for name in steps}

    def passed() -> Iterator[Pair]:
        for pair in pairs:
            result = _run_steps(pair, steps, counters)
            if isinstance(result, Pair):
                yield result
            else:
                quarantine(result)

    return passed(), lambda: tuple(counter.count() for counter in counters.values())


def _run_steps(
    pair: Pair, steps: Mapping[str, CleaningStep], counters: Mapping[str, StepCounter]
) -> Pair | Quarantined:
    for name, step in steps.items():
        result = step(pair)
        if isinstance(result, Quarantined):
            counters[name].rejected(result)
            return result
        counters[name].passed(changed=result.pair is not pair, findings=result.findings)
        pair = result.pair
    return pair
