"""Usage figures of a time range by feature, model, release, prompt or variant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from flowai.analytics.call_table import (
    FEEDBACK_PRECEDENCE,
    LAST_FEEDBACK,
    LAST_JUDGE,
    LAST_SCORE,
    bucket,
    deduplicate_lines,
    join_feedback,
    opinions_sql,
    parts_of,
)
from flowai.analytics.event_query import ANSWERED, IS_CALL, PROBLEMS
from flowai.analytics.judged_usage import JudgedUsage
from flowai.analytics.records import NANO_USD, DataProblem, ReportRecord
from flowai.statistics.histogram import bucket_quantile
from flowai.timestamps import format_us

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.analytics.event_query import Log, TimeRange
    from flowai.analytics.records import ProblemKind

SCHEMA_VERSION = 1

GroupBy = Literal["feature", "model", "release", "prompt", "variant"]

BY_COLUMNS: dict[GroupBy, str] = {
    "feature": "feature",
    "model": "requested_model",
    "release": "release",
    "prompt": "prompt_id",
    "variant": "variant",
}
COLUMNS = (
    *BY_COLUMNS.values(), "cache", "degraded", "input_tokens", "output_tokens", "cost_usd", "ttft_ms", "json_valid",
    "error_class", "verdict", "judge_hash",
)  # fmt: skip
"""Columns that the log must be opened with."""

SLICES = 12
"""Parts of the time range that a sparkline shows."""

_SHARES = (0.5, 0.95, 0.99)
_MAX_USD = 1_000_000
"""A higher price counts as unknown: it would not fit into a sum."""
_SUMS = (
    "call_count", "failed_count", "promised_json_count", "bad_json_count", "judged_count", "accepted_count",
    "saved_count", "hit_count", "degraded_count", "input_tokens", "output_tokens", "cost_nano_usd", "unpriced_count",
    "thumbs_count", "thumbs_up_count", "checked_count", "hallucinated_count",
)  # fmt: skip
"""Names of the sums, in the order of the query's columns."""

Quantiles = tuple[float | None, float | None, float | None]


class UsageRow(ReportRecord, frozen=True, kw_only=True):
    """Usage figures of a group of calls."""

    group: dict[str, str | None]
    """Value of each grouping; None where events have none."""
    call_count: int
    """Cancelled calls excluded."""
    failed_count: int
    promised_json_count: int
    """Answers that had to be JSON."""
    bad_json_count: int
    """Answers that had to be JSON and were not."""
    latency: Quantiles
    """P50, p95, p99 of answers by a model, milliseconds."""
    ttft: Quantiles
    """P50, p95, p99 of the time to the first token, milliseconds."""
    judged_count: int
    """Calls with feedback."""
    accepted_count: int
    """Calls whose last feedback is positive: accepted, thumbs up, saved."""
    thumbs_count: int
    """Calls with a thumb, up or down."""
    thumbs_up_count: int
    """Calls whose last thumb is up."""
    checked_count: int
    """Calls that were scored for hallucination."""
    hallucinated_count: int
    """Calls whose last hallucination score did not pass."""
    saved_count: int
    """Calls whose answer was saved."""
    hit_count: int
    """Calls that a cache answered."""
    degraded_count: int
    """Calls that the last resort answered."""
    input_tokens: int
    """Cache hits excluded."""
    output_tokens: int
    """Cache hits excluded."""
    cost_usd: float
    """US dollars of calls whose price is known."""
    unpriced_count: int
    """Answered calls whose price is not known."""
    calls_by_slice: tuple[int, ...]
    """Calls in each twelfth of the time range."""
    failed_by_slice: tuple[int, ...]
    """Failed calls in each twelfth of the time range."""

    @property
    def error_rate(self) -> float | None:
        """Share of calls that failed."""
        return _share(self.failed_count, self.call_count)

    @property
    def json_valid_rate(self) -> float | None:
        """Share of valid JSON among answers that had to be JSON."""
        return _share(self.promised_json_count - self.bad_json_count, self.promised_json_count)

    @property
    def acceptance_rate(self) -> float | None:
        """Share of accepted answers among those with feedback."""
        return _share(self.accepted_count, self.judged_count)

    @property
    def csat_rate(self) -> float | None:
        """Share of thumbs that are up."""
        return _share(self.thumbs_up_count, self.thumbs_count)

    @property
    def hallucination_rate(self) -> float | None:
        """Share of hallucinations among scored answers."""
        return _share(self.hallucinated_count, self.checked_count)

    @property
    def save_rate(self) -> float | None:
        """Share of saved answers; None if there is no feedback at all."""
        return _share(self.saved_count, self.call_count - self.failed_count) if self.judged_count else None

    @property
    def hit_rate(self) -> float | None:
        """Share of calls that a cache answered."""
        return _share(self.hit_count, self.call_count)

    @property
    def degraded_rate(self) -> float | None:
        """Share of calls that the last resort answered."""
        return _share(self.degraded_count, self.call_count)


