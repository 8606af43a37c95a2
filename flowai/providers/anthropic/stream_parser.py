"""Parses an answer in Anthropic's Messages protocol, streamed or not.

The bytes are untrusted: memory stays bounded, and MalformedStreamError is the only exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.anthropic.usage import convert_usage
from flowai.providers.openai.stream_parser import (
    BYTES_PER_PIECE,
    BYTES_PER_TOKEN,
    MAX_BYTES,
    MAX_JSON_BYTES,
    SIZE_ALLOWANCE_BYTES,
    Delta,
    MalformedStreamError,
)
from flowai.providers.openai.tool_calls import ToolCalls, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "compaction": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""OpenAI's finish reason for each of Anthropic's; others stay as they are."""
_BOM = b"\xef\xbb\xbf"
_CALL_TYPES = frozenset({"tool_use", "server_tool_use"})
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)  # ValueError: not UTF-8
_ALIVE = Delta()


class _Event(msgspec.Struct):
    """An event of a stream, or a whole message; every field may have any type."""

    type: Any = None
    index: Any = None
    message: Any = None
    content_block: Any = None
    delta: Any = None
    usage: Any = None
    error: Any = None
    content: Any = None
    model: Any = None
    stop_reason: Any = None


class _Block:
    """The content block that is being streamed."""

    def __init__(self, call_index: int | None, arguments: Any) -> None:  # noqa: ANN401 - JSON is anything
        self.call_index = call_index
        self.first_arguments = arguments
        """Arguments that came with the block's begin; used if no others come."""
        self.has_arguments = False


