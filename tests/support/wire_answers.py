"""Answers of OpenAI-compatible endpoints, good and bad: both transports must read each of them alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from support.scripted_replies import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = "text/event-stream"
TEXTS = {
    "a word": "hello",
    "a paragraph": "The lift is broken.\n\nIt is mended tomorrow. " * 40,
    "umlauts": "grüß Gott, schöne Grüße",
    "Chinese": "你好世界",
    "Arabic": "مرحبا بالعالم",
    "emoji": "yes 👍🏽 and 👨‍👩‍👧‍👦",
    "JSON": '{"urgency": "high", "tags": ["a", "b"]}',
    "code": "```python\nprint('hi')\n```",
    "spaces around": "  hello  ",
    "newlines around": "\n\nhello\n",
    "a data line in the text": "data: [DONE]\n\ndata: x",
    "control characters": "a\tb\u0007c\u001fd",
    "a backslash": "C:\\new\\table",
    "line separators": "a\u2028b\u2029c",
    "an empty answer": "",
    "only spaces": "   ",
    "thoughts first": "<think>hm, let me see</think>The answer.",
    "thoughts later": "The answer. <think>hm</think>",
    "a long answer": "word " * 20_000,
    "a number": "42",
}
FINISH_REASONS = (
    "stop", "length", "content_filter", "tool_calls", "function_call", "end_turn", "max_tokens", "eos", "stop_sequence",
    "STOP", "MAX_TOKENS", "SAFETY", "error", "network_error", "canceled", "time_limit", "unknown_reason", None,
)  # fmt: skip
USAGES: dict[str, dict[str, Any] | None] = {
    "none": None,
    "plain": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
    "zeros": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "no total": {"prompt_tokens": 10, "completion_tokens": 5},
    "a wrong total": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 99},
    "cached": {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "total_tokens": 1100,
        "prompt_tokens_details": {"cached_tokens": 600},
    },
    "reasoning": {
        "prompt_tokens": 50,
        "completion_tokens": 500,
        "total_tokens": 550,
        "completion_tokens_details": {"reasoning_tokens": 450},
    },
    "audio": {
        "prompt_tokens": 50,
        "completion_tokens": 20,
        "total_tokens": 70,
        "prompt_tokens_details": {"audio_tokens": 10, "cached_tokens": 0},
        "completion_tokens_details": {"audio_tokens": 5, "reasoning_tokens": 0},
    },
    "empty details": {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": None,
        "completion_tokens_details": {},
    },
    "only a prompt": {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7},
    "a large prompt": {"prompt_tokens": 250_000, "completion_tokens": 1_000, "total_tokens": 251_000},
    "unknown fields": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "queue_time": 0.1},
}
TOOL_CALLS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "one": (("t1", "look", '{"up": 1}'),),
    "two": (("t1", "look", "{}"), ("t2", "go", '{"to": "Paris"}')),
    "three of one tool": tuple((f"t{index}", "look", f'{{"at": {index}}}') for index in range(3)),
    "no arguments": (("t1", "look", "{}"),),
    "nested arguments": (("t1", "look", '{"a": {"b": [1, {"c": "ü"}]}}'),),
    "long arguments": (("t1", "write", json.dumps({"text": "word " * 2_000})),),
    "arguments that are no JSON": (("t1", "look", '{"up": '),),
    "arguments that are a list": (("t1", "look", "[1]"),),
    "empty arguments": (("t1", "look", ""),),
    "no name": (("t1", "", "{}"),),
    "an odd id": (("call/ü 1", "look", "{}"),),
}
ERRORS: dict[str, dict[str, Any]] = {
    "message": {"message": "no", "type": "scripted"},
    "context": {"message": "maximum context length is 8192 tokens", "code": "context_length_exceeded"},
    "filter": {"message": "no", "code": "content_filter"},
    "key": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"},
    "quota": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"},
    "model": {"message": "The model `x` does not exist", "code": "model_not_found"},
    "overloaded": {"message": "Overloaded", "type": "overloaded_error"},
    "invalid": {"message": "temperature must be at most 2", "type": "invalid_request_error", "param": "temperature"},
    "credit": {"message": "Your credit balance is too low", "type": "invalid_request_error"},
}
STATUSES = (
    400,
    401,
    402,
    403,
    404,
    405,
    408,
    409,
    410,
    413,
    415,
    422,
    424,
    429,
    451,
    499,
    500,
    501,
    502,
    503,
    504,
    529,
)
FAULTS: tuple[Any, ...] = (
    "reset_before_headers", "close_before_headers", "reset_after_headers", "cut", "garbage", "error_chunk", "no_done",
    "no_finish", "malformed_chunk", "held_open",
)  # fmt: skip


def frame(delta: dict[str, Any] | None, finish: str | None = None, **fields: Any) -> bytes:
    """Return one event of a stream; without choices if the delta is None."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted-1"}
    return b"data: " + json.dumps({**head, "choices": choices, **fields}).encode() + b"\n\n"


def answers() -> dict[str, Reply]:
    """Return the answers by name."""
    return dict(_answers())