class EmbeddingUsage(ReportRecord, frozen=True, kw_only=True):
    """Requests for vectors, by callers and by the semantic cache; no figure of calls contains them."""

    request_count: int = 0
    failed_count: int = 0
    input_tokens: int = 0
    cost_usd: float = 0.0
    """US dollars of requests whose price is known."""
    unpriced_count: int = 0
    """Answered requests whose price is not known."""


class UsageReport(ReportRecord, frozen=True, kw_only=True):
    """Usage figures of a time range: a public format."""

    schema_version: int = SCHEMA_VERSION
    since: str
    """RFC 3339, UTC."""
    until: str
    """RFC 3339, UTC, excluded."""
    by: tuple[GroupBy, ...]
    """Groupings of the rows."""
    rows: tuple[UsageRow, ...]
    """Most calls first."""
    total: UsageRow
    judged: JudgedUsage | None = None
    """Share of hallucinations, corrected by the judge's calibration; None if no score names its judge."""
    embeddings: EmbeddingUsage = EmbeddingUsage()
    problems: tuple[DataProblem, ...]
    """Lines that could not be used."""


def measure_usage(log: Log, time_range: TimeRange, by: Sequence[GroupBy], *, now_us: int) -> UsageReport:
    """Compute the usage figures of a time range.

    The log must be opened with `COLUMNS` over the time range. Feedback counts up to its end; lines after `now_us` are
    from the future.
    """
    problems = [DataProblem(kind=kind, count=count) for kind, count in log.fetch(PROBLEMS, {"future_us": now_us})]
    columns = ", ".join(BY_COLUMNS[one] for one in by)
    again = _load_calls(log, time_range, columns, now_us)
    problems += [DataProblem(kind=kind, count=count) for kind, count in sorted(again.items())]
    rows = _rows(log, by, columns)
    totals = _rows(log, (), "")
    return UsageReport(
        since=format_us(time_range.since_us),
        until=format_us(time_range.until_us),
        by=tuple(by),
        rows=tuple(rows),
        total=totals[0] if totals else _row({}, [0] * len(_SUMS), {}, {}, {}),
        embeddings=_embeddings(log, time_range),
        problems=tuple(problems),
    )


def scores_by_judge(log: Log) -> dict[str, tuple[int, int]]:
    """Return scored calls and flagged ones by the judge's hash ("" without one), after `measure_usage`."""
    scores: dict[str, tuple[int, int]] = {}
    for part in parts_of(log, "call"):
        for judge, count, flagged in log.fetch(f"""
            SELECT judge, count(*), count(*) FILTER (hallucinated)
            FROM (SELECT * FROM checks WHERE {part}) SEMI JOIN (SELECT call FROM call_lines WHERE {part}) USING (call)
            GROUP BY judge
        """):  # noqa: S608 - conditions of ours
            before = scores.get(judge, (0, 0))
            scores[judge] = (before[0] + count, before[1] + flagged)
    return scores


