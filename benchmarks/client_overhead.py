"""The client of OpenAI's protocol beside LiteLLM and beside a bare aiohttp call, on a loopback server (50 ms).

Medians of interleaved pairs, CPU beside wall time, 50 calls at a time:
- whole answers: `OpenAIClient.complete` beside a bare aiohttp call that parses the same streamed answer, and beside a
  plain `litellm.acompletion`;
- answers piece by piece: `OpenAIClient.stream` beside `litellm.acompletion` with `stream=True`;
- whole processes: import and 1,000 plain calls, as a script of one's own would make them, beside the same through ours.

Targets: a whole answer costs at most 2x the CPU of a bare aiohttp call, and at most 0.25x that of bare LiteLLM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway_project import bare_aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from flowai.providers import Client

    OneCall = Callable[[int], Awaitable[object]]

HEADER = ("what", "flowai", "peer", "ratio", "how")
DELAY_MS = 50
CONCURRENCY = 50
CALLS_COUNT = 200
PROCESS_CALLS_COUNT = 1000
PAIRS_COUNT = 15
PROCESS_PAIRS_COUNT = 3
MODEL = "openai/gpt-4o-mini"
KEY = "sk-loopback"
TESTS = Path(__file__).resolve().parents[1] / "tests"
PROVIDER = (sys.executable, "-m", "support.scripted_provider")


def rows() -> list[tuple[str, str, str, str, str]]:
    """Measure and return the rows of the table."""
    server = subprocess.Popen([*PROVIDER, "--delay-ms", str(DELAY_MS)], cwd=TESTS, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None  # noqa: S101 - for the type checker
        base_url = server.stdout.readline().strip()
        # the processes first: a child's peak memory begins with what its parent held
        whole = _in_whole_processes(base_url)
        return [*whole, *asyncio.run(_in_one_process(base_url))]
    finally:
        server.kill()
        server.wait()


def _bare(base_url: str, *, stream: bool = False) -> OneCall:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    warnings.simplefilter("ignore")
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it downloads its prices
    import litellm  # noqa: TID251 - it is the peer

    extra: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}

    async def one(index: int) -> object:
        answer = await litellm.acompletion(
            model=MODEL,
            api_base=base_url,
            api_key=KEY,
            messages=[{"role": "user", "content": f"hello {index}"}],
            max_retries=0,
            **extra,
        )
        return [chunk async for chunk in answer] if stream else answer

    return one


@asynccontextmanager
async def _client() -> AsyncIterator[Client]:
    from flowai.providers import create_client
    from flowai.redaction import Redactor

    client = create_client(redactor=Redactor())
    try:
        yield client
    finally:
        await client.aclose()


def _ours(client: Client, base_url: str, *, stream: bool = False) -> OneCall:
    from flowai.providers import Endpoint, Request

    endpoint = Endpoint(name="m", model=MODEL, provider="openai", api_base=base_url, api_key=KEY)

    async def one(index: int) -> object:
        request = Request(endpoint=endpoint, messages=({"role": "user", "content": f"hello {index}"},))
        return [chunk async for chunk in client.stream(request)] if stream else await client.complete(request)

    return one


async def _calls(one: OneCall, count: int) -> tuple[float, float]:
    """Run the calls and return CPU and wall time, ms per call."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def gated(index: int) -> None:
        async with gate:
            await one(index)

    cpu_s, wall_s = time.process_time(), time.perf_counter()
    await asyncio.gather(*(gated(index) for index in range(count)))
    return (time.process_time() - cpu_s) / count * 1000, (time.perf_counter() - wall_s) / count * 1000


async def _in_one_process(base_url: str) -> list[tuple[str, str, str, str, str]]:
    async with _client() as client:
        whole, pieces = _ours(client, base_url), _ours(client, base_url, stream=True)
        async with bare_aiohttp(base_url) as aiohttp_call:
            table = await _beside("one call, whole", whole, "bare aiohttp", aiohttp_call)
        table += await _beside("one call, whole", whole, "bare LiteLLM", _bare(base_url))
        bare_pieces = _bare(base_url, stream=True)
        return table + await _beside("one call, piece by piece", pieces, "bare LiteLLM", bare_pieces)


async def _beside(what: str, ours: OneCall, peer: str, its: OneCall) -> list[tuple[str, str, str, str, str]]:
    for one in (ours, its):
        await _calls(one, CONCURRENCY)
    pairs = [(await _calls(ours, CALLS_COUNT), await _calls(its, CALLS_COUNT)) for _ in range(PAIRS_COUNT)]
    more_ms = statistics.median(pair[0][0] - pair[1][0] for pair in pairs)
    return _row(what, "ms", pairs, f"{peer}; {PAIRS_COUNT} pairs of {CALLS_COUNT} calls; {more_ms:+.2f} ms of CPU")


def _in_whole_processes(base_url: str) -> list[tuple[str, str, str, str, str]]:
    pairs = [(_process("ours", base_url)[:2], _process("bare", base_url)[:2]) for _ in range(PROCESS_PAIRS_COUNT)]
    how = f"bare LiteLLM; {PROCESS_PAIRS_COUNT} pairs of processes"
    table = _row(f"import and {PROCESS_CALLS_COUNT:,} plain calls", "s", pairs, how)
    ours_mb, bare_mb = _process("ours", base_url)[2], _process("bare", base_url)[2]
    return [*table, ("peak memory of it", f"{ours_mb:.0f} MB", f"{bare_mb:.0f} MB", f"{ours_mb / bare_mb:.2f}x", "RSS")]


def _process(who: str, base_url: str) -> tuple[float, float, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--who", who, "--base-url", base_url], check=True, capture_output=True, text=True
    )
    cpu_s, wall_s, peak_mb = json.loads(done.stdout)
    return cpu_s, wall_s, peak_mb


def _row(
    what: str, unit: str, pairs: list[tuple[tuple[float, float], tuple[float, float]]], how: str
) -> list[tuple[str, str, str, str, str]]:
    table = []
    for index, name in enumerate(("CPU", "wall")):
        ours = statistics.median(pair[0][index] for pair in pairs)
        bare = statistics.median(pair[1][index] for pair in pairs)
        ratio = statistics.median(pair[0][index] / pair[1][index] for pair in pairs)
        table.append((f"{what}, {name}", f"{ours:.2f} {unit}", f"{bare:.2f} {unit}", f"{ratio:.2f}x", how))
    return table


async def _many_calls(who: str, base_url: str) -> None:
    if who == "bare":
        await _calls(_bare(base_url), PROCESS_CALLS_COUNT)
        return
    async with _client() as client:
        await _calls(_ours(client, base_url), PROCESS_CALLS_COUNT)


def main() -> None:
    """Print the rows as Markdown, or be one of the measured processes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--who", choices=("ours", "bare"))
    parser.add_argument("--base-url")
    options = parser.parse_args()
    if options.who is None:
        for row in (HEADER, ("---",) * len(HEADER), *rows()):
            print("| " + " | ".join(row) + " |")
        return
    wall_s = time.perf_counter()
    asyncio.run(_many_calls(options.who, options.base_url))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([time.process_time(), time.perf_counter() - wall_s, peak_mb]))


if __name__ == "__main__":
    main()
