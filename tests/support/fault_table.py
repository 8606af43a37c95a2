"""Faults of providers and their effects on a caller of the gateway: one table, tested and shown in the docs."""

from __future__ import annotations

from support.fault_answers import ANSWER_ROWS
from support.fault_refusals import REFUSAL_ROWS
from support.fault_rows import (
    ASKED,
    EVERY,
    FIRST_TOKEN_S,
    MAX_SCALE,
    OPEN_S,
    RETRY_AFTER_S,
    SETTINGS,
    SLACK_S,
    SLOW_FIRST_TOKEN_S,
    TEXTS,
    TOTAL_S,
    WELL,
    Behaviour,
    Row,
    Way,
    Within,
    breaks,
    faulty,
    good,
    limited,
    moves_on,
    refuses,
    status_reply,
    stays,
)
from support.scripted_replies import holds, rejects_prefill

__all__ = [
    "EVERY",
    "FIRST_TOKEN_S",
    "MAX_SCALE",
    "ROWS",
    "SETTINGS",
    "SLACK_S",
    "TEXTS",
    "TOTAL_S",
    "WELL",
    "Behaviour",
    "Row",
    "Way",
    "markdown",
]

PREFILL = ({"role": "user", "content": "a story"}, {"role": "assistant", "content": "Once upon"})
DOWN = status_reply(500)
FAULT_ROWS: tuple[Row, ...] = (
    stays("none", WELL["primary"]),
    # --- the provider says that it cannot ---
    moves_on("429 without Retry-After", "RateLimitedError 429", limited(None)),
    moves_on("429 with Retry-After", "RateLimitedError 429", limited(20)),
    moves_on("the next call while that Retry-After lasts", "backing_off", limited(20), before=1, requests=(0, 1)),
    stays(
        "429 with Retry-After within `max_wait`",
        WELL["primary"],
        first=(limited(RETRY_AFTER_S),),
        setting="patient",
        within=Within.RETRY_AFTER,
        requests=(2, 0),
        attempts=("primary RateLimitedError 429", "primary ok"),
    ),
    moves_on("429 with Retry-After beyond `max_wait`", "RateLimitedError 429", limited(20), setting="patient"),
    stays(
        "429 with Retry-After within `max_wait`",
        WELL["primary"],
        first=(limited(RETRY_AFTER_S),),
        setting="alone",
        within=Within.RETRY_AFTER,
        requests=(2, 0),
        attempts=("primary RateLimitedError 429", "primary ok"),
    ),
    refuses("429 with Retry-After beyond `max_wait`", "RateLimitedError 429", limited(20), setting="alone"),
    *(moves_on(f"{status}", f"ServerError {status}", status_reply(status)) for status in (500, 502, 503)),
    moves_on("529 overloaded", "ServerError 529", status_reply(529, type="overloaded_error")),
    stays(
        "500, once",
        WELL["primary"],
        first=(DOWN,),
        setting="alone",
        within=Within.BACKOFF,
        requests=(2, 0),
        attempts=("primary ServerError 500", "primary ok"),
    ),
    # --- the connection ---
    moves_on("connection refused", "UnreachableError", None, requests=(0, 1)),
    moves_on("reset before headers", "UnreachableError", faulty(fault="reset_before_headers")),
    moves_on("closed before headers", "UnreachableError", faulty(fault="close_before_headers")),
    moves_on(
        "reset after headers, before the first token",
        "MalformedAnswerError",
        faulty(text="", fault="reset_after_headers"),
    ),
    *breaks("reset in the middle", "MalformedAnswerError", faulty(fault="reset_after_headers")),
    # --- silence ---
    moves_on("silent", "TimedOutError", faulty(fault="silent"), within=Within.FIRST_TOKEN),
    moves_on(
        "slow first token", "TimedOutError", faulty(first_token_delay_s=SLOW_FIRST_TOKEN_S), within=Within.FIRST_TOKEN
    ),
    moves_on("nothing but keep-alives", "TimedOutError", faulty(fault="comments"), within=Within.FIRST_TOKEN),
    stays("first token late, but in time", faulty(delay_s=FIRST_TOKEN_S / 3), within=Within.FIRST_TOKEN),
    refuses("silent", "TimedOutError", faulty(fault="silent"), setting="alone", within=Within.FIRST_TOKEN),
    *breaks("stalled in the middle", "TimedOutError", faulty(fault="stall"), within=Within.FIRST_TOKEN),
    # --- the stream ---
    *breaks("cut in the middle", "MalformedAnswerError", faulty(fault="cut")),
    *breaks("an error object inside a 200 stream", "ServerError", faulty(fault="error_chunk")),
    *breaks("no finish reason", "MalformedAnswerError", faulty(fault="no_finish")),
    *breaks("endless", "TimedOutError", faulty(fault="endless"), within=Within.TOTAL),
    *breaks("endless", "MalformedAnswerError", faulty(fault="endless"), setting="short"),
    stays(
        "one malformed chunk in a good stream",
        faulty(fault="malformed_chunk"),
        direct_only="LiteLLM ends a stream at its first malformed chunk",
    ),
    stays("no end marker after a good stream", faulty(fault="no_done")),
    # --- the answer ---
    moves_on("malformed JSON", "MalformedAnswerError", faulty(body=b'{"id": "c-1", "choi')),
    moves_on("no chunk of the stream is JSON", "MalformedAnswerError", faulty(fault="garbage")),
    moves_on("empty completion", "MalformedAnswerError", faulty(text="")),
    moves_on("an empty body", "MalformedAnswerError", faulty(body=b"")),
    moves_on(
        "wrong content type",
        "MalformedAnswerError",
        faulty(body=b"<html>Sign in</html>", content_type="text/html"),
    ),
    stays("cut at the token limit", faulty(finish_reason="length"), finish_reason="length"),
    # --- the key, the model ---
    moves_on("401", "AuthError 401", status_reply(401), alert="auth"),
    moves_on("403", "AuthError 403", status_reply(403), alert="auth"),
    moves_on("404, the model is retired", "ModelNotFoundError 404", status_reply(404), alert="retired_model"),
    # --- the request ---
    refuses("400 invalid request", "InvalidRequestError 400", status_reply(400)),
    moves_on("context too long", "ContextTooLongError 400", good("primary", holds(10))),
    moves_on(
        "context too long",
        "ContextTooLongError 400",
        good("primary", holds(10)),
        setting="three",
        attempts=("primary ContextTooLongError 400", "same_size too_small", "fallback ok"),
    ),
    refuses(
        "context too long for all",
        "ContextTooLongError 400",
        good("primary", holds(10)),
        fallback=good("fallback", holds(10)),
        requests=(1, 1),
        attempts=("primary ContextTooLongError 400", "fallback ContextTooLongError 400"),
    ),
    refuses("content filter", "ContentFilteredError 400", status_reply(400, code="content_filter")),
    moves_on(
        "content filter",
        "ContentFilteredError 400",
        status_reply(400, code="content_filter"),
        setting="around_filter",
    ),
    refuses(
        "content filter in the middle of an answer",
        "ContentFilteredError",
        faulty(finish_reason="content_filter"),
        after_text=True,
    ),
    *breaks(
        "content filter in the middle of an answer",
        "ContentFilteredError",
        faulty(finish_reason="content_filter"),
        setting="around_filter",
    ),
    moves_on(
        "down, and the fallback rejects an assistant prefill",
        "ServerError 500",
        DOWN,
        fallback=good("fallback", rejects_prefill),
        messages=PREFILL,
        requests=(1, 2),
        attempts=("primary ServerError 500", "fallback InvalidRequestError 400", "fallback ok"),
    ),
    # --- time goes by ---
    moves_on("down, after six failures", "open", DOWN, before=6, requests=(0, 1)),
    stays(
        "flapping: down for six calls, well when the breaker's time is over",
        WELL["primary"],
        first=(DOWN,) * 6,
        before=6,
        passes_s=OPEN_S + 1,
    ),
    stays(
        "flapping: the next call after the probe",
        WELL["primary"],
        first=(DOWN,) * 6,
        before=6,
        passes_s=OPEN_S + 1,
        again=1,
    ),
    moves_on("still down when the breaker's time is over", "ServerError 500", DOWN, before=6, passes_s=OPEN_S + 1),
    moves_on(
        "still down: the next call after the probe",
        "open",
        DOWN,
        before=6,
        passes_s=OPEN_S + 1,
        again=1,
        requests=(0, 1),
    ),
    stays(
        "the next call after six failures of thirty calls",
        WELL["primary"],
        first=(*(WELL["primary"],) * 24, *(DOWN,) * 6),
        before=30,
        setting="rated",
    ),
    moves_on(
        "down: the next call after six failures",
        "open",
        DOWN,
        before=6,
        setting="rated",
        requests=(0, 1),
    ),
    refuses("500", "ServerError 500", DOWN, setting="frugal"),
    # --- everybody is down ---
    Row(
        fault="all down",
        primary=DOWN,
        fallback=status_reply(503),
        setting="degrading",
        gets="last",
        attempts=("primary ServerError 500", "fallback ServerError 503", "last ok"),
    ),
    Row(
        fault="all down",
        primary=DOWN,
        fallback=status_reply(503),
        error="AllModelsFailedError",
        within=Within.BACKOFF,
        requests=(1, 2),
        attempts=("primary ServerError 500", "fallback ServerError 503", "fallback ServerError 503"),
    ),
    Row(
        fault="all silent",
        primary=faulty(fault="silent"),
        fallback=faulty(fault="silent"),
        error="AllModelsFailedError",
        within=Within.EACH_FIRST_TOKEN,
        attempts=("primary TimedOutError", "fallback TimedOutError"),
    ),
)

ROWS = (*FAULT_ROWS, *ANSWER_ROWS, *REFUSAL_ROWS)

COLUMNS = ("fault", "asked", "the caller gets", "within", "requests to primary / fallback", "the event says")


def markdown() -> str:
    """Return the table as Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, ROWS)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    setting = SETTINGS[row.setting][1]
    attempts = " → ".join(f"`{attempt}`" for attempt in row.attempts)
    return (
        f"{row.fault}; {setting}" if setting else row.fault,
        ASKED[row.ways],
        _gets(row),
        row.within.words,
        "{} / {}".format(*row.requests),
        "; ".join(filter(None, (attempts, row.alert and f"alert `{row.alert}`", row.direct_only))),
    )


def _gets(row: Row) -> str:
    if row.gets is None:
        text = "streamed: the text so far, then " if len(row.ways) > 1 else "the text so far, then "
        return f"{text if row.after_text else ''}`{row.error}`"
    words = f"`{row.gets}`'s answer"
    if row.gets == "last":
        words += ", marked `degraded`, with the disclaimer"
    if row.text is not None:
        words += ", empty" if not row.text else ""
    return words if row.finish_reason == "stop" else f"{words}, `finish_reason` `{row.finish_reason}`"
