"""The client for Anthropic: which requests it sends itself, and what it tells about an answer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.anthropic_answers import HELLO, end, frames, start, stream, thinking
from support.anthropic_samples import Sample
from support.no_client import NoClient
from support.scripted_provider import Reply, ScriptedProvider

from flowai.errors import InvalidRequestError
from flowai.providers.anthropic.client import MessagesClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.providers.client import Completion, Endpoint, Request

NAME = "claude-haiku-5-5"


def complete(reply: Reply, **fields: Any) -> Completion:
    with ScriptedProvider(reply) as provider:
        api_base = provider.base_url.removesuffix("/v1")

        async def session() -> Completion:
            client = MessagesClient(NoClient())
            try:
                return await client.complete(
                    Sample(NAME, [{"role": "user", "content": "x"}], {}).request(api_base, **fields)
                )
            finally:
                await client.aclose()

        return asyncio.run(session())


def test_what_an_answer_tells() -> None:
    completion = complete(stream(start(), thinking("Hm"), HELLO, end()))
    assert completion.served_model == "claude-x-20260101"
    assert completion.model == f"anthropic/{NAME}"
    assert completion.provider == "anthropic"
    assert completion.ttft_ms is not None
    assert 0 < completion.ttft_ms <= completion.latency_ms


def test_thinking_restarts_the_limit_between_two_tokens() -> None:
    pieces = [frames([event]) for event in [start(), *thinking(*["Hm, "] * 6), *HELLO, *end()]]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.1)
        writer.close()
        await writer.wait_closed()
        closed.set()

    closed = asyncio.Event()

    async def session() -> Completion:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = MessagesClient(NoClient())
        sample = Sample(NAME, [{"role": "user", "content": "x"}], {})
        try:
            return await client.complete(sample.request(f"http://127.0.0.1:{port}", first_token_timeout_s=0.5))
        finally:
            await client.aclose()
            await closed.wait()
            server.close()

    completion = asyncio.run(session())
    assert completion.text == "Good day."
    assert completion.ttft_ms is not None
    assert completion.ttft_ms > 600


class OtherClient(NoClient):
    """A client that records the requests that are passed on to it."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.warm: list[Endpoint] = []

    async def complete(self, request: Request) -> str:
        self.asked.append(request)
        return "other"

    async def embed(self, request: Any) -> str:
        self.asked.append(request)
        return "vectors"

    async def warm_up(self, endpoints: Sequence[Endpoint] = ()) -> None:
        self.warm = list(endpoints)


def request_to(model: str, api_base: str = "http://127.0.0.1:9", **fields: Any) -> Request:
    """Return a request to a model; fields replace the endpoint's or the request's."""
    request = Sample("x", [{"role": "user", "content": "hi"}], fields.pop("params", {})).request(api_base)
    return msgspec.structs.replace(request, endpoint=msgspec.structs.replace(request.endpoint, model=model, **fields))


@pytest.mark.parametrize(
    "request_",
    [
        request_to("openai/gpt-4o-mini"),
        request_to("openai/gpt-4o-mini", transport="direct"),
        request_to("anthropic/claude-new-9"),
        request_to(f"anthropic/{NAME}", params={"seed": 1}),
        request_to(f"anthropic/{NAME}", transport="litellm"),
    ],
)
def test_other_requests_are_passed_on(request_: Request) -> None:
    other: Any = OtherClient()
    client: Any = MessagesClient(other)
    assert asyncio.run(client.complete(request_)) == "other"
    assert other.asked == [request_]


def test_embeddings_are_passed_on() -> None:
    other: Any = OtherClient()
    client: Any = MessagesClient(other)
    assert asyncio.run(client.embed("texts")) == "vectors"


def test_a_request_that_may_only_be_sent_directly_is_refused() -> None:
    request = request_to(f"anthropic/{NAME}", transport="direct", params={"seed": 1})
    with pytest.raises(InvalidRequestError, match="without LiteLLM"):
        asyncio.run(MessagesClient(NoClient()).complete(request))


def test_only_endpoints_of_the_other_client_warm_it_up() -> None:
    known, other_model = request_to(f"anthropic/{NAME}").endpoint, request_to("groq/x").endpoint
    forced = request_to(f"anthropic/{NAME}", transport="litellm").endpoint

    async def session(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        other: Any = OtherClient()
        client = MessagesClient(other)
        await client.warm_up(endpoints)
        await client.aclose()
        warm: list[Endpoint] = other.warm
        return warm

    assert asyncio.run(session([known])) == []
    assert asyncio.run(session([known, other_model, forced])) == [other_model, forced]


def test_a_command_s_client_calls_anthropic_without_litellm() -> None:
    script = (
        "import asyncio, sys\nfrom flowai.providers import Endpoint, Request, create_client\n"
        "from flowai.redaction import Redactor\n"
        f"endpoint = Endpoint(name='m', model='anthropic/{NAME}', provider='anthropic', api_base=sys.argv[1])\n"
        "async def session():\n"
        "    client = create_client(redactor=Redactor())\n"
        "    request = Request(endpoint=endpoint, messages=({'role': 'user', 'content': 'hi'},))\n"
        "    print((await client.complete(request)).text)\n"
        "    await client.aclose()\n"
        "asyncio.run(session())\n"
        "sys.exit(bool({'litellm', 'openai', 'anthropic', 'httpx', 'pydantic'} & set(sys.modules)))"
    )
    with ScriptedProvider(stream(start(), HELLO, end())) as provider:
        api_base = provider.base_url.removesuffix("/v1")
        command = [sys.executable, "-c", script, api_base]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "Good day.\n"
