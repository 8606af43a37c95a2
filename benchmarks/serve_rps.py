"""Requests per second of `flowai serve` beside LiteLLM's proxy, on the same loopback provider under the same load.

One worker each, 32 connections that are kept open, every request another one (no cache answers), event log on. Bursts
of both alternate; medians of interleaved pairs; CPU is the server's own. LiteLLM's proxy pins what it needs and lives
in a virtual environment of its own: `python -m venv DIR && DIR/bin/pip install 'litellm[proxy]'`, and
FLOWAI_BENCH_LITELLM=DIR/bin/litellm.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = ("what", "flowai", "peer", "ratio", "how")
CONNECTIONS_COUNT = 32
REQUESTS_COUNT = 600
PAIRS_COUNT = 5
DELAY_MS = 5
START_TIMEOUT_S = 90.0
KEY = "sk-loopback"
TESTS = Path(__file__).resolve().parents[1] / "tests"
PROVIDER = (sys.executable, "-m", "support.scripted_provider")
PEER_VARIABLE = "FLOWAI_BENCH_LITELLM"
FLOWAI_REGISTRY = """\
schema_version: 1
models:
  m: {{model: openai/gpt-4o-mini, api_base: "{base_url}", api_key: "${{LOOPBACK_KEY}}"}}
features:
  chat: {{cache: {{kind: none}}}}
releases:
  v1: {{chat: {{prompt: prompts/echo_v1, model: m}}}}
current: v1
"""
PROMPT = "---\ninput: {schema: {text: string}}\n---\n{{text}}\n"
LITELLM_CONFIG = """\
model_list:
  - model_name: chat
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{base_url}", api_key: {key}}}
litellm_settings: {{telemetry: false, num_retries: 0}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A server under load.

    Args:
        pid: its process.
        port: where it listens.
    """

    pid: int
    port: int

    def cpu_s(self) -> float:
        """Return the CPU time used, seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Burst:
    """Result of one burst.

    Args:
        per_s: requests per second.
        cpu_ms: CPU of the server, milliseconds per request.
    """

    per_s: float
    cpu_ms: float


def rows() -> list[tuple[str, str, str, str, str]]:
    """Measure and return the rows of the table."""
    peer = _peer()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        provider = subprocess.Popen(
            [*PROVIDER, "--delay-ms", str(DELAY_MS)], cwd=TESTS, stdout=subprocess.PIPE, text=True
        )
        try:
            assert provider.stdout is not None  # noqa: S101 - for the type checker
            base_url = provider.stdout.readline().strip()
            with _flowai(root, base_url) as ours:
                if peer is None:
                    return _alone(ours)
                with _litellm(peer, root, base_url) as theirs:
                    return _beside(ours, theirs)
        finally:
            provider.kill()
            provider.communicate()


def _peer() -> str | None:
    named = os.environ.get(PEER_VARIABLE)
    usual = Path(tempfile.gettempdir()) / "flowai-bench-litellm" / "bin" / "litellm"
    found = Path(named) if named else usual
    return str(found) if found.is_file() else None


def _alone(ours: Server) -> list[tuple[str, str, str, str, str]]:
    asyncio.run(_burst(ours, REQUESTS_COUNT))
    burst = asyncio.run(_burst(ours, REQUESTS_COUNT))
    how = f"LiteLLM's proxy is not installed: skipped ({PEER_VARIABLE})"
    return [
        ("requests per second", f"{burst.per_s:.0f}", "-", "-", how),
        ("CPU per request", f"{burst.cpu_ms:.1f} ms", "-", "-", how),
    ]


def _beside(ours: Server, theirs: Server) -> list[tuple[str, str, str, str, str]]:
    for server in (ours, theirs):
        asyncio.run(_burst(server, REQUESTS_COUNT // 2))
    pairs = [
        (asyncio.run(_burst(ours, REQUESTS_COUNT)), asyncio.run(_burst(theirs, REQUESTS_COUNT)))
        for _ in range(PAIRS_COUNT)
    ]
    how = f"LiteLLM's proxy; {PAIRS_COUNT} pairs of {REQUESTS_COUNT} requests, {CONNECTIONS_COUNT} at a time"
    per_s = statistics.median(mine.per_s / other.per_s for mine, other in pairs)
    cpu = statistics.median(mine.cpu_ms / other.cpu_ms for mine, other in pairs)
    mine_s, other_s = (statistics.median(pair[index].per_s for pair in pairs) for index in (0, 1))
    mine_ms, other_ms = (statistics.median(pair[index].cpu_ms for pair in pairs) for index in (0, 1))
    return [
        ("requests per second", f"{mine_s:.0f}", f"{other_s:.0f}", f"{per_s:.2f}x", f"{how}; higher is better"),
        ("CPU per request", f"{mine_ms:.1f} ms", f"{other_ms:.1f} ms", f"{cpu:.2f}x", how),
    ]


@contextmanager
def _flowai(root: Path, base_url: str) -> Iterator[Server]:
    project = root / "project"
    (project / "prompts").mkdir(parents=True)
    (project / "registry.yaml").write_text(FLOWAI_REGISTRY.format(base_url=base_url), encoding="utf-8")
    (project / "prompts" / "echo_v1.prompt").write_text(PROMPT, encoding="utf-8")
    arguments = [sys.executable, "-m", "flowai", "serve", "--port", "0", "--json"]
    environ = {**os.environ, "LOOPBACK_KEY": KEY}
    process = subprocess.Popen(arguments, cwd=project, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        address = json.loads(process.stdout.readline())["address"]
        yield Server(pid=process.pid, port=int(address.rpartition(":")[2]))
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def _litellm(peer: str, root: Path, base_url: str) -> Iterator[Server]:
    config = root / "litellm.yaml"
    config.write_text(LITELLM_CONFIG.format(base_url=base_url, key=KEY), encoding="utf-8")
    port = _free_port()
    arguments = [peer, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    environ["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"  # it has no keys to check, as ours has none
    process = subprocess.Popen(
        arguments, cwd=root, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    try:
        _wait_for(port, process)
        yield Server(pid=process.pid, port=port)
    finally:
        process.kill()
        process.communicate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[str]) -> None:
    give_up_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_s and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("LiteLLM's proxy did not start")


async def _burst(server: Server, count: int) -> Burst:
    """Send that many requests over all connections."""
    numbers = iter(range(count))
    cpu_s, started_s = server.cpu_s(), time.perf_counter()
    await asyncio.gather(*(_connection(server.port, numbers) for _ in range(CONNECTIONS_COUNT)))
    wall_s = time.perf_counter() - started_s
    return Burst(per_s=count / wall_s, cpu_ms=(server.cpu_s() - cpu_s) / count * 1000)


async def _connection(port: int, numbers: Iterator[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        message = {"role": "user", "content": f"hello {number} {time.perf_counter_ns()}"}
        body = json.dumps({"model": "chat", "messages": [message]}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {KEY}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await _answer(reader)
        if b"hello world" not in answer:
            raise RuntimeError(f"no answer: {answer[:500]!r}")
    writer.close()
    await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """Read one answer with a Content-Length."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


def main() -> None:
    """Print the rows as Markdown."""
    for row in (HEADER, ("---",) * len(HEADER), *rows()):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