class MessagesStreamParser:
    """Parser and accumulator of one answer.

    Args:
        max_tokens: limit of the request; None without one.
    """

    def __init__(self, *, max_tokens: int | None = None) -> None:
        self.finish_reason: str | None = None
        self.served_model: str | None = None
        self.malformed_count = 0
        self.is_done = False  # the end marker came
        self._max_bytes = MAX_BYTES
        if max_tokens is not None:
            self._max_bytes = min(MAX_BYTES, max_tokens * BYTES_PER_TOKEN + SIZE_ALLOWANCE_BYTES)
        self._weight_bytes = 0
        self._reasoning_bytes = 0
        self._texts: list[str] = []
        self._calls = ToolCalls()
        self._call_count = 0
        self._block = _Block(None, None)
        self._usage: dict[str, Any] | None = None
        self._rest = bytearray()  # an incomplete line
        self._partial = bytearray()  # data of an event that is not JSON by itself
        self._is_first = True
        self._actions: dict[str, Callable[[_Event], Delta | None]] = {
            "message_start": self._message_start,
            "content_block_start": self._block_start,
            "content_block_delta": self._block_delta,
            "content_block_stop": self._block_stop,
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
        }

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._texts)

    @property
    def tool_calls(self) -> tuple[dict[str, Any], ...]:
        """The tool calls so far, in OpenAI's format."""
        return tuple(self._calls.as_json())

    @property
    def usage(self) -> dict[str, Any] | None:
        """The token counts in OpenAI's format; None if none came."""
        return None if self._usage is None else convert_usage(self._usage)

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Parse the next bytes of a stream and yield their deltas.

        Raises:
            MalformedStreamError: an error event, an event that is not JSON, or too long.
        """
        start = len(self._rest)
        self._rest += data
        if self._is_first and len(self._rest) >= len(_BOM):
            self._is_first = False
            self._rest = self._rest.removeprefix(_BOM)
            start = 0
        end = self._rest.rfind(b"\n", start)
        if end < 0:
            if len(self._rest) > MAX_JSON_BYTES:
                raise MalformedStreamError(f"a line of the stream is longer than {MAX_JSON_BYTES:,} bytes")
            return
        lines = bytes(self._rest[:end])
        del self._rest[: end + 1]
        for line in lines.split(b"\n"):
            delta = self._line(line.rstrip(b"\r"))
            if delta is not None:
                yield delta

    def end(self) -> Iterator[Delta]:
        """Parse the end of a stream: its last line may have no newline."""
        yield from self.feed(b"\n\n")

    def parse_body(self, body: bytes) -> None:
        """Parse an answer that was not streamed.

        Raises:
            MalformedStreamError: it is not an answer, or an error object.
        """
        try:
            message = _EVENT.decode(body)
        except _UNREADABLE as error:
            raise MalformedStreamError(f"the answer is not a JSON object: {error}") from None
        if message.type == "error" or message.error is not None:
            raise _error_event(message)
        if not isinstance(message.content, list):
            raise MalformedStreamError("the answer does not have the format of Anthropic's messages")
        self._read_head(message.model, message.usage)
        for number, block in enumerate(message.content):
            self._block_start(_Event(index=number, content_block=block))
            self._block_stop(_Event(index=number))
        self._read_stop_reason(message.stop_reason)

    def _line(self, line: bytes) -> Delta | None:
        """Parse a line. An event of one data line, the usual case, does not wait for its blank line."""
        if not line:
            return self._partial_event() if self._partial else None
        if not line.startswith(b"data:"):
            return None  # the event's name, which its data repeats, or a comment
        data = line[5:].strip()
        if self._partial:
            self._partial += b"\n" + data
            if len(self._partial) > MAX_JSON_BYTES:
                raise MalformedStreamError(f"an event of the stream is longer than {MAX_JSON_BYTES:,} bytes")
            return None
        if not data:
            return None
        try:
            event = _EVENT.decode(data)
        except _UNREADABLE:
            self._partial += data  # the event may continue in its next line
            return None
        return self._event(event)

    def _partial_event(self) -> Delta | None:
        """Parse an event of several lines. Without one event, an unknown part of the answer is missing."""
        data = bytes(self._partial)
        self._partial.clear()
        try:
            event = _EVENT.decode(data)
        except _UNREADABLE:
            raise MalformedStreamError("an event of the stream is not JSON") from None
        return self._event(event)

    def _event(self, event: _Event) -> Delta | None:
        if event.type == "error" or (event.type is None and event.error is not None):
            raise _error_event(event)
        action = self._actions.get(event.type) if isinstance(event.type, str) else None
        return None if action is None else action(event)

    def _message_start(self, event: _Event) -> None:
        if isinstance(event.message, dict):
            self._read_head(event.message.get("model"), event.message.get("usage"))

    def _read_head(self, model: Any, usage: Any) -> None:  # noqa: ANN401 - JSON is anything
        if isinstance(model, str) and model:
            self.served_model = model
        self._read_usage(usage)

    def _block_start(self, event: _Event) -> Delta | None:
        block = event.content_block
        kind = block.get("type") if isinstance(block, dict) else None
        self._block = _Block(None, None)
        if kind == "text":
            return self._add_text(block.get("text"))
        if kind in _CALL_TYPES:
            self._block = _Block(self._call_count, block.get("input"))
            self._call_count += 1
            function = {"name": text_of(block.get("name")), "arguments": ""}
            return self._add_call({"id": text_of(block.get("id")), "function": function})
        return self._add_reasoning("") if kind in {"thinking", "redacted_thinking"} else None

    def _block_delta(self, event: _Event) -> Delta | None:
        delta = event.delta if isinstance(event.delta, dict) else {}
        match delta.get("type"):
            case "text_delta":
                return self._add_text(delta.get("text"))
            case "input_json_delta":
                arguments = text_of(delta.get("partial_json"))
                if self._block.call_index is None or not arguments:
                    return None
                self._block.has_arguments = True
                return self._add_call({"function": {"arguments": arguments}})
            case "thinking_delta" | "signature_delta":
                return self._add_reasoning(text_of(delta.get("thinking")) + text_of(delta.get("signature")))
        return None

    def _block_stop(self, event: _Event) -> Delta | None:  # noqa: ARG002 - blocks come one after the other
        block, self._block = self._block, _Block(None, None)
        if block.call_index is None or block.has_arguments:
            return None
        arguments = block.first_arguments if isinstance(block.first_arguments, dict) else {}
        return self._add_call({"function": {"arguments": arguments}}, block.call_index)

    def _message_delta(self, event: _Event) -> None:
        self._read_usage(event.usage)
        if isinstance(event.delta, dict):
            self._read_stop_reason(event.delta.get("stop_reason"))

    def _message_stop(self, event: _Event) -> None:  # noqa: ARG002 - it has no content
        self.is_done = True

    def _read_stop_reason(self, reason: Any) -> None:  # noqa: ANN401 - JSON is anything
        if isinstance(reason, str) and reason:
            self.finish_reason = FINISH_REASONS.get(reason, reason)

    def _read_usage(self, usage: Any) -> None:  # noqa: ANN401 - JSON is anything
        """Add token counts: those of the end replace those of the beginning, as far as they are there."""
        if isinstance(usage, dict):
            self._usage = {**(self._usage or {}), **usage}

    def _add_text(self, value: Any) -> Delta | None:  # noqa: ANN401 - JSON is anything
        text = text_of(value)
        if not text:
            return None
        self._texts.append(text)
        self._check_size(len(text))
        return Delta(text=text)

    def _add_call(self, call: dict[str, Any], index: int | None = None) -> Delta:
        index = self._block.call_index if index is None else index
        deltas = self._calls.add([{"index": index, **call}])
        self._check_size(sum(len(delta["function"]["arguments"]) for delta in deltas))
        return Delta(tool_calls=deltas)

    def _add_reasoning(self, text: str) -> Delta:
        self._reasoning_bytes += len(text) + BYTES_PER_PIECE
        if self._reasoning_bytes > MAX_BYTES:
            raise MalformedStreamError(f"the reasoning does not end: more than {MAX_BYTES:,} bytes came")
        return _ALIVE

    def _check_size(self, length: int) -> None:
        self._weight_bytes += length + BYTES_PER_PIECE
        if self._weight_bytes > self._max_bytes:
            raise MalformedStreamError(f"the answer does not end: more than {self._max_bytes:,} bytes came")


def _error_event(event: _Event) -> MalformedStreamError:
    body = event.error if isinstance(event.error, dict) else {"message": str(event.error)}
    message = body.get("message")
    return MalformedStreamError(message if isinstance(message, str) and message else "no reason given", body=body)


_EVENT = msgspec.json.Decoder(_Event)
