"""Store of requests that never fails one: while the shared store is unreachable, each process counts for itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowai.state.requests.rates import RateDecision, RateRule
    from flowai.state.requests.store import Claim, RequestStore

T = TypeVar("T")

RETRY_INTERVAL_S = 1.0
"""How often an unreachable store is tried again."""


class FallbackRequestStore:
    """`RequestStore` that falls back to a local one; `clock_s` is monotonic."""

    def __init__(
        self, shared: RequestStore, local: RequestStore, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared = shared
        self._local = local
        self._clock_s = clock_s
        self._try_at_s: float | None = None
        self.unavailable_reason: str | None = None
        """Why the shared store is not used; None while it is."""

    async def _call(self, operation: Callable[[RequestStore], Awaitable[T]]) -> T:
        if self._try_at_s is None or self._clock_s() >= self._try_at_s:
            if self._try_at_s is not None:
                self._try_at_s = self._clock_s() + RETRY_INTERVAL_S  # the other requests do not wait for this one
            try:
                result = await operation(self._shared)
            except InfrastructureError as error:
                self._try_at_s = self._clock_s() + RETRY_INTERVAL_S
                self.unavailable_reason = str(error)
            else:
                self._try_at_s = self.unavailable_reason = None
                return result
        return await operation(self._local)

    async def admit(self, tenant: str, rule: RateRule, *, tokens: int) -> RateDecision:
        """Count a request of a tenant if its limits allow it."""
        return await self._call(lambda store: store.admit(tenant, rule, tokens=tokens))

    async def add_usage(self, tenant: str, rule: RateRule, *, tokens: int, cost_usd: float) -> None:
        """Count what an answer used."""
        await self._call(lambda store: store.add_usage(tenant, rule, tokens=tokens, cost_usd=cost_usd))

    async def claim(self, key: str, *, body: str, owner: str, lease_s: float) -> Claim:
        """Claim an idempotency key, or return its state."""
        return await self._call(lambda store: store.claim(key, body=body, owner=owner, lease_s=lease_s))

    async def store_answer(self, key: str, *, body: str, owner: str, answer: bytes, lifetime_s: float) -> None:
        """Store the answer of a claimed key."""
        await self._call(
            lambda store: store.store_answer(key, body=body, owner=owner, answer=answer, lifetime_s=lifetime_s)
        )

    async def release(self, key: str, *, owner: str) -> None:
        """Return a claim without an answer."""
        await self._call(lambda store: store.release(key, owner=owner))

    async def aclose(self) -> None:
        """Close both stores."""
        await self._local.aclose()
        await self._shared.aclose()
