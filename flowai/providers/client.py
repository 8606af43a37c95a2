"""What every model client promises: complete, stream, embed; and the records that go in and come out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

ChatMessage = dict[str, Any]
"""One message in OpenAI's chat format: `role`, `content` (text, or a list of parts)."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One model as it can be called."""

    name: str
    """The registry's name, for messages and events."""
    model: str
    """LiteLLM's name (`openai/gpt-4o-mini`), or `local/...` for a GGUF file served on this machine."""
    provider: str
    """Who is asked (`openai`, `local`, or the host of an `api_base`)."""
    api_base: str | None = None
    """Base URL; None for the provider's own."""
    api_key: str | None = None
    """The key itself; None where none is needed. Never shown, logged, hashed or recorded."""
    file: str | None = None
    """Absolute path of the GGUF file of a `local/...` model; None for others."""

    def __repr__(self) -> str:
        """Leave the key out."""
        return f"Endpoint(name={self.name!r}, model={self.model!r}, api_base={self.api_base!r})"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One chat request."""

    endpoint: Endpoint
    """Whom to ask."""
    messages: tuple[ChatMessage, ...]
    """The conversation, OpenAI's format."""
    params: dict[str, Any] = {}
    """Sampling parameters by LiteLLM's names (`temperature`, `max_tokens`, `seed`, `stop`, ...)."""
    response_schema: dict[str, Any] | None = None
    """JSON Schema the answer must follow (sent as `response_format`); None for free text."""
    response_format: dict[str, Any] | None = None
    """OpenAI's `response_format` as a caller wrote it; only without a `response_schema`."""
    first_token_timeout_s: float = 10.0
    """Seconds until the first token, and at most between two pieces of an answer, > 0."""
    total_timeout_s: float = 60.0
    """Seconds until the answer is whole, > 0."""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """One whole answer."""

    text: str
    """What the model said; empty when it only calls tools."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """OpenAI's tool calls, in order; empty when there are none."""
    model: str
    """LiteLLM's name of the model that was asked."""
    served_model: str
    """The name the provider reports; may carry a date."""
    provider: str
    """Who answered."""
    finish_reason: str | None
    """`stop`, `length`, `content_filter`, `tool_calls`, or None when the provider gave none."""
    input_tokens: int | None
    """Tokens of the request, >= 0; None when not reported."""
    output_tokens: int | None
    """Tokens of the answer, >= 0; None when not reported."""
    cost_usd: float | None
    """US dollars by LiteLLM's price table, >= 0; 0 for local models; None when the price is not known."""
    latency_ms: float
    """From the request to the whole answer, >= 0."""
    ttft_ms: float | None
    """From the request to the first token of text or of a tool call, >= 0; None when it was not streamed."""


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of a streamed answer."""

    text: str
    """What this piece adds; may be empty."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """OpenAI's tool call deltas of this piece, as the provider sent them."""
    completion: Completion | None = None
    """The whole answer; only on the last chunk."""


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to embed."""

    endpoint: Endpoint
    """Whom to ask."""
    texts: tuple[str, ...]
    """1 to n texts."""
    total_timeout_s: float = 30.0
    """Seconds until all vectors are there, > 0."""


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the texts."""

    vectors: tuple[tuple[float, ...], ...]
    """One vector per text, all of one length."""
    input_tokens: int | None
    """Tokens of all texts; None when not reported."""
    cost_usd: float | None
    """US dollars, >= 0; None when the price is not known."""


class Client(Protocol):
    """What calls a model.

    A failed call is a CallError. What would fail every call alike is not: a local model that cannot be started is an
    InfrastructureError or a RegistryError, a request that was never recorded a RecordingMissError.
    """

    async def complete(self, request: Request) -> Completion:
        """Give the whole answer.

        Raises:
            CallError: the provider failed; the class says how.
        """
        ...

    def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Give the answer piece by piece; the last chunk carries the whole.

        Raises:
            CallError: before or after the first chunk; a stream that dies never ends as if it were whole.
        """
        ...

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Give one vector per text.

        Raises:
            CallError: the provider failed.
        """
        ...

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        """Do now what the first call would wait for, so that it is not counted as latency.

        Args:
            endpoints: models to make ready too, those of them that run on this machine.

        Raises:
            InfrastructureError: a local model did not start.
            RegistryError: its weights are missing or no GGUF file.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections, files and servers; may be called twice."""
        ...
