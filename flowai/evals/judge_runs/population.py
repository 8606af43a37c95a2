"""The rate of the fault among all calls that a judge scored, from its verdicts and people's labels of some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.judge_runs.logged_answers import scored_calls
from flowai.evals.judge_runs.records import RateWithInterval
from flowai.statistics import prediction_powered_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.analytics.event_query import TimeRange
    from flowai.evals.judge_identity import JudgeIdentity
    from flowai.evals.judge_runs.measures import Judged
    from flowai.workspace.workspace import Workspace


def population_rate(
    workspace: Workspace, time_range: TimeRange, feature: str, identity: JudgeIdentity, judged: Iterable[Judged]
) -> RateWithInterval | None:
    """Return the rate over labelled and scored calls; None if this judge scored fewer than two other calls.

    The labelled calls must be drawn at random from the scored ones: those that a person picked for their faults would
    raise the rate.

    Source: Angelopoulos, Duchi and Zrnic, PPI++: Efficient Prediction-Powered Inference (2023).

    Raises:
        InfrastructureError: the log cannot be read.
    """
    readable = [one for one in judged if one.passed is not None]
    labelled = {one.case for one in readable}
    scores = scored_calls(workspace, time_range, feature=feature, name=identity.name, judge_hash=identity.judge_hash)
    others = [float(not passed) for call_id, passed in scores.items() if call_id not in labelled]
    found = prediction_powered_mean([(float(one.label == "fail"), float(not one.passed)) for one in readable], others)
    if found.estimate is None:
        return None
    return RateWithInterval(
        value=found.estimate, low=found.low, high=found.high, total_count=len(readable) + len(others)
    )
