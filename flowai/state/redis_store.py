"""The store of several machines: Redis, one script per step.

Keys, all in one slot; each but the overlay's goes by itself when nobody needs it any more:
    flowai:{state}:breakers                  hash: provider -> record
    flowai:{state}:spent:ACCOUNT             hash: day -> nano-dollars; life
    flowai:{state}:overlay:ENVIRONMENT       hash: epoch, record
    flowai:{state}:processes:ENVIRONMENT     hash: process -> heartbeat
    flowai:{state}:ends:ENVIRONMENT          sorted set: process by when it counts as gone
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import NoScriptError

from flowai.state import circuit as law
from flowai.state.memory_store import random_name
from flowai.state.money import day_number, day_of, limit_nano_usd, nano_usd, usd
from flowai.state.redis_connection import RedisConnection
from flowai.state.store import BreakerDecision, BreakerView, Heartbeat, Overlay, Reservation, SharedState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flowai.state.store import BreakerRule

_BREAKERS = "flowai:{state}:breakers"

_window_decoder = msgspec.msgpack.Decoder(law.CircuitWindow)
_overlay_decoder = msgspec.json.Decoder(Overlay)
_heartbeat_decoder = msgspec.json.Decoder(Heartbeat)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Script:
    """A script and the name Redis knows it by."""

    text: str
    """Lua."""
    digest: str
    """SHA-1 of the text."""


def _script(name: str) -> _Script:
    here = resources.files("flowai.state")
    text = here.joinpath("prelude.lua").read_text() + here.joinpath(f"{name}.lua").read_text()
    return _Script(text=text, digest=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class RedisStateStore:
    """`StateStore` of the processes that share a Redis; connects at the first use, in the event loop that uses it.

    Args:
        url: `redis://` or `rediss://` (TLS), with user, password and database number as the redis library reads them.
        clock_s: seconds since the epoch; None for the server's, which all machines share.
        new_name: gives names that nothing else has, to leases and to accounts.

    Raises:
        ValueError: the URL cannot be read; the message quotes nothing of it.
    """

    def __init__(
        self, url: str, clock_s: Callable[[], float] | None = None, *, new_name: Callable[[], str] = random_name
    ) -> None:
        self._connection = RedisConnection(url, purpose="the shared state")
        self._clock_s = clock_s
        self._new_name = new_name
        self._breaker = _script("breaker")
        self._budget = _script("budget")
        self._processes = _script("processes")
        self._overlay = _script("overlay")

    async def _run(self, script: _Script, keys: Sequence[str], *values: str | bytes | float) -> Any:  # noqa: ANN401 - as the script says
        """Run a script in one round trip; one more after Redis was restarted, which forgets scripts."""
        (reply,) = await self._connection.ask(("EVALSHA", script.digest, len(keys), *keys, *values))
        if isinstance(reply, NoScriptError):
            (reply,) = await self._connection.ask(("EVAL", script.text, len(keys), *keys, *values))
        return self._connection.accepted(reply)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn a record that is none of ours into our error."""
        try:
            yield
        except msgspec.MsgspecError as error:
            raise self._connection.unavailable(
                f"a key `flowai:{{state}}:...` holds what flowai did not write: {error}"
            ) from error

    def _clock(self) -> str:
        return "" if self._clock_s is None else repr(self._clock_s())

    async def shared(self, environment: str) -> SharedState:
        """Read what calls look at."""
        look = (("HGETALL", _BREAKERS), ("HGET", _overlay_key(environment), "record"), ("TIME",))
        pairs, overlay, (seconds, microseconds) = await self._connection.run(*look)
        now_s = self._clock_s() if self._clock_s is not None else int(seconds) + int(microseconds) / 1_000_000
        views: dict[str, BreakerView] = {}
        with self._reading():
            for provider, record in zip(pairs[::2], pairs[1::2], strict=True):
                if (view := law.view(_window_decoder.decode(record), now_s=now_s)) is not None:
                    views[provider.decode()] = view
            found = None if overlay is None else _overlay_decoder.decode(overlay)
        return SharedState(breakers=views, overlay=found, read_at_s=now_s)

    async def _step(self, verb: str, provider: str, *values: str | float) -> tuple[float, law.CircuitWindow]:
        now_s, record = await self._run(self._breaker, [_BREAKERS], verb, provider, self._clock(), *values)
        with self._reading():
            return float(now_s), _window_decoder.decode(record)

    async def admit(self, provider: str, rule: BreakerRule) -> BreakerDecision:
        """Ask whether an attempt may start."""
        lease = self._new_name()
        now_s, met = await self._step("admit", provider, lease, rule.lease_s)
        _, admission = law.admit(met, rule, now_s=now_s, lease=lease)  # the script took the lease by the same law
        return admission

    async def failed(self, provider: str, rule: BreakerRule, *, probe: str | None = None) -> BreakerView:
        """Count a failure."""
        now_s, window = await self._step(
            "failed", provider, probe or "", rule.failure_count, rule.window_s, rule.open_s
        )
        return law.view(window, now_s=now_s) or BreakerView()

    async def succeeded(self, provider: str, *, probe: str) -> None:
        """Close the breaker after a good probe."""
        await self._step("succeeded", provider, probe)

    async def released(self, provider: str, *, probe: str) -> None:
        """Give a lease back."""
        await self._step("released", provider, probe)

    async def back_off(self, provider: str, *, for_s: float) -> None:
        """Leave a provider alone for as long as it asked."""
        if for_s > 0:
            await self._step("rest", provider, min(for_s, law.MAX_BACK_OFF_S))

    async def reserve(self, account: str, amount_usd: float, *, limit_usd: float) -> Reservation | None:
        """Set money aside for today."""
        amount, limit = nano_usd(amount_usd), limit_nano_usd(limit_usd)
        held = await self._run(
            self._budget, [_account_key(account)], "reserve", self._clock(), amount, limit, self._new_name()
        )
        if not held:
            return None
        day, life = held
        return Reservation(account=account, day=day_of(int(day)), amount_usd=amount_usd, held_by=life.decode())

    async def settle(self, reservation: Reservation, *, actual_usd: float) -> None:
        """Replace what was set aside by what was paid."""
        await self._run(
            self._budget,
            [_account_key(reservation.account)],
            "settle",
            self._clock(),
            day_number(reservation.day),
            reservation.held_by,
            nano_usd(reservation.amount_usd),
            nano_usd(actual_usd),
        )

    async def spent_usd(self, account: str) -> float:
        """Give what was spent and set aside today."""
        return usd(int(await self._run(self._budget, [_account_key(account)], "spent", self._clock())))

    async def write_overlay(self, environment: str, overlay: Overlay) -> None:
        """Put an overlay in force."""
        await self._run(self._overlay, [_overlay_key(environment)], overlay.epoch, msgspec.json.encode(overlay))

    async def clear_overlay(self, environment: str) -> None:
        """Take the overlay away."""
        await self._connection.run(("DEL", _overlay_key(environment)))

    async def heartbeat(self, heartbeat: Heartbeat, *, lifetime_s: float) -> None:
        """Say that this process lives."""
        record = msgspec.json.encode(heartbeat)
        keys = _process_keys(heartbeat.environment)
        await self._run(self._processes, keys, "beat", self._clock(), heartbeat.process, record, lifetime_s)

    async def heartbeats(self, environment: str) -> Sequence[Heartbeat]:
        """List the live processes of an environment."""
        records = await self._run(self._processes, _process_keys(environment), "live", self._clock())
        with self._reading():
            return [_heartbeat_decoder.decode(record) for record in records]

    async def deregister(self, environment: str, process: str) -> None:
        """Say that a process ended in good order."""
        await self._run(self._processes, _process_keys(environment), "gone", self._clock(), process)

    async def aclose(self) -> None:
        """Close the connection; the next use makes another."""
        await self._connection.aclose()


def _account_key(account: str) -> str:
    return f"flowai:{{state}}:spent:{account}"


def _overlay_key(environment: str) -> str:
    return f"flowai:{{state}}:overlay:{environment}"


def _process_keys(environment: str) -> list[str]:
    return [f"flowai:{{state}}:processes:{environment}", f"flowai:{{state}}:ends:{environment}"]
