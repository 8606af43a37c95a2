"""A process of a fleet that shares one store: runs its parent's commands, one line at a time.

Usage: `state_process.py ADDRESS`, then lines of JSON on stdin (verb, arguments); writes one line of JSON each.

`Fleet` is the parent's side.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.state import BreakerRule, StateStore


class Fleet:
    """Several processes on one store; a context manager.

    Args:
        address: the store, as a registry names it; a directory must be absolute.
        count: how many processes.
    """

    def __init__(self, address: str, count: int = 4) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(count)
        ]

    def begin(self, nth: int, verb: str, *arguments: Any) -> None:
        """Send a command to one process."""
        stdin = self._processes[nth].stdin
        assert stdin is not None
        stdin.write(json.dumps([verb, *arguments]) + "\n")
        stdin.flush()

    def end(self, nth: int) -> Any:
        """Wait for its result."""
        stdout = self._processes[nth].stdout
        assert stdout is not None
        return json.loads(stdout.readline())

    def one(self, nth: int, verb: str, *arguments: Any) -> Any:
        """Run a command in one process."""
        self.begin(nth, verb, *arguments)
        return self.end(nth)

    def all(self, verb: str, *arguments: Any) -> list[Any]:
        """Run a command in all processes at once."""
        for nth in range(len(self._processes)):
            self.begin(nth, verb, *arguments)
        return [self.end(nth) for nth in range(len(self._processes))]

    def kill(self, nth: int) -> None:
        """Kill one process."""
        self._processes[nth].kill()
        self._processes[nth].wait()

    def lines(self, nth: int) -> Iterator[Any]:
        """Return a process's output until it ends."""
        stdout = self._processes[nth].stdout
        assert stdout is not None
        for line in stdout:
            if line.endswith("\n"):  # the last one may be cut
                yield json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


class Worker:
    """One process: a store, and a clock that a test may set."""

    def __init__(self, address: str) -> None:
        self._set_s: float | None = None
        self._state = self._open(address)

    def _clock_s(self) -> float:
        return time.time() if self._set_s is None else self._set_s

    def _open(self, address: str) -> StateStore:
        if address.startswith("redis"):
            from flowai.state.redis_store import RedisStateStore

            return RedisStateStore(address, self._clock_s)
        from flowai.state.sqlite_store import SqliteStateStore

        return SqliteStateStore(Path(address), self._clock_s)

    async def set_clock(self, now_s: float) -> None:
        self._set_s = now_s

    async def fail(self, provider: str, failure_count: int) -> str:
        return (await self._state.record_failure(provider, _rule(failure_count))).status

    async def look(self, provider: str) -> str:
        view = (await self._state.shared("")).breakers.get(provider)
        return "closed" if view is None else view.status

    async def look_until(self, provider: str, status: str) -> str:
        """Read until the provider has the status; return the last status read."""
        deadline_s = time.monotonic() + 20
        while (found := await self.look(provider)) != status and time.monotonic() < deadline_s:  # noqa: ASYNC110 - another process acts
            await asyncio.sleep(0.005)
        return found

    async def admit(self, provider: str, caller_count: int) -> list[str | None]:
        """Ask for admission concurrently; return the leases of admitted callers."""
        asked = (self._state.admit(provider, "m", _rule()) for _ in range(caller_count))
        return [found.probe for found in await asyncio.gather(*asked) if found.is_admitted]

    async def succeed(self, provider: str, probe: str) -> None:
        await self._state.record_success(provider, probe=probe)

    async def reserve(self, caller_count: int, amount_usd: float, limit_usd: float) -> int:
        """Reserve money concurrently; return the number of successes."""
        asked = (self._state.reserve("account", amount_usd, limit_usd=limit_usd) for _ in range(caller_count))
        return sum(held is not None for held in await asyncio.gather(*asked))

    async def spend(self, caller_count: int, limit_usd: float) -> int:
        """Reserve 0.02 and pay 0.01 to 0.02 until refused; return the thousandths paid."""
        paid = 0

        async def caller(nth: int) -> None:
            nonlocal paid
            while held := await self._state.reserve("account", 0.02, limit_usd=limit_usd):
                await asyncio.sleep(0)
                thousandths = 10 + nth % 11
                await self._state.settle(held, actual_usd=thousandths / 1000)
                paid += thousandths

        await asyncio.gather(*(caller(nth) for nth in range(caller_count)))
        return paid

    async def write_for_ever(self) -> None:
        """Write without end; print the rounds so far."""
        count = 0
        while True:
            await self._state.reserve("account", 0.001, limit_usd=1_000_000)
            await self._state.record_failure("alpha", _rule(count % 7 + 1))
            count += 1
            _say(count)


def _rule(failure_count: int = 5) -> BreakerRule:
    from flowai.state import BreakerRule

    return BreakerRule(failure_count=failure_count)


def _say(found: object) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


async def _serve(arguments: Sequence[str]) -> None:
    worker = Worker(arguments[0])
    for line in sys.stdin:
        verb, *values = json.loads(line)
        _say(await getattr(worker, verb)(*values))


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1:]))
