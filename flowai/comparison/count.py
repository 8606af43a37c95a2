"""Counts what a log tells of a rollout or an experiment: a few passes, and memory that does not grow with the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.analytics.call_table import deduplicate_calls
from flowai.analytics.event_query import open_log
from flowai.analytics.unreadable_lines import first_unreadable
from flowai.comparison.baseline_latency import measure_baseline_latency
from flowai.comparison.count_calls import LATENCY_METRICS, count_calls, count_problems, traffic_by_arm
from flowai.comparison.count_users import count_users, is_repeated, sample_users
from flowai.comparison.counts import Counts
from flowai.comparison.sampling import sampling_schedule
from flowai.comparison.spec import COLUMNS, select_calls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flowai.analytics.event_query import Log
    from flowai.comparison.sampling import SamplingSchedule
    from flowai.comparison.spec import ComparisonSpec


def count_log(directories: Sequence[Path], question: ComparisonSpec) -> Counts:
    """Count the calls of each side in a log, and name the first lines that cannot be read.

    Args:
        directories: hold the log together.
        question: what is counted.

    Raises:
        InfrastructureError: the log cannot be read.
    """
    with open_log(directories, COLUMNS, question.stretch) as log:
        counts = count_arms(log, question)
        if counts.problem_count("unreadable"):
            counts.unreadable = first_unreadable(directories, question.stretch)
    return counts


def count_arms(log: Log, question: ComparisonSpec) -> Counts:
    """Count the calls of each side in an open log.

    Args:
        log: opened with `question.COLUMNS` over the question's stretch.
        question: what is counted.

    Returns:
        The counts; the same events in any order, in any files, give the same.
    """
    select_calls(log, question)
    found = Counts()
    thinnings = _count_calls(log, question, found)
    if is_repeated(log):
        again = deduplicate_calls(log)
        found = Counts()
        thinnings = _count_calls(log, question, found)
        found.problems |= {kind: {0: count} for kind, count in again.items()}
    count_problems(log, question, found)
    count_users(log, question, thinnings, found)
    return found


def _count_calls(log: Log, question: ComparisonSpec, found: Counts) -> Mapping[str, SamplingSchedule]:
    """Count calls, and take those aside whose users are looked at closely."""
    traffic = traffic_by_arm(log)
    thinnings = {side: sampling_schedule(calls) for side, calls in traffic.items()}
    count_calls(log, question, found)
    features = {one.feature for one in found.versions}
    found.frozen = {
        metric: measure_baseline_latency(log, question, column, features) for metric, column in LATENCY_METRICS.items()
    }
    sample_users(log, question, thinnings, found)
    found.traffic = {side: sum(calls.values()) for side, calls in traffic.items()}
    return thinnings
