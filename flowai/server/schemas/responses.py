"""Response bodies of each endpoint in OpenAI's format, built from the gateway's records.

Source: OpenAI API reference, The chat completion object, The chat completion chunk object, The embedding object.
"""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowai.events import CacheStatus, Variant

if TYPE_CHECKING:
    from flowai.gateway.records import CompletionResult, StreamRestarted, StreamStarted, TextChunk
    from flowai.providers import Embeddings

ID_PREFIX = "chatcmpl-"


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


class FlowaiExtension(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Origin of the answer; keys without a value are absent."""

    call_id: str
    """Id of the call."""
    feature: str | None = None
    """Name of the feature."""
    release: str | None = None
    """Release that served the call."""
    variant: Variant | None = None
    """Variant of the rollout."""
    experiment: str | None = None
    """Name of the experiment."""
    arm: str | None = None
    """Arm of the experiment."""
    model: str
    """Name of the answering model in the registry."""
    served_model: str | None = None
    """Name that the provider reports."""
    degraded: bool = False
    """True when the last resort answered."""
    disclaimer: str | None = None
    """Text for the user with such an answer."""
    cache: CacheStatus = "miss"
    """`miss`, or the cache that the answer came from: `exact`, `semantic`."""
    cost_usd: float | None = None
    """Cost of the call, US dollars."""
    restarted: bool = False
    """True on the chunk after which a stream starts over: discard all chunks before it."""
    reason: str | None = None
    """Reason of the restart."""


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


class EmbeddingReply(msgspec.Struct, frozen=True, kw_only=True):
    """Vector of a text."""

    object: Literal["embedding"] = "embedding"
    """Always `embedding`."""
    index: int
    """Position of the text in the request."""
    embedding: list[float] | str
    """Numbers, or base64 of 32-bit floats, little-endian."""


class EmbeddingsUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts."""

    prompt_tokens: int
    """Tokens of all texts; 0 when not reported."""
    total_tokens: int
    """Equal to `prompt_tokens`."""


class EmbeddingsReply(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the texts."""

    object: Literal["list"] = "list"
    """Always `list`."""
    model: str
    """Name of the model in the registry."""
    data: tuple[EmbeddingReply, ...]
    """The vectors."""
    usage: EmbeddingsUsage
    """Token counts."""


class ModelReply(msgspec.Struct, frozen=True, kw_only=True):
    """A feature or a model."""

    id: str
    """Name in the registry."""
    object: Literal["model"] = "model"
    """Always `model`."""
    created: int = 0
    """Always 0."""
    owned_by: Literal["flowai:feature", "flowai:model"]
    """`flowai:feature` or `flowai:model`."""


class ModelsReply(msgspec.Struct, frozen=True, kw_only=True):
    """All features, then all models."""

    object: Literal["list"] = "list"
    """Always `list`."""
    data: tuple[ModelReply, ...]
    """Features and models."""


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


def flowai_extension(answer: CompletionResult) -> FlowaiExtension:
    """Return the origin of an answer."""
    return FlowaiExtension(
        call_id=answer.call_id,
        feature=answer.feature,
        release=answer.release,
        variant=answer.variant,
        experiment=answer.experiment,
        arm=answer.arm,
        model=answer.model,
        served_model=answer.served_model,
        degraded=answer.degraded,
        disclaimer=answer.disclaimer,
        cache=answer.cache,
        cost_usd=answer.cost_usd,
    )


def chat_reply(answer: CompletionResult, created: int) -> ChatReply:
    """Convert an answer into OpenAI's format."""
    message = ReplyMessage(
        content=answer.text or (None if answer.tool_calls else ""),
        tool_calls=list(answer.tool_calls) if answer.tool_calls else msgspec.UNSET,
    )
    return ChatReply(
        id=ID_PREFIX + answer.call_id,
        created=created,
        model=answer.model,
        choices=(Choice(message=message, finish_reason=finish_reason_of(answer)),),
        usage=usage_of(answer),
        flowai=flowai_extension(answer),
    )


class ChunkBuilder:
    """Builder of the chunks of one stream.

    Args:
        started: the stream's first event.
        created: seconds since the epoch.
        include_usage: whether the caller requested token counts.
    """

    def __init__(self, started: StreamStarted, created: int, *, include_usage: bool) -> None:
        self._call_id = started.call_id
        self._model = started.model
        self._created = created
        self._include_usage = include_usage

    def first(self, started: StreamStarted) -> ChunkReply:
        """Build the chunk before any text, with role and origin."""
        extension = FlowaiExtension(
            call_id=started.call_id,
            feature=started.feature,
            release=started.release,
            variant=started.variant,
            model=started.model,
            degraded=started.degraded,
            disclaimer=started.disclaimer,
            cache=started.cache,
        )
        return self._chunk(Delta(role="assistant", content=""), extension=extension)

    def text(self, chunk: TextChunk) -> ChunkReply:
        """Build a chunk of the answer."""
        calls = list(chunk.tool_calls) if chunk.tool_calls else None
        return self._chunk(Delta(content=chunk.text or None, tool_calls=calls))

    def restarted(self, restarted: StreamRestarted) -> ChunkReply:
        """Build the chunk that voids all earlier ones."""
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

    def last(self, answer: CompletionResult) -> tuple[ChunkReply, ...]:
        """Build the last chunks of a complete stream: finish reason and origin, and token counts if requested."""
        end = self._chunk(Delta(), finish_reason=finish_reason_of(answer), extension=flowai_extension(answer))
        if not self._include_usage:
            return (end,)
        return end, msgspec.structs.replace(self._chunk(None), usage=usage_of(answer))

    def _chunk(
        self,
        delta: Delta | None,
        *,
        finish_reason: str | None = None,
        extension: FlowaiExtension | msgspec.UnsetType = msgspec.UNSET,
    ) -> ChunkReply:
        choices = () if delta is None else (ChunkChoice(delta=delta, finish_reason=finish_reason),)
        return ChunkReply(
            id=ID_PREFIX + self._call_id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=None if self._include_usage else msgspec.UNSET,
            flowai=extension,
        )


def embeddings_reply(model: str, vectors: Embeddings, *, as_base64: bool) -> EmbeddingsReply:
    """Convert vectors into OpenAI's format."""
    rows = tuple(
        EmbeddingReply(index=index, embedding=_base64(vector) if as_base64 else list(vector))
        for index, vector in enumerate(vectors.vectors)
    )
    tokens = vectors.input_tokens or 0
    return EmbeddingsReply(model=model, data=rows, usage=EmbeddingsUsage(prompt_tokens=tokens, total_tokens=tokens))


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
