"""Client that calls Anthropic's models in the Messages protocol; it passes all other requests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.anthropic.cost import message_cost_usd
from flowai.providers.anthropic.models import PREFIX, ModelCatalog
from flowai.providers.anthropic.requests import messages_request
from flowai.providers.anthropic.stream_parser import MessagesStreamParser
from flowai.providers.direct.client import OpenAIClient
from flowai.providers.failures import building_request
from flowai.providers.results import token_limit
from flowai.providers.time_limits import TimeLimits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.providers.client import Client, Completion, Embeddings, EmbedRequest, Endpoint, Request
    from flowai.providers.direct.chat_call import ChatCall


class MessagesClient(OpenAIClient):
    """Client that sends and reads as OpenAIClient does, in Anthropic's protocol.

    Args:
        other: client for the requests that this one does not know how to send.
        options: OpenAIClient's.
    """

    def __init__(self, other: Client, **options: Any) -> None:  # noqa: ANN401 - OpenAIClient's
        super().__init__(other, **options)
        self._models = ModelCatalog(self._prices)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return one vector per text; Anthropic has no embeddings of its own."""
        return await self._other.embed(request)

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        """Import what calls need; warm up the other client for the endpoints that it calls."""
        others = [endpoint for endpoint in endpoints if not self._is_known(endpoint)]
        if len(others) < len(endpoints):
            self._connections()
        if others or not endpoints:
            await self._other.warm_up(others)

    def _is_known(self, endpoint: Endpoint) -> bool:
        return endpoint.transport != "litellm" and self._models.abilities(endpoint.model) is not None

    def _chat_call(self, request: Request) -> ChatCall | None:
        """Return a call that can be sent; None if the other client must send it."""
        endpoint = request.endpoint
        if endpoint.transport == "litellm" or not endpoint.model.startswith(PREFIX):
            return None
        with building_request(endpoint, self._redactor):
            wire = messages_request(request, self._models)
        if wire is None:
            self._check_may_pass_on(endpoint)
            return None
        connections = self._connections()
        from flowai.providers.direct.chat_call import ChatCall  # late: it imports aiohttp

        return ChatCall(
            wire,
            connections,
            answer=MessagesStreamParser(max_tokens=token_limit(request)),
            limits=TimeLimits(request, clock_s=self._clock_s),
            mode="stream",
            rebuild=lambda _: None,
            is_local=False,
        )

    def _completion(self, request: Request, call: ChatCall) -> Completion:
        completion = super()._completion(request, call)
        return msgspec.structs.replace(completion, text=call.answer.text)  # `<thinking>` is a part of Claude's answer

    def _cost_usd(self, endpoint: Endpoint, usage: Mapping[str, Any] | None) -> float | None:
        row = self._prices.row(endpoint.model)
        return message_cost_usd(row, usage) if row and usage and usage["total_tokens"] else None
