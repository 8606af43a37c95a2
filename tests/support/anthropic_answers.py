"""Answers of Anthropic's API: streams with every kind of event, whole messages, and every way they may fail."""

from __future__ import annotations

import json
from typing import Any

from support.scripted_replies import Reply

STREAM = "text/event-stream"
WEATHER = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
Event = dict[str, Any]


def start(usage: Any = None, **fields: Any) -> Event:
    """Return the first event."""
    usage = {"input_tokens": 25, "output_tokens": 1} if usage is None else usage
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-20260101", "content": []}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage, **fields}}


def block_start(block: Event, index: int = 0) -> Event:
    """Return the event that begins a content block."""
    return {"type": "content_block_start", "index": index, "content_block": block}


def block_delta(delta: Event, index: int = 0) -> Event:
    """Return an event with a part of a content block."""
    return {"type": "content_block_delta", "index": index, "delta": delta}


def block_stop(index: int = 0) -> Event:
    """Return the event that ends a content block."""
    return {"type": "content_block_stop", "index": index}


def text(*pieces: str, index: int = 0) -> list[Event]:
    """Return the events of a text block."""
    deltas = [block_delta({"type": "text_delta", "text": piece}, index) for piece in pieces]
    return [block_start({"type": "text", "text": ""}, index), *deltas, block_stop(index)]


def tool(*pieces: str, index: int = 0, **fields: Any) -> list[Event]:
    """Return the events of a tool call."""
    deltas = [block_delta({"type": "input_json_delta", "partial_json": piece}, index) for piece in pieces]
    return [block_start({**WEATHER, **fields}, index), *deltas, block_stop(index)]


def thinking(*pieces: str, index: int = 0, signature: str | None = "c2ln") -> list[Event]:
    """Return the events of a thinking block."""
    deltas = [block_delta({"type": "thinking_delta", "thinking": piece}, index) for piece in pieces]
    if signature is not None:
        deltas.append(block_delta({"type": "signature_delta", "signature": signature}, index))
    return [block_start({"type": "thinking", "thinking": "", "signature": ""}, index), *deltas, block_stop(index)]


def end(reason: Any = "end_turn", usage: Any = None, **fields: Any) -> list[Event]:
    """Return the last events."""
    delta = {"stop_reason": reason, "stop_sequence": None, **fields}
    usage = {"output_tokens": 12} if usage is None else usage
    return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


def failure(kind: str, message: str = "Sorry") -> Event:
    """Return an error event, which is the body of an error too."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def frames(events: list[Event]) -> bytes:
    """Return the bytes of a stream."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _json(event)) for event in events)


def stream(*events: Event | list[Event]) -> Reply:
    """Return a reply that streams events."""
    return raw(frames([event for item in events for event in (item if isinstance(item, list) else [item])]))


def raw(body: bytes, content_type: str = STREAM, **fields: Any) -> Reply:
    """Return a reply with these bytes."""
    return Reply(body=body, content_type=content_type, **fields)


def refused(status: int, kind: str | None = None, message: str = "Sorry", **fields: Any) -> Reply:
    """Return an HTTP error; without a kind, its body is empty."""
    return raw(b"" if kind is None else _json(failure(kind, message)), "application/json", status=status, **fields)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


