"""Faults of providers and their effects on a caller of the gateway: one table, tested and shown in the docs.

Each row calls a feature whose fallback chain is `primary`, then `fallback` of another provider, unless it says more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from support.scripted_replies import Asked, Reply, holds, rejects_prefill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.providers.client import Transport

Way = Literal["whole", "streamed", "restarted"]
"""How a call is made: `complete`; `stream`; `stream` with `on_break="restart"`."""

Behaviour = Reply | Callable[[Asked], Reply] | None
"""What a provider does; None: nothing listens at its address."""

FIRST_TOKEN_S = 0.5
TOTAL_S = 2.0
MAX_SCALE = 16.0
"""On a busy machine a project's limits are up to so many times as long."""
SLOW_FIRST_TOKEN_S = 10 * MAX_SCALE * FIRST_TOKEN_S
"""Longer than any project of the table waits."""
RETRY_AFTER_S = 0.2
SLACK_S = 1.0
OPEN_S = 300.0
TEXTS = {name: f"{name} says hello to everybody" for name in ("primary", "fallback", "last")}
WELL = {name: Reply(text=text) for name, text in TEXTS.items()}

TRANSPORTS: tuple[Transport, ...] = ("direct", "litellm")
EVERY: tuple[Way, ...] = ("whole", "streamed", "restarted")
UNSEEN: tuple[Way, ...] = ("whole", "restarted")
"""Ways in which a failure after the first text can still be made good."""

ASKED: dict[tuple[Way, ...], str] = {EVERY: "any way", UNSEEN: "whole, or `restart`", ("streamed",): "streamed"}
"""Ways as the docs say them."""


class Within(Enum):
    """How long a call may take, in words and in seconds."""

    AT_ONCE = "1 s", 0.0
    FIRST_TOKEN = "first_token + 1 s", FIRST_TOKEN_S
    EACH_FIRST_TOKEN = "first_token for each + 1 s", 2 * FIRST_TOKEN_S
    RETRY_AFTER = "Retry-After + 1 s", RETRY_AFTER_S
    BACKOFF = "0.5 s backoff + 1 s", 0.5
    TOTAL = "total + 1 s", TOTAL_S

    @property
    def words(self) -> str:
        """As the docs say it."""
        return self.value[0]

    def limit_s(self, scale: float) -> float:
        """Return the seconds, slack included, in a project whose limits are so many times as long."""
        return (self.value[1] + SLACK_S) * scale


Setting = Literal["plain", "alone", "patient", "degrading", "around_filter", "three", "short"]
SETTINGS: dict[Setting, tuple[str, str]] = {
    "plain": ("fallback: [fallback]", ""),
    "alone": ("fallback: []", "no fallback"),
    "patient": ("fallback: [fallback], retry: {same_provider: 1, max_wait: 1s}", "`retry: {same_provider: 1}`"),
    "degrading": ("fallback: [fallback], degrade: {to: last, disclaimer: in short}", "`degrade: {to: last}`"),
    "around_filter": ("fallback: [fallback], on_filtered: next", "`on_filtered: next`"),
    "three": ("fallback: [same_size, fallback]", "a model of the same context between them"),
    "short": ("fallback: [fallback], budget: {completion_tokens: 50}", "`budget: {completion_tokens: 50}`"),
}
"""Features by name: their entry in the registry, and what the docs say of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One fault, and what follows.

    Args:
        fault: what happens, in words.
        ways: how it is asked; all of them get the same.
        primary: what the first model's provider does, for ever.
        first: what it does to its first requests instead, in order.
        fallback: what the second one's does.
        last: what the degraded one's does.
        setting: the feature.
        messages: what is asked in the raw form; None for the prompt.
        before: how many calls are made first.
        passes_s: how many seconds go by then.
        again: how many calls are made after that, before the one that is looked at.
        gets: whose whole answer the caller gets; None when it gets an error.
        error: the error's class; None when it gets an answer.
        after_text: whether the caller has been given text when the error comes.
        finish_reason: of the answer.
        within: how long it may take.
        requests: how many the primary's provider got, and the fallback's.
        attempts: what the event says of each try.
        alert: cause of the alert event; None when there is none.
        transports: how its models are called.
    """

    fault: str
    ways: tuple[Way, ...] = EVERY
    primary: Behaviour = WELL["primary"]
    first: tuple[Reply, ...] = ()
    fallback: Behaviour = WELL["fallback"]
    last: Behaviour = WELL["last"]
    setting: Setting = "plain"
    messages: tuple[dict[str, Any], ...] | None = None
    before: int = 0
    passes_s: float = 0.0
    again: int = 0
    gets: str | None = None
    error: str | None = None
    after_text: bool = False
    finish_reason: str = "stop"
    within: Within = Within.AT_ONCE
    requests: tuple[int, int] = (1, 1)
    attempts: tuple[str, ...] = ()
    alert: str | None = None
    transports: tuple[Transport, ...] = TRANSPORTS

    @property
    def name(self) -> str:
        """The fault and how it is asked."""
        return f"{self.fault} ({', '.join(self.ways)})"


