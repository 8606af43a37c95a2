"""Figures of the calls of a stretch of time, by feature, model, release or prompt.

In: a log, a stretch, what to group by. Out: a UsageReport. Must never know rollouts or screens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from flowai.metrics.counts import NANO
from flowai.metrics.frozen import ANSWERED
from flowai.metrics.model import Problem, Record
from flowai.metrics.query import IS_CALL, PROBLEMS, from_us
from flowai.metrics.told import join_opinions, tell_once
from flowai.statistics.buckets import bucket_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.metrics.model import ProblemKind
    from flowai.metrics.query import Log, Stretch

SCHEMA_VERSION = 1

By = Literal["feature", "model", "release", "prompt", "variant"]
"""What calls may be grouped by."""

BY_COLUMNS: dict[By, str] = {
    "feature": "feature",
    "model": "requested_model",
    "release": "release",
    "prompt": "prompt_id",
    "variant": "variant",
}
COLUMNS = (
    *BY_COLUMNS.values(),
    "cache",
    "degraded",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "ttft_ms",
    "json_valid",
    "error_class",
    "verdict",
)
"""What a log must be opened with."""

SLICES = 12
"""Parts of the stretch that a sparkline shows."""

_SHARES = (0.5, 0.95, 0.99)

Quantiles = tuple[float | None, float | None, float | None]


class UsageRow(Record, frozen=True, kw_only=True):
    """The figures of a group of calls.

    Args:
        group: its value of each thing grouped by; None where an event has none.
        call_count: calls, those that their callers left excepted.
        failed_count: calls that failed.
        promised_json_count: answers that had to be JSON.
        bad_json_count: those that were not.
        latency: p50, p95, p99 of answers by a model, milliseconds.
        ttft: the same of the time to the first token.
        judged_count: calls that users judged.
        accepted_count: those whose last judgement is good: accepted, thumbs up, saved.
        saved_count: calls whose answer was saved.
        hit_count: calls that a cache answered.
        degraded_count: calls that the last resort answered.
        input_tokens: sent to models.
        output_tokens: that they wrote.
        cost_usd: US dollars of calls whose price is known.
        unpriced_count: calls to models whose price is not known.
        calls_by_slice: calls in each twelfth of the stretch.
        failed_by_slice: failed calls in each.
    """

    group: dict[str, str | None]
    call_count: int
    failed_count: int
    promised_json_count: int
    bad_json_count: int
    latency: Quantiles
    ttft: Quantiles
    judged_count: int
    accepted_count: int
    saved_count: int
    hit_count: int
    degraded_count: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced_count: int
    calls_by_slice: tuple[int, ...]
    failed_by_slice: tuple[int, ...]

    @property
    def error_rate(self) -> float | None:
        """Share of calls that failed."""
        return _share(self.failed_count, self.call_count)

    @property
    def json_valid_rate(self) -> float | None:
        """Share of promised JSON that was JSON."""
        return _share(self.promised_json_count - self.bad_json_count, self.promised_json_count)

    @property
    def acceptance_rate(self) -> float | None:
        """Share of judged answers that were accepted."""
        return _share(self.accepted_count, self.judged_count)

    @property
    def save_rate(self) -> float | None:
        """Share of answers that were saved; None where nobody judges answers."""
        return _share(self.saved_count, self.call_count - self.failed_count) if self.judged_count else None

    @property
    def hit_rate(self) -> float | None:
        """Share of calls that a cache answered."""
        return _share(self.hit_count, self.call_count)

    @property
    def degraded_rate(self) -> float | None:
        """Share of calls that the last resort answered."""
        return _share(self.degraded_count, self.call_count)


class UsageReport(Record, frozen=True, kw_only=True):
    """The figures of a stretch: a public format.

    Args:
        schema_version: version of this format: 1.
        since: begin (RFC 3339, UTC).
        until: end.
        by: what the rows are grouped by.
        rows: most calls first.
        total: all of them together.
        problems: lines that could not be used.
    """

    schema_version: int = SCHEMA_VERSION
    since: str
    until: str
    by: tuple[By, ...]
    rows: tuple[UsageRow, ...]
    total: UsageRow
    problems: tuple[Problem, ...]


def measure_usage(log: Log, stretch: Stretch, by: Sequence[By], *, now_us: int) -> UsageReport:
    """Measure.

    Args:
        log: opened with `COLUMNS` over the stretch.
        stretch: calls outside are left out; feedback counts up to its end.
        by: what to group by.
        now_us: lines later than this are from the future.
    """
    problems = [Problem(kind=kind, count=count) for kind, count in log.rows(PROBLEMS, {"future_us": now_us})]
    columns = ", ".join(BY_COLUMNS[one] for one in by)
    again = _gather(log, stretch, columns, now_us)
    problems += [Problem(kind=kind, count=count) for kind, count in sorted(again.items())]
    rows = _rows(log, by, columns)
    totals = _rows(log, (), "")
    return UsageReport(
        since=_spelled(stretch.since_us),
        until=_spelled(stretch.until_us),
        by=tuple(by),
        rows=tuple(rows),
        total=totals[0] if totals else _row({}, [0] * 13, {}, {}, {}),
        problems=tuple(problems),
    )


def _gather(log: Log, stretch: Stretch, columns: str, now_us: int) -> dict[ProblemKind, int]:
    """Make `calls`: each call once, with what its user made of it; give what was there again."""
    bucket = "CASE WHEN {given} THEN CAST(floor(ln(greatest({column}, 0.001)) / ln(1.01)) AS SMALLINT) END"
    width_us = max(1, -(-(stretch.until_us - stretch.since_us) // SLICES))
    log.rows(f"""
        CREATE TABLE told AS
        SELECT hash(call_id) AS call, {columns}, (at_us - {stretch.since_us}) // {width_us} AS slice,
            error_class IS NOT NULL AS failed, json_valid, cache <> 'miss' AS hit, degraded,
            input_tokens, output_tokens,
            {bucket.format(given=ANSWERED, column="latency_ms")} AS latency,
            {bucket.format(given=f"{ANSWERED} AND ttft_ms >= 0", column="ttft_ms")} AS ttft,
            CAST(round(cost_usd * {NANO}) AS BIGINT) AS cost
        FROM lines
        WHERE {IS_CALL} AND origin IN ('library', 'serve') AND error_class IS DISTINCT FROM 'Cancelled'
            AND at_us <= {now_us}
    """)  # noqa: S608 - names and numbers of ours
    again = tell_once(log)
    join_opinions(log, "TRUE")
    return again


def _rows(log: Log, by: Sequence[By], columns: str) -> list[UsageRow]:
    lead = f"{columns}, " if columns else ""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in log.rows(f"""
        SELECT {lead}count(*), count(*) FILTER (failed), count(json_valid), count(*) FILTER (NOT json_valid),
            count(accepted), count(*) FILTER (accepted), count(*) FILTER (saved), count(*) FILTER (hit),
            count(*) FILTER (degraded),
            coalesce(sum(input_tokens) FILTER (NOT hit), 0), coalesce(sum(output_tokens) FILTER (NOT hit), 0),
            coalesce(sum(cost), 0), count(*) FILTER (cost IS NULL AND NOT failed)
        FROM calls GROUP BY ALL HAVING count(*) > 0
    """):  # noqa: S608 - names of ours
        sums[row[: len(by)]] = [int(number) for number in row[len(by) :]]
    slices = _by_slice(log, lead, len(by))
    latency, ttft = (_histogram(log, lead, len(by), column) for column in ("latency", "ttft"))
    ordered = sorted(sums, key=lambda key: (-sums[key][0], [part or "" for part in key]))
    return [
        _row(dict(zip(by, key, strict=True)), sums[key], latency.get(key, {}), ttft.get(key, {}), slices.get(key, {}))
        for key in ordered
    ]


def _histogram(log: Log, lead: str, width: int, column: str) -> dict[tuple[Any, ...], dict[int, int]]:
    found: dict[tuple[Any, ...], dict[int, int]] = {}
    for row in log.rows(f"SELECT {lead}{column}, count(*) FROM told WHERE {column} IS NOT NULL GROUP BY ALL"):  # noqa: S608 - names of ours
        found.setdefault(row[:width], {})[row[-2]] = row[-1]
    return found


def _by_slice(log: Log, lead: str, width: int) -> dict[tuple[Any, ...], dict[int, tuple[int, int]]]:
    found: dict[tuple[Any, ...], dict[int, tuple[int, int]]] = {}
    for row in log.rows(f"SELECT {lead}slice, count(*), count(*) FILTER (failed) FROM told GROUP BY ALL"):  # noqa: S608 - names of ours
        found.setdefault(row[:width], {})[row[-3]] = (row[-2], row[-1])
    return found


def _row(
    group: dict[Any, str | None],
    sums: Sequence[int],
    latency: dict[int, int],
    ttft: dict[int, int],
    slices: dict[int, tuple[int, int]],
) -> UsageRow:
    latency_p50, latency_p95, latency_p99 = (bucket_quantile(latency, share) for share in _SHARES)
    ttft_p50, ttft_p95, ttft_p99 = (bucket_quantile(ttft, share) for share in _SHARES)
    names = (
        "call_count",
        "failed_count",
        "promised_json_count",
        "bad_json_count",
        "judged_count",
        "accepted_count",
        "saved_count",
        "hit_count",
        "degraded_count",
        "input_tokens",
        "output_tokens",
    )
    by_slice = [slices.get(index, (0, 0)) for index in range(SLICES)]
    return UsageRow(
        group=group,
        latency=(latency_p50, latency_p95, latency_p99),
        ttft=(ttft_p50, ttft_p95, ttft_p99),
        cost_usd=sums[11] / NANO,
        unpriced_count=sums[12],
        calls_by_slice=tuple(calls for calls, _ in by_slice),
        failed_by_slice=tuple(failed for _, failed in by_slice),
        **dict(zip(names, sums, strict=False)),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _spelled(moment_us: int) -> str:
    return from_us(moment_us).isoformat(timespec="seconds").replace("+00:00", "Z")
