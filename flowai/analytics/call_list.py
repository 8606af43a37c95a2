"""`flowai calls`: the newest calls of the event log, and everything that it has about one call."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.analytics.event_query import CLOCK_SKEW_S, IS_CALL, IS_FEEDBACK, IS_SCORE, TimeRange, days_around, open_log
from flowai.analytics.records import ReportRecord
from flowai.errors import InfrastructureError, UsageError
from flowai.events import Attempt, CallEvent, FeedbackEvent, ScoreEvent
from flowai.events.lake.columns import columns
from flowai.timestamps import format_us, from_us, parse_moment, to_us
from flowai.workspace.event_source import open_event_source
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.analytics.event_query import Log
    from flowai.workspace.workspace import CommandContext, Workspace

SCHEMA_VERSION = 1
MAX_SHOWN_IDS = 5
_LIST_COLUMNS = (
    "call_id", "feature", "release", "variant", "requested_model", "attempts", "degraded", "cache", "input_tokens",
    "output_tokens", "cost_usd", "ttft_ms", "error_class",
)  # fmt: skip
_CALL_COLUMNS = CallEvent.__struct_fields__
_JUDGEMENT_COLUMNS = tuple(dict.fromkeys((*FeedbackEvent.__struct_fields__, *ScoreEvent.__struct_fields__)))


@dataclass(frozen=True, kw_only=True, slots=True)
class CallListOptions:
    """Options of `flowai calls`."""

    since: str = "24h"
    """As typed."""
    max_count: int = 20
    failed: bool = False
    """Only calls that failed; not those that their caller cancelled."""
    degraded: bool = False
    """Only calls that the last resort answered."""
    feature: str | None = None
    """Only calls of this feature."""


class CallSummary(ReportRecord, frozen=True, kw_only=True):
    """A call in a list."""

    call_id: str
    at: str
    """Time of the request, RFC 3339, UTC."""
    origin: str
    feature: str | None
    """The feature; None if a model was called without one."""
    release: str | None
    variant: str | None
    model: str
    """Registry name of the model that answered, else of the first one."""
    degraded: bool
    """Whether the last resort answered."""
    cache: str
    attempt_count: int
    """Models that were called."""
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    ttft_ms: float | None
    latency_ms: float
    error_class: str | None
    """Class of the error; None after an answer."""
    http_status: int | None
    """HTTP status of the last failed attempt; None without one."""


class CallList(ReportRecord, frozen=True, kw_only=True):
    """The newest calls: a public format."""

    schema_version: int = SCHEMA_VERSION
    since: str
    """RFC 3339, UTC."""
    calls: tuple[CallSummary, ...]
    """Newest first."""


class CallDetails(ReportRecord, frozen=True, kw_only=True):
    """A call, with the feedback and scores about it: a public format."""

    schema_version: int = SCHEMA_VERSION
    call: CallEvent
    feedback: tuple[FeedbackEvent, ...]
    """Oldest first."""
    scores: tuple[ScoreEvent, ...]
    """Oldest first."""


def list_calls(context: CommandContext, options: CallListOptions) -> CallList:
    """Return the newest calls of the log, of all origins.

    Raises:
        UsageError: an option is wrong, or there is no such feature.
        InfrastructureError: the log cannot be read.
    """
    if options.failed and options.degraded:
        raise UsageError("--failed and --degraded exclude each other", hint="a degraded call was answered")
    workspace = open_workspace(context)
    if options.feature is not None:
        workspace.registry.feature(options.feature)
    time_range = range_until_now(context, options.since)
    conditions = [IS_CALL]
    if options.failed:
        conditions.append("error_class IS NOT NULL AND error_class <> 'Cancelled'")
    if options.degraded:
        conditions.append("degraded")
    if options.feature is not None:
        conditions.append("feature = $feature")
    names = (*_LIST_COLUMNS, "origin", "latency_ms", "at_us")
    parameters: dict[str, Any] = {"max_count": options.max_count}
    if options.feature is not None:
        parameters["feature"] = options.feature
    with open_calls(workspace, time_range, _LIST_COLUMNS) as log:
        rows = log.fetch(
            f"SELECT DISTINCT {', '.join(names)} FROM lines WHERE {' AND '.join(conditions)} "  # noqa: S608 - conditions of ours
            "ORDER BY at_us DESC, call_id LIMIT $max_count",
            parameters,
        )
    calls = tuple(_summary(dict(zip(names, row, strict=True))) for row in rows)
    return CallList(since=format_us(time_range.since_us), calls=calls)


def find_call(context: CommandContext, call_id: str, *, since: str) -> CallDetails:
    """Return a call and what was said about it.

    Args:
        context: the project.
        call_id: its id, or the beginning of it.
        since: start of the search, as typed.

    Raises:
        UsageError: no call or several calls have such an id.
        InfrastructureError: the log cannot be read.
    """
    workspace = open_workspace(context)
    time_range = range_until_now(context, since)
    with open_calls(workspace, time_range, _JUDGEMENT_COLUMNS) as log:
        found = log.fetch(
            f"SELECT DISTINCT call_id, at_us FROM lines WHERE {IS_CALL} AND starts_with(call_id, $id) ORDER BY at_us",  # noqa: S608 - a condition of ours
            {"id": call_id},
        )
        if len({row[0] for row in found}) != 1:
            raise _not_one_call(call_id, sorted({row[0] for row in found}), since)
        call_id, at_us = found[0]
        feedback = _judgements(log, IS_FEEDBACK, call_id, FeedbackEvent)
        scores = _judgements(log, IS_SCORE, call_id, ScoreEvent)
    # the contents of other calls are not read; of a line that was written days later, there is no way around it
    for narrowed in (TimeRange(since_us=at_us, until_us=at_us + 1), time_range):
        with open_calls(workspace, narrowed, _CALL_COLUMNS) as log:
            calls = _events(log, IS_CALL, call_id, CallEvent)
        if calls:
            break
    return CallDetails(call=calls[0], feedback=feedback, scores=scores)


def _not_one_call(call_id: str, found: Sequence[str], since: str) -> UsageError:
    if not found:
        return UsageError(f"no call `{call_id}` since `{since}`", hint="--since 90d searches further back")
    return UsageError(f"{len(found)} calls begin with `{call_id}`", hint=f"such as {', '.join(found[:MAX_SHOWN_IDS])}")


def range_until_now(context: CommandContext, since: str) -> TimeRange:
    """Return the time range from `--since`, as typed, until now."""
    now = context.now()
    since_us = to_us(parse_moment(since, now=now.replace(microsecond=0), option="--since"))
    return TimeRange(since_us=since_us, until_us=to_us(now) + CLOCK_SKEW_S * 1_000_000)


@contextmanager
def open_calls(workspace: Workspace, time_range: TimeRange, names: Sequence[str]) -> Iterator[Log]:
    """Open a project's event log with these columns."""
    project = workspace.project
    source = open_event_source(workspace.registry, project, workspace.environ, days_around(time_range))
    with source as directories, open_log(directories, [name for name in names if name != "at"], time_range) as log:
        yield log


