"""Shared by the gateway benchmarks: a provider in a process of its own, and a project that calls it."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

KEY = "sk-loopback-0000"
TESTS = Path(__file__).resolve().parents[1] / "tests"
PROVIDER = (sys.executable, "-m", "support.scripted_provider")
VARIABLES = {"text": "hello"}
REGISTRY = """\
schema_version: 1
models:
  primary: {{model: openai/gpt-4o-mini, provider: primary, api_base: "{primary}", api_key: "${{LOOPBACK_KEY}}"}}
  fallback: {{model: openai/gpt-4o-mini, provider: fallback, api_base: "{fallback}", api_key: "${{LOOPBACK_KEY}}"}}
features:
  chat: {{fallback: [fallback], cache: {{kind: none}}, timeout: {{first_token: 1s, total: 10s}}}}
  direct: {{cache: {{kind: none}}, timeout: {{first_token: 1s, total: 10s}}}}
  cached: {{cache: {{kind: exact}}}}
releases:
  v1:
    chat: {{prompt: prompts/echo_v1, model: primary}}
    direct: {{prompt: prompts/echo_v1, model: fallback}}
    cached: {{prompt: prompts/echo_v1, model: fallback, params: {{temperature: 0}}}}
current: v1
"""
PROMPT = '---\ninput: {schema: {text: string}}\n---\n{{role "user"}}{{text}}\n'


@contextmanager
def provider(*options: str) -> Iterator[str]:
    """Run a scripted provider and yield its base URL."""
    server = subprocess.Popen([*PROVIDER, *options], cwd=TESTS, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None  # noqa: S101 - for the type checker
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


@contextmanager
def refused_address() -> Iterator[str]:
    """Return an address that refuses connections and stays reserved."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def write_project(root: Path, *, primary: str, fallback: str) -> None:
    """Write a project: `chat` falls back, `direct` calls the fallback's model, `cached` caches its answers."""
    (root / "prompts").mkdir()
    (root / "prompts" / "echo_v1.prompt").write_text(PROMPT, encoding="utf-8")
    (root / "registry.yaml").write_text(REGISTRY.format(primary=primary, fallback=fallback), encoding="utf-8")


@asynccontextmanager
async def bare_aiohttp(base_url: str) -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    """Yield a call that sends a request with aiohttp and parses the streamed answer: the least that a call costs."""
    import aiohttp
    import msgspec

    from flowai.providers.openai.stream_parser import ChatStreamParser

    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

    async def one(index: int) -> object:
        body = {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": f"hello {index}"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        answer = ChatStreamParser()
        async with session.post(
            f"{base_url}/chat/completions", data=msgspec.json.encode(body), headers=headers
        ) as sent:
            async for data in sent.content.iter_any():
                for _ in answer.feed(data):
                    pass
        return answer.text

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield one


def gateway(root: Path, **changes: Any) -> Any:  # noqa: ANN401 - imported late: the start is no part of any figure
    """Return a gateway of a project."""
    from flowai.gateway.gateway import Gateway
    from flowai.gateway.runtime import RuntimeOptions

    return Gateway(root, settings=RuntimeOptions(environ={"LOOPBACK_KEY": KEY}, **changes))
