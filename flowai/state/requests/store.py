"""Protocol of the store that a server's processes share about requests.

It is apart from the state's: what callers fill must not delay breakers and rollbacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from flowai.state.requests.rates import RateDecision, RateRule

MAX_ANSWER_BYTES = 1 << 20
"""A longer answer is not stored; a retry of its request is a new request."""
MAX_STORED_BYTES = 256 << 20
MAX_STORED_ANSWERS = 20_000
"""Beyond either, the oldest answers are deleted."""

ClaimStatus = Literal["claimed", "running", "answered", "mismatch"]
"""`claimed`: run the request. `running`: another one with the same key runs. `answered`: it is answered. `mismatch`: it
had another body."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """State of an idempotency key when a request with it arrives."""

    status: ClaimStatus
    answer: bytes = b""
    """The stored answer; only of `answered`."""


class RequestStore(Protocol):
    """Store of requests.

    Every method is atomic and one round trip. An unreachable store raises InfrastructureError within its own short
    timeout.
    """

    async def admit(self, tenant: str, rule: RateRule, *, tokens: int) -> RateDecision:
        """Count a request of a tenant if its limits allow it; `tokens` is an estimate."""

    async def add_usage(self, tenant: str, rule: RateRule, *, tokens: int, cost_usd: float) -> None:
        """Count what an answer used: tokens beyond the estimate (below 0 if fewer), and its cost."""

    async def claim(self, key: str, *, body: str, owner: str, lease_s: float) -> Claim:
        """Claim an idempotency key for `lease_s` seconds, or return its state; its owner extends the lease.

        `body` is the hash of the request's body, `owner` a unique id of the request.
        """

    async def store_answer(self, key: str, *, body: str, owner: str, answer: bytes, lifetime_s: float) -> None:
        """Store the answer of a claimed key, also if the claim is lost; if another owner has it, nothing changes."""

    async def release(self, key: str, *, owner: str) -> None:
        """Return a claim without an answer."""

    async def aclose(self) -> None:
        """Close files and connections; may be called twice."""
