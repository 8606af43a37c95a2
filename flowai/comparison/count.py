"""Counts what a log tells of a rollout or an experiment: a few passes, and memory that does not grow with the log.

In: an open log, a question. Out: Counts. Must never know what they prove.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.analytics.call_table import take_once
from flowai.analytics.event_query import open_log
from flowai.analytics.unreadable_lines import first_unreadable
from flowai.comparison.baseline_latency import freeze
from flowai.comparison.count_calls import TIMES, count_calls, count_problems, traffic_of
from flowai.comparison.count_users import count_users, is_told_again, look_closely
from flowai.comparison.counts import Counts
from flowai.comparison.sampling import thin
from flowai.comparison.spec import COLUMNS, take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flowai.analytics.event_query import Log
    from flowai.comparison.sampling import Thinning
    from flowai.comparison.spec import Question


def count_log(directories: Sequence[Path], question: Question) -> Counts:
    """Count the calls of each side in a log, and name the first lines that cannot be read.

    Args:
        directories: hold the log together.
        question: what is counted.

    Raises:
        InfrastructureError: the log cannot be read.
    """
    with open_log(directories, COLUMNS, question.stretch) as log:
        counts = count_sides(log, question)
        if counts.problem_count("unreadable"):
            counts.unreadable = first_unreadable(directories, question.stretch)
    return counts


def count_sides(log: Log, question: Question) -> Counts:
    """Count the calls of each side in an open log.

    Args:
        log: opened with `question.COLUMNS` over the question's stretch.
        question: what is counted.

    Returns:
        The counts; the same events in any order, in any files, give the same.
    """
    take(log, question)
    found = Counts()
    thinnings = _count_calls(log, question, found)
    if is_told_again(log):
        again = take_once(log)
        found = Counts()
        thinnings = _count_calls(log, question, found)
        found.problems |= {kind: {0: count} for kind, count in again.items()}
    count_problems(log, question, found)
    count_users(log, question, thinnings, found)
    return found


def _count_calls(log: Log, question: Question, found: Counts) -> Mapping[str, Thinning]:
    """Count calls, and take those aside whose users are looked at closely."""
    traffic = traffic_of(log)
    thinnings = {side: thin(calls) for side, calls in traffic.items()}
    count_calls(log, question, found)
    features = {one.feature for one in found.versions}
    found.frozen = {metric: freeze(log, question, column, features) for metric, column in TIMES.items()}
    look_closely(log, question, thinnings, found)
    found.traffic = {side: sum(calls.values()) for side, calls in traffic.items()}
    return thinnings
