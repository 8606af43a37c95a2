"""Slices of a run: cases of one tag, or of one value of a field of their metadata."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from flowai.statistics import Interval, proportion_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.evals.reports.records import Trial

MAX_VALUES_PER_FIELD = 50
"""A field of metadata with more values is no grouping."""
MAX_VALUE_CHARS = 60


class PassRate(NamedTuple):
    """Pass rate of a set of trials; the repeats of a case on one prompt and model are one observation."""

    observation_count: int
    interval: Interval
    """95 %; of the mean of the observations' pass rates."""


class SliceRate(NamedTuple):
    """Pass rate of a slice."""

    name: str
    case_count: int
    rate: PassRate


def pass_rate(trials: Iterable[Trial]) -> PassRate:
    """Compute a pass rate, as if each observation passed in full or not at all: never a narrower interval."""
    results: dict[tuple[str, str, str, str], list[bool]] = defaultdict(list)
    for trial in trials:
        if trial.outcome in ("pass", "fail"):
            results[trial.suite, trial.case, trial.prompt, trial.model].append(trial.outcome == "pass")
    total = len(results)
    passed = sum(sum(repeats) / len(repeats) for repeats in results.values())
    found = proportion_interval(round(passed), total)
    rate = passed / total if total else None
    low, high = (found.low, found.high) if rate is None else (min(found.low, rate), max(found.high, rate))
    return PassRate(observation_count=total, interval=Interval(estimate=rate, low=low, high=high))


def slices_of_trial(trial: Trial) -> list[str]:
    """Return the names of a trial's slices: its tags, and `field=value` of its metadata."""
    names = list(trial.tags)
    for name, value in trial.metadata.items():
        values = value if isinstance(value, list) else [value]
        for item in values[:MAX_VALUES_PER_FIELD]:
            if isinstance(item, str | int | float | bool) and len(str(item)) <= MAX_VALUE_CHARS:
                text = str(item).lower() if isinstance(item, bool) else str(item)
                names.append(text if name == "tags" else f"{name}={text}")
    return list(dict.fromkeys(names))


def slice_rates(trials: Sequence[Trial]) -> list[SliceRate]:
    """Compute the pass rate of each slice that some but not all cases belong to, the lowest rate first."""
    members: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        for name in slices_of_trial(trial):
            members[name].append(trial)
    case_counts = {name: len({(trial.suite, trial.case) for trial in found}) for name, found in members.items()}
    all_count = len({(trial.suite, trial.case) for trial in trials})
    fields: dict[str, list[int]] = defaultdict(list)
    for name, case_count in case_counts.items():
        fields[name.partition("=")[0]].append(case_count)
    rates = [
        SliceRate(name=name, case_count=case_counts[name], rate=pass_rate(found))
        for name, found in members.items()
        if case_counts[name] < all_count and ("=" not in name or _is_grouping(fields[name.partition("=")[0]]))
    ]
    return sorted(rates, key=lambda item: (_rate(item), item.name))


def _is_grouping(case_counts: Sequence[int]) -> bool:
    """Return whether a field's values bring cases together; the values of an id or a URL do not."""
    return len(case_counts) <= min(MAX_VALUES_PER_FIELD, sum(case_counts) / 2)


def _rate(item: SliceRate) -> float:
    estimate = item.rate.interval.estimate
    return 2.0 if estimate is None else estimate
