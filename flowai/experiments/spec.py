"""Specification of an experiment's count: arms, feature, start."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowai.analytics.event_query import IS_CALL, literal, moment, open_log
from flowai.comparison.metrics import METRICS
from flowai.comparison.spec import ComparisonSpec, RolloutStage, experiment_sides

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flowai.analytics.event_query import TimeRange
    from flowai.analytics.records import Metric

EXPERIMENT_METRICS: tuple[Metric, ...] = ("save_rate", *METRICS)


def experiment_spec(
    experiment: str, arms: tuple[str, ...], *, feature: str, time_range: TimeRange, feedback_us: int, now_us: int
) -> ComparisonSpec:
    """Return what is counted for an experiment.

    Calls of `dogfood` are left out, as in a rollout. The whole time range is one stage without a control of its own:
    all arms have equal shares from start to end, whatever rollout is active.
    """
    sides = experiment_sides(experiment, arms)
    return ComparisonSpec(
        sides=replace(sides, condition=f"{sides.condition} AND variant IS DISTINCT FROM 'dogfood'"),
        stages=(RolloutStage(percent=0, time_range=time_range),),
        feature=feature,
        feedback_us=feedback_us,
        now_us=now_us,
        metrics=EXPERIMENT_METRICS,
    )


def start_of(directories: Path | Sequence[Path], experiment: str, time_range: TimeRange) -> int | None:
    """Return the time of an experiment's first call in a time range, microseconds since 1970; None without one.

    Evidence must always start at the same call.
    """
    with open_log(directories, ("experiment",), time_range) as log:
        ((first_us,),) = log.fetch(
            f"SELECT min(at_us) FROM lines WHERE {IS_CALL} AND experiment = {literal(experiment)}"  # noqa: S608 - quoted
            f' AND "at" >= {moment(time_range.since_us)}'
        )
    return None if first_us is None else int(first_us)
