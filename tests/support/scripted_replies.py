"""What the scripted provider can answer: good replies, and every way a provider may misbehave.

In: a Reply and what was asked. Out: bytes of OpenAI's protocol. Must never know connections or flowai.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Fault = Literal[
    "silent",  # accepts the request and never says a word
    "reset_before_headers",
    "close_before_headers",
    "reset_after_headers",
    "cut",  # half of the answer, then the connection closes
    "stall",  # half of the answer (or the `body` of a stream), then nothing, with the connection open
    "role_only",  # a stream that begins without a token, then nothing, with the connection open
    "endless",  # text that never ends; each client is sent about 6 MB a second
    "malformed_chunk",  # one chunk is no JSON, the stream goes on
    "held_open",  # a finish reason, then nothing, with the connection open
    "garbage",  # no chunk of the stream is JSON
    "comments",  # nothing but signs that the connection lives
    "error_chunk",  # an error object inside a stream that began with 200
    "torn_text",  # one chunk of the stream ends in its text, which is lost
    "torn_front",  # one chunk of the stream lacks its beginning
    "not_utf8",  # the text of one chunk is not UTF-8
    "half_character",  # one chunk brings half of a character, and the other half never comes
    "split_character",  # two chunks bring half of a character each
    "cr_and_bom",  # the stream begins with a byte order mark, and its lines end with CR
    "one_index",  # all tool calls come under one index
    "stop_after",  # another chunk says `stop` after the finish reason
    "no_done",  # everything but the end marker
    "no_finish",  # the stream ends, with its end marker, but no chunk gave a finish reason
]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to answer to one request.

    Args:
        text: what the model says.
        tool_calls: what it calls: (id, function, arguments) each; streamed in two pieces each.
        model: the name it gives itself.
        fingerprint: the id it gives its configuration; None gives none.
        status: HTTP status; from 400 on the body is an error object.
        delay_s: seconds before the first byte.
        first_token_delay_s: seconds between the headers of a stream, which come with its role, and its first token.
        chunk_delay_s: seconds before each chunk of a stream but the first.
        retry_after: value of the header; None leaves it out.
        finish_reason: as OpenAI spells it; None gives none.
        usage: (input, output) tokens; None reports none.
        error: the error object (`message`, `type`, `code`).
        base64_vectors: whether embeddings come in base64 whatever was asked for.
        fault: how to misbehave.
        body: these bytes instead of an answer of ours.
        content_type: of the body.
    """

    text: str = "hello world"
    tool_calls: tuple[tuple[str, str, str], ...] = ()
    model: str = "scripted-1"
    fingerprint: str | None = None
    status: int = 200
    delay_s: float = 0.0
    first_token_delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    retry_after: str | None = None
    finish_reason: str | None = "stop"
    usage: tuple[int, int] | None = (10, 2)
    error: dict[str, Any] = field(default_factory=lambda: {"message": "scripted failure", "type": "scripted"})
    base64_vectors: bool = False
    fault: Fault | None = None
    body: bytes | None = None
    content_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came in: path, headers (lower-case names) and parsed body."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Answerer = Callable[[Asked], Reply]


