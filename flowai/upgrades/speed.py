"""Latency, length and cost of both models' answers, and the changes that a person should know."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.statistics.histogram import quantile
from flowai.upgrades.records import Speed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from flowai.evals.reports import Trial

MIN_RATIO = 1.25
"""Smaller changes of cost, length and latency are no finding."""
MIN_PAIR_COUNT = 10
Z_95 = 1.96
CALLS = 1000


_MEASURES: tuple[tuple[str, Callable[[Trial], float | None]], ...] = (
    ("costs {ratio} times as much", lambda trial: trial.cost_usd),
    ("answers are {ratio} times as long", lambda trial: trial.output_tokens),
    ("takes {ratio} times as long", lambda trial: trial.latency_ms),
)
"""What is said of a change, and what is measured."""


def speed_of(trials: Iterable[Trial]) -> Speed:
    """Return latency, length and cost of fresh answers."""
    fresh = [trial for trial in trials if trial.output is not None and trial.latency_ms]  # a logged answer has none
    costs = [trial.cost_usd for trial in fresh]
    known = [cost for cost in costs if cost is not None]
    return Speed(
        answer_count=len(fresh),
        latency_p50_ms=_quantile([trial.latency_ms for trial in fresh], 0.5),
        latency_p95_ms=_quantile([trial.latency_ms for trial in fresh], 0.95),
        ttft_p95_ms=_quantile([trial.ttft_ms for trial in fresh], 0.95),
        mean_output_tokens=_mean([float(trial.output_tokens) for trial in fresh if trial.output_tokens is not None]),
        usd_per_1000_calls=math.fsum(known) / len(known) * CALLS if known and len(known) == len(costs) else None,
    )


def speed_findings(old: Mapping[str, Trial], new: Mapping[str, Trial]) -> Iterator[str]:
    """Yield changes of cost, length and latency that are certain, from answers to the same request.

    Args:
        old: fresh answers of the old model, by request.
        new: those of the new model.
    """
    keys = sorted(old.keys() & new.keys())
    for text, measure in _MEASURES:
        values = [(measure(old[key]), measure(new[key])) for key in keys]
        ratio = _certain_ratio([math.log(after / before) for before, after in values if before and after])
        if ratio is not None:
            yield text.format(ratio=f"{ratio:.2g}")


def _certain_ratio(logs: Sequence[float]) -> float | None:
    """Return the geometric mean of ratios if its 95 % interval is beyond `MIN_RATIO`, else None."""
    count = len(logs)
    if count < MIN_PAIR_COUNT:
        return None
    mean = math.fsum(logs) / count
    variance = math.fsum((value - mean) ** 2 for value in logs) / (count - 1)
    reach = Z_95 * math.sqrt(variance / count)
    return math.exp(mean) if abs(mean) - reach > math.log(MIN_RATIO) else None


def _quantile(values: Iterable[float | None], share: float) -> float | None:
    return quantile(sorted(value for value in values if value is not None), share)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