def _embeddings(log: Log, time_range: TimeRange) -> EmbeddingUsage:
    ((request_count, failed_count, input_tokens, cost_nano_usd, unpriced_count),) = log.fetch(f"""
        SELECT count(*), count(error_class), coalesce(sum(greatest(input_tokens, 0)), 0),
            coalesce(sum(CASE WHEN cost_usd BETWEEN 0 AND {_MAX_USD}
                THEN CAST(round(cost_usd * {NANO_USD}) AS BIGINT) END), 0),
            count(*) FILTER (cost_usd IS NULL AND error_class IS NULL)
        FROM lines
        WHERE kind = 'embedding' AND origin IN ('library', 'serve')
            AND at_us >= {time_range.since_us} AND at_us < {time_range.until_us}
    """)  # noqa: S608 - numbers of ours
    return EmbeddingUsage(
        request_count=request_count,
        failed_count=failed_count,
        input_tokens=int(input_tokens),
        cost_usd=int(cost_nano_usd) / NANO_USD,
        unpriced_count=unpriced_count,
    )


def _load_calls(log: Log, time_range: TimeRange, columns: str, now_us: int) -> dict[ProblemKind, int]:
    """Build `calls`, one row per call with its feedback; return the number of repeated lines."""
    width_us = max(1, -(-(time_range.until_us - time_range.since_us) // SLICES))
    log.fetch(f"""
        CREATE TABLE call_lines AS
        SELECT hash(call_id) AS call, {columns}, (at_us - {time_range.since_us}) // {width_us} AS slice,
            error_class IS NOT NULL AS failed, json_valid, cache <> 'miss' AS hit, degraded,
            input_tokens, output_tokens,
            CASE WHEN {ANSWERED} THEN {bucket("latency_ms")} END AS latency,
            CASE WHEN {ANSWERED} THEN {bucket("ttft_ms")} END AS ttft,
            CASE WHEN cost_usd BETWEEN 0 AND {_MAX_USD} THEN CAST(round(cost_usd * {NANO_USD}) AS BIGINT) END AS cost
        FROM lines
        WHERE {IS_CALL} AND origin IN ('library', 'serve') AND error_class IS DISTINCT FROM 'Cancelled'
            AND at_us <= {now_us}
    """)  # noqa: S608 - names and numbers of ours
    again = deduplicate_lines(log)
    join_feedback(log)
    _count_judgements(log, now_us)
    return again


def _count_judgements(log: Log, now_us: int) -> None:
    """Build `thumbs` and `checks`: the last thumb and the last hallucination score of each call.

    Of equal times the stronger thumb counts, as for acceptance, and the score that did not pass.
    """
    up, down = (FEEDBACK_PRECEDENCE.index(word) + 1 for word in ("thumbs_up", "thumbs_down"))
    log.fetch(f"""
        CREATE TEMP TABLE thumbs AS
        SELECT call, {LAST_FEEDBACK} % 8 = {up} AS is_up
        FROM feedback WHERE rank IN ({up}, {down}) GROUP BY call
    """)  # noqa: S608 - numbers of ours
    log.fetch(f"""
        CREATE TEMP TABLE checks AS
        SELECT call, {LAST_SCORE} % 2 = 1 AS hallucinated, {LAST_JUDGE} AS judge
        FROM ({opinions_sql(f"at_us <= {now_us}", judge="judge_hash")})
        WHERE passed IS NOT NULL GROUP BY call
    """)  # noqa: S608 - as above


def _rows(log: Log, by: Sequence[GroupBy], columns: str) -> list[UsageRow]:
    lead = f"{columns}, " if columns else ""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in log.fetch(f"""
        SELECT {lead}count(*), count(*) FILTER (failed), count(json_valid), count(*) FILTER (NOT json_valid),
            count(accepted), count(*) FILTER (accepted), count(*) FILTER (saved), count(*) FILTER (hit),
            count(*) FILTER (degraded),
            coalesce(sum(greatest(input_tokens, 0)) FILTER (NOT hit), 0),
            coalesce(sum(greatest(output_tokens, 0)) FILTER (NOT hit), 0),
            coalesce(sum(cost), 0), count(*) FILTER (cost IS NULL AND NOT failed)
        FROM calls GROUP BY ALL HAVING count(*) > 0
    """):  # noqa: S608 - names of ours
        sums[row[: len(by)]] = [int(number) for number in row[len(by) :]]
    for key, judged in _sum_judgements(log, lead, len(by)).items():
        sums[key] += judged
    slices = _by_slice(log, lead, len(by))
    latency, ttft = (_histogram(log, lead, len(by), column) for column in ("latency", "ttft"))
    ordered = sorted(sums, key=lambda key: (-sums[key][0], [part or "" for part in key]))
    return [
        _row(dict(zip(by, key, strict=True)), sums[key], latency.get(key, {}), ttft.get(key, {}), slices.get(key, {}))
        for key in ordered
    ]


def _sum_judgements(log: Log, lead: str, width: int) -> dict[tuple[Any, ...], list[int]]:
    """Count thumbs and scores, and those that are up or failed; joined in parts, so that memory does not grow."""
    sums_by_group: dict[tuple[Any, ...], list[int]] = {}
    for part in parts_of(log, "call"):
        for row in log.fetch(f"""
            SELECT {lead}count(is_up), count(*) FILTER (is_up), count(hallucinated), count(*) FILTER (hallucinated)
            FROM (SELECT * FROM call_lines WHERE {part})
            LEFT JOIN (SELECT * FROM thumbs WHERE {part}) USING (call)
            LEFT JOIN (SELECT * FROM checks WHERE {part}) USING (call)
            GROUP BY ALL HAVING count(*) > 0
        """):  # noqa: S608 - names of ours
            sums = sums_by_group.setdefault(row[:width], [0] * 4)
            sums[:] = [before + more for before, more in zip(sums, row[width:], strict=True)]
    return sums_by_group


def _histogram(log: Log, lead: str, width: int, column: str) -> dict[tuple[Any, ...], dict[int, int]]:
    sums_by_group: dict[tuple[Any, ...], dict[int, int]] = {}
    for row in log.fetch(f"SELECT {lead}{column}, count(*) FROM call_lines WHERE {column} IS NOT NULL GROUP BY ALL"):  # noqa: S608 - names of ours
        sums_by_group.setdefault(row[:width], {})[row[-2]] = row[-1]
    return sums_by_group


def _by_slice(log: Log, lead: str, width: int) -> dict[tuple[Any, ...], dict[int, tuple[int, int]]]:
    sums_by_group: dict[tuple[Any, ...], dict[int, tuple[int, int]]] = {}
    for row in log.fetch(f"SELECT {lead}slice, count(*), count(*) FILTER (failed) FROM call_lines GROUP BY ALL"):  # noqa: S608 - names of ours
        sums_by_group.setdefault(row[:width], {})[row[-3]] = (row[-2], row[-1])
    return sums_by_group


def _row(
    group: dict[Any, str | None],
    sums: Sequence[int],
    latency: dict[int, int],
    ttft: dict[int, int],
    slices: dict[int, tuple[int, int]],
) -> UsageRow:
    latency_p50, latency_p95, latency_p99 = (bucket_quantile(latency, share) for share in _SHARES)
    ttft_p50, ttft_p95, ttft_p99 = (bucket_quantile(ttft, share) for share in _SHARES)
    counted = dict(zip(_SUMS, sums, strict=True))
    by_slice = [slices.get(index, (0, 0)) for index in range(SLICES)]
    return UsageRow(
        group=group,
        latency=(latency_p50, latency_p95, latency_p99),
        ttft=(ttft_p50, ttft_p95, ttft_p99),
        cost_usd=counted.pop("cost_nano_usd") / NANO_USD,
        calls_by_slice=tuple(calls for calls, _ in by_slice),
        failed_by_slice=tuple(failed for _, failed in by_slice),
        **counted,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