def _summary(row: dict[str, Any]) -> CallSummary:
    attempts = parse_attempts(row.pop("attempts"))
    requested_model = row.pop("requested_model")
    answered = [attempt.model for attempt in attempts if attempt.status == "ok"]
    failed = [attempt.http_status for attempt in attempts if attempt.status == "error"]
    return CallSummary(
        at=format_us(row.pop("at_us")),
        model=answered[-1] if answered else requested_model or "-",
        attempt_count=sum(attempt.status != "skipped" for attempt in attempts),
        http_status=failed[-1] if failed and row["error_class"] is not None else None,
        degraded=bool(row.pop("degraded")),
        cache=row.pop("cache") or "miss",
        **row,
    )


def parse_attempts(raw: str | None) -> tuple[Attempt, ...]:
    """Parse the attempts of a call; none if they are not in this version's format."""
    try:
        return () if raw is None else msgspec.json.decode(raw, type=tuple[Attempt, ...])
    except msgspec.DecodeError:  # a log that another program wrote
        return ()


def _judgements(log: Log, condition: str, call_id: str, kind: type[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(_events(log, condition, call_id, kind)))


def _events(log: Log, condition: str, call_id: str, kind: type[Any]) -> list[Any]:
    """Return the events of a kind about a call, oldest first."""
    names = [name for name in kind.__struct_fields__ if name != "at"]
    selected = ", ".join(f'"{name}"' for name in names)
    rows = log.fetch(
        f"SELECT at_us, {selected} FROM lines WHERE {condition} AND call_id = $id ORDER BY at_us",  # noqa: S608 - names and conditions of ours
        {"id": call_id},
    )
    return [_event(dict(zip(names, row[1:], strict=True)), row[0], kind) for row in rows]


def _event(row: dict[str, Any], at_us: int, kind: type[Any]) -> Any:  # noqa: ANN401 - one of the event records
    types = columns()
    values = {
        name: msgspec.json.decode(value) if types[name] == "JSON" and isinstance(value, str) else value
        for name, value in row.items()
        if value is not None
    }
    try:
        return msgspec.convert({**values, "at": from_us(at_us), "kind": kind.__struct_config__.tag}, kind)
    except msgspec.ValidationError as error:
        raise InfrastructureError(
            f"the event log has a {kind.__struct_config__.tag} that this flowai cannot read: {error}",
            hint="`flowai events validate` lists such lines",
        ) from None
