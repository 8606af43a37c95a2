"""Builds the table `facts`: each call once, its failures as bits and its attributes as numbers.

A call within five minutes after one of the same user (or session) and feature with the same failure is not independent:
it counts for neither side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.analytics.call_table import deduplicate_lines, join_feedback
from flowai.analytics.event_query import IS_CALL, PROBLEMS, literal
from flowai.analytics.records import NANO_USD, DataProblem, ProblemKind
from flowai.postmortem.analysis.records import ATTRIBUTES, KINDS, CallAttribute, FailureKind
from flowai.postmortem.analysis.text_features import language_sql, words_sql
from flowai.timestamps import from_us

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.analytics.event_query import Log
    from flowai.postmortem.analysis.records import IncidentQuestion

COLUMNS = (
    "user_hash",
    "session",
    "tenant",
    "feature",
    "release",
    "variant",
    "experiment",
    "arm",
    "prompt_id",
    "requested_model",
    "provider",
    "attempts",
    "degraded",
    "cache",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "finish_reason",
    "json_valid",
    "error_class",
    "error_message",
    "content",
    "verdict",
    "passed",
    "cause",
    "message",
    "action",
    "serving",
)
"""Columns that the log must be opened with."""

BASELINE, INCIDENT, AFTER = 0, 1, 2
"""Values of the column `era`."""

RETRY_US = 300_000_000
SLOW_SHARE = 0.95
MIN_ANSWERS = 100
"""Minimum of baseline answers for a p95."""

MAX_VALUES = 40
"""Values of an attribute that are distinguished, by calls; as many again by failures."""

INPUT_EDGES = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
MAX_SLICES = 12
_SLICE_S = (60, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)

MEMORY_LIMIT = "1GB"
"""Limit of DuckDB's memory: a post-mortem reads texts several times, and does not run every minute."""

MAX_TEXT_CHARS = 4_000
"""Characters of a request that are used for language and words."""

_LAST_SAID = f"left(content->>'$.messages[#-1].content', {MAX_TEXT_CHARS})"

_FIRST_ATTEMPT_SQL = """list_filter(
    from_json(attempts, '[{"provider":"VARCHAR","status":"VARCHAR","message":"VARCHAR"}]'),
    lambda one: one.status <> 'skipped')[1]"""
"""The first attempt that was not skipped."""

_SOURCES: dict[CallAttribute, str] = {
    "release": '"release"',
    "prompt": "prompt_id",
    "feature": "feature",
    "model": "requested_model",
    "provider": "coalesce(asked.provider, provider)",
    "variant": "variant",
    "arm": "experiment || ' ' || arm",
    "tenant": "tenant",
    "language": "language",
}
_MODEL_CALL = "NOT hit"
_ANSWERED = "NOT hit AND NOT failed"

