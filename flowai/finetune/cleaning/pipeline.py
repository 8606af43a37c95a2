"""Leads pairs through the steps of the cleaning, and counts what each did."""

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
    """A pair that goes on."""

    pair: Pair
    """As it goes on; another one where the step changed it."""
    findings: Mapping[str, int] = field(default_factory=dict)
    """What the step found in it and replaced, by kind."""


CleaningStep = Callable[[Pair], Kept | Quarantined]
"""Looks at one pair: lets it go on, changed or not, or keeps it out."""


class StepCounter:
    """Counts what one step does.

    Args:
        name: the step's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._in_count = self._out_count = self._changed_count = 0
        self._kept_out: Counter[QuarantineReason] = Counter()
        self._findings: Counter[str] = Counter()

    def passed(self, count: int = 1, *, changed: bool = False, findings: Mapping[str, int] | None = None) -> None:
        """Count a pair that goes on, or several unchanged ones."""
        self._in_count += count
        self._out_count += count
        self._changed_count += changed
        self._findings.update(findings or {})

    def kept_out(self, one: Quarantined) -> None:
        """Count a pair that does not."""
        self._in_count += 1
        self._kept_out[one.reason] += 1

    def count(self) -> StepCount:
        """Give the counts; equal counts are equal to the byte."""
        return StepCount(
            step=self.name,
            in_count=self._in_count,
            out_count=self._out_count,
            changed_count=self._changed_count,
            kept_out=dict(sorted(self._kept_out.items())),
            findings=dict(sorted(self._findings.items())),
        )


def clean(
    pairs: Iterable[Pair], steps: Mapping[str, CleaningStep], keep_out: Callable[[Quarantined], None]
) -> tuple[Iterator[Pair], Callable[[], tuple[StepCount, ...]]]:
    """Lead pairs through steps, one pair at a time.

    Args:
        pairs: the pairs.
        steps: by name, in order.
        keep_out: told of each pair that does not come through.

    Returns:
        The pairs that come through; and what gives the counts, once they were all taken.
    """
    counted = {name: StepCounter(name) for name in steps}

    def led() -> Iterator[Pair]:
        for pair in pairs:
            left = _run_steps(pair, steps, counted)
            if isinstance(left, Pair):
                yield left
            else:
                keep_out(left)

    return led(), lambda: tuple(one.count() for one in counted.values())


def _run_steps(pair: Pair, steps: Mapping[str, CleaningStep], counted: Mapping[str, StepCounter]) -> Pair | Quarantined:
    for name, step in steps.items():
        outcome = step(pair)
        if isinstance(outcome, Quarantined):
            counted[name].kept_out(outcome)
            return outcome
        counted[name].passed(changed=outcome.pair is not pair, findings=outcome.findings)
        pair = outcome.pair
    return pair
