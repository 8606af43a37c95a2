"""Replies of chat completions, whole and in chunks.

Source: OpenAI API reference, The chat completion object, The chat completion chunk object; WHATWG HTML, Server-sent
events.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowai.server.schemas.common import CHAT_ID, FlowaiExtension, flowai_extension

if TYPE_CHECKING:
    from flowai.gateway.records import CompletionResult, StreamRestarted, StreamStarted, TextChunk
    from flowai.server.errors import ErrorResponse

_DONE = b"data: [DONE]\n\n"


class ReplyMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The model's message."""

    role: Literal["assistant"] = "assistant"
    """Always `assistant`."""
    content: str | None
    """The text; null when the model only calls tools."""
    refusal: None = None
    """Always null: a refusal by the content policy is an error."""
    tool_calls: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    """Tool calls, in order; absent without any."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    index: int = 0
    """Always 0."""
    message: ReplyMessage
    """The model's message."""
    logprobs: None = None
    """Always null."""
    finish_reason: str
    """`stop`, `length`, `tool_calls`."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts."""

    prompt_tokens: int
    """Tokens of the request."""
    completion_tokens: int
    """Tokens of the answer."""
    total_tokens: int
    """Sum of both."""


class ChatReply(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer."""

    id: str
    """`chatcmpl-` and the id of the call."""
    object: Literal["chat.completion"] = "chat.completion"
    """Always `chat.completion`."""
    created: int
    """Seconds since the epoch."""
    model: str
    """Name of the answering model in the registry."""
    choices: tuple[Choice, ...]
    """Always one."""
    usage: Usage | None
    """Token counts; null when the provider does not report them."""
    flowai: FlowaiExtension
    """Origin of the answer."""


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """New content of a chunk."""

    role: str | None = None
    """Only on the first chunk."""
    content: str | None = None
    """New text."""
    tool_calls: list[dict[str, Any]] | None = None
    """Deltas of tool calls, as the provider sent them."""


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the answer."""

    index: int = 0
    """Always 0."""
    delta: Delta
    """New content."""
    logprobs: None = None
    """Always null."""
    finish_reason: str | None = None
    """Null until the last chunk of the answer."""


class ChunkReply(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk of a stream."""

    id: str
    """`chatcmpl-` and the id of the call."""
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    """Always `chat.completion.chunk`."""
    created: int
    """Seconds since the epoch, the same on all chunks."""
    model: str
    """Name of the answering model in the registry."""
    choices: tuple[ChunkChoice, ...]
    """One; none on chunks without content."""
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    """On the last chunk, if requested."""
    flowai: FlowaiExtension | msgspec.UnsetType = msgspec.UNSET
    """Origin of the answer; on the first and last chunk, and after a restart."""


def usage_of(answer: CompletionResult) -> Usage | None:
    """Return the token counts of an answer; None unless both are known."""
    if answer.input_tokens is None or answer.output_tokens is None:
        return None
    return Usage(
        prompt_tokens=answer.input_tokens,
        completion_tokens=answer.output_tokens,
        total_tokens=answer.input_tokens + answer.output_tokens,
    )


def finish_reason_of(answer: CompletionResult) -> str:
    """Return the finish reason of an answer, with a default: clients require one."""
    return answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")


def chat_reply(answer: CompletionResult, created: int) -> ChatReply:
    """Convert an answer into OpenAI's format."""
    message = ReplyMessage(
        content=answer.text or (None if answer.tool_calls else ""),
        tool_calls=list(answer.tool_calls) if answer.tool_calls else msgspec.UNSET,
    )
    return ChatReply(
        id=CHAT_ID + answer.call_id,
        created=created,
        model=answer.model,
        choices=(Choice(message=message, finish_reason=finish_reason_of(answer)),),
        usage=usage_of(answer),
        flowai=flowai_extension(answer),
    )


class ChatFormat:
    """Answers of one chat request as bytes.

    Args:
        include_usage: whether a stream ends with the token counts.
    """

    def __init__(self, *, include_usage: bool = False) -> None:
        self._include_usage = include_usage
        self._created = int(time.time())
        self._call_id = ""
        self._model = ""

    def whole(self, answer: CompletionResult) -> bytes:
        """Return the body of a complete answer."""
        return msgspec.json.encode(chat_reply(answer, self._created))

    def started(self, started: StreamStarted) -> bytes:
        """Return the chunk before any text, with role and origin."""
        self._call_id, self._model = started.call_id, started.model
        return self._chunk(Delta(role="assistant", content=""), extension=flowai_extension(started))

    def text(self, chunk: TextChunk) -> bytes:
        """Return a chunk of the answer."""
        calls = list(chunk.tool_calls) if chunk.tool_calls else None
        return self._chunk(Delta(content=chunk.text or None, tool_calls=calls))

    def restarted(self, restarted: StreamRestarted) -> bytes:
        """Return the chunk that voids all earlier ones."""
        self._model = restarted.model
        extension = FlowaiExtension(
            call_id=self._call_id,
            model=restarted.model,
            degraded=restarted.degraded,
            disclaimer=restarted.disclaimer,
            restarted=True,
            reason=restarted.reason,
        )
        return self._chunk(None, extension=extension)

    def completed(self, answer: CompletionResult) -> bytes:
        """Return the last chunks of a complete stream: finish reason and origin, and token counts if requested."""
        end = self._chunk(Delta(), finish_reason=finish_reason_of(answer), extension=flowai_extension(answer))
        usage = self._chunk(None, usage=usage_of(answer)) if self._include_usage else b""
        return end + usage + _DONE

    def failed(self, problem: ErrorResponse) -> bytes:
        """Return the last event of a stream that fails."""
        return _frame(problem.as_object())

    def _chunk(
        self,
        delta: Delta | None,
        *,
        finish_reason: str | None = None,
        extension: FlowaiExtension | msgspec.UnsetType = msgspec.UNSET,
        usage: Usage | None = None,
    ) -> bytes:
        choices = () if delta is None else (ChunkChoice(delta=delta, finish_reason=finish_reason),)
        chunk = ChunkReply(
            id=CHAT_ID + self._call_id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=usage if self._include_usage else msgspec.UNSET,
            flowai=extension,
        )
        return _frame(chunk)


def _frame(payload: object) -> bytes:
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"