def _frame(payload: object) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def chunk(reply: Reply, delta: dict[str, Any], finish: str | None = None) -> bytes:
    """Give one frame of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": reply.model}
    if reply.fingerprint is not None:
        head["system_fingerprint"] = reply.fingerprint
    return _frame({**head, "choices": [choice]})


def _tool_call_pieces(reply: Reply) -> list[bytes]:
    pieces = []
    for number, (call_id, name, arguments) in enumerate(reply.tool_calls):
        half = len(arguments) // 2
        function = {"name": name, "arguments": arguments[:half]}
        index = 0 if reply.fault == "one_index" else number
        first = {"index": index, "id": call_id, "type": "function", "function": function}
        rest = {"index": index, "function": {"arguments": arguments[half:]}}
        pieces += [chunk(reply, {"tool_calls": [first]}), chunk(reply, {"tool_calls": [rest]})]
    return pieces


def _usage(reply: Reply) -> dict[str, int] | None:
    if reply.usage is None:
        return None
    given, made = reply.usage
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def stream_pieces(reply: Reply) -> list[bytes]:
    """Give the frames of a streamed answer, with its fault in them."""
    if reply.body is not None or reply.fault == "garbage":
        return [b'data: {"id": "c-1", "choi\n\n' * 3 + b"data: [DONE]\n\n" if reply.body is None else reply.body]
    pieces = [chunk(reply, {"role": "assistant", "content": ""})]
    if reply.fault == "role_only":
        return pieces
    half = len(reply.text) // 2
    has_text = bool(reply.text or not reply.tool_calls)
    if has_text:
        pieces.append(chunk(reply, {"content": reply.text[:half]}))
    if reply.fault in {"cut", "stall", "reset_after_headers", "endless"}:
        return pieces
    if reply.fault == "error_chunk":
        return [*pieces, _frame({"error": reply.error})]
    pieces += _bad_pieces(reply)
    if has_text:
        pieces.append(chunk(reply, {"content": reply.text[half:]}))
    pieces += _tool_call_pieces(reply) + _last_pieces(reply)
    if reply.fault == "cr_and_bom":
        pieces = [piece.replace(b"\n", b"\r") for piece in pieces]
        pieces[0] = b"\xef\xbb\xbf" + pieces[0]
    return pieces


def _bad_pieces(reply: Reply) -> list[bytes]:
    """Give the chunks of a fault that come in the middle of the text."""
    words = chunk(reply, {"content": " not"})
    halves = [chunk(reply, {"content": "\ud83d"}), chunk(reply, {"content": "\ude00"})]
    pieces: dict[Fault | None, list[bytes]] = {
        "malformed_chunk": [b'data: {"id": "c-1", "choices": [{"del\n\n'],
        "torn_text": [words[: words.index(b" not") + 2] + b"\n\n"],
        "torn_front": [b"data: " + words[words.index(b"delta") :]],
        "not_utf8": [words.replace(b" not", b"\xff\xfe")],
        "half_character": halves[:1],
        "split_character": halves,
    }
    return pieces.get(reply.fault, [])


def _last_pieces(reply: Reply) -> list[bytes]:
    pieces = []
    if reply.fault != "no_finish":
        pieces.append(chunk(reply, {}, reply.finish_reason))
    if reply.fault == "stop_after":
        pieces.append(chunk(reply, {}, "stop"))
    usage = _usage(reply)
    if reply.fault == "held_open":
        return pieces
    if usage:
        head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": reply.model}
        pieces.append(_frame({**head, "choices": [], "usage": usage}))
    if reply.fault != "no_done":
        pieces.append(b"data: [DONE]\n\n")
    return pieces


def whole_body(reply: Reply, asked: Asked) -> bytes:
    """Give the body of an answer that is not streamed."""
    if reply.body is not None:
        return reply.body
    if reply.status >= 400:
        return json.dumps({"error": reply.error}).encode()
    if asked.path.endswith("/embeddings"):
        return _embeddings(reply, asked)
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.tool_calls:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in reply.tool_calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    answer: dict[str, Any] = {"id": "c-1", "object": "chat.completion", "created": 1, "model": reply.model}
    answer["choices"] = [choice]
    if reply.fingerprint is not None:
        answer["system_fingerprint"] = reply.fingerprint
    usage_fields = _usage(reply)
    if usage_fields:
        answer["usage"] = usage_fields
    return json.dumps(answer).encode()


def _embeddings(reply: Reply, asked: Asked) -> bytes:
    """Give a vector per text: its length, and one."""
    texts = asked.body.get("input", [])
    in_base64 = reply.base64_vectors or asked.body.get("encoding_format") == "base64"
    rows = []
    for index, text in enumerate([texts] if isinstance(texts, str) else texts):
        numbers = [float(len(text)), 1.0]
        vector = base64.b64encode(struct.pack("<2f", *numbers)).decode() if in_base64 else numbers
        rows.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return json.dumps({"object": "list", "model": reply.model, "data": rows, "usage": usage}).encode()


def rejects_prefill(asked: Asked) -> Reply:
    """Answer as providers do that take no assistant message at the end."""
    if asked.body["messages"][-1]["role"] != "assistant":
        return Reply()
    message = "This model does not support assistant message prefill. The conversation must end with a user message."
    return Reply(status=400, error={"message": message, "type": "invalid_request_error"})


def holds(most_characters: int) -> Answerer:
    """Answer as a model does whose context holds so much."""

    def answer(asked: Asked) -> Reply:
        length = sum(len(message["content"]) for message in asked.body["messages"])
        if length <= most_characters:
            return Reply()
        message = f"This model's maximum context length is {most_characters} tokens; your messages have {length}."
        error = {"message": message, "type": "invalid_request_error", "code": "context_length_exceeded"}
        return Reply(status=400, error=error)

    return answer


HOSTILE_JSON = [
    b'{"choices": null}',
    b'{"choices": [null]}',
    b'{"choices": [{"index": [], "delta": {"content": "x"}}]}',
    b'{"choices": [{"delta": {"content": 5, "tool_calls": "x", "reasoning": {}}, "finish_reason": 7}]}',
    b'{"choices": [{"delta": {"tool_calls": [{"index": -1, "id": 4, "function": []}, {"index": 1e300}]}}]}',
    b'{"choices": [], "usage": {"prompt_tokens": "3", "completion_tokens": NaN}}',
    b'{"choices": [], "usage": {"prompt_tokens": ' + b"9" * 5000 + b"}}",
    b'{"choices": [], "usage": {"prompt_tokens": -1}, "model": [], "id": {}, "created": 1e999}',
    b'{"choices": ' + b"[" * 100_000,
    b'{"error": ' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"error": {"code": ' + b"9" * 5000 + b"}}",
    b'{"choices": [{"delta": {"content": "\xff\xfe"}}]}',
    b'{"choices": [{"delta": {"content": "\\ud800"}}]}',
]
"""Chunks that a parser must survive; none of them is an answer."""
