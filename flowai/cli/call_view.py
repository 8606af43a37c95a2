"""Screens of one call: its facts, and its attempts as a waterfall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.rendering.formatting import MISSING_TEXT, aligned, dollars, duration, joined_lines, wrapped
from flowai.rendering.markdown import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.events import Attempt, CallEvent

DEFAULT_WIDTH = 100
"""Width of screens that are not on a terminal."""
MAX_BAR_CHARS = 40
MIN_BAR_CHARS = 8
MAX_NAME_CHARS = 24
MAX_MESSAGE_CHARS = 300
_BAR = "\u2588"


def call_lines(call: CallEvent, width: int | None) -> Iterator[str]:
    """Yield the facts of a call, and its attempts as a waterfall."""
    yield from joined_lines(_origin_parts(call), width, indent="  ")
    yield from joined_lines(_cost_parts(call), width, indent="  ")
    if call.error_class is not None:
        message = one_line(f"{call.error_class}: {call.error_message or 'no message'}", MAX_MESSAGE_CHARS)
        yield from wrapped(f"FAILED  {message}", width)
    yield from attempt_lines(call, width)


def attempt_lines(call: CallEvent, width: int | None) -> Iterator[str]:
    """Yield a line per attempt with its bar on the call's time axis, and the messages of failed ones below it."""
    if not call.attempts:
        return
    rows = [("model", "result", "start", "time"), *(_attempt_cells(attempt) for attempt in call.attempts)]
    lines = list(aligned(rows, "<<>>"))
    widest = max(map(len, lines))
    bar_chars = min(MAX_BAR_CHARS, (width or DEFAULT_WIDTH) - widest - 2)
    yield lines[0]
    for attempt, line in zip(call.attempts, lines[1:], strict=True):
        bar = _bar(attempt, call.latency_ms, bar_chars) if bar_chars >= MIN_BAR_CHARS else ""
        yield f"{line:<{widest}}  {bar}".rstrip()
        if attempt.message:
            yield f"  {one_line(attempt.message, (width or DEFAULT_WIDTH) - 2)}"


def _origin_parts(call: CallEvent) -> Iterator[str]:
    yield f"call {call.call_id}"
    yield f"{call.at:%Y-%m-%d %H:%M:%S} UTC"
    yield f"origin {call.origin}"
    for name, value in (
        ("feature", call.feature),
        ("release", call.release),
        ("variant", call.variant),
        ("prompt", call.prompt_id),
        ("tenant", call.tenant),
        ("session", call.session),
    ):
        if value is not None:
            yield f"{name} {one_line(value)}"
    if call.experiment is not None:
        yield f"experiment {call.experiment}, arm {call.arm}"


def _cost_parts(call: CallEvent) -> Iterator[str]:
    if call.error_class is None:
        served = "" if call.served_model is None else f" ({one_line(call.served_model)})"
        degraded = "degraded: " if call.degraded else ""
        yield f"{degraded}answered by {_answering_model(call)}{served}"
    similarity = "" if call.similarity is None else f", similarity {call.similarity:.3f}"
    yield f"cache {call.cache}{similarity}"
    if call.cache_key is not None:
        yield f"cached as {call.cache_key}"
    would_be = call.would_be_hit
    if would_be is not None:
        yield f"similar request, {would_be.similarity:.3f}: {would_be.cache_key}, answers {would_be.outcome}"
    yield f"tokens {_count(call.input_tokens)} in, {_count(call.output_tokens)} out"
    yield f"cost {dollars(call.cost_usd)}"
    yield f"TTFT {duration(call.ttft_ms)}"
    yield f"total {duration(call.latency_ms)}"
    if call.finish_reason is not None:
        yield f"finish reason {one_line(call.finish_reason)}"
    if call.json_valid is not None:
        yield "valid JSON" if call.json_valid else "JSON NOT VALID"


def _answering_model(call: CallEvent) -> str:
    answered = [attempt.model for attempt in call.attempts if attempt.status == "ok"]
    return answered[-1] if answered else call.requested_model


def _count(number: int | None) -> str:
    return MISSING_TEXT if number is None else f"{number:,}"


def _attempt_cells(attempt: Attempt) -> tuple[str, ...]:
    name = one_line(attempt.model, MAX_NAME_CHARS)
    if attempt.status == "skipped":
        return name, f"skipped: {attempt.reason}", MISSING_TEXT, MISSING_TEXT
    status = "" if attempt.http_status is None else f" {attempt.http_status}"
    result = "ok" if attempt.status == "ok" else f"{attempt.error_class}{status}"
    return name, result, duration(attempt.at_ms), duration(attempt.latency_ms)


def _bar(attempt: Attempt, total_ms: float, chars: int) -> str:
    """Return the bar of an attempt: its start and length on the axis of the whole call, at least one character."""
    if attempt.at_ms is None or attempt.latency_ms is None or total_ms <= 0:
        return ""
    begin = min(chars - 1, int(attempt.at_ms / total_ms * chars))
    length = max(1, min(chars - begin, round(attempt.latency_ms / total_ms * chars)))
    return " " * begin + _BAR * length
