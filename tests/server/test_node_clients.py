"""The official clients of OpenAI and Anthropic for Node, unchanged, against the server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.scripted_gateway import WHOLE, ScriptedGateway, ServedGateway, served

from flowai.errors import ServerError
from flowai.gateway.records import TextChunk

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = Path(__file__).parents[1] / "node_clients"
CALLS = tuple(
    {"id": f"t{number}", "type": "function", "function": {"name": name, "arguments": f'{{"a":{number}}}'}}
    for number, name in enumerate(("add", "sub"), start=1)
)
pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node: install Debian's package `nodejs`"),
    pytest.mark.skipif(
        not (CLIENTS / "node_modules").is_dir(), reason="needs the clients: run `npm ci` in tests/node_clients"
    ),
]


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway()


@pytest.fixture
def server(gateway: ScriptedGateway) -> Iterator[ServedGateway]:
    with served(gateway) as made:
        yield made


def run_clients(server: ServedGateway, scenario: str) -> Any:
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, "clients.mjs", server.address, scenario], cwd=CLIENTS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_texts_whole_and_streamed(server: ServedGateway) -> None:
    found = run_clients(server, "texts")
    for name in ("chat", "response", "responseStream", "message", "messageStream"):
        assert found[name] == "hello world", name
    assert found["responseEvents"][0] == "response.created"
    assert found["responseEvents"][-1] == "response.completed"
    assert found["messageUsage"] == 2


def test_parallel_calls_and_their_results(gateway: ScriptedGateway, server: ServedGateway) -> None:
    gateway.answer = msgspec.structs.replace(WHOLE, text="", tool_calls=CALLS, finish_reason="tool_calls")
    gateway.pieces = [TextChunk(text="", tool_calls=({"index": index, **call},)) for index, call in enumerate(CALLS)]
    found = run_clients(server, "calls")
    expected = [["t1", "add", {"a": 1}], ["t2", "sub", {"a": 2}]]
    assert found == {"response": expected, "message": expected}
    results = [{"role": "tool", "tool_call_id": f"t{number}", "content": "1"} for number in (1, 2)]
    for ask in gateway.asks[2:]:
        assert list(ask.messages or ()) == [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": list(CALLS)},
            *results,
        ]


def test_failures_before_and_within_a_stream(gateway: ScriptedGateway, server: ServedGateway) -> None:
    broken = ServerError("the stream broke off", provider="openai", model="m")
    gateway.fail_stream_after = broken
    in_stream = run_clients(server, "failures")
    assert in_stream[0] == in_stream[2] == "no error"
    for index in (1, 3):
        assert "the stream broke off" in in_stream[index]["message"]
    gateway.fail = broken
    assert [failure["kind"] for failure in run_clients(server, "failures")] == ["InternalServerError"] * 4
