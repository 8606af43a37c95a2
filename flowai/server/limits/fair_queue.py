"""Slots for calls, and a short queue when all are taken: tenants are served in turn, and the keys of each in turn."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowai.registry import Serve

Turns = dict[str, deque["asyncio.Future[None]"]]


class FairQueue:
    """Slots of one server; used within its event loop.

    A slot that becomes free goes to the first waiting request of the next tenant, so that a tenant with many requests
    delays another one's by at most the calls that run. A tenant at its own limit is passed over.
    """

    def __init__(self) -> None:
        self._taken_count = 0
        self._taken: dict[str, int] = {}  # by tenant
        self._waiting: dict[str, Turns] = {}  # tenants, and the keys of each, in the order of their next turn
        self._serve: Serve | None = None

    def try_take(self, tenant: str, serve: Serve) -> bool:
        """Return whether a slot was free, and count it as taken."""
        self._serve = serve
        if tenant in self._waiting or not self._is_free_for(tenant, serve):
            return False
        self._take(tenant)
        return True

    def is_at_own_limit(self, tenant: str, serve: Serve) -> bool:
        """Return whether a tenant has as many calls as its own limit allows."""
        limits = serve.tenants.get(tenant)
        own_limit = None if limits is None else limits.max_concurrency
        return own_limit is not None and self._taken.get(tenant, 0) >= own_limit

    def join(self, tenant: str, key: str, serve: Serve) -> asyncio.Future[None] | None:
        """Wait for a slot; None if too many requests of the key wait.

        Returns:
            A future that is done when the slot is taken. The caller returns the slot with `free`, or passes a future
            that it no longer waits for to `leave`.
        """
        turns = self._waiting.get(tenant, {})
        if len(turns.get(key, ())) >= serve.queue.max_waiting:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, turns).setdefault(key, deque()).append(future)
        return future

    def leave(self, tenant: str, key: str, future: asyncio.Future[None]) -> None:
        """End waiting; a slot that was taken meanwhile is returned."""
        if future.done():
            self.free(tenant)
            return
        turns = self._waiting[tenant]
        turns[key].remove(future)
        self._drop_if_empty(tenant, key)

    def free(self, tenant: str) -> None:
        """Return a slot; the next request that may run takes it."""
        self._taken_count -= 1
        self._taken[tenant] -= 1
        if not self._taken[tenant]:
            del self._taken[tenant]
        if self._waiting:
            self._hand_over()

    def _hand_over(self) -> None:
        """Hand free slots to waiting requests."""
        assert self._serve is not None  # noqa: S101 - for the type checker: it is set before any request waits
        while (tenant := self._next_tenant(self._serve)) is not None:
            turns = self._waiting.pop(tenant)
            self._waiting[tenant] = turns  # its next turn is last
            key = next(iter(turns))
            waiting = turns.pop(key)
            turns[key] = waiting
            waiting.popleft().set_result(None)
            self._take(tenant)
            self._drop_if_empty(tenant, key)

    def _next_tenant(self, serve: Serve) -> str | None:
        return next((tenant for tenant in self._waiting if self._is_free_for(tenant, serve)), None)

    def _is_free_for(self, tenant: str, serve: Serve) -> bool:
        return self._taken_count < serve.max_concurrency and not self.is_at_own_limit(tenant, serve)

    def _take(self, tenant: str) -> None:
        self._taken_count += 1
        self._taken[tenant] = self._taken.get(tenant, 0) + 1

    def _drop_if_empty(self, tenant: str, key: str) -> None:
        turns = self._waiting[tenant]
        if not turns[key]:
            del turns[key]
            if not turns:
                del self._waiting[tenant]
