"""Replies of the Messages API, whole and as a stream of events.

Source: Anthropic API reference, Create a Message; Streaming messages; Errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowai.server.completion.answer_parts import AnswerPart, PartStream, parts_of
from flowai.server.completion.sse import event_frame
from flowai.server.schemas.common import MESSAGE_ID, FlowaiExtension, flowai_extension

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.gateway.records import CompletionResult, StreamRestarted, StreamStarted, TextChunk
    from flowai.server.completion.answer_parts import PartEvent
    from flowai.server.errors import ErrorResponse

StopReason = Literal["end_turn", "max_tokens", "tool_use", "refusal"]
_STOP_REASONS: dict[str | None, StopReason] = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


class TextReply(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """The text of an answer."""

    text: str
    """The text."""
    citations: None = None
    """Always null."""


class ToolUseReply(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="tool_use"):
    """The model's call of a tool."""

    id: str
    """Connects it with its result."""
    name: str
    """Name of the tool."""
    input: dict[str, Any]
    """Arguments."""


class MessagesUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts; 0 when the provider does not report them."""

    input_tokens: int
    """Tokens of the request; at the start of a stream 0, its end has the number."""
    output_tokens: int
    """Tokens of the answer."""
    cache_creation_input_tokens: int | None = None
    """Always null: not measured."""
    cache_read_input_tokens: int | None = None
    """Always null: not measured."""


class MessageReply(msgspec.Struct, frozen=True, kw_only=True):
    """A message."""

    id: str
    """`msg_` and the id of the call."""
    type: Literal["message"] = "message"
    """Always `message`."""
    role: Literal["assistant"] = "assistant"
    """Always `assistant`."""
    model: str
    """Name of the answering model in the registry."""
    content: tuple[TextReply | ToolUseReply, ...]
    """The text, then tool calls."""
    stop_reason: StopReason | None
    """`end_turn`, also for a stop sequence; `max_tokens`, `tool_use`."""
    stop_sequence: None = None
    """Always null: providers do not report it."""
    usage: MessagesUsage
    """Token counts."""
    flowai: FlowaiExtension
    """Origin of the answer."""


class TokenCountReply(msgspec.Struct, frozen=True, kw_only=True):
    """The token count of a request."""

    input_tokens: int
    """An estimate: each provider counts with its own table."""


class MessagesFormat:
    """Answers of one Messages request as bytes."""

    def __init__(self) -> None:
        self._stream = PartStream("")

    def whole(self, answer: CompletionResult) -> bytes:
        """Return the body of a complete answer; a tool call that the token limit cut is left out.

        Raises:
            MalformedAnswerError: the arguments of a tool call are not a JSON object.
        """
        is_cut = answer.finish_reason == "length"
        reply = MessageReply(
            id=MESSAGE_ID + answer.call_id,
            model=answer.model,
            content=tuple(_block(part) for part in parts_of(answer) if part.is_complete or not is_cut),
            stop_reason=_stop_reason(answer),
            usage=_usage(answer),
            flowai=flowai_extension(answer),
        )
        return msgspec.json.encode(reply)

    def started(self, started: StreamStarted) -> bytes:
        """Return the event before any content."""
        self._stream = PartStream(started.call_id)
        reply = MessageReply(
            id=MESSAGE_ID + started.call_id,
            model=started.model,
            content=(),
            stop_reason=None,
            usage=MessagesUsage(input_tokens=0, output_tokens=0),
            flowai=flowai_extension(started),
        )
        return event_frame("message_start", {"message": reply})

    def text(self, chunk: TextChunk) -> bytes:
        """Return the events of a chunk."""
        return _part_frames(self._stream.add(chunk))

    def restarted(self, restarted: StreamRestarted) -> bytes:
        """Raise: the protocol has no event that voids earlier ones, and no request asks for it."""
        raise AssertionError(restarted)

    def completed(self, answer: CompletionResult) -> bytes:
        """Return the last events of a complete stream.

        Raises:
            MalformedAnswerError: the arguments of a tool call are not a JSON object.
        """
        blocks = _part_frames(self._stream.end())
        if answer.finish_reason != "length":
            for part in self._stream.parts:
                _block(part)
        delta = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
        end = {"delta": delta, "usage": _usage(answer), "flowai": flowai_extension(answer)}
        return blocks + event_frame("message_delta", end) + event_frame("message_stop", {})

    def failed(self, problem: ErrorResponse) -> bytes:
        """Return the last event of a stream that fails."""
        return event_frame("error", error_object(problem))


def error_object(problem: ErrorResponse) -> dict[str, Any]:
    """Return Anthropic's error object."""
    is_server_error = problem.type == "server_error"
    kind = _ERROR_TYPES.get(problem.status, "api_error" if is_server_error else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": problem.message}}


_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Types of Anthropic's errors by status."""


def _part_frames(events: Iterable[PartEvent]) -> bytes:
    return b"".join(_part_frame(event) for event in events)


def _part_frame(event: PartEvent) -> bytes:
    part = event.part
    if event.step == "opened":
        empty = TextReply(text="") if part.kind == "text" else ToolUseReply(id=part.tool_id, name=part.name, input={})
        return event_frame("content_block_start", {"index": part.index, "content_block": empty})
    if event.step == "added":
        delta = (
            {"type": "text_delta", "text": event.text}
            if part.kind == "text"
            else {"type": "input_json_delta", "partial_json": event.text}
        )
        return event_frame("content_block_delta", {"index": part.index, "delta": delta})
    return event_frame("content_block_stop", {"index": part.index})


def _block(part: AnswerPart) -> TextReply | ToolUseReply:
    if part.kind == "text":
        return TextReply(text=part.text)
    return ToolUseReply(id=part.tool_id, name=part.name, input=part.arguments())


def _stop_reason(answer: CompletionResult) -> StopReason:
    return _STOP_REASONS.get(answer.finish_reason, "tool_use" if answer.tool_calls else "end_turn")


def _usage(answer: CompletionResult) -> MessagesUsage:
    return MessagesUsage(input_tokens=answer.input_tokens or 0, output_tokens=answer.output_tokens or 0)
