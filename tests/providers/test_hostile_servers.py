"""Servers that speak no HTTP, or a broken one: whatever comes over the wire, a call ends well or with a CallError."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from support.client_calls import BOTH, Way, failure, run
from support.scripted_provider import Reply, ScriptedProvider
from support.scripted_replies import HOSTILE_JSON

from flowai.errors import CallError, MalformedAnswerError, ServerError, UnreachableError
from flowai.providers import EmbedRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.providers import Request
    from flowai.providers.direct.client import OpenAIClient

OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
GOOD = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n'

WIRES = {
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", MalformedAnswerError),
    "no status": (b"HTTP/1.1 \r\n\r\n", MalformedAnswerError),
    "a header without end": (b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 100_000, MalformedAnswerError),
    "half of the headers": (OK, UnreachableError),
    "chunks of no length": (CHUNKED + b"zz\r\nabc\r\n", MalformedAnswerError),
    "a chunk of a negative length": (CHUNKED + b"-5\r\nabc\r\n", MalformedAnswerError),
    "less than was promised": (OK + b"content-length: 1000\r\n\r\n: hello\n\n", MalformedAnswerError),
    "no gzip": (OK + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nabcde", MalformedAnswerError),
    "an unknown compression": (OK + b"content-encoding: x\r\ncontent-length: 5\r\n\r\nabcde", MalformedAnswerError),
    "nothing": (OK + b"content-length: 0\r\n\r\n", MalformedAnswerError),
    "a redirect to itself": (
        b"HTTP/1.1 307 X\r\nlocation: /v1/chat/completions\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        MalformedAnswerError,
    ),
    "a redirect to nowhere": (
        b"HTTP/1.1 307 X\r\nlocation: gopher://x/\r\ncontent-length: 0\r\n\r\n",
        MalformedAnswerError,
    ),
    "an error that is no JSON": (b"HTTP/1.1 500 X\r\ncontent-length: 3\r\n\r\n\xff\xfe\xfd", ServerError),
    "a refusal that is no JSON": (b"HTTP/1.1 400 X\r\ncontent-length: 3\r\n\r\n[[[", ServerError),
    "an error cut short": (b"HTTP/1.1 503 X\r\ncontent-length: 300\r\n\r\n{", ServerError),
}


async def raw_server(wire: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}]")  # the end of the messages
        writer.write(wire)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize("case", WIRES)
def test_any_invalid_response_is_a_call_error(case: str, ask: Callable[..., Request]) -> None:
    wire, kind = WIRES[case]

    async def call(client: OpenAIClient) -> None:
        async with await raw_server(wire) as server:
            port = server.sockets[0].getsockname()[1]
            await client.complete(ask(api_base=f"http://127.0.0.1:{port}/v1", total_timeout_s=20))

    with pytest.raises(CallError) as caught:
        run(call)
    assert type(caught.value) is kind
    assert "litellm" not in str(caught.value).lower()


@pytest.mark.parametrize("way", BOTH)
@pytest.mark.parametrize("data", HOSTILE_JSON)
def test_hostile_json_is_a_call_error(
    data: bytes, way: Way, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(body=b"data: " + data + b"\n\n", content_type="text/event-stream"), Reply(body=data))
    for _ in range(2):
        assert isinstance(failure(ask(), way), CallError)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data": null}',
        b'{"data": 5}',
        b'{"data": [null]}',
        b'{"data": [{"index": "x"}]}',
        b"<html>",
        b'{"data": [{"index": 0, "embedding": [1]}], "usage": {"prompt_tokens": "x", "total_tokens": []}}',
        b"[" * 99_999,
    ],
)
def test_hostile_vectors_are_a_call_error(body: bytes, provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    provider.default = Reply(body=body)
    request = EmbedRequest(endpoint=ask(model="openai/text-embedding-3-small").endpoint, texts=("a",))
    with pytest.raises(CallError):
        run(lambda client: client.embed(request))


def test_a_valid_answer_with_hostile_usage_has_no_usage(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    usage = {"prompt_tokens": "7", "completion_tokens": -1, "total_tokens": 1e300, "prompt_tokens_details": 5}
    body = GOOD + b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\ndata: [DONE]\n\n"
    provider.script(Reply(body=body, content_type="text/event-stream"))
    answer = run(lambda client: client.complete(ask()))
    assert answer.text == "a"
    assert answer.input_tokens is None
    assert answer.output_tokens is None
    assert answer.cost_usd is None
