"""`flowai serve` beside LiteLLM's proxy and Portkey's open gateway, on the same loopback provider under the same load.

One process each, every request another one (no cache answers), flowai's event log on. Bursts over 32 kept-alive
connections take turns, so that each server has the machine for itself; requests per second per core are requests per
second of the server's CPU time. Latency: requests at a fixed rate, half of what the slowest server can do, the same for
all, minus the provider's 5 ms. Streams: the provider writes the time into each chunk; the added latency is what the
caller sees beyond a direct connection. `python benchmarks/install_peers.py` installs the peers.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateways import GATEWAYS, Server, flowai
from peers import peer_named

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = ("what", *("flowai", "LiteLLM's proxy", "Portkey"), "how")
CONNECTIONS_COUNT = 32
REQUESTS_COUNT = 600
ROUNDS_COUNT = 5
LATENCY_S = 6.0
DELAY_MS = 5
STREAMS_COUNT = 40
CHUNKS_COUNT = 50
CHUNK_GAP_S = 0.002
TESTS = Path(__file__).resolve().parents[1] / "tests"
PROVIDER = (sys.executable, "-m", "support.scripted_provider")
COLUMNS = ("flowai", "litellm", "portkey")


@dataclass(frozen=True, kw_only=True, slots=True)
class Burst:
    """Result of one burst."""

    per_s: float
    """Requests per second."""
    cpu_ms: float
    """CPU of the server, milliseconds per request."""


def rows() -> list[tuple[str, ...]]:
    """Measure and return the rows of the table."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        provider = subprocess.Popen(
            [*PROVIDER, "--delay-ms", str(DELAY_MS)], cwd=TESTS, stdout=subprocess.PIPE, text=True
        )
        try:
            assert provider.stdout is not None  # noqa: S101 - for the type checker
            base_url = provider.stdout.readline().split()[-1]
            with _servers(root / "bursts", base_url) as servers:
                table = _load_rows(servers)
        finally:
            provider.kill()
            provider.communicate()
        return [*table, asyncio.run(_stream_row(root / "streams"))]


@contextmanager
def _servers(root: Path, base_url: str) -> Iterator[dict[str, Server]]:
    """Run all gateways that are installed, by column."""
    root.mkdir()
    with ExitStack() as running:
        servers = {"flowai": running.enter_context(flowai(root, base_url))}
        for name, gateway in GATEWAYS.items():
            if peer_named(name).version() is not None:
                servers[name] = running.enter_context(gateway(root, base_url))
        yield servers


def _load_rows(servers: dict[str, Server]) -> list[tuple[str, ...]]:
    for server in servers.values():
        asyncio.run(_burst(server, REQUESTS_COUNT))
    bursts: dict[str, list[Burst]] = {name: [] for name in servers}
    for _ in range(ROUNDS_COUNT):
        for name, server in servers.items():
            bursts[name].append(asyncio.run(_burst(server, REQUESTS_COUNT)))
    how = f"medians of {ROUNDS_COUNT} bursts of {REQUESTS_COUNT} requests, {CONNECTIONS_COUNT} at a time"
    per_s = {name: statistics.median(burst.per_s for burst in done) for name, done in bursts.items()}
    cpu_ms = {name: statistics.median(burst.cpu_ms for burst in done) for name, done in bursts.items()}
    per_core = {name: 1000 / value for name, value in cpu_ms.items()}
    table = [
        _row("requests per second", per_s, "{:,.0f}", how),
        _row("requests per second per core", per_core, "{:,.0f}", how),
        _ratio_row("flowai's requests per second per core by the peer's", per_core),
        _row("CPU per request", cpu_ms, "{:.2f} ms", how),
    ]
    rate = min(per_s.values()) / 2
    latencies = {name: asyncio.run(_latencies_ms(server, rate)) for name, server in servers.items()}
    how = f"{rate:.0f} requests per second for {LATENCY_S:.0f} s, beyond the provider's {DELAY_MS} ms"
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        values = {name: sorted(all_ms)[int(share * (len(all_ms) - 1))] for name, all_ms in latencies.items()}
        table.append(_row(f"latency at half load, {label}", values, "{:.1f} ms", how))
    return table


def _row(what: str, values: dict[str, float], form: str, how: str, missing: str = "not installed") -> tuple[str, ...]:
    return (what, *(form.format(values[name]) if name in values else missing for name in COLUMNS), how)


def _ratio_row(what: str, values: dict[str, float]) -> tuple[str, ...]:
    ratios = (f"{values['flowai'] / values[name]:.1f}x" if name in values else "-" for name in COLUMNS[1:])
    return (what, "", *ratios, "")