WHOLE: Event = {
    "type": "message",
    "model": "claude-x-20260101",
    "content": [{"type": "text", "text": "Good day."}, {**WEATHER, "input": {"city": "Rom"}}],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 25, "output_tokens": 12},
}
HELLO = text("Good ", "day.")
GOOD = frames([start(), *HELLO, *end()])
TEXTS = {
    "two pieces": ("Good ", "day."),
    "characters": ("Grüß ", "Gott 👋", " 你好"),
    "spaces": (" ", " a", "\n\n", " b "),
    "one letter each": tuple("abcdefghij"),
    "tags": ("<thinking>", "hm</thinking>", " yes"),
    "special tokens": ("<s>", "a", "</s>", "<|im_end|>", "[DONE]", "data: x"),
    "JSON": ('{"a"', ': [1, "x\\n"]}'),
    "a control character": ("a\u0000b", "\u2028", "\x1b[0m"),
    "repeated": ("no ",) * 150,
    "empty pieces": ("", "a", "", "b", ""),
    "long": ("x" * 20_000, "y"),
}
USAGES: dict[str, tuple[Any, Any]] = {
    "all at the beginning": ({"input_tokens": 7, "output_tokens": 5}, {}),
    "all at the end": ({}, {"input_tokens": 7, "output_tokens": 5}),
    "nothing": ({}, {}),
    "zeros": ({"input_tokens": 0, "output_tokens": 0}, {"output_tokens": 0}),
    "nulls": ({"input_tokens": None, "cache_read_input_tokens": None}, {"output_tokens": 3}),
    "cache read": ({"input_tokens": 7, "cache_read_input_tokens": 1000, "output_tokens": 1}, {"output_tokens": 5}),
    "cache written": ({"input_tokens": 7, "cache_creation_input_tokens": 900}, {"output_tokens": 5}),
    "cache by time": (
        {
            "input_tokens": 7,
            "cache_creation_input_tokens": 900,
            "cache_read_input_tokens": 40,
            "cache_creation": {"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 300},
        },
        {"output_tokens": 5},
    ),
    "cache for an hour": (
        {
            "input_tokens": 7,
            "cache_creation_input_tokens": 900,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 900},
        },
        {"output_tokens": 5},
    ),
    "cumulative": (
        {"input_tokens": 7, "cache_read_input_tokens": 1, "output_tokens": 1},
        {"input_tokens": 9, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 3, "output_tokens": 50},
    ),
    "a region": ({"input_tokens": 700, "inference_geo": "us"}, {"output_tokens": 50}),
    "no region": ({"input_tokens": 700, "inference_geo": "not_available"}, {"output_tokens": 50}),
    "a tier": ({"input_tokens": 700, "service_tier": "priority"}, {"output_tokens": 50}),
    "thinking tokens": ({"input_tokens": 7}, {"output_tokens": 50, "output_tokens_details": {"thinking_tokens": 20}}),
    "a long prompt": ({"input_tokens": 100_001, "cache_read_input_tokens": 5}, {"output_tokens": 5}),
    "a long cached prompt": (
        {"input_tokens": 1, "cache_read_input_tokens": 150_000, "cache_creation_input_tokens": 20},
        {"output_tokens": 5},
    ),
    "a prompt at the limit": ({"input_tokens": 100_000}, {"output_tokens": 5}),
    "steps": (
        {"input_tokens": 7},
        {
            "output_tokens": 5,
            "iterations": [
                {"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 3},
                {"input_tokens": 30, "output_tokens": 40, "cache_creation_input_tokens": 9},
            ],
        },
    ),
    "server tools": ({"input_tokens": 7}, {"output_tokens": 5, "server_tool_use": {"web_search_requests": 0}}),
}
ERROR_TYPES = (
    "overloaded_error",
    "rate_limit_error",
    "api_error",
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "timeout_error",
    "billing_error",
    "new_error",
)
REFUSALS: dict[str, Reply] = {
    "400": refused(400, "invalid_request_error", "temperature: range: 0..1"),
    "400 too long": refused(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    "400 credit": refused(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    "400 filtered": refused(400, "invalid_request_error", "Output blocked by content filtering policy"),
    "400 empty": refused(400),
    "400 page": raw(b"<html><body>Bad Request</body></html>", "text/html", status=400),
    "401": refused(401, "authentication_error", "invalid x-api-key"),
    "402": refused(402, "billing_error", "Payment required"),
    "403": refused(403, "permission_error", "Your API key may not use this model"),
    "404": refused(404, "not_found_error", "model: claude-x"),
    "405": refused(405, "invalid_request_error", "Method not allowed"),
    "408": refused(408, "timeout_error", "Timed out"),
    "409": refused(409, "invalid_request_error", "Conflict"),
    "413": refused(413, "request_too_large", "Request exceeds the maximum size"),
    "422": refused(422, "invalid_request_error", "Unprocessable"),
    "429": refused(429, "rate_limit_error", "This request would exceed your rate limit", retry_after="7"),
    "429 empty": refused(429),
    "500": refused(500, "api_error", "Internal server error"),
    "502": raw(b"<html>Bad gateway</html>", "text/html", status=502),
    "503": refused(503, "api_error", "Unavailable"),
    "504": refused(504, "timeout_error", "Timed out"),
    "529": refused(529, "overloaded_error", "Overloaded"),
    "529 empty": refused(529),
}
_TEXT_FRAME = frames([block_delta({"type": "text_delta", "text": " more"})])
ANSWERS: dict[str, Reply] = {
    **{f"text: {name}": stream(start(), text(*pieces), end()) for name, pieces in TEXTS.items()},
    "text: two blocks": stream(start(), text("a"), text("b", index=1), end()),
    "text: in the block's begin": stream(start(), block_start({"type": "text", "text": "a"}), block_stop(), end()),
    "text: none": stream(start(), end()),
    "text: an empty block": stream(start(), text(), end()),
    **{
        f"stop: {reason}": stream(start(), HELLO, end(reason))
        for reason in ("end_turn", "stop_sequence", "max_tokens", "refusal")
    },
    "stop: max_tokens without text": stream(start(), end("max_tokens")),
    "stop: refusal without text": stream(start(), end("refusal")),
    "stop: refusal with details": stream(start(), HELLO, end("refusal", stop_details={"type": "refusal"})),
    "stop: model_context_window_exceeded": stream(start(), HELLO, end("model_context_window_exceeded")),
    "stop: pause_turn": stream(start(), HELLO, end("pause_turn")),
    "stop: a new reason": stream(start(), HELLO, end("new_reason")),
    "stop: null": stream(start(), HELLO, end(None)),
    "stop: no end": stream(start(), HELLO),
    "stop: only the end marker": stream(start(), HELLO, {"type": "message_stop"}),
    "stop: no end marker": stream(start(), HELLO, end()[:1]),
    "stop: twice": stream(start(), HELLO, end("max_tokens")[:1], end()),
    **{f"usage: {name}": stream(start(first), HELLO, end(usage=last)) for name, (first, last) in USAGES.items()},
    "usage: none at the beginning": stream(start(), HELLO, end(usage={"input_tokens": 4, "output_tokens": 6})),
    "usage: three times": stream(start(), HELLO, end(usage={"output_tokens": 3})[:1], end(usage={"output_tokens": 9})),
    "tool: one": stream(start(), tool('{"city":', ' "Rom"}'), end("tool_use")),
    "tool: after a text": stream(start(), HELLO, tool('{"city": "Rom"}', index=1), end("tool_use")),
    "tool: before a text": stream(start(), tool("{}"), text("b", index=1), end("tool_use")),
    "tool: two": stream(start(), tool('{"a": 1}'), tool('{"b": "ü"}', index=1, id="toolu_2"), end("tool_use")),
    "tool: no arguments": stream(start(), tool(), end("tool_use")),
    "tool: empty pieces": stream(start(), tool("", '{"a":', "", " 1}"), end("tool_use")),
    "tool: only an empty piece": stream(start(), tool(""), end("tool_use")),
    "tool: two without arguments": stream(start(), tool(""), tool(index=1, id="toolu_2"), end("tool_use")),
    "tool: an ended turn": stream(start(), tool('{"a": 1}'), end("end_turn")),
    "tool: cut": stream(start(), tool('{"a": "x'), end("max_tokens")),
    "tool: arguments in the begin": stream(start(), tool(input={"city": "Rom"}), end("tool_use")),
    "tool: a number in the begin": stream(start(), tool('{"a": 1}', input={"city": "Rom"}), end("tool_use")),
    "tool: a caller": stream(start(), tool("{}", caller={"type": "direct"}), end("tool_use")),
    "tool: of the server": stream(start(), tool('{"q": 1}', type="server_tool_use", id="srvtoolu_1"), HELLO, end()),
    "tool: the server's result": stream(
        start(),
        block_start({"type": "web_search_tool_result", "tool_use_id": "x", "content": []}),
        block_stop(),
        HELLO,
        end(),
    ),
    "thinking: and a text": stream(start(), thinking("Hm, ", "so."), text("Yes", index=1), end()),
    "thinking: omitted": stream(start(), thinking(), text("Yes", index=1), end()),
    "thinking: unsigned": stream(start(), thinking("Hm", signature=None), text("Yes", index=1), end()),
    "thinking: redacted": stream(
        start(), block_start({"type": "redacted_thinking", "data": "eA=="}), block_stop(), text("Yes", index=1), end()
    ),
    "thinking: and a tool": stream(start(), thinking("Hm"), tool('{"a": 1}', index=1), end("tool_use")),
    "thinking: nothing else": stream(start(), thinking("Hm"), end("max_tokens")),
    "events: pings": stream({"type": "ping"}, start(), {"type": "ping"}, HELLO, {"type": "ping"}, end()),
    "events: a new one": stream(start(), {"type": "new_event", "text": "x"}, HELLO, end()),
    "events: a new block": stream(start(), block_start({"type": "new", "x": 1}), block_stop(), HELLO, end()),
    "events: a new delta": stream(start(), HELLO[:1], block_delta({"type": "new_delta", "x": "y"}), HELLO[1:], end()),
    "events: citations": stream(
        start(), HELLO[:1], block_delta({"type": "citations_delta", "citation": {"cited_text": "x"}}), HELLO[1:], end()
    ),
    "events: no begin": stream(HELLO, end()),
    "events: no begin of the block": stream(start(), HELLO[1:], end()),
    "events: no end of the block": stream(start(), HELLO[:-1], end()),
    "events: no names": raw(b"".join(line + b"\n\n" for line in GOOD.split(b"\n") if line.startswith(b"data:"))),
    "events: no spaces": raw(GOOD.replace(b"data: ", b"data:").replace(b"event: ", b"event:")),
    "events: comments": raw(b": hello\n\n" + GOOD.replace(b"event:", b": still here\nid: 7\nretry: 3\nevent:")),
    "events: CR LF": raw(GOOD.replace(b"\n", b"\r\n")),
    "events: single newlines": raw(GOOD.replace(b"\n\n", b"\n")),
    "events: several lines": raw(GOOD.replace(b'"delta": ', b'"delta":\ndata: ')),
    "events: an end marker of OpenAI's": raw(GOOD + b"data: [DONE]\n\n"),
    "events: no last newline": raw(GOOD.rstrip()),
    **{f"error: {kind}": stream(failure(kind)) for kind in ERROR_TYPES},
    **{f"error after text: {kind}": stream(start(), HELLO[:2], failure(kind)) for kind in ERROR_TYPES},
    "error: too long": stream(failure("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")),
    "error: a text": raw(b'event: error\ndata: {"type": "error", "error": "no"}\n\n'),
    "error: null": raw(b'event: error\ndata: {"type": "error", "error": null}\n\n'),
    "error: after the end": stream(start(), HELLO, end()[:1], failure("api_error")),
    "error: a body": raw(json.dumps(failure("overloaded_error")).encode(), "application/json"),
    "torn: a text": raw(frames([start(), *HELLO[:2]]) + _TEXT_FRAME[:60] + b"\n\n" + frames([*HELLO[2:], *end()])),
    "torn: the end": raw(frames([start(), *HELLO]) + frames(end())[:70]),
    "torn: not UTF-8": raw(GOOD.replace(b"day.", b"d\xff\xfey.")),
    "torn: an answer that is no JSON": raw(b"data: nonsense\n\n" * 3),
    "torn: a whole event missing": raw(GOOD.replace(frames(HELLO[1:2]), b"")),
    "torn: half of a character": raw(GOOD.replace(b"day.", rb"\ud83d")),
    "torn: a character in two pieces": raw(
        frames([start(), HELLO[0]])
        + b"".join(_TEXT_FRAME.replace(b" more", half) for half in (rb"\ud83d", rb"\ude00"))
        + frames([HELLO[-1], *end()])
    ),
    "whole: a message": raw(json.dumps(WHOLE).encode(), "application/json"),
    "whole: nothing": raw(b""),
    "whole: a page": raw(b"<html>hello</html>", "text/html"),
    "whole: OpenAI's": raw(b'{"choices": [{"message": {"content": "hi"}}]}', "application/json"),
    "cut: in the middle": Reply(body=GOOD[: len(GOOD) // 2], content_type=STREAM),
    "cut: before the headers": Reply(fault="close_before_headers"),
    "cut: reset": Reply(fault="reset_before_headers"),
    "silent": Reply(fault="silent"),
    "silent: after a text": Reply(body=frames([start(), *HELLO[:2]]), content_type=STREAM, fault="stall"),
    **{f"status: {name}": reply for name, reply in REFUSALS.items()},
}
