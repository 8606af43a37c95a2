"""Counts a log for a rollout or an experiment in a few passes; memory does not grow with the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.analytics.call_table import deduplicate_calls
from flowai.analytics.event_query import open_log
from flowai.analytics.unreadable_lines import first_unreadable
from flowai.comparison.baseline_limits import LIMITED_BY, freeze_limits
from flowai.comparison.count_calls import (
    LATENCY_METRICS,
    count_answers,
    count_calls,
    count_judges,
    count_problems,
    count_tallies,
)
from flowai.comparison.count_users import count_arrivals, count_callers, count_users
from flowai.comparison.counts import Counts
from flowai.comparison.facts import build_facts, build_opinions, is_repeated
from flowai.comparison.metrics import DELAYED_METRICS
from flowai.comparison.sampling import sampling_schedule
from flowai.comparison.spec import COLUMNS, select_calls

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flowai.analytics.event_query import Log
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
    counts = _count_calls(log, spec)
    if is_repeated(log):
        again = deduplicate_calls(log)
        counts = _count_calls(log, spec)
        counts.problems |= {kind: {0: count} for kind, count in again.items()}
    count_problems(log, spec, counts)
    count_answers(log, spec, counts)
    delayed = [name for name in spec.metrics if name in DELAYED_METRICS]
    count_tallies(log, spec, "facts", [name for name in LATENCY_METRICS if name in spec.metrics], counts)
    count_arrivals(log, spec, counts.schedules, counts)
    immediate = [name for name in spec.metrics if name not in DELAYED_METRICS]
    count_users(log, spec, "facts", immediate, counts)
    count_callers(log, spec, "facts", immediate, counts)
    build_opinions(log, spec)
    log.fetch("DROP TABLE facts")
    count_tallies(log, spec, "opinions", delayed, counts)
    count_judges(log, spec, counts)
    count_users(log, spec, "opinions", delayed, counts)
    count_callers(log, spec, "opinions", delayed, counts)
    return counts


def _count_calls(log: Log, spec: ComparisonSpec) -> Counts:
    """Count calls, and load those of sampled users."""
    counts = Counts()
    count_calls(log, spec, counts)
    counts.schedules = {side: sampling_schedule(calls) for side, calls in counts.traffic.items()}
    counts.limits = {metric: freeze_limits(log, spec, metric, counts.features()) for metric in LIMITED_BY}
    build_facts(log, spec, counts.schedules, counts)
    return counts
