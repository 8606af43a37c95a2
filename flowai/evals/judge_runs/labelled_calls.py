"""Labelled answers of a feature's logged calls, as a suite for the fact check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import InconclusiveError
from flowai.evals.judge_runs.labels import active_labels
from flowai.evals.judge_runs.logged_answers import read_sample
from flowai.evals.reports.page.page_data import output_hash
from flowai.evals.suites.records import Case, Suite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.analytics.event_query import TimeRange
    from flowai.evals.judge_runs.labels import AnswerLabel
    from flowai.workspace.workspace import Workspace

MAX_CALLS = 1_000_000


def labelled_calls(workspace: Workspace, feature: str, time_range: TimeRange, labels: Iterable[AnswerLabel]) -> Suite:
    """Return a suite with a case for each labelled answer of a feature's calls.

    Raises:
        InconclusiveError: no answer is labelled.
        InfrastructureError: the log cannot be read.
    """
    labelled = active_labels(labels)
    sample = read_sample(workspace, time_range, name="", judge_hash="", max_count=MAX_CALLS, feature=feature)
    cases = {
        digest: Case(
            id=one.call_id,
            vars={"input": one.request, "context": one.context},
            assertions=(),
            recorded_output=one.output,
            place=f"call {one.call_id}",
        )
        for one in sample.answers
        if (digest := output_hash(one.output)) in labelled
    }
    if not cases:
        raise InconclusiveError(
            f"no call of `{feature}` has a labelled answer", hint=f"`flowai judge label {feature}` labels them"
        )
    return Suite(path=f"calls of {feature}", cases=tuple(cases.values()), feature=feature)