def _moves_on(fault: str, error: str, primary: Behaviour, **changes: Any) -> Row:
    """Give a row whose fallback answers in the primary's place."""
    facts: dict[str, Any] = {"gets": "fallback", "attempts": (f"primary {error}", "fallback ok")}
    return Row(fault=fault, primary=primary, **{**facts, **changes})


def _breaks(fault: str, error: str, primary: Behaviour, **changes: Any) -> Iterator[Row]:
    """Give two rows: a fault after the first text is made good where the caller has not seen it, or said so."""
    yield _moves_on(fault, error, primary, ways=UNSEEN, **changes)
    facts: dict[str, Any] = {"requests": (1, 0), "after_text": True}
    yield Row(
        fault=fault,
        ways=("streamed",),
        primary=primary,
        error=error.partition(" ")[0],
        attempts=(f"primary {error}",),
        **{**changes, **facts},
    )


def _stays(fault: str, primary: Behaviour, **changes: Any) -> Row:
    """Give a row whose primary answers all the same."""
    facts: dict[str, Any] = {"gets": "primary", "requests": (1, 0), "attempts": ("primary ok",)}
    return Row(fault=fault, primary=primary, **{**facts, **changes})


def _refuses(fault: str, error: str, primary: Behaviour, **changes: Any) -> Row:
    """Give a row whose failure is the caller's."""
    facts: dict[str, Any] = {"error": error.partition(" ")[0], "requests": (1, 0), "attempts": (f"primary {error}",)}
    return Row(fault=fault, primary=primary, **{**facts, **changes})


def _good(name: str, answerer: Callable[[Asked], Reply]) -> Callable[[Asked], Reply]:
    """Have an answerer of someone else's speak with a model's own words where it answers."""

    def answer(asked: Asked) -> Reply:
        reply = answerer(asked)
        return reply if reply.status >= 400 else WELL[name]

    return answer


def _faulty(**changes: Any) -> Reply:
    return Reply(**{"text": TEXTS["primary"], **changes})


def _status(status: int, message: str = "scripted failure", **error: str) -> Reply:
    return Reply(status=status, error={"message": message, "type": "scripted", **error})


def _limited(retry_after: float | None) -> Reply:
    return Reply(status=429, retry_after=None if retry_after is None else f"{retry_after:g}")


