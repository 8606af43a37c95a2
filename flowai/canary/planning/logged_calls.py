"""Reads the calls of the release that serves, as columns of numbers: the traffic that rollouts are planned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flowai.analytics.call_table import LAST_FEEDBACK, LAST_SCORE, MAX_USD, accepted_sql, opinions_sql
from flowai.analytics.event_query import IS_CALL, TimeRange, days_around, literal, open_log
from flowai.comparison.spec import FELL_BACK_SQL, HOUR_US, OWN_TRAFFIC_SQL, UNSENT_SQL
from flowai.errors import InconclusiveError, UsageError
from flowai.gateway.routing.assignment import FULL_PERCENT
from flowai.simulation.calls import STABLE, SimulatedCalls
from flowai.timestamps import format_us, parse_moment, to_us
from flowai.workspace.event_source import open_event_source

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from flowai.analytics.event_query import Log
    from flowai.registry.policies import CanaryPolicy
    from flowai.workspace.workspace import Workspace

DEFAULT_SINCE = "7d"
MAX_READ_CALLS = 200_000
"""With more calls, a sample of users is read: enough for every figure, in a few seconds."""

FEEDBACK_US = HOUR_US
"""Time after a call within which feedback and scores count, as `flowai canary-report` counts them by default."""

_COLUMNS = (
    "user_hash",
    "session",
    "feature",
    "release",
    "variant",
    "requested_model",
    "attempts",
    "degraded",
    "cache",
    "cost_usd",
    "ttft_ms",
    "json_valid",
    "error_class",
    "verdict",
)

_NO_TIME = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficOptions:
    """Options of commands that plan rollouts from past traffic."""

    since: str | None = None
    """Start of the traffic, as typed; None for a week ago."""
    until: str | None = None
    """Its end, as typed; None for now."""
    feature: str | None = None
    """None for all features."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedCalls:
    """Calls of a release outside dogfood and canary."""

    release: str
    time_range: TimeRange
    """Whole hours from the first call to the last."""
    calls: SimulatedCalls
    """Ordered by time; all of the variant `stable`. A user is a user or session."""
    features: tuple[str, ...]
    """Names by index; empty for calls without a feature."""
    user_share: float = 1.0
    """Share of the users that were read."""

    @property
    def hours(self) -> int:
        """Length of the time range."""
        return (self.time_range.until_us - self.time_range.since_us) // HOUR_US

    @property
    def call_count(self) -> int:
        """Calls in the log; of a sample, estimated."""
        return round(len(self.calls) / self.user_share)

    @property
    def user_count(self) -> int:
        """Users in the log, each call without a user counted as one; of a sample, estimated."""
        return round(unit_count(self.calls) / self.user_share)


def compared_percents(policy: CanaryPolicy) -> tuple[int, ...]:
    """Return the percentages of the policy's stages that have a control; raises UsageError without one."""
    percents = tuple(int(stage) for stage in policy.stages if stage not in ("dogfood", FULL_PERCENT))
    if not percents:
        raise UsageError(
            "policies.canary.stages: found no percentage below 100, expected a stage with a control, such as 25"
        )
    return percents


def unit_count(calls: SimulatedCalls) -> int:
    """Return the number of users; each call without a user counts as one."""
    named = calls.user >= 0
    return len(np.unique(calls.user[named])) + int((~named).sum())


def read_serving_calls(workspace: Workspace, options: TrafficOptions) -> LoggedCalls:
    """Read the calls of the serving release from the event log.

    Raises:
        UsageError: a time is invalid.
        InconclusiveError: there are no calls.
        InfrastructureError: the log cannot be read.
    """
    if options.feature is not None:
        workspace.registry.feature(options.feature)
    now = workspace.context.now().replace(microsecond=0)
    begin = parse_moment(options.since or DEFAULT_SINCE, now=now, option="--since")
    end = now if options.until is None else parse_moment(options.until, now=now, option="--until")
    if end <= begin:
        raise UsageError("`--until` must be after `--since`")
    time_range = TimeRange(since_us=to_us(begin), until_us=to_us(end))
    places = open_event_source(workspace.registry, workspace.project, workspace.environ, days_around(time_range))
    with places as directories:
        return read_calls(directories, workspace.release, time_range, feature=options.feature)


def read_calls(
    directories: tuple[Path, ...],
    release: str,
    time_range: TimeRange,
    *,
    feature: str | None = None,
    max_calls: int = MAX_READ_CALLS,
) -> LoggedCalls:
    """Read the calls of a release; of more than about `max_calls`, those of a sample of users."""
    # feedback and scores of the last calls come later
    with_feedback = TimeRange(since_us=time_range.since_us, until_us=time_range.until_us + FEEDBACK_US)
    with open_log(directories, _COLUMNS, with_feedback) as log:
        parts = _select(log, release, time_range, feature, max_calls)
        columns = {name: np.asarray(values) for name, values in log.fetch_arrays(_COLUMNS_SQL).items()}
    return _logged_calls(columns, release, time_range, 1 / parts)


