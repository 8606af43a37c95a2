"""Parses an answer in Anthropic's Messages protocol, streamed or not.

The bytes are untrusted: memory stays bounded, and MalformedStreamError is the only exception.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.anthropic.usage import convert_usage
from flowai.providers.finish_reasons import normalised_reason
from flowai.providers.openai.stream_parser import (
    BYTES_PER_PIECE,
    MAX_JSON_BYTES,
    ChatStreamParser,
    Delta,
    MalformedStreamError,
)
from flowai.providers.openai.tool_calls import text_of

if TYPE_CHECKING:
    from collections.abc import Callable

_CALL_TYPES = frozenset({"tool_use", "server_tool_use"})
_THINKING_TYPES = frozenset({"thinking", "redacted_thinking"})
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)  # ValueError: not UTF-8


class _Event(msgspec.Struct):
    """An event of a stream, or a whole message; every field may have any type."""

    type: Any = None
    message: Any = None
    content_block: Any = None
    delta: Any = None
    usage: Any = None
    error: Any = None
    content: Any = None
    model: Any = None
    stop_reason: Any = None


class _CallBlock:
    """The block of a tool call that is being streamed."""

    def __init__(self, index: int, first_arguments: Any) -> None:  # noqa: ANN401 - JSON is anything
        self.index = index
        self.first_arguments = first_arguments
        """Arguments that came with the block's begin; they count if no others come."""
        self.has_arguments = False


