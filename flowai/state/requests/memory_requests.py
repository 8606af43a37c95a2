"""Store of requests of one process, in dictionaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.state.requests.rates import TenantUsage, add_usage, admit, drained
from flowai.state.requests.store import Claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.state.requests.rates import RateDecision, RateRule

_MAX_BYTES = 64 << 20
_MAX_TENANTS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class _StoredRequest:
    body: str
    owner: str
    until_s: float
    """End of the lease, or of the answer's lifetime."""
    answer: bytes | None = None

    @property
    def claim(self) -> Claim:
        """State for another request with this body."""
        return Claim(status="running") if self.answer is None else Claim(status="answered", answer=self.answer)


class InMemoryRequestStore:
    """`RequestStore` of one process and one event loop."""

    def __init__(self, clock_s: Callable[[], float], *, max_bytes: int = _MAX_BYTES) -> None:
        self._clock_s = clock_s
        self._max_bytes = max_bytes
        self._usage: dict[str, TenantUsage] = {}
        self._entries: dict[str, _StoredRequest] = {}  # the oldest first
        self._stored_bytes = 0

    async def admit(self, tenant: str, rule: RateRule, *, tokens: int) -> RateDecision:
        """Count a request of a tenant if its limits allow it."""
        usage, decision = admit(self._drained(tenant, rule), rule, tokens=tokens)
        self._usage[tenant] = usage
        while len(self._usage) > _MAX_TENANTS:
            del self._usage[next(iter(self._usage))]
        return decision

    async def add_usage(self, tenant: str, rule: RateRule, *, tokens: int, cost_usd: float) -> None:
        """Count what an answer used."""
        self._usage[tenant] = add_usage(self._drained(tenant, rule), tokens=tokens, cost_usd=cost_usd)

    def _drained(self, tenant: str, rule: RateRule) -> TenantUsage:
        return drained(self._usage.pop(tenant, TenantUsage()), rule, now_s=self._clock_s())  # the newest is last

    async def claim(self, key: str, *, body: str, owner: str, lease_s: float) -> Claim:
        """Claim an idempotency key, or return its state."""
        now_s = self._clock_s()
        known = self._entries.get(key)
        if known is not None and known.until_s > now_s and known.owner != owner:
            return known.claim if known.body == body else Claim(status="mismatch")
        self._remove(key)
        self._entries[key] = _StoredRequest(body=body, owner=owner, until_s=now_s + lease_s)
        self._evict(now_s)
        return Claim(status="claimed")

    async def store_answer(self, key: str, *, body: str, owner: str, answer: bytes, lifetime_s: float) -> None:
        """Store the answer of a claimed key."""
        now_s = self._clock_s()
        known = self._entries.get(key)
        if known is not None and known.until_s > now_s and known.owner != owner:
            return
        self._remove(key)
        self._entries[key] = _StoredRequest(body=body, owner=owner, until_s=now_s + lifetime_s, answer=answer)
        self._stored_bytes += len(answer)
        self._evict(now_s)

    async def release(self, key: str, *, owner: str) -> None:
        """Return a claim without an answer."""
        known = self._entries.get(key)
        if known is not None and known.owner == owner and known.answer is None:
            self._remove(key)

    def _remove(self, key: str) -> None:
        removed = self._entries.pop(key, None)
        if removed is not None and removed.answer is not None:
            self._stored_bytes -= len(removed.answer)

    def _evict(self, now_s: float) -> None:
        """Remove expired entries at the front, and the oldest ones above the limit."""
        while self._entries:
            oldest = next(iter(self._entries))
            is_expired = self._entries[oldest].until_s <= now_s
            if not is_expired and self._stored_bytes <= self._max_bytes and len(self._entries) <= _MAX_TENANTS:
                return
            self._remove(oldest)

    async def aclose(self) -> None:
        """Close nothing."""