def _select(log: Log, release: str, time_range: TimeRange, feature: str | None, max_calls: int) -> int:
    """Create the table `chosen`, a row per call; return that of how many users 1 was chosen."""
    conditions = [
        IS_CALL,
        OWN_TRAFFIC_SQL,
        f"NOT ({UNSENT_SQL})",
        f'"release" = {literal(release)}',
        "coalesce(variant NOT IN ('canary', 'dogfood'), TRUE)",
        f"at_us >= {time_range.since_us} AND at_us < {time_range.until_us}",
        *(() if feature is None else (f"feature = {literal(feature)}",)),
    ]
    # outside rollouts no call is sticky, although it has a user
    log.fetch(f"""
        CREATE TEMP VIEW serving AS
        SELECT *, hash(coalesce(user_hash, 'session ' || session, 'call ' || call_id)) AS unit,
            coalesce(user_hash, session) IS NOT NULL AS is_named
        FROM lines WHERE {" AND ".join(conditions)}
    """)  # noqa: S608 - names and numbers of ours, names of others quoted
    ((call_count,),) = log.fetch("SELECT count(*) FROM serving")
    parts = max(1, -(-int(call_count) // max_calls))
    log.fetch(f"""
        CREATE TEMP TABLE chosen AS
        SELECT DISTINCT ON (call_id) hash(call_id) AS call, at_us, unit, is_named, coalesce(feature, '') AS feature,
            error_class IS NOT NULL AND error_class <> 'Cancelled' AS error,
            coalesce(error_class = 'Cancelled', FALSE) AS cancelled, {FELL_BACK_SQL} AS primary_failed,
            {FELL_BACK_SQL} AND coalesce(degraded, FALSE) AS degraded,
            coalesce((NOT json_valid)::TINYINT, -1) AS json_invalid, latency_ms,
            CASE WHEN ttft_ms >= 0 THEN ttft_ms END AS ttft_ms,
            CASE WHEN cost_usd BETWEEN 0 AND {MAX_USD} THEN cost_usd END AS cost_usd,
            coalesce(cache <> 'miss', TRUE) AS cached
        FROM serving WHERE (unit >> 32) % {parts} = 0 ORDER BY call_id, at_us
    """)  # noqa: S608 - as above
    log.fetch(f"""
        CREATE TEMP TABLE given AS
        SELECT call, {LAST_FEEDBACK} AS feedback, {LAST_SCORE} AS score
        FROM ({opinions_sql()}) JOIN chosen USING (call) WHERE given_us < at_us + {FEEDBACK_US} GROUP BY call
    """)  # noqa: S608 - as above
    return parts


_COLUMNS_SQL = f"""
SELECT chosen.* EXCLUDE (call, ttft_ms, cost_usd), coalesce(ttft_ms, 'nan') AS ttft_ms,
    coalesce(cost_usd, 'nan') AS cost_usd,
    coalesce(({accepted_sql("feedback")})::TINYINT, -1) AS feedback,
    coalesce(feedback // 8, {_NO_TIME}) AS feedback_at_us,
    coalesce((1 - score % 2)::TINYINT, -1) AS score, coalesce(score // 2, {_NO_TIME}) AS score_at_us
FROM chosen LEFT JOIN given USING (call) ORDER BY at_us, call
"""  # noqa: S608 - numbers of ours


def _logged_calls(
    columns: dict[str, NDArray[Any]], release: str, time_range: TimeRange, user_share: float
) -> LoggedCalls:
    at_us = columns["at_us"].astype(np.int64)
    if not len(at_us):
        since, until = format_us(time_range.since_us), format_us(time_range.until_us)
        raise InconclusiveError(
            f"no calls of {release} in the event log from {since} to {until}", hint="start earlier: `--since 30d`"
        )
    since_us = int(at_us[0]) // HOUR_US * HOUR_US
    until_us = (int(at_us[-1]) // HOUR_US + 1) * HOUR_US
    features, feature = np.unique(columns["feature"].astype(str), return_inverse=True)
    named = columns["is_named"].astype(bool)
    user = np.full(len(at_us), -1, dtype=np.int32)
    user[named] = np.unique(columns["unit"][named], return_inverse=True)[1]
    plain: dict[str, Any] = {
        name: columns[name].astype(kind)
        for name, kind in (
            *((name, np.bool_) for name in ("error", "cancelled", "primary_failed", "degraded", "cached")),
            *((name, np.int8) for name in ("json_invalid", "feedback", "score")),
            *((name, np.float64) for name in ("latency_ms", "ttft_ms", "cost_usd")),
            *((name, np.int64) for name in ("feedback_at_us", "score_at_us")),
        )
    }
    calls = SimulatedCalls(
        seed=0,
        number=np.arange(len(at_us), dtype=np.int64),
        at_us=at_us,
        user=user,
        feature=feature.astype(np.int16),
        variant=np.full(len(at_us), STABLE, dtype=np.int8),
        by_candidate=np.zeros(len(at_us), dtype=np.bool_),
        process=np.zeros(len(at_us), dtype=np.int16),
        **plain,
    )
    return LoggedCalls(
        release=release,
        time_range=TimeRange(since_us=since_us, until_us=until_us),
        calls=calls,
        features=tuple(features.tolist()),
        user_share=user_share,
    )
