"""Prices that the registry sets for a model, in place of LiteLLM's table."""

from __future__ import annotations

import math
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from flowai.providers.prices import Price

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Sequence
    from typing import Any

    from flowai.errors import PartialUsage
    from flowai.providers.client import Chunk, Client, Completion, Embeddings, EmbedRequest, Endpoint, Request
    from flowai.providers.prices import PriceTable

CHARACTERS_PER_TOKEN = 4
"""Characters of a token, for estimates. Source: OpenAI help centre, "What are tokens and how to count them?"."""
FREE = Price(input_cost_per_token=0.0, output_cost_per_token=0.0)


def price_of(endpoint: Endpoint, table: PriceTable) -> Price | None:
    """Return the price of an endpoint: its own, else the table's; None if the cost of its calls cannot be known."""
    if endpoint.price is not None:
        return endpoint.price
    listed = table.price(endpoint.model)
    if listed is not None and listed.cost_usd(1, 1) is not None:
        return listed
    return FREE if endpoint.unpriced_is_free else None


def partial_cost_usd(
    endpoint: Endpoint, usage: PartialUsage, table: PriceTable, *, input_characters: int
) -> float | None:
    """Return the cost of an answer that failed after it had begun; None without a price.

    Tokens that were not reported are estimated: of the request by `input_characters`, of the answer by what came.
    """
    price = price_of(endpoint, table)
    if usage.cost_usd is not None and usage.is_final and not _has_own_price(endpoint):
        return usage.cost_usd
    if price is None:
        return None
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    if input_tokens is None:
        input_tokens = math.ceil(input_characters / CHARACTERS_PER_TOKEN)
    if output_tokens is None or not usage.is_final:
        output_tokens = max(output_tokens or 0, math.ceil(usage.character_count / CHARACTERS_PER_TOKEN))
    return price.cost_usd(input_tokens, output_tokens)


def _with_own_price(completion: Completion, endpoint: Endpoint) -> Completion:
    """Return a completion with the cost by the price that the registry sets; unchanged if it sets none."""
    cost_usd = _own_cost_usd(endpoint, completion.input_tokens, completion.output_tokens, completion.cost_usd)
    return completion if cost_usd == completion.cost_usd else msgspec.structs.replace(completion, cost_usd=cost_usd)


def _has_own_price(endpoint: Endpoint) -> bool:
    """Return whether the registry decides the cost of an endpoint's calls."""
    return endpoint.price is not None or endpoint.unpriced_is_free


def _own_cost_usd(
    endpoint: Endpoint, input_tokens: int | None, output_tokens: int | None, listed_usd: float | None
) -> float | None:
    if endpoint.price == FREE:
        return 0.0
    if input_tokens is None or output_tokens is None:
        return None if endpoint.price is not None else listed_usd
    if endpoint.price is not None:
        return endpoint.price.cost_usd(input_tokens, output_tokens)
    return 0.0 if listed_usd is None else listed_usd  # with known tokens, only the price can be unknown


class OwnPriceClient:
    """Client that replaces the cost of calls by the registry's price, if it sets one; all else is the inner client's.

    Args:
        inner: the client that answers.
    """

    def __init__(self, inner: Client) -> None:
        self._inner = inner

    def complete(self, request: Request) -> Coroutine[Any, Any, Completion]:
        """Return the complete answer; see `Client.complete`."""
        answer = self._inner.complete(request)
        return self._complete(answer, request.endpoint) if _has_own_price(request.endpoint) else answer

    def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Yield the answer in chunks; see `Client.stream`."""
        chunks = self._inner.stream(request)
        return self._stream(chunks, request.endpoint) if _has_own_price(request.endpoint) else chunks

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return one vector per text; see `Client.embed`."""
        vectors = await self._inner.embed(request)
        if not _has_own_price(request.endpoint):
            return vectors
        cost_usd = _own_cost_usd(request.endpoint, vectors.input_tokens, 0, vectors.cost_usd)
        return msgspec.structs.replace(vectors, cost_usd=cost_usd)

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        """Load what the first call needs; see `Client.warm_up`."""
        await self._inner.warm_up(endpoints)

    async def aclose(self) -> None:
        """Close the inner client; may be called twice."""
        await self._inner.aclose()

    async def _complete(self, answer: Coroutine[Any, Any, Completion], endpoint: Endpoint) -> Completion:
        return _with_own_price(await answer, endpoint)

    async def _stream(self, chunks: AsyncGenerator[Chunk], endpoint: Endpoint) -> AsyncGenerator[Chunk]:
        async with aclosing(chunks):
            async for chunk in chunks:
                if chunk.completion is None:
                    yield chunk
                else:
                    completion = _with_own_price(chunk.completion, endpoint)
                    yield msgspec.structs.replace(chunk, completion=completion)
