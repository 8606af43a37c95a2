"""Records of `flowai drift` in a report."""

from __future__ import annotations

from typing import Literal

import msgspec

DriftVerdict = Literal["drifted", "not_drifted", "undecided"]
"""`not_drifted`: a shift of the margin or more is excluded. `undecided`: neither is shown."""

DriftDirection = Literal["worse", "better"]


class LeftOutCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case of the baseline that is not compared."""

    case: str
    reason: str


class DriftResult(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of one prompt and model with the baseline."""

    suite: str
    """Path of the suite file."""
    prompt: str
    model: str
    """Name in the registry."""
    baseline: str
    verdict: DriftVerdict
    direction: DriftDirection | None = None
    """None unless it drifted."""
    is_early: bool = False
    """Whether it was certain before the end of the plan."""
    case_count: int
    """Cases that were compared."""
    worse_count: int
    """Cases with a lower share of passed trials than in the baseline."""
    better_count: int
    """Cases with a higher one."""
    before: float | None
    """Mean share of passed trials in the baseline; None if no case was compared."""
    after: float | None
    """The same now."""
    difference: float | None
    """`after` less `before`."""
    low: float
    """Lower end of the interval of the difference."""
    high: float
    """Upper end of it."""
    confidence: float
    """Of the interval, both sides together."""
    p_value: float
    """Two-sided: how often a model that did not change shows so much."""
    alpha: float
    """Chance of a false "drifted" of this comparison."""
    margin: float
    """Shift that must be excluded for "not drifted"."""
    smallest_shift: float | None = None
    """Shift that would have been found; None if it drifted, or nothing was compared."""
    needed_case_count: int | None = None
    """Cases that would probably decide; None if it is decided, or no number would."""
    served_before: tuple[str, ...] = ()
    """Model names that the provider reported for the baseline, sorted; empty if the baseline's file has none."""
    served_now: tuple[str, ...] = ()
    fingerprints_before: tuple[str, ...] = ()
    """The provider's ids of its configuration; the same."""
    fingerprints_now: tuple[str, ...] = ()
    left_out: tuple[LeftOutCase, ...] = ()
    """Cases of the baseline that are not compared."""

    @property
    def new_names(self) -> tuple[str, ...]:
        """Served names that the baseline does not have; none if it has no names."""
        return tuple(name for name in self.served_now if self.served_before and name not in self.served_before)

    @property
    def new_fingerprints(self) -> tuple[str, ...]:
        """Fingerprints that the baseline does not have; none if it has no fingerprints."""
        known = self.fingerprints_before
        return tuple(name for name in self.fingerprints_now if known and name not in known)
