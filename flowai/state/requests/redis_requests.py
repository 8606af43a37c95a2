"""Store of requests of several machines: Redis, one script per step, on a connection of its own.

Keys, all in one hash slot; all expire:
    flowai:{requests}:usage:TENANT     hash: usage of a tenant
    flowai:{requests}:key:HASH         hash: idempotency key
    flowai:{requests}:answers          sorted set: answered keys by end of life
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from flowai.state.money import limit_nano_usd, nano_usd
from flowai.state.redis_connection import RedisConnection
from flowai.state.requests.rates import TenantUsage, admit
from flowai.state.requests.store import MAX_STORED_ANSWERS, Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.state.requests.rates import RateDecision, RateRule

_ANSWERS = "flowai:{requests}:answers"


class RedisRequestStore:
    """`RequestStore` of the processes that share a Redis; connects at its first use, in that event loop.

    Without `clock_s` the server's clock counts. Raises ValueError if the URL cannot be parsed.
    """

    def __init__(self, url: str, clock_s: Callable[[], float] | None = None) -> None:
        self._connection = RedisConnection(url, purpose="the store of requests")
        self._clock_s = clock_s
        self._usage_script = _script("usage")
        self._claims_script = _script("claims")

    async def _run(self, script: tuple[str, str], keys: Sequence[str], *values: str | bytes | float) -> Any:  # noqa: ANN401 - as the script says
        """Run a script in one round trip; in two after Redis was restarted, which drops scripts."""
        text, digest = script
        (reply,) = await self._connection.send(("EVALSHA", digest, len(keys), *keys, *values))
        if isinstance(reply, NoScriptError):
            (reply,) = await self._connection.send(("EVAL", text, len(keys), *keys, *values))
        return self._connection.check_reply(reply)

    def _clock(self) -> str:
        return "" if self._clock_s is None else repr(self._clock_s())

    async def admit(self, tenant: str, rule: RateRule, *, tokens: int) -> RateDecision:
        """Count a request of a tenant if its limits allow it."""
        usage = await self._run_usage("admit", tenant, rule, tokens)
        return admit(usage, rule, tokens=tokens)[1]  # as the script

    async def add_usage(self, tenant: str, rule: RateRule, *, tokens: int, cost_usd: float) -> None:
        """Count what an answer used."""
        await self._run_usage("add_usage", tenant, rule, tokens, nano_usd(cost_usd))

    async def _run_usage(self, verb: str, tenant: str, rule: RateRule, *values: int) -> TenantUsage:
        limits = (
            rule.requests_per_minute or 0,
            rule.tokens_per_minute or 0,
            0 if rule.usd_per_day is None else max(1, limit_nano_usd(rule.usd_per_day)),
        )
        key = f"flowai:{{requests}}:usage:{tenant}"
        requests, tokens, at_s, day, spent_nano = await self._run(
            self._usage_script, [key], verb, self._clock(), *limits, *values
        )
        return TenantUsage(
            requests=float(requests), tokens=float(tokens), at_s=float(at_s), day=int(day), spent_nano=int(spent_nano)
        )

    async def claim(self, key: str, *, body: str, owner: str, lease_s: float) -> Claim:
        """Claim an idempotency key, or return its state."""
        status, answer = await self._run_claims("claim", key, owner, body, lease_s)
        return Claim(status=status.decode(), answer=answer)

    async def store_answer(self, key: str, *, body: str, owner: str, answer: bytes, lifetime_s: float) -> None:
        """Store the answer of a claimed key."""
        await self._run_claims("store", key, owner, body, lifetime_s, answer, MAX_STORED_ANSWERS)

    async def release(self, key: str, *, owner: str) -> None:
        """Return a claim without an answer."""
        await self._run_claims("release", key, owner)

    async def _run_claims(self, verb: str, key: str, owner: str, *values: str | bytes | float) -> Any:  # noqa: ANN401 - as the script says
        keys = [f"flowai:{{requests}}:key:{key}", _ANSWERS]
        return await self._run(self._claims_script, keys, verb, self._clock(), owner, *values)

    async def aclose(self) -> None:
        """Close the connection; the next use opens another."""
        await self._connection.aclose()


def _script(name: str) -> tuple[str, str]:
    """Return a script, and the SHA-1 by which Redis calls it."""
    prelude = resources.files("flowai.state").joinpath("prelude.lua").read_text()
    text = prelude + resources.files("flowai.state.requests").joinpath(f"{name}.lua").read_text()
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
