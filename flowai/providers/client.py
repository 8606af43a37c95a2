"""What every model client promises: complete, stream, embed; and the records that go in and come out.

In: a Request. Out: a Completion, Chunks or Embeddings, or a CallError. Must never know prompts, features or releases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

ChatMessage = dict[str, Any]
"""One message in OpenAI's chat format: `role`, `content` (text, or a list of parts)."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One model as it can be called.

    Args:
        name: the registry's name, for messages and events.
        model: LiteLLM's name (`openai/gpt-4o-mini`), or `local/...` for a GGUF file served on this machine.
        provider: who is asked (`openai`, `local`, or the host of an `api_base`).
        api_base: base URL; None for the provider's own.
        api_key: the key itself; None where none is needed. Never shown, logged, hashed or recorded.
        file: absolute path of the GGUF file of a `local/...` model; None for others.
    """

    name: str
    model: str
    provider: str
    api_base: str | None = None
    api_key: str | None = None
    file: str | None = None

    def __repr__(self) -> str:
        """Leave the key out."""
        return f"Endpoint(name={self.name!r}, model={self.model!r}, api_base={self.api_base!r})"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One chat request.

    Args:
        endpoint: whom to ask.
        messages: the conversation, OpenAI's format.
        params: sampling parameters by LiteLLM's names (`temperature`, `max_tokens`, `seed`, `stop`, ...).
        response_schema: JSON Schema the answer must follow (sent as `response_format`); None for free text.
        response_format: OpenAI's `response_format` as a caller wrote it; only without a `response_schema`.
        first_token_timeout_s: seconds until the first token, and at most between two pieces of an answer, > 0.
        total_timeout_s: seconds until the answer is whole, > 0.
    """

    endpoint: Endpoint
    messages: tuple[ChatMessage, ...]
    params: dict[str, Any] = {}
    response_schema: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    first_token_timeout_s: float = 10.0
    total_timeout_s: float = 60.0


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """One whole answer.

    Args:
        text: what the model said; empty when it only calls tools.
        tool_calls: OpenAI's tool calls, in order; empty when there are none.
        model: LiteLLM's name of the model that was asked.
        served_model: the name the provider reports; may carry a date.
        provider: who answered.
        finish_reason: `stop`, `length`, `content_filter`, `tool_calls`, or None when the provider gave none.
        input_tokens: tokens of the request, >= 0; None when not reported.
        output_tokens: tokens of the answer, >= 0; None when not reported.
        cost_usd: US dollars by LiteLLM's price table, >= 0; 0 for local models; None when the price is not known.
        latency_ms: from the request to the whole answer, >= 0.
        ttft_ms: from the request to the first token of text or of a tool call, >= 0; None when it was not streamed.
    """

    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    model: str
    served_model: str
    provider: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    latency_ms: float
    ttft_ms: float | None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of a streamed answer.

    Args:
        text: what this piece adds; may be empty.
        tool_calls: OpenAI's tool call deltas of this piece, as the provider sent them.
        completion: the whole answer; only on the last chunk.
    """

    text: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    completion: Completion | None = None


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to embed.

    Args:
        endpoint: whom to ask.
        texts: 1 to n texts.
        total_timeout_s: seconds until all vectors are there, > 0.
    """

    endpoint: Endpoint
    texts: tuple[str, ...]
    total_timeout_s: float = 30.0


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the texts.

    Args:
        vectors: one vector per text, all of one length.
        input_tokens: tokens of all texts; None when not reported.
        cost_usd: US dollars, >= 0; None when the price is not known.
    """

    vectors: tuple[tuple[float, ...], ...]
    input_tokens: int | None
    cost_usd: float | None


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
