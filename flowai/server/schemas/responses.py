"""What callers get: the answers of each endpoint in OpenAI's shapes, made from the gateway's records.

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
    """What the model said."""

    role: Literal["assistant"] = "assistant"
    """Always the assistant."""
    content: str | None
    """The text; null when it only calls tools."""
    refusal: None = None
    """Always null: a refusal by policy is an error here."""
    tool_calls: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    """The calls, in order; absent without any."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The one answer."""

    index: int = 0
    """Always 0."""
    message: ReplyMessage
    """What the model said."""
    logprobs: None = None
    """Always null."""
    finish_reason: str
    """`stop`, `length`, `tool_calls`."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens used."""

    prompt_tokens: int
    """Of the request."""
    completion_tokens: int
    """Of the answer."""
    total_tokens: int
    """Of both."""


class FlowaiExtension(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How flowai came to the answer; keys without a value are absent."""

    call_id: str
    """Identity of the call."""
    feature: str | None = None
    """The feature."""
    release: str | None = None
    """The release that served."""
    variant: Variant | None = None
    """Which side of a rollout served."""
    experiment: str | None = None
    """The experiment it took part in."""
    arm: str | None = None
    """The experiment's arm."""
    model: str
    """The registry's name of the model that answered."""
    served_model: str | None = None
    """The name the provider reports."""
    degraded: bool = False
    """True when the last resort answered."""
    disclaimer: str | None = None
    """What the user is to be told then."""
    cache: CacheStatus = "miss"
    """`exact` or `semantic` when the answer came from there."""
    cost_usd: float | None = None
    """US dollars."""
    restarted: bool = False
    """True on the chunk of a stream that began anew: forget all pieces before it."""
    reason: str | None = None
    """Why it began anew."""


class ChatReply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    id: str
    """`chatcmpl-` and the call's identity."""
    object: Literal["chat.completion"] = "chat.completion"
    """Always `chat.completion`."""
    created: int
    """Seconds since the epoch."""
    model: str
    """The registry's name of the model that answered."""
    choices: tuple[Choice, ...]
    """One."""
    usage: Usage | None
    """Tokens used; null when the provider did not report them."""
    flowai: FlowaiExtension
    """How flowai came to it."""


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a chunk adds."""

    role: str | None = None
    """On the first chunk only."""
    content: str | None = None
    """More text."""
    tool_calls: list[dict[str, Any]] | None = None
    """More of the tool calls, as the provider sent them."""


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The one answer, in part."""

    index: int = 0
    """Always 0."""
    delta: Delta
    """What it adds."""
    logprobs: None = None
    """Always null."""
    finish_reason: str | None = None
    """Null until the end."""


class ChunkReply(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of a stream."""

    id: str
    """As in the whole answer."""
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    """Always `chat.completion.chunk`."""
    created: int
    """Seconds since the epoch, the same on all chunks."""
    model: str
    """The registry's name of the model that answers."""
    choices: tuple[ChunkChoice, ...]
    """One, or none on chunks that carry no answer."""
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    """On the last chunk, where it was asked for."""
    flowai: FlowaiExtension | msgspec.UnsetType = msgspec.UNSET
    """On chunks that say how flowai came to the answer."""


class EmbeddingReply(msgspec.Struct, frozen=True, kw_only=True):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    """Always `embedding`."""
    index: int
    """Which text it belongs to."""
    embedding: list[float] | str
    """Numbers, or base64 of 32-bit floats, little-endian."""


class EmbeddingsUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens used."""

    prompt_tokens: int
    """Of all texts; 0 when not reported."""
    total_tokens: int
    """The same."""


class EmbeddingsReply(msgspec.Struct, frozen=True, kw_only=True):
    """One vector per text, in order."""

    object: Literal["list"] = "list"
    """Always `list`."""
    model: str
    """The registry's name of the model."""
    data: tuple[EmbeddingReply, ...]
    """The vectors."""
    usage: EmbeddingsUsage
    """Tokens used."""


class ModelReply(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be asked."""

    id: str
    """Its name."""
    object: Literal["model"] = "model"
    """Always `model`."""
    created: int = 0
    """Always 0."""
    owned_by: Literal["flowai:feature", "flowai:model"]
    """`flowai:feature` or `flowai:model`."""


class ModelsReply(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be asked: features first."""

    object: Literal["list"] = "list"
    """Always `list`."""
    data: tuple[ModelReply, ...]
    """What there is."""


def usage_of(answer: CompletionResult) -> Usage | None:
    """Give the tokens of an answer; None unless both numbers are known."""
    if answer.input_tokens is None or answer.output_tokens is None:
        return None
    return Usage(
        prompt_tokens=answer.input_tokens,
        completion_tokens=answer.output_tokens,
        total_tokens=answer.input_tokens + answer.output_tokens,
    )


def finish_reason_of(answer: CompletionResult) -> str:
    """Give why an answer ended; clients insist on a reason."""
    return answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")


def flowai_extension(answer: CompletionResult) -> FlowaiExtension:
    """Say how flowai came to an answer."""
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
    """Give a whole answer in OpenAI's shape."""
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
    """Makes the chunks of one stream.

    Args:
        started: who answers.
        created: seconds since the epoch.
        include_usage: whether the caller wants the tokens used.
    """

    def __init__(self, started: StreamStarted, created: int, *, include_usage: bool) -> None:
        self._call_id = started.call_id
        self._model = started.model
        self._created = created
        self._include_usage = include_usage

    def first(self, started: StreamStarted) -> ChunkReply:
        """Give the chunk before any text: the role, and how flowai comes to the answer."""
        what = FlowaiExtension(
            call_id=started.call_id,
            feature=started.feature,
            release=started.release,
            variant=started.variant,
            model=started.model,
            degraded=started.degraded,
            disclaimer=started.disclaimer,
            cache=started.cache,
        )
        return self._chunk(Delta(role="assistant", content=""), what=what)

    def piece(self, piece: TextChunk) -> ChunkReply:
        """Give more of the answer."""
        calls = list(piece.tool_calls) if piece.tool_calls else None
        return self._chunk(Delta(content=piece.text or None, tool_calls=calls))

    def restarted(self, restarted: StreamRestarted) -> ChunkReply:
        """Announce that all pieces so far are void."""
        self._model = restarted.model
        what = FlowaiExtension(
            call_id=self._call_id,
            model=restarted.model,
            degraded=restarted.degraded,
            disclaimer=restarted.disclaimer,
            restarted=True,
            reason=restarted.reason,
        )
        return self._chunk(None, what=what)

    def last(self, answer: CompletionResult) -> tuple[ChunkReply, ...]:
        """Give the end of a good stream: the reason, how flowai came to it, and the tokens if they were asked for."""
        end = self._chunk(Delta(), finish_reason=finish_reason_of(answer), what=flowai_extension(answer))
        if not self._include_usage:
            return (end,)
        return end, msgspec.structs.replace(self._chunk(None), usage=usage_of(answer))

    def _chunk(
        self,
        delta: Delta | None,
        *,
        finish_reason: str | None = None,
        what: FlowaiExtension | msgspec.UnsetType = msgspec.UNSET,
    ) -> ChunkReply:
        choices = () if delta is None else (ChunkChoice(delta=delta, finish_reason=finish_reason),)
        return ChunkReply(
            id=ID_PREFIX + self._call_id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=None if self._include_usage else msgspec.UNSET,
            flowai=what,
        )


def embeddings_reply(model: str, vectors: Embeddings, *, as_base64: bool) -> EmbeddingsReply:
    """Give vectors in OpenAI's shape."""
    rows = tuple(
        EmbeddingReply(index=index, embedding=_base64(vector) if as_base64 else list(vector))
        for index, vector in enumerate(vectors.vectors)
    )
    tokens = vectors.input_tokens or 0
    return EmbeddingsReply(model=model, data=rows, usage=EmbeddingsUsage(prompt_tokens=tokens, total_tokens=tokens))


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