class MessagesStreamParser(ChatStreamParser):
    """Parser and accumulator of one answer; the deltas and the results are in OpenAI's format.

    Args:
        max_tokens: limit of the request; None without one.
    """

    def __init__(self, *, max_tokens: int | None = None) -> None:
        super().__init__(max_tokens=max_tokens)
        self._counts: dict[str, Any] = {}
        self._has_final_counts = False
        self._call_block: _CallBlock | None = None
        self._actions: dict[str, Callable[[_Event], Delta | None]] = {
            "message_start": self._start_message,
            "content_block_start": lambda event: self._start_block(event.content_block),
            "content_block_delta": lambda event: self._extend_block(event.delta),
            "content_block_stop": lambda _: self._stop_block(),
            "message_delta": self._end_message,
            "message_stop": self._stop_message,
        }

    @property
    def usage(self) -> dict[str, Any] | None:
        """The token counts, with what the cost depends on; None until they were reported."""
        return convert_usage(self._counts) if self._counts else None

    @property
    def has_final_usage(self) -> bool:
        """`usage` counts all of the answer that came: not before its end."""
        return self._has_final_counts

    def parse_body(self, body: bytes) -> None:
        """Parse an answer that was not streamed; raises what `feed` raises."""
        message = _decode_event(body)
        if message is None:
            raise MalformedStreamError("the answer is not a JSON object")
        _check_no_error(message)
        if not isinstance(message.content, list):
            raise MalformedStreamError("the answer does not have the format of Anthropic's messages")
        self._add_head(message.model, message.usage)
        self._has_final_counts = True
        for block in message.content:
            self._start_block(block)
            self._stop_block()
        self._add_stop_reason(message.stop_reason)

    def _data(self, data: bytes) -> Delta | None:
        event = _decode_event(data)
        if event is None:
            self._partial_lines.append(data)  # the event may continue in its next line
            self._partial_bytes += len(data) + BYTES_PER_PIECE
            if self._partial_bytes > MAX_JSON_BYTES:
                raise MalformedStreamError(f"an event of the stream is longer than {MAX_JSON_BYTES:,} bytes")
            return None
        if self._partial_lines:
            self._record_malformed()
        return self._add_event(event)

    def _partial_event(self) -> Delta | None:
        event = _decode_event(b"\n".join(self._partial_lines))
        if event is None:
            self._record_malformed()
            return None
        self._partial_lines, self._partial_bytes = [], 0
        return self._add_event(event)

    def _record_malformed(self) -> None:
        """Raise unless the answer is complete: without one event, an unknown part of it is missing."""
        self._partial_lines, self._partial_bytes = [], 0
        if self.finish_reason is None:
            raise MalformedStreamError("an event of the stream was torn, and its text is lost")

    def _add_event(self, event: _Event) -> Delta | None:
        if self.finish_reason is None:
            _check_no_error(event)
        action = self._actions.get(event.type) if isinstance(event.type, str) else None
        return None if action is None else action(event)

    def _start_message(self, event: _Event) -> None:
        if isinstance(event.message, dict):
            self._add_head(event.message.get("model"), event.message.get("usage"))

    def _add_head(self, model: Any, usage: Any) -> None:  # noqa: ANN401 - JSON is anything
        if isinstance(model, str) and model:
            self.served_model = model
        self._add_counts(usage)

    def _start_block(self, block: Any) -> Delta | None:  # noqa: ANN401 - JSON is anything
        self._call_block = None
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            return self._add_text(block.get("text"))
        if kind in _CALL_TYPES:
            self._call_block = _CallBlock(len(self._tool_calls), block.get("input"))
            return self._add_call({"name": block.get("name"), "arguments": ""}, call_id=block.get("id"))
        return self._add_thinking("") if kind in _THINKING_TYPES else None

    def _extend_block(self, delta: Any) -> Delta | None:  # noqa: ANN401 - JSON is anything
        match delta:
            case {"type": "text_delta", "text": text}:
                return self._add_text(text)
            case {"type": "input_json_delta", "partial_json": str(arguments)} if arguments and self._call_block:
                self._call_block.has_arguments = True
                return self._add_call({"arguments": arguments})
            case {"type": "thinking_delta", "thinking": text} | {"type": "signature_delta", "signature": text}:
                return self._add_thinking(text_of(text))
        return None

    def _stop_block(self) -> Delta | None:
        block = self._call_block
        if block is None:
            self._check_characters()
            return None
        arguments = block.first_arguments if isinstance(block.first_arguments, dict) else {}
        delta = None if block.has_arguments else self._add_call({"arguments": arguments})
        self._call_block = None
        return delta

    def _check_characters(self) -> None:
        if self._joiners[0].is_broken or self._joiners[0].has_half:
            raise MalformedStreamError("the answer contains half of a character")

    def _end_message(self, event: _Event) -> None:
        self._add_counts(event.usage)
        self._has_final_counts = isinstance(event.usage, dict)
        if isinstance(event.delta, dict):
            self._add_stop_reason(event.delta.get("stop_reason"))

    def _stop_message(self, _: _Event) -> None:
        self.is_done = True

    def _add_stop_reason(self, reason: Any) -> None:  # noqa: ANN401 - JSON is anything
        if isinstance(reason, str) and reason:
            self._finish(normalised_reason(reason))

    def _add_counts(self, usage: Any) -> None:  # noqa: ANN401 - JSON is anything
        """Add token counts: those at the end replace those at the beginning, as far as they are there."""
        if isinstance(usage, dict):
            self._counts = self._counts | usage

    def _add_text(self, value: Any) -> Delta | None:  # noqa: ANN401 - JSON is anything
        text = self._joiners[0].feed(text_of(value))
        if self._joiners[0].is_broken:
            self._check_characters()
        if not text:
            return None
        self._texts.append(text)
        self._check_size(text, "", ())
        return Delta(text=text)

    def _add_call(self, function: dict[str, Any], *, call_id: Any = None) -> Delta:  # noqa: ANN401 - JSON is anything
        index = 0 if self._call_block is None else self._call_block.index
        calls = self._tool_calls.add([{"index": index, "id": call_id, "function": function}])
        self._check_size("", "", calls)
        return Delta(tool_calls=calls)

    def _add_thinking(self, text: str) -> Delta:
        self._check_size("", text or " ", ())
        return Delta()


def _decode_event(data: bytes) -> _Event | None:
    """Return an event; None for bytes that are not one. Python's parser keeps half of a character."""
    try:
        return _EVENT.decode(data)
    except _UNREADABLE:
        if b"\\ud" not in data and b"\\uD" not in data:
            return None
    try:
        return msgspec.convert(json.loads(data), _Event)
    except _UNREADABLE:
        return None


def _check_no_error(event: _Event) -> None:
    """Raise the error of an event or a body that reports one."""
    if event.type != "error" and (event.type is not None or event.error is None):
        return
    body = event.error if isinstance(event.error, dict) else {"message": str(event.error)}
    message = body.get("message")
    raise MalformedStreamError(message if isinstance(message, str) and message else "no reason given", body=body)


_EVENT = msgspec.json.Decoder(_Event)
