"""State store of several machines: Redis, one script per step.

Keys, all in one hash slot; all but the overlay expire:
    flowai:{state}:circuits                  hash: provider -> window
    flowai:{state}:spent:ACCOUNT             hash: day -> nano-dollars spent and reserved
    flowai:{state}:reserved:ACCOUNT          sorted set: reservation by end of lease
    flowai:{state}:overlay:ENVIRONMENT       hash: epoch, record, clears, drill
    flowai:{state}:heartbeats:ENVIRONMENT    hash: process -> lifetime, heartbeat; "" -> time since which they are known
    flowai:{state}:seen:ENVIRONMENT          sorted set: process by last heartbeat
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import NoScriptError

from flowai.state import circuit
from flowai.state.memory_store import random_id
from flowai.state.money import balance_of, day_number, day_of, limit_nano_usd, nano_usd
from flowai.state.redis_connection import RedisConnection
from flowai.state.store import (
    MAX_LEASE_S,
    NO_CALLS,
    SILENT_KEPT_S,
    Balance,
    BreakerDecision,
    BreakerView,
    Heartbeat,
    KnownProcess,
    Overlay,
    Reservation,
    SharedState,
)
from flowai.state.urls import shown_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flowai.state.store import AnsweredCalls, BreakerRule

_BREAKERS = "flowai:{state}:circuits"
_SAFE_EVICTION = "noeviction"

_window_decoder = msgspec.msgpack.Decoder(circuit.CircuitWindow)
_overlay_decoder = msgspec.json.Decoder(Overlay)
_heartbeat_decoder = msgspec.json.Decoder(Heartbeat)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Script:
    text: str
    digest: str
    """SHA-1 of the text, the name by which Redis calls it."""


def _script(name: str) -> _Script:
    package = resources.files("flowai.state")
    text = package.joinpath("prelude.lua").read_text() + package.joinpath(f"{name}.lua").read_text()
    return _Script(text=text, digest=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class RedisStateStore:
    """`StateStore` of the processes that share a Redis; connects at its first use, in that event loop.

    Without `clock_s` the server's clock counts, which all machines share. Raises ValueError if the URL cannot be
    parsed; the message quotes nothing of it.
    """

    def __init__(
        self, url: str, clock_s: Callable[[], float] | None = None, *, new_id: Callable[[], str] = random_id
    ) -> None:
        self._address = shown_address(url)
        self._connection = RedisConnection(url, purpose="the shared state")
        self._clock_s = clock_s
        self._new_id = new_id
        self._breaker_script = _script("breaker")
        self._budget_script = _script("budget")
        self._processes_script = _script("processes")
        self._overlay_script = _script("overlay")

    async def _run(self, script: _Script, keys: Sequence[str], *values: str | bytes | float) -> Any:  # noqa: ANN401 - as the script says
        """Run a script in one round trip; in two after Redis was restarted, which drops scripts."""
        (reply,) = await self._connection.send(("EVALSHA", script.digest, len(keys), *keys, *values))
        if isinstance(reply, NoScriptError):
            (reply,) = await self._connection.send(("EVAL", script.text, len(keys), *keys, *values))
        return self._connection.check_reply(reply)

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        """Convert a decoding error: the key was not written by flowai."""
        try:
            yield
        except msgspec.MsgspecError as error:
            raise self._connection.unavailable(
                f"a key `flowai:{{state}}:...` contains data that flowai did not write: {error}"
            ) from error

    def _clock(self) -> str:
        return "" if self._clock_s is None else repr(self._clock_s())

    async def shared(self, environment: str) -> SharedState:
        """Read what every call reads."""
        reads = (
            ("HGETALL", _BREAKERS),
            ("HMGET", _overlay_key(environment), "record", "clears", "drill"),
            ("HGET", _process_keys(environment)[0], ""),
            ("TIME",),
        )
        pairs, (overlay, clears, drill), known_since, (seconds, microseconds) = await self._connection.run(*reads)
        now_s = self._clock_s() if self._clock_s is not None else int(seconds) + int(microseconds) / 1_000_000
        views: dict[str, BreakerView] = {}
        with self._decoding():
            for provider, record in zip(pairs[::2], pairs[1::2], strict=True):
                if (view := circuit.view(_window_decoder.decode(record), now_s=now_s)) is not None:
                    views[provider.decode()] = view
            active_overlay = None if overlay is None else _overlay_decoder.decode(overlay)
        return SharedState(
            breakers=views,
            overlay=active_overlay,
            overlay_clear_count=int(clears or 0),
            drill=(drill or b"").decode(errors="replace"),
            processes_id=(known_since or b"").decode(errors="replace"),
            read_at_s=now_s,
        )

    async def _run_breaker(
        self, verb: str, provider: str, *values: str | bytes | float
    ) -> tuple[float, circuit.CircuitWindow]:
        now_s, record = await self._run(self._breaker_script, [_BREAKERS], verb, provider, self._clock(), *values)
        with self._decoding():
            return float(now_s), _window_decoder.decode(record)

    async def admit(self, provider: str, model: str, rule: BreakerRule) -> BreakerDecision:
        """Return whether an attempt may start."""
        lease = self._new_id()
        now_s, window = await self._run_breaker("admit", provider, model, lease, rule.lease_s)
        _, decision = circuit.admit(window, rule, model=model, now_s=now_s, lease=lease)  # as the script
        return decision

    async def record_failure(
        self, provider: str, rule: BreakerRule, *, probe: str | None = None, answered: AnsweredCalls = NO_CALLS
    ) -> BreakerView:
        """Count a failure, and the answered calls."""
        now_s, window = await self._run_breaker(
            "record_failure",
            provider,
            msgspec.msgpack.encode(rule),
            probe or "",
            answered.call_count,
            answered.slow_count,
        )
        return circuit.view(window, now_s=now_s) or BreakerView()

    async def record_calls(self, provider: str, rule: BreakerRule, answered: AnsweredCalls) -> BreakerView:
        """Count answered calls."""
        now_s, window = await self._run_breaker(
            "record_calls", provider, msgspec.msgpack.encode(rule), answered.call_count, answered.slow_count
        )
        return circuit.view(window, now_s=now_s) or BreakerView()

    async def admit_retry(self, provider: str, rule: BreakerRule, answered: AnsweredCalls) -> bool:
        """Count a repeated call; return whether it may start."""
        now_s, window = await self._run_breaker(
            "admit_retry", provider, msgspec.msgpack.encode(rule), answered.call_count, answered.slow_count
        )
        return circuit.admit_retry(window, rule, now_s=now_s, answered=answered)[1]  # as the script

    async def record_success(self, provider: str, *, probe: str) -> None:
        """Close the breaker after a successful probe."""
        await self._run_breaker("record_success", provider, probe)

    async def release_probe(self, provider: str, *, probe: str) -> None:
        """Return a lease without a result."""
        await self._run_breaker("release_probe", provider, probe)

    async def back_off(self, provider: str, model: str, *, for_s: float) -> None:
        """Start a back-off of a provider's model."""
        if for_s > 0:
            await self._run_breaker("back_off", provider, model, min(for_s, circuit.MAX_BACK_OFF_S))

    async def reset_breaker(self, provider: str) -> bool:
        """Close a provider's breaker and end the back-offs of its models."""
        now_s, window = await self._run_breaker("reset", provider)
        return circuit.view(window, now_s=now_s) is not None

    async def _run_budget(self, verb: str, account: str, *values: str | float) -> Any:  # noqa: ANN401 - as the script says
        return await self._run(self._budget_script, _account_keys(account), verb, self._clock(), *values)

    async def reserve(
        self, account: str, amount_usd: float, *, limit_usd: float, lease_s: float = MAX_LEASE_S
    ) -> Reservation | None:
        """Reserve money for today."""
        amount, limit, reservation_id = nano_usd(amount_usd), limit_nano_usd(limit_usd), self._new_id()
        day = await self._run_budget("reserve", account, amount, limit, reservation_id, lease_s)
        if day is None:
            return None
        return Reservation(account=account, day=day_of(int(day)), amount_usd=amount_usd, id=reservation_id)

    async def settle(self, reservation: Reservation, *, actual_usd: float) -> None:
        """Replace a reservation by the real cost."""
        day, amount, actual = (
            day_number(reservation.day),
            nano_usd(reservation.amount_usd),
            nano_usd(actual_usd),
        )
        await self._run_budget("settle", reservation.account, day, amount, reservation.id, actual)

    async def balance(self, account: str) -> Balance:
        """Return what is spent and what is reserved today."""
        total, reserved, now_s = await self._run_budget("balance", account)
        return balance_of(int(total), int(reserved), float(now_s))

    async def write_overlay(self, environment: str, overlay: Overlay, *, clear_count: int = 0) -> None:
        """Write an overlay."""
        record = msgspec.json.encode(overlay)
        await self._run(self._overlay_script, [_overlay_key(environment)], "write", overlay.epoch, record, clear_count)

    async def clear_overlay(self, environment: str) -> None:
        """Remove the overlay on purpose."""
        await self._run(self._overlay_script, [_overlay_key(environment)], "clear")

    async def write_drill(self, environment: str, drill: str) -> None:
        """Write the id of a drill."""
        await self._run(self._overlay_script, [_overlay_key(environment)], "drill", drill)

    async def _run_processes(self, verb: str, environment: str, *values: str | bytes | float) -> Any:  # noqa: ANN401 - as the script says
        return await self._run(self._processes_script, _process_keys(environment), verb, self._clock(), *values)

    async def heartbeat(self, heartbeat: Heartbeat, *, lifetime_s: float) -> None:
        """Announce that this process is alive."""
        record = msgspec.json.encode(heartbeat)
        values = (heartbeat.process, record, lifetime_s, SILENT_KEPT_S)
        await self._run_processes("heartbeat", heartbeat.environment, *values)

    async def processes(self, environment: str) -> Sequence[KnownProcess]:
        """List the processes of an environment that have not deregistered."""
        records = await self._run_processes("processes", environment, SILENT_KEPT_S)
        with self._decoding():
            return [
                KnownProcess(
                    heartbeat=_heartbeat_decoder.decode(record), silent_s=float(silent_s), is_live=bool(is_live)
                )
                for record, silent_s, is_live in records
            ]

    async def processes_known_for_s(self, environment: str) -> float:
        """Return for how many seconds Redis has known processes: it may have lost those of before."""
        return float(await self._run_processes("known_for", environment, SILENT_KEPT_S))

    async def heartbeats(self, environment: str) -> Sequence[Heartbeat]:
        """List the live processes of an environment."""
        return [process.heartbeat for process in await self.processes(environment) if process.is_live]

    async def deregister(self, environment: str, process: str) -> None:
        """Remove a process that exits."""
        await self._run_processes("deregister", environment, process)

    async def warnings(self) -> Sequence[str]:
        """Return a warning if Redis may evict keys."""
        (info,) = await self._connection.run(("INFO", "memory"))
        policies = (line.partition(b":")[2] for line in info.splitlines() if line.startswith(b"maxmemory_policy:"))
        policy = next(policies, b"").decode().strip()
        if policy in ("", _SAFE_EVICTION):
            return ()
        warning = (
            f"the Redis of `state` at `{self._address}` has `maxmemory-policy {policy}`: it may evict breakers, "
            f"budgets and rollbacks; set `{_SAFE_EVICTION}`, and another Redis for the caches with `cache.url`"
        )
        return (warning,)

    async def aclose(self) -> None:
        """Close the connection; the next use opens another."""
        await self._connection.aclose()


def _account_keys(account: str) -> list[str]:
    return [f"flowai:{{state}}:spent:{account}", f"flowai:{{state}}:reserved:{account}"]


def _overlay_key(environment: str) -> str:
    return f"flowai:{{state}}:overlay:{environment}"


def _process_keys(environment: str) -> list[str]:
    return [f"flowai:{{state}}:heartbeats:{environment}", f"flowai:{{state}}:seen:{environment}"]
