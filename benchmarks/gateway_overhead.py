"""Cost of a call through the gateway beside a bare aiohttp call, bare LiteLLM, and LiteLLM's own router.

The bare aiohttp call sends the same request and parses the same streamed answer, and does nothing else. All ask the
same loopback provider, which answers at once, one call after the other in one process, in interleaved bursts; medians
of pairs, CPU beside wall time. The gateway renders a prompt, reads the shared state, writes an event to the log on
disk; no cache answers. LiteLLM's router has two deployments, no retries, no cooldowns.
Memory: resident, before and after many calls that the provider answers, 50 in flight, and as many exact hits; sockets
that are open then.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway_project import KEY, VARIABLES, bare_aiohttp, gateway, provider, write_project

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    OneCall = Callable[[], Awaitable[object]]

HEADER = ("what", "flowai", "peer", "ratio", "how")
CALLS_COUNT = 50
PAIRS_COUNT = 21
HITS_COUNT = 100_000
REAL_CALLS_COUNT = 100_000
IN_FLIGHT_COUNT = 50
MODEL = "openai/gpt-4o-mini"
MESSAGES: list[Any] = [{"role": "user", "content": VARIABLES["text"]}]


def rows() -> list[tuple[str, str, str, str, str]]:
    """Measure and return the rows of the table."""
    with provider() as base_url, tempfile.TemporaryDirectory() as place:
        write_project(Path(place), primary=base_url, fallback=base_url)
        return asyncio.run(_measure(Path(place), base_url))


async def _measure(root: Path, base_url: str) -> list[tuple[str, str, str, str, str]]:
    async with gateway(root) as gw:
        await gw.warm_up()

        async def ours() -> object:
            return await gw.complete("direct", VARIABLES)

        async with bare_aiohttp(base_url) as aiohttp_call:
            table = await _beside(ours, "bare aiohttp", lambda: aiohttp_call(0))
        table += await _beside(ours, "bare LiteLLM", _bare(base_url))
        memory = await _memory(gw)
        # last: a router leaves callbacks behind, which every later call of LiteLLM in this process serves
        table += await _beside(ours, "litellm.Router", _router(base_url))
        return [*table, memory]


def _bare(base_url: str) -> OneCall:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it downloads its prices
    import litellm  # noqa: TID251 - it is the peer

    async def one() -> object:
        return await litellm.acompletion(model=MODEL, api_base=base_url, api_key=KEY, messages=MESSAGES, max_retries=0)

    return one


def _router(base_url: str) -> OneCall:
    from litellm.router import Router  # noqa: TID251 - it is the peer

    deployment = {"model": MODEL, "api_base": base_url, "api_key": KEY}
    router = Router(
        model_list=[{"model_name": name, "litellm_params": deployment} for name in ("primary", "fallback")],
        fallbacks=[{"primary": ["fallback"]}],
        num_retries=0,
        disable_cooldowns=True,
    )

    async def one() -> object:
        return await router.acompletion(model="primary", messages=MESSAGES)

    return one


async def _burst(one: OneCall) -> tuple[float, float]:
    """Run calls one after the other and return CPU and wall time, ms per call."""
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    for _ in range(CALLS_COUNT):
        await one()
    return (time.process_time() - cpu_s) / CALLS_COUNT * 1000, (time.perf_counter() - wall_s) / CALLS_COUNT * 1000


async def _beside(mine: OneCall, peer: str, its: OneCall) -> list[tuple[str, str, str, str, str]]:
    """Measure bursts of both in turn and return a row for CPU and one for wall time."""
    for one in (mine, its):
        await _burst(one)
    pairs = [(await _burst(mine), await _burst(its)) for _ in range(PAIRS_COUNT)]
    table = []
    for at, figure in enumerate(("CPU", "wall")):
        my_ms, its_ms = (statistics.median(pair[who][at] for pair in pairs) for who in (0, 1))
        more_ms = statistics.median(pair[0][at] - pair[1][at] for pair in pairs)
        ratio = statistics.median(pair[0][at] / pair[1][at] for pair in pairs)
        how = f"{more_ms:+.2f} ms; {PAIRS_COUNT} pairs of {CALLS_COUNT} calls"
        table.append((f"one call, {figure}", f"{my_ms:.2f} ms", f"{peer} {its_ms:.2f} ms", f"{ratio:.2f}x", how))
    return table


async def _memory(gw: Any) -> tuple[str, str, str, str, str]:  # noqa: ANN401 - imported late
    """Run many calls and return the memory that they left allocated."""
    for feature in ("direct", "cached"):
        await _calls(gw, feature, REAL_CALLS_COUNT // 10)  # until every pool and table has its size
    before_mb = _resident_mb()
    await _calls(gw, "direct", REAL_CALLS_COUNT)
    await _calls(gw, "cached", HITS_COUNT)
    after_mb = _resident_mb()
    how = f"{REAL_CALLS_COUNT:,} calls, {IN_FLIGHT_COUNT} in flight, and {HITS_COUNT:,} exact hits; "
    how += f"{_socket_count()} open sockets"
    return "memory", f"{after_mb:.1f} MB", f"before: {before_mb:.1f} MB", f"{after_mb / before_mb:.3f}x", how


async def _calls(gw: Any, feature: str, count: int) -> None:  # noqa: ANN401 - as above
    numbers = iter(range(count))

    async def caller() -> None:
        for _ in numbers:
            await gw.complete(feature, VARIABLES)

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT_COUNT)))


def _socket_count() -> int:
    links = (str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    return sum(link.startswith("socket:") for link in links)


def _resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def main() -> None:
    """Print the rows as Markdown."""
    warnings.simplefilter("ignore")
    for row in (HEADER, ("---",) * len(HEADER), *rows()):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