def _answers() -> Iterator[tuple[str, Reply]]:
    yield from ((f"text: {name}", Reply(text=text)) for name, text in TEXTS.items())
    yield from ((f"finish reason: {reason}", Reply(finish_reason=reason)) for reason in FINISH_REASONS)
    yield from ((f"usage: {name}", _streamed(frame({"content": "hi"}), usage=usage)) for name, usage in USAGES.items())
    for name, calls in TOOL_CALLS.items():
        yield f"tool calls: {name}", Reply(text="", tool_calls=calls, finish_reason="tool_calls")
    yield "tool calls: after text", Reply(tool_calls=TOOL_CALLS["one"], finish_reason="tool_calls")
    yield "tool calls: with stop", Reply(text="", tool_calls=TOOL_CALLS["one"])
    yield "tool calls: announced, none came", Reply(text="", finish_reason="tool_calls")
    yield "tool calls: cut", Reply(text="", tool_calls=TOOL_CALLS["arguments that are no JSON"], finish_reason="length")
    yield from ((f"status: {status}", Reply(status=status)) for status in STATUSES)
    yield from ((f"error: {name} under 400", Reply(status=400, error=error)) for name, error in ERRORS.items())
    yield from ((f"error: {name} under 429", Reply(status=429, error=error)) for name, error in ERRORS.items())
    yield from (
        (f"error: {name} in a stream", Reply(fault="error_chunk", error=error)) for name, error in ERRORS.items()
    )
    for value in ("3", "0.5", "0", "-1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"):
        yield f"retry after: {value}", Reply(status=429, retry_after=value)
    page = b"<html><h1>bad gateway</h1></html>"
    yield from ((f"page: {status}", Reply(status=status, body=page, content_type="text/html")) for status in (400, 502))
    yield from ((f"fault: {fault}", Reply(fault=fault)) for fault in FAULTS)
    yield from ((f"stream: {name}", reply) for name, reply in _streams().items())
    yield from ((f"body: {name}", reply) for name, reply in _bodies().items())


def _streamed(*frames: bytes, usage: dict[str, Any] | None = None) -> Reply:
    parts = [frame({"role": "assistant", "content": ""}), *frames, frame({}, "stop")]
    if usage is not None:
        parts.append(frame(None, usage=usage))
    return Reply(body=b"".join([*parts, b"data: [DONE]\n\n"]), content_type=STREAM)


def _raw(data: bytes) -> Reply:
    return Reply(body=data, content_type=STREAM)


def _streams() -> dict[str, Reply]:
    good = _streamed(frame({"content": "a"}), frame({"content": "b"})).body or b""
    first = {"index": 0, "id": "t1", "type": "function", "function": {"name": "look", "arguments": ""}}
    return {
        "comments": _raw(b": ping\n\n" + good),
        "CR LF": _raw(good.replace(b"\n", b"\r\n")),
        "named events": _raw(good.replace(b"data: {", b"event: message\ndata: {")),
        "no space after the colon": _raw(good.replace(b"data: ", b"data:")),
        "escaped emoji": _raw(good.replace(b'"a"', b'"\\ud83d\\ude00"')),
        "reasoning": _streamed(frame({"reasoning_content": "hm"}), frame({"content": "a"})),
        "a refusal": _streamed(frame({"refusal": "I will not."})),
        "usage in every chunk": _streamed(
            frame({"content": "a"}, usage={"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}),
            frame({"content": "b"}, usage={"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}),
        ),
        "null content": _streamed(frame({"content": None}), frame({"content": "a"})),
        "a second choice": _raw(
            good.replace(b'"index": 0, "delta": {"content": "b"}', b'"index": 1, "delta": {"content": "b"}')
        ),
        "two finish reasons": _raw(frame({"content": "a"}, "length") + frame({}, "stop") + b"data: [DONE]\n\n"),
        "finish reason with the text": _raw(frame({"content": "a"}, "stop") + b"data: [DONE]\n\n"),
        "the same chunk 200 times": _streamed(*[frame({"content": "again "})] * 200),
        "interleaved tool calls": _raw(
            frame({"tool_calls": [first]})
            + frame({"tool_calls": [{**first, "index": 1, "id": "t2"}]})
            + frame({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]})
            + frame({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]})
            + frame({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]})
            + frame({}, "tool_calls")
            + b"data: [DONE]\n\n"
        ),
        "an error object before the text": _raw(b'data: {"error": {"message": "busy", "code": 503}}\n\n'),
        "only the end marker": _raw(b"data: [DONE]\n\n"),
        "nothing": _raw(b""),
        "plain text": _raw(b"welcome"),
        "no choices": _raw(frame(None) + b"data: [DONE]\n\n"),
    }


def _bodies() -> dict[str, Reply]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "all at once"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    whole = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "plain-1",
        "choices": [choice],
        "usage": usage,
    }
    values: dict[str, Any] = {
        "no choices": {**whole, "choices": []},
        "an error object": {"error": {"message": "slow down", "code": 429}},
        "a list": [],
        "a text": "welcome",
        "another object": {"detail": "not found"},
    }
    replies = {name: Reply(body=json.dumps(value).encode()) for name, value in values.items()}
    replies["a whole answer"] = Reply(body=json.dumps(whole).encode())
    replies["half of JSON"] = Reply(body=b'{"id": ')
    replies["empty"] = Reply(body=b"")
    replies["a web page"] = Reply(body=b"<html>Sign in</html>", content_type="text/html")
    return replies