async def _burst(server: Server, count: int) -> Burst:
    """Send that many requests over all connections."""
    numbers = iter(range(count))
    cpu_s, started_s = server.cpu_s(), time.perf_counter()
    await asyncio.gather(*(_connection(server, numbers) for _ in range(CONNECTIONS_COUNT)))
    wall_s = time.perf_counter() - started_s
    return Burst(per_s=count / wall_s, cpu_ms=(server.cpu_s() - cpu_s) / count * 1000)


async def _connection(server: Server, numbers: Iterator[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for number in numbers:
        await _ask(reader, writer, server, number)
    writer.close()
    await writer.wait_closed()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server, number: int) -> None:
    message = {"role": "user", "content": f"hello {number} {time.perf_counter_ns()}"}
    writer.write(server.request(json.dumps({"model": "chat", "messages": [message]}).encode()))
    answer = await _answer(reader)
    if b"hello world" not in answer:
        raise RuntimeError(f"{server.name}: no answer: {answer[:500]!r}")


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """Read one answer, of a given length or in chunks."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"transfer-encoding: chunked" in head:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return head + body
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
    return head + await reader.readexactly(length)


async def _latencies_ms(server: Server, rate: float) -> list[float]:
    """Send requests at a fixed rate, whether or not earlier ones were answered; return what each took."""
    idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(CONNECTIONS_COUNT)]
    took_ms: list[float] = []

    async def ask(number: int) -> None:
        due_s = time.perf_counter()
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", server.port)
        await _ask(reader, writer, server, number)
        took_ms.append((time.perf_counter() - due_s) * 1000 - DELAY_MS)
        idle.append((reader, writer))

    tasks = []
    began_s = time.perf_counter()
    for number in range(int(rate * LATENCY_S)):
        await asyncio.sleep(max(0.0, began_s + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(number)))
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    return took_ms


# --- streams ---


async def _stream_row(root: Path) -> tuple[str, ...]:
    provider = await asyncio.start_server(_stream_of_times, "127.0.0.1", 0)
    port = provider.sockets[0].getsockname()[1]
    try:
        with _servers(root, f"http://127.0.0.1:{port}/v1") as servers:
            direct_ms = await _chunk_delays_ms(Server(name="direct", pid=0, port=port))
            base_ms = statistics.median(direct_ms)
            delays_ms = {name: await _chunk_delays_ms(server) for name, server in servers.items()}
            failed = [servers[name].name for name, all_ms in delays_ms.items() if not all_ms]
    finally:
        provider.close()
    added = {name: statistics.median(all_ms) - base_ms for name, all_ms in delays_ms.items() if all_ms}
    how = (
        f"median of {STREAMS_COUNT} streams of {CHUNKS_COUNT} chunks, one at a time; a direct one has {base_ms:.2f} ms"
    )
    how += f"; no stream from {', '.join(failed)} (HTTP 500)" if failed else ""
    return _row("a stream's added latency per chunk", added, "{:.2f} ms", how, missing="-")


async def _stream_of_times(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer chat requests with streams whose text is the time of each chunk."""
    try:
        while True:
            await _answer(reader)  # a request has the same form
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for number in range(CHUNKS_COUNT):
                await asyncio.sleep(CHUNK_GAP_S)
                role = {"role": "assistant"} if number == 0 else {}
                writer.write(_chunk({**role, "content": f"<{time.perf_counter_ns()}>"}, None))
            writer.write(_chunk({}, "stop") + _piece(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _chunk(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini", "choices": [choice]}
    return _piece(b"data: " + json.dumps(event).encode() + b"\n\n")


def _piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _chunk_delays_ms(server: Server) -> list[float]:
    """Return the time from each chunk's writing to its arrival; empty if the server refuses to stream."""
    delays_ms: list[float] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for number in range(STREAMS_COUNT + 3):
        message = {"role": "user", "content": f"stream {number}"}
        writer.write(server.request(json.dumps({"model": "chat", "stream": True, "messages": [message]}).encode()))
        if not (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200"):
            writer.close()
            return []
        rest = ""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            data = (await reader.readexactly(size + 2)).decode()
            now_ns = time.perf_counter_ns()
            rest += data
            while "<" in rest and ">" in rest.partition("<")[2]:
                sent_ns, _, rest = rest.partition("<")[2].partition(">")
                if number >= 3 and sent_ns.isdigit():  # the first ones warm up
                    delays_ms.append((now_ns - int(sent_ns)) / 1e6)
        await reader.readexactly(2)
    writer.close()
    if len(delays_ms) < STREAMS_COUNT * CHUNKS_COUNT:
        raise RuntimeError(f"{server.name}: {len(delays_ms)} chunks came")
    return delays_ms


def main() -> None:
    """Print the rows as Markdown."""
    for row in (HEADER, ("---",) * len(HEADER), *rows()):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
