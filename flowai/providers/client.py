"""Protocol of model clients (complete, stream, embed) and its requests and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from flowai.providers.prices import Price

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

ChatMessage = dict[str, Any]
"""One message in OpenAI's chat format: `role`, `content` (text, or a list of parts)."""
LOCAL_PROVIDER = "local"
"""Provider of models on this machine: no cost, no proxy."""
Transport = Literal["auto", "direct", "litellm"]
"""How a model is called: `direct` over flowai's own connections, `litellm`, or `auto` for the first that can."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A model and how to reach it."""

    name: str
    """Name in the registry, for errors and events."""
    model: str
    """LiteLLM's name (`openai/gpt-4o-mini`), or `local/...` for a GGUF file served on this machine."""
    provider: str
    """`openai`, `local`, or the host of an `api_base`."""
    api_base: str | None = None
    """Base URL; None for the provider's own."""
    api_key: str | None = None
    """Never shown, logged, hashed or recorded."""
    spare_keys: tuple[str, ...] = ()
    """Further keys, in the order in which to try them when one is refused."""
    file: str | None = None
    """Absolute path of the GGUF file of a `local/...` model; None for others."""
    price: Price | None = None
    """Price that the registry sets, free for local models; None for LiteLLM's table."""
    unpriced_is_free: bool = False
    """Whether calls cost nothing if the table has no price."""
    transport: Transport = "auto"
    """How the model is called."""

    def __repr__(self) -> str:
        """Return a text without the key."""
        return f"Endpoint(name={self.name!r}, model={self.model!r}, api_base={self.api_base!r})"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A chat request."""

    endpoint: Endpoint
    messages: tuple[ChatMessage, ...]
    params: dict[str, Any] = {}
    """Sampling parameters by LiteLLM's names (`temperature`, `max_tokens`, `seed`, `stop`, ...)."""
    response_schema: dict[str, Any] | None = None
    """JSON Schema of the answer, sent as `response_format`; None for free text."""
    response_format: dict[str, Any] | None = None
    """The caller's own OpenAI `response_format`; only without a `response_schema`."""
    first_token_timeout_s: float = 10.0
    """Time until the first token, and between two chunks, > 0."""
    total_timeout_s: float = 60.0
    """Time until the answer is complete, > 0."""

    def own_parts(self) -> tuple[Any, ...]:
        """Return JSON values besides model, messages and parameters that can change the answer."""
        return ()


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer."""

    text: str
    """Empty when the model only calls tools."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """In OpenAI's format."""
    model: str
    """LiteLLM's name of the requested model."""
    served_model: str
    """The name the provider reports; may carry a date."""
    provider: str
    finish_reason: str | None
    """`stop`, `length`, `content_filter`, `tool_calls`; None when the provider reports none."""
    input_tokens: int | None
    """Tokens of the request, >= 0; None when not reported."""
    output_tokens: int | None
    """Tokens of the answer, >= 0; None when not reported."""
    cost_usd: float | None
    """By the registry's price or LiteLLM's table, >= 0; 0 for local models; None when the price is unknown."""
    latency_ms: float
    """From the request to the complete answer, >= 0."""
    ttft_ms: float | None
    """From the request to the first token of text or of a tool call, >= 0; None when it was not streamed."""
    fingerprint: str | None = None
    """The provider's id of its configuration (`system_fingerprint`); None when not reported."""


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a streamed answer."""

    text: str
    """New text; may be empty."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """OpenAI's tool call deltas, as the provider sent them."""
    completion: Completion | None = None
    """The complete answer; only on the last chunk."""


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to embed."""

    endpoint: Endpoint
    texts: tuple[str, ...]
    """At least one."""
    total_timeout_s: float = 30.0
    """Time until all vectors have come, > 0."""


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the texts."""

    vectors: tuple[tuple[float, ...], ...]
    """One per text, all of the same length."""
    input_tokens: int | None
    """Tokens of all texts; None when not reported."""
    cost_usd: float | None
    """>= 0; None when the price is unknown."""


class Client(Protocol):
    """A client that calls models.

    A failed call raises a CallError. Failures that affect every call raise another error: a local model that does not
    start an InfrastructureError or a RegistryError, a request that was never recorded a RecordingMissError.
    """

    async def complete(self, request: Request) -> Completion:
        """Return the complete answer.

        Raises:
            CallError: the provider failed; the class names the kind of failure.
        """
        ...

    def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Yield the answer in chunks; the last chunk carries the complete answer.

        Raises:
            CallError: before or after the first chunk; a stream that breaks off never ends without an error.
        """
        ...

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return one vector per text.

        Raises:
            CallError: the provider failed.
        """
        ...

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        """Load now what the first call needs, so that loading is not counted as latency.

        Args:
            endpoints: models to start too, if they run on this machine.

        Raises:
            InfrastructureError: a local model did not start.
            RegistryError: its weights are missing or not a GGUF file.
        """
        ...

    async def aclose(self) -> None:
        """Close connections, files and servers; may be called twice."""
        ...
