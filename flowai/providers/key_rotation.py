"""Client that moves to a model's next key when the provider refuses one."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import AuthError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from flowai.providers.client import Chunk, Client, Completion, Embeddings, EmbedRequest, Endpoint, Request

_KEY_STATUSES = frozenset({401, 403})


@dataclass(slots=True)
class _Keys:
    """The keys of one call."""

    endpoint: Endpoint
    """Replaced when the keys were read again."""
    tried: set[str | None] = field(default_factory=set)


class KeyRotationClient:
    """Client that calls with the first key that was not refused; later calls skip refused keys.

    When every key was refused, they are read again; if none is new, the last error is raised, and the next call starts
    over with the first key.

    Args:
        inner: the client that calls.
        on_refused: called once for each refused key that has a successor, with the provider's error.
        renew: returns an endpoint with the keys as they are now.
    """

    def __init__(
        self,
        inner: Client,
        *,
        on_refused: Callable[[AuthError], None] = lambda _: None,
        renew: Callable[[Endpoint], Awaitable[Endpoint]] | None = None,
    ) -> None:
        self._inner = inner
        self._on_refused = on_refused
        self._renew = renew
        self._refused: dict[str, set[str | None]] = {}  # keys by the model's name

    async def complete(self, request: Request) -> Completion:
        """Return the complete answer; see `Client.complete`."""
        keys = _Keys(request.endpoint)
        while True:
            endpoint = self._current(keys.endpoint)
            try:
                return await self._inner.complete(msgspec.structs.replace(request, endpoint=endpoint))
            except AuthError as error:
                await self._after_refusal(keys, endpoint, error)

    def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Yield the answer in chunks; see `Client.stream`."""
        is_final = self._renew is None and not request.endpoint.spare_keys
        return self._inner.stream(request) if is_final else self._stream(request)

    async def _stream(self, request: Request) -> AsyncGenerator[Chunk]:
        keys = _Keys(request.endpoint)
        while True:
            endpoint = self._current(keys.endpoint)
            keyed = msgspec.structs.replace(request, endpoint=endpoint)
            has_started = False
            try:
                async with aclosing(self._inner.stream(keyed)) as chunks:
                    async for chunk in chunks:
                        has_started = True
                        yield chunk
            except AuthError as error:
                if has_started:
                    raise
                await self._after_refusal(keys, endpoint, error)
            else:
                return

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return one vector per text; see `Client.embed`."""
        keys = _Keys(request.endpoint)
        while True:
            endpoint = self._current(keys.endpoint)
            try:
                return await self._inner.embed(msgspec.structs.replace(request, endpoint=endpoint))
            except AuthError as error:
                await self._after_refusal(keys, endpoint, error)

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        """Warm up the inner client; see `Client.warm_up`."""
        await self._inner.warm_up(endpoints)

    async def aclose(self) -> None:
        """Close the inner client; may be called twice."""
        await self._inner.aclose()

    def _current(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with the first key that was not refused in front."""
        keys = (endpoint.api_key, *endpoint.spare_keys)
        refused = self._refused.get(endpoint.name)
        if not refused or keys[0] not in refused:
            return endpoint
        key = next((key for key in keys if key not in refused), None)
        if key is None:
            refused.clear()
            return endpoint
        spare_keys = tuple(each for each in keys if each is not None and each != key)
        return msgspec.structs.replace(endpoint, api_key=key, spare_keys=spare_keys)

    async def _after_refusal(self, keys: _Keys, endpoint: Endpoint, error: AuthError) -> None:
        """Record a refused key; read the keys again if no other is left, and raise the error if none is new."""
        keys.tried.add(endpoint.api_key)
        try:
            self._record(endpoint, error)
        except AuthError:
            if self._renew is None or error.status not in _KEY_STATUSES or endpoint.api_key is None:
                raise
            renewed = await self._renew(keys.endpoint)
            untried = [key for key in (renewed.api_key, *renewed.spare_keys) if key not in keys.tried]
            if not untried:
                raise error from None
            keys.endpoint = msgspec.structs.replace(renewed, api_key=untried[0], spare_keys=tuple(untried[1:]))

    def _record(self, endpoint: Endpoint, error: AuthError) -> None:
        """Record a refused key; raise the error if no other key is left."""
        if error.status not in _KEY_STATUSES or not endpoint.spare_keys:
            raise error
        refused = self._refused.setdefault(endpoint.name, set())
        is_known = endpoint.api_key in refused
        refused.add(endpoint.api_key)
        if refused.issuperset((endpoint.api_key, *endpoint.spare_keys)):
            refused.clear()
            raise error
        if not is_known:
            self._on_refused(error)
