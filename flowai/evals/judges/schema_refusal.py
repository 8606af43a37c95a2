"""Repeats a request without its response schema if the endpoint refuses it; the reply is then parsed tolerantly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InvalidRequestError, RecordingMissError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowai.providers import Completion, Request


class SchemaRefusals:
    """Remembers the endpoints that refuse schemas: only the first request to each is sent twice."""

    def __init__(self) -> None:
        self._endpoints: set[str] = set()

    async def complete(self, request: Request, send: Callable[[Request], Awaitable[Completion]]) -> Completion:
        """Return the answer to a request, without its schema if the endpoint calls the request invalid with it.

        Args:
            request: the request; one without a schema is sent once.
            send: calls the model, or reads a recording, which holds the request as it was answered.

        Raises:
            CallError: the call failed.
        """
        if request.response_schema is None and request.response_format is None:
            return await send(request)
        bare = msgspec.structs.replace(request, response_schema=None, response_format=None)
        if request.endpoint.name in self._endpoints:
            return await send(bare)
        try:
            return await send(request)
        except (InvalidRequestError, RecordingMissError) as error:
            refusal = error
        try:
            completion = await send(bare)
        except RecordingMissError:
            raise refusal from None
        self._endpoints.add(request.endpoint.name)
        return completion
