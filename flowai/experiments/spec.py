"""What is asked of a log about an experiment: its arms, its feature, and from when on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowai.analytics.event_query import CLOCK_SKEW_S, IS_CALL, literal, moment, open_log
from flowai.comparison.spec import METRICS, ComparisonSpec, RolloutStage, experiment_sides

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flowai.analytics.event_query import TimeRange
    from flowai.analytics.records import Metric

EXPERIMENT_METRICS: tuple[Metric, ...] = ("save_rate", *METRICS)


def experiment_spec(
    experiment: str, arms: tuple[str, ...], *, feature: str, stretch: TimeRange, feedback_us: int, now_us: int
) -> ComparisonSpec:
    """Give the question about an experiment.

    Calls of our own people (`dogfood`) are left out, as in a rollout. The whole stretch is one stage without a control
    of its own: all arms have equal shares from begin to end, whatever else is rolled out meanwhile.

    Args:
        experiment: its name.
        arms: in the registry's order; at least two.
        feature: where it runs.
        stretch: when.
        feedback_us: microseconds after a call in which feedback and scores count.
        now_us: the time.
    """
    sides = experiment_sides(experiment, arms)
    return ComparisonSpec(
        sides=replace(sides, condition=f"{sides.condition} AND variant IS DISTINCT FROM 'dogfood'"),
        stages=(RolloutStage(percent=0, stretch=stretch),),
        feature=feature,
        feedback_us=feedback_us,
        now_us=now_us + CLOCK_SKEW_S * 1_000_000,
        metrics=EXPERIMENT_METRICS,
    )


def start_of(directories: Path | Sequence[Path], experiment: str, stretch: TimeRange) -> int | None:
    """Find an experiment's first call; evidence must begin at the same call whenever one looks.

    Args:
        directories: the log, or several that hold one log together.
        experiment: its name.
        stretch: where it is looked for; earlier calls are not meant.

    Returns:
        Microseconds since 1970; None where there is no call of it.

    Raises:
        InfrastructureError: the log cannot be read.
    """
    with open_log(directories, ("experiment",), stretch) as log:
        ((first_us,),) = log.fetch(
            f"SELECT min(at_us) FROM lines WHERE {IS_CALL} AND experiment = {literal(experiment)}"  # noqa: S608 - quoted
            f' AND "at" >= {moment(stretch.since_us)}'
        )
    return None if first_us is None else int(first_us)