PREFILL = ({"role": "user", "content": "a story"}, {"role": "assistant", "content": "Once upon"})
DOWN = _status(500)
ROWS: tuple[Row, ...] = (
    _stays("none", WELL["primary"]),
    # --- the provider says that it cannot ---
    _moves_on("429 without Retry-After", "RateLimitedError 429", _limited(None)),
    _moves_on("429 with Retry-After", "RateLimitedError 429", _limited(20)),
    _moves_on("the next call while that Retry-After lasts", "backing_off", _limited(20), before=1, requests=(0, 1)),
    _stays(
        "429 with Retry-After within `max_wait`",
        WELL["primary"],
        first=(_limited(RETRY_AFTER_S),),
        setting="patient",
        within=Within.RETRY_AFTER,
        requests=(2, 0),
        attempts=("primary RateLimitedError 429", "primary ok"),
    ),
    _moves_on("429 with Retry-After beyond `max_wait`", "RateLimitedError 429", _limited(20), setting="patient"),
    _stays(
        "429 with Retry-After within `max_wait`",
        WELL["primary"],
        first=(_limited(RETRY_AFTER_S),),
        setting="alone",
        within=Within.RETRY_AFTER,
        requests=(2, 0),
        attempts=("primary RateLimitedError 429", "primary ok"),
    ),
    _refuses("429 with Retry-After beyond `max_wait`", "RateLimitedError 429", _limited(20), setting="alone"),
    *(_moves_on(f"{status}", f"ServerError {status}", _status(status)) for status in (500, 502, 503)),
    _moves_on("529 overloaded", "ServerError 529", _status(529, type="overloaded_error")),
    _stays(
        "500, once",
        WELL["primary"],
        first=(DOWN,),
        setting="alone",
        within=Within.BACKOFF,
        requests=(2, 0),
        attempts=("primary ServerError 500", "primary ok"),
    ),
    # --- the connection ---
    _moves_on("connection refused", "UnreachableError", None, requests=(0, 1)),
    _moves_on("reset before headers", "UnreachableError", _faulty(fault="reset_before_headers")),
    _moves_on("closed before headers", "UnreachableError", _faulty(fault="close_before_headers")),
    _moves_on(
        "reset after headers, before the first token",
        "MalformedAnswerError",
        _faulty(text="", fault="reset_after_headers"),
    ),
    *_breaks("reset in the middle", "MalformedAnswerError", _faulty(fault="reset_after_headers")),
    # --- silence ---
    _moves_on("silent", "TimedOutError", _faulty(fault="silent"), within=Within.FIRST_TOKEN),
    _moves_on(
        "slow first token", "TimedOutError", _faulty(first_token_delay_s=SLOW_FIRST_TOKEN_S), within=Within.FIRST_TOKEN
    ),
    _moves_on("nothing but keep-alives", "TimedOutError", _faulty(fault="comments"), within=Within.FIRST_TOKEN),
    _stays("first token late, but in time", _faulty(delay_s=FIRST_TOKEN_S / 3), within=Within.FIRST_TOKEN),
    _refuses("silent", "TimedOutError", _faulty(fault="silent"), setting="alone", within=Within.FIRST_TOKEN),
    *_breaks("stalled in the middle", "TimedOutError", _faulty(fault="stall"), within=Within.FIRST_TOKEN),
    # --- the stream ---
    *_breaks("cut in the middle", "MalformedAnswerError", _faulty(fault="cut")),
    *_breaks("an error object inside a 200 stream", "ServerError", _faulty(fault="error_chunk")),
    *_breaks("no finish reason", "MalformedAnswerError", _faulty(fault="no_finish")),
    *_breaks("endless", "TimedOutError", _faulty(fault="endless"), within=Within.TOTAL),
    *_breaks("endless", "MalformedAnswerError", _faulty(fault="endless"), setting="short"),
    _stays("one malformed chunk in a good stream", _faulty(fault="malformed_chunk"), transports=("direct",)),
    # LiteLLM ends a stream at its first malformed chunk
    *_breaks(
        "one malformed chunk in a good stream",
        "MalformedAnswerError",
        _faulty(fault="malformed_chunk"),
        transports=("litellm",),
    ),
    _stays("no end marker after a good stream", _faulty(fault="no_done")),
    # --- the answer ---
    _moves_on("malformed JSON", "MalformedAnswerError", _faulty(body=b'{"id": "c-1", "choi')),
    _moves_on("no chunk of the stream is JSON", "MalformedAnswerError", _faulty(fault="garbage")),
    _moves_on("empty completion", "MalformedAnswerError", _faulty(text="")),
    _moves_on("an empty body", "MalformedAnswerError", _faulty(body=b"")),
    _moves_on(
        "wrong content type",
        "MalformedAnswerError",
        _faulty(body=b"<html>Sign in</html>", content_type="text/html"),
    ),
    _stays("cut at the token limit", _faulty(finish_reason="length"), finish_reason="length"),
    # --- the key, the model ---
    _moves_on("401", "AuthError 401", _status(401), alert="auth"),
    _moves_on("403", "AuthError 403", _status(403), alert="auth"),
    _moves_on("404, the model is retired", "ModelNotFoundError 404", _status(404), alert="retired_model"),
    # --- the request ---
    _refuses("400 invalid request", "InvalidRequestError 400", _status(400)),
    _moves_on("context too long", "ContextTooLongError 400", _good("primary", holds(10))),
    _moves_on(
        "context too long",
        "ContextTooLongError 400",
        _good("primary", holds(10)),
        setting="three",
        attempts=("primary ContextTooLongError 400", "same_size too_small", "fallback ok"),
    ),
    _refuses(
        "context too long for all",
        "ContextTooLongError 400",
        _good("primary", holds(10)),
        fallback=_good("fallback", holds(10)),
        requests=(1, 1),
        attempts=("primary ContextTooLongError 400", "fallback ContextTooLongError 400"),
    ),
    _refuses("content filter", "ContentFilteredError 400", _status(400, code="content_filter")),
    _moves_on(
        "content filter",
        "ContentFilteredError 400",
        _status(400, code="content_filter"),
        setting="around_filter",
    ),
    _refuses(
        "content filter in the middle of an answer",
        "ContentFilteredError",
        _faulty(finish_reason="content_filter"),
        after_text=True,
    ),
    *_breaks(
        "content filter in the middle of an answer",
        "ContentFilteredError",
        _faulty(finish_reason="content_filter"),
        setting="around_filter",
    ),
    _moves_on(
        "down, and the fallback rejects an assistant prefill",
        "ServerError 500",
        DOWN,
        fallback=_good("fallback", rejects_prefill),
        messages=PREFILL,
        requests=(1, 2),
        attempts=("primary ServerError 500", "fallback InvalidRequestError 400", "fallback ok"),
    ),
    # --- time goes by ---
    _moves_on("down, after six failures", "open", DOWN, before=6, requests=(0, 1)),
    _stays(
        "flapping: down for six calls, well when the breaker's time is over",
        WELL["primary"],
        first=(DOWN,) * 6,
        before=6,
        passes_s=OPEN_S + 1,
    ),
    _stays(
        "flapping: the next call after the probe",
        WELL["primary"],
        first=(DOWN,) * 6,
        before=6,
        passes_s=OPEN_S + 1,
        again=1,
    ),
    _moves_on("still down when the breaker's time is over", "ServerError 500", DOWN, before=6, passes_s=OPEN_S + 1),
    _moves_on(
        "still down: the next call after the probe",
        "open",
        DOWN,
        before=6,
        passes_s=OPEN_S + 1,
        again=1,
        requests=(0, 1),
    ),
    # --- everybody is down ---
    Row(
        fault="all down",
        primary=DOWN,
        fallback=_status(503),
        setting="degrading",
        gets="last",
        attempts=("primary ServerError 500", "fallback ServerError 503", "last ok"),
    ),
    Row(
        fault="all down",
        primary=DOWN,
        fallback=_status(503),
        error="AllModelsFailedError",
        within=Within.BACKOFF,
        requests=(1, 2),
        attempts=("primary ServerError 500", "fallback ServerError 503", "fallback ServerError 503"),
    ),
    Row(
        fault="all silent",
        primary=_faulty(fault="silent"),
        fallback=_faulty(fault="silent"),
        error="AllModelsFailedError",
        within=Within.EACH_FIRST_TOKEN,
        attempts=("primary TimedOutError", "fallback TimedOutError"),
    ),
)

COLUMNS = ("fault", "asked", "the caller gets", "within", "requests to primary / fallback", "the event says")


def markdown() -> str:
    """Return the table as Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, ROWS)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    transport = "" if row.transports == TRANSPORTS else f"`transport: {row.transports[0]}`"
    fault = "; ".join(filter(None, (row.fault, SETTINGS[row.setting][1], transport)))
    attempts = " → ".join(f"`{attempt}`" for attempt in row.attempts)
    return (
        fault,
        ASKED[row.ways],
        _gets(row),
        row.within.words,
        "{} / {}".format(*row.requests),
        attempts + (f"; alert `{row.alert}`" if row.alert else ""),
    )


def _gets(row: Row) -> str:
    if row.gets is None:
        text = "streamed: the text so far, then " if len(row.ways) > 1 else "the text so far, then "
        return f"{text if row.after_text else ''}`{row.error}`"
    words = f"`{row.gets}`'s answer"
    if row.gets == "last":
        words += ", marked `degraded`, with the disclaimer"
    return words if row.finish_reason == "stop" else f"{words}, `finish_reason` `{row.finish_reason}`"