# by kind: condition under which a call was at risk, and under which it failed
_RULES: dict[FailureKind, tuple[str, str]] = {
    "error": (_MODEL_CALL, "failed"),
    "invalid_json": ("json_valid IS NOT NULL", "NOT json_valid"),
    "truncated": (_ANSWERED, "at_limit"),
    "rejected_by_user": ("accepted IS NOT NULL", "NOT accepted"),
    "failed_evaluation": ("judged IS NOT NULL", "NOT judged"),
    "slow": (f"{_ANSWERED} AND slow_above IS NOT NULL", "latency_ms > slow_above"),
    "expensive": (
        f"{_ANSWERED} AND coalesce(by_both, by_feature) IS NOT NULL AND cost IS NOT NULL",
        "cost > coalesce(by_both, by_feature)",
    ),
    "fallback_used": (_MODEL_CALL, "fallback_used"),
    "degraded": (_ANSWERED, "degraded"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueCodes:
    """Meaning of the numbers in `facts`."""

    values: tuple[tuple[str, ...], ...]
    """By attribute (in the order of `ATTRIBUTES`), its values from number 1 on; those of `input` and `time` are
    formatted by `label_of`."""
    slice_us: int
    """Width of a slice of the incident's time."""
    first_slice: int
    """The slice, counted from 1970, with number 1."""

    def label_of(self, attribute: int, low: int, high: int) -> str:
        """Return the text of a value or a range of values."""
        name = ATTRIBUTES[attribute]
        if name == "input":
            return _spell_tokens(low, high)
        if name == "time":
            begin, end = (from_us((self.first_slice + number) * self.slice_us) for number in (low - 1, high))
            form = "%Y-%m-%d %H:%M" if begin.date() != end.date() else "%H:%M"
            return f"{begin:{form}} to {end:{form}}"
        return self.values[attribute][low - 1]


def _spell_tokens(low: int, high: int) -> str:
    last = len(INPUT_EDGES) + 1
    if high == last:
        return f"{INPUT_EDGES[low - 2]:,} tokens or more"
    if low == 1:
        return f"under {INPUT_EDGES[high - 1]:,} tokens"
    return f"{INPUT_EDGES[low - 2]:,} to {INPUT_EDGES[high - 1]:,} tokens"


@dataclass(frozen=True, kw_only=True, slots=True)
class CallFacts:
    """Facts about the table `facts`."""

    codes: ValueCodes
    problems: tuple[DataProblem, ...]
    warnings: tuple[str, ...]


def build_call_facts(log: Log, question: IncidentQuestion) -> CallFacts:
    """Build the tables `calls` and `facts`.

    The log must be opened with `COLUMNS` over the time range of `question`.
    """
    problems = [
        DataProblem(kind=kind, count=count) for kind, count in log.fetch(PROBLEMS, {"future_us": question.now_us})
    ]
    problems += [DataProblem(kind=kind, count=count) for kind, count in sorted(_load_calls(log, question).items())]
    join_feedback(log)
    log.fetch("""
        CREATE TEMP TABLE judgements AS
        SELECT hash(call_id) AS call, bool_and(passed) AS judged FROM lines
        WHERE kind = 'score' AND passed IS NOT NULL AND call_id IS NOT NULL GROUP BY call
    """)
    warnings = _freeze(log)
    codes = _code(log, question)
    return CallFacts(codes=codes, problems=tuple(problems), warnings=warnings)


def _load_calls(log: Log, question: IncidentQuestion) -> dict[ProblemKind, int]:
    attributes = ", ".join(f"{source} AS of_{name}" for name, source in _SOURCES.items())
    incident, after = question.incident, question.after
    of_feature = "TRUE" if question.feature is None else f"feature = {literal(question.feature)}"
    edges = " ".join(f"WHEN input_tokens < {edge} THEN {number}" for number, edge in enumerate(INPUT_EDGES, start=1))
    log.fetch(f"SET memory_limit = '{MEMORY_LIMIT}'")
    log.fetch(f"""
        CREATE TEMP TABLE texts AS
        SELECT hash(call_id) AS call, {words_sql(_LAST_SAID)} AS words
        FROM lines WHERE {IS_CALL} AND content IS NOT NULL
    """)  # noqa: S608 - names and numbers of ours
    log.fetch(f"CREATE TEMP TABLE languages AS {language_sql('texts')}")
    once = "SELECT call AS id, any_value(language) AS language FROM languages GROUP BY call"
    calls = f"""
        SELECT *, {_FIRST_ATTEMPT_SQL} AS asked FROM lines LEFT JOIN ({once}) ON id = hash(call_id)
        WHERE {IS_CALL} AND origin IN ('library', 'serve') AND error_class IS DISTINCT FROM 'Cancelled'
            AND at_us <= {question.now_us} AND {of_feature}
    """  # noqa: S608 - names and numbers of ours; the feature's name is quoted
    log.fetch(f"""
        CREATE TEMP TABLE call_lines AS
        SELECT hash(call_id) AS call, at_us, {attributes},
            CASE {edges} WHEN input_tokens IS NOT NULL THEN {len(INPUT_EDGES) + 1} END::UTINYINT AS input,
            (CASE WHEN at_us < {incident.since_us} THEN {BASELINE} WHEN at_us < {after.since_us} THEN {INCIDENT}
                ELSE {AFTER} END)::UTINYINT AS era,
            hash(user_hash) AS person, hash('session ' || session) AS chat,
            cache <> 'miss' AS hit, error_class IS NOT NULL AS failed, error_class, json_valid,
            coalesce(finish_reason = 'length', FALSE) AS at_limit, coalesce(degraded, FALSE) AS degraded,
            output_tokens, latency_ms, error_class IS NULL AND coalesce(asked.status = 'error', FALSE) AS fallback_used,
            id IS NOT NULL AS has_content, TRY_CAST(round(cost_usd * {NANO_USD}) AS BIGINT) AS cost
        FROM ({calls})
    """)  # noqa: S608 - as above
    return deduplicate_lines(log)


def _freeze(log: Log) -> tuple[str, ...]:
    """Compute the limits of slow (by feature) and expensive (by feature and model): p95 of the baseline."""
    ((answers,),) = log.fetch(f"SELECT count(*) FROM calls WHERE era = {BASELINE} AND {_ANSWERED}")  # noqa: S608 - ours
    has_baseline = answers >= MIN_ANSWERS
    era = BASELINE if has_baseline else INCIDENT
    taken = f"FROM calls WHERE era = {era} AND {_ANSWERED}"
    enough = f"HAVING count(*) >= {MIN_ANSWERS}"
    log.fetch(f"""
        CREATE TEMP TABLE slow_of AS
        SELECT of_feature, quantile_disc(latency_ms, {SLOW_SHARE}) AS above {taken} GROUP BY 1 {enough}
    """)
    log.fetch(f"""
        CREATE TEMP TABLE expensive_of AS
        SELECT of_feature, of_model, quantile_disc(cost, {SLOW_SHARE}) AS above
        {taken} AND cost IS NOT NULL GROUP BY GROUPING SETS ((of_feature, of_model), (of_feature)) {enough}
    """)
    if has_baseline:
        return ()
    measured = "slow and expensive are relative to the incident itself"
    return (f"only {answers:,} answers before the incident: {measured}",)


def _code(log: Log, question: IncidentQuestion) -> ValueCodes:
    """Build `facts`: possible and actual failures of each call as bits, and its attributes as numbers."""
    values = tuple(_values(log, name) for name in ATTRIBUTES[:-2])
    slice_us = slice_us_of(question.incident.until_us - question.incident.since_us, MAX_SLICES)
    first = question.incident.since_us // slice_us
    slices = -(-question.incident.until_us // slice_us) - first
    risk, bad = (
        " | ".join(f"CASE WHEN {rule[side]} THEN {1 << bit} ELSE 0 END" for bit, rule in enumerate(_RULES.values()))
        for side in (0, 1)
    )
    numbers = [
        f"coalesce(enum_code(TRY_CAST(of_{name} AS values_{name})) + 1, 0)::UTINYINT AS a{number}"
        for number, name in enumerate(ATTRIBUTES[:-2])
    ]
    time = f"CASE WHEN era = {INCIDENT} THEN at_us // {slice_us} - {first} + 1 ELSE 0 END"
    numbers += [f"coalesce(input, 0)::UTINYINT AS a{len(numbers)}", f"({time})::UTINYINT AS a{len(numbers) + 1}"]
    log.fetch(f"""
        CREATE TEMP TABLE facts AS
        SELECT call, era, at_us, person, chat, hit, failed, error_class, at_limit, degraded, output_tokens, latency_ms,
            fallback_used, has_content, cost, {", ".join(numbers)},
            ({risk})::INTEGER AS risk, (({risk}) & ({bad}))::INTEGER AS bad, (risk | (bad << {len(KINDS)})) AS mask
        FROM calls LEFT JOIN judgements USING (call)
            LEFT JOIN (SELECT of_feature AS f, above AS slow_above FROM slow_of) ON f = of_feature
            LEFT JOIN (
                SELECT of_feature AS g, of_model AS m, above AS by_both FROM expensive_of WHERE of_model IS NOT NULL
            ) ON g = of_feature AND m = of_model
            LEFT JOIN (SELECT of_feature AS h, above AS by_feature FROM expensive_of WHERE of_model IS NULL)
                ON h = of_feature
    """)  # noqa: S608 - names and numbers of ours
    _drop_duplicates(log)
    inputs = tuple(str(edge) for edge in (*INPUT_EDGES, "more"))
    return ValueCodes(
        values=(*values, inputs, tuple(str(number) for number in range(slices))), slice_us=slice_us, first_slice=first
    )


def _drop_duplicates(log: Log) -> None:
    """Clear the bits in `mask` that repeat those of a call just before."""
    feature = ATTRIBUTES.index("feature")
    log.fetch(f"""
        CREATE TEMP TABLE repeats AS
        SELECT call, repeated_bits FROM (
            SELECT call, risk, CASE WHEN at_us - lag(at_us) OVER again <= {RETRY_US} THEN lag(bad) OVER again END
                AS repeated_bits
            FROM facts WHERE person IS NOT NULL OR chat IS NOT NULL
            WINDOW again AS (PARTITION BY coalesce(person, chat), a{feature} ORDER BY at_us, call)
        ) WHERE repeated_bits & risk <> 0
    """)  # noqa: S608 - numbers of ours
    log.fetch(f"""
        UPDATE facts SET mask = (mask & ~(repeated_bits | (repeated_bits << {len(KINDS)})))
        FROM repeats WHERE facts.call = repeats.call
    """)  # noqa: S608 - numbers of ours


def _values(log: Log, name: CallAttribute) -> tuple[str, ...]:
    """Return the values of an attribute that are distinguished: those with most calls, and those with most failures."""
    rows = log.fetch(f"""
        SELECT of_{name}, row_number() OVER (ORDER BY calls DESC, of_{name}) <= {MAX_VALUES}
            OR row_number() OVER (ORDER BY failures DESC, of_{name}) <= {MAX_VALUES} AS is_kept
        FROM (
            SELECT of_{name}, count(*) AS calls,
                count(*) FILTER (failed OR NOT json_valid OR at_limit OR NOT accepted OR degraded) AS failures
            FROM calls WHERE of_{name} IS NOT NULL AND era = {INCIDENT} GROUP BY 1
        ) ORDER BY 1
    """)  # noqa: S608 - names and numbers of ours
    kept = tuple(value for value, is_kept in rows if is_kept)
    log.fetch(f"CREATE TYPE values_{name} AS ENUM ({', '.join(map(literal, kept)) or literal('')})")
    return kept


def slice_us_of(span_us: int, max_slices: int) -> int:
    """Return a round width of which at most `max_slices` cover a time span."""
    for width_s in _SLICE_S:
        if width_s * 1_000_000 * (max_slices - 1) >= span_us:
            return width_s * 1_000_000
    return -(-span_us // (86_400_000_000 * (max_slices - 1))) * 86_400_000_000


def rates_by_kind(counts: Mapping[tuple[int, int], int], era: int) -> dict[FailureKind, tuple[int, int]]:
    """Sum calls at risk and failures by kind, from counts by (era, mask)."""
    found = dict.fromkeys(KINDS, (0, 0))
    for (row_era, mask), count in counts.items():
        if row_era != era:
            continue
        for bit, kind in enumerate(KINDS):
            if mask >> bit & 1:
                at_risk, failures = found[kind]
                found[kind] = (at_risk + count, failures + (count if mask >> (bit + len(KINDS)) & 1 else 0))
    return found
