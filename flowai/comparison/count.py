"""Counts a log for a rollout or an experiment in a few passes; memory does not grow with the log."""

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


def count_log(directories: Sequence[Path], spec: ComparisonSpec) -> Counts:
    """Count the calls of each arm in a log, and locate the first unreadable lines."""
    with open_log(directories, COLUMNS, spec.time_range) as log:
        counts = count_arms(log, spec)
        if counts.problem_count("unreadable"):
            counts.unreadable = first_unreadable(directories, spec.time_range)
    return counts


def count_arms(log: Log, spec: ComparisonSpec) -> Counts:
    """Count the calls of each arm in a log that was opened with `COLUMNS` over the time range of `spec`.

    The counts do not depend on the order of events or files.
    """
    select_calls(log, spec)
    counts = Counts()
    schedules = _count_calls(log, spec, counts)
    if is_repeated(log):
        again = deduplicate_calls(log)
        counts = Counts()
        schedules = _count_calls(log, spec, counts)
        counts.problems |= {kind: {0: count} for kind, count in again.items()}
    count_problems(log, spec, counts)
    count_users(log, spec, schedules, counts)
    return counts


def _count_calls(log: Log, spec: ComparisonSpec, counts: Counts) -> Mapping[str, SamplingSchedule]:
    """Count calls, and load the calls of sampled users."""
    traffic = traffic_by_arm(log)
    schedules = {side: sampling_schedule(calls) for side, calls in traffic.items()}
    count_calls(log, spec, counts)
    features = {one.feature for one in counts.versions}
    counts.frozen = {
        metric: measure_baseline_latency(log, spec, column, features) for metric, column in LATENCY_METRICS.items()
    }
    sample_users(log, spec, schedules, counts)
    counts.traffic = {side: sum(calls.values()) for side, calls in traffic.items()}
    return schedules
