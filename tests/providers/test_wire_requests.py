"""Requests that are sent without LiteLLM equal LiteLLM's own, as they arrive on a socket."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from support.recording_server import Arrived, RecordingServer
from support.wire_samples import HELLO, OPEN, PIXEL, Sample, call, random_request, samples, schema_format, tool

from flowai.providers.catalog import CUSTOM, THROUGH_LITELLM, ProviderCatalog, ProviderRecord
from flowai.providers.client import EmbedRequest, Endpoint, Request
from flowai.providers.litellm.adapter import import_litellm
from flowai.providers.openai.requests import chat_request, embedding_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.providers.wire import WireRequest

KEY = "sk-loopback"
CATALOG = ProviderCatalog()
PROVIDERS = sorted(name for name in CATALOG.data.providers if not name.endswith(CUSTOM))
MIN_REQUEST_COUNT = 200
RANDOM_COUNT = 60
OWN_HEADERS = {"accept", "accept-encoding", "connection", "content-length", "host", "user-agent"}
"""Headers of an HTTP client; beside them, OpenAI's client describes itself in `x-stainless-...`."""
IMAGE = {"type": "image_url", "image_url": {"url": PIXEL}}
TOOL_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "3"}
EVERYDAY = [
    Sample({"temperature": 0.2, "max_tokens": 50}, [{"role": "system", "content": "Be brief"}, HELLO]),
    Sample({"stop": ["END", "\n\n"], "top_p": 0.9}, [HELLO]),
    Sample({"seed": 7, "temperature": 0}, [HELLO]),
    Sample({"tools": [tool()], "tool_choice": "auto"}, [HELLO]),
    Sample({"response_format": schema_format(OPEN)}, [HELLO]),
    Sample({}, [{"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]}]),
    Sample({}, [HELLO, {"role": "assistant", "content": None, "tool_calls": [call()]}, TOOL_RESULT]),
]
ALL_EVERYDAY = ("custom_openai", "hosted_vllm", "llamafile", "lm_studio", "openai", "openrouter", "together_ai", "xai")
"""Providers of which every everyday request is sent without LiteLLM."""
LEAST_EVERYDAY = {"deepseek": 6, "fireworks_ai": 6, "groq": 6, "mistral": 6, "perplexity": 4}
TEXTS = ("\x00\x1f\x7f", "ü 日本 \U0001f389 \u2028", "a" * 500_000, '"\\/</script>', "\ud800")
ODD = [
    *(Sample({}, [{"role": "user", "content": text}]) for text in TEXTS),
    Sample({"foo": 1}, [HELLO]),
    Sample({"temperature": float("nan")}, [HELLO]),
    Sample({"seed": 2**70}, [HELLO]),
    Sample({"stop": ["a", "b", "c", "d", "e"]}, [HELLO]),
    Sample({"stop": []}, [HELLO]),
    Sample({"tools": []}, [HELLO]),
    Sample({"temperature": None, "user": None}, [HELLO]),
    Sample({"tool_choice": "auto"}, [HELLO]),
    Sample({"max_tokens": 5, "max_completion_tokens": 6}, [HELLO]),
    Sample({"extra_body": {"temperature": 1}, "temperature": 0}, [HELLO]),
    Sample({"extra_headers": {"Authorization": "Bearer other"}}, [HELLO]),
    Sample({"stream": False, "stream_options": {"include_usage": False}}, [HELLO]),
    Sample({}, [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}]),
    Sample({}, [{"role": "user", "content": [{"type": "image_url", "image_url": PIXEL}]}]),
    Sample({}, [{"role": "user", "content": []}]),
    Sample({}, [{"role": "function", "name": "f", "content": "1"}]),
    Sample({}, [{"content": "no role"}]),
]  # fmt: skip
NAMES: tuple[str, ...] = (
    "my-model",
    "org/model",
    "a/b:free",
    "Modell-ü.gguf",
    "gpt-4o",
    "gpt-5",
    "o3-mini",
    "claude-sonnet-4-5",
)
NAMES += ("deepseek-r1", "ft:gpt-4o:a::b")


class LiteLLM:
    """The installed LiteLLM, which sends to the recording server."""

    def __init__(self, server: RecordingServer) -> None:
        self._litellm: Any = import_litellm()
        self._litellm.suppress_debug_info = True
        self._server = server

    async def chat(self, model: str, base_url: str, sample: Sample) -> Arrived | None:
        """Return the streamed request that arrives; None if LiteLLM refuses it."""
        params = {name: value for name, value in sample.params.items() if name not in {"stream", "stream_options"}}
        if params.get("tools"):
            params["_skip_mcp_handler"] = True
        options = {"stream": True, "stream_options": {"include_usage": True}, "max_retries": 0, "num_retries": 0}
        self._server.last = None
        with suppress(Exception):
            stream = await self._litellm.acompletion(
                model=model, messages=sample.messages, api_base=base_url, api_key=KEY, **params, **options
            )
            async for _ in stream:
                pass
        return self._server.last

    async def embed(self, model: str, base_url: str, texts: list[str]) -> Arrived | None:
        """Return the request that arrives; None if LiteLLM refuses it."""
        self._server.last = None
        with suppress(Exception):
            await self._litellm.aembedding(
                model=model, input=texts, encoding_format="float", api_base=base_url, api_key=KEY, max_retries=0
            )
        return self._server.last


def endpoint(model: str, base_url: str | None = None, key: str | None = KEY) -> Endpoint:
    return Endpoint(name="m", model=model, provider="p", api_base=base_url, api_key=key)


def direct(model: str, base_url: str, sample: Sample) -> WireRequest | None:
    """Return flowai's request; None if LiteLLM must send it."""
    at = endpoint(model, base_url)
    provider = CATALOG.direct(at)
    request = Request(endpoint=at, messages=tuple(sample.messages), params=sample.params)
    return None if provider is None else chat_request(request, provider)


def difference(ours: WireRequest, theirs: Arrived | None, record: ProviderRecord) -> str:
    """Return how two requests differ; empty if they are equal."""
    if theirs is None:
        return "LiteLLM sends none"
    parts = urlsplit(ours.url)
    body, headers = json.loads(ours.body), {name.lower(): value for name, value in ours.headers}
    known = {
        name: value
        for name, value in theirs.headers.items()
        if name not in OWN_HEADERS and not name.startswith("x-stainless-")
    }
    if record.usage_option:  # flowai asks all servers that OpenAI's client calls for token counts, LiteLLM not all
        theirs.body.setdefault("stream_options", {"include_usage": True})
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    if (target, headers, body) == (theirs.target, known, theirs.body):
        return ""
    return f"{ours} {headers} {str(body)[:2000]} != {theirs.target} {known} {str(theirs.body)[:2000]}"


def at_loopback(name: str) -> ProviderRecord:
    """Return a provider's record for other addresses than its own."""
    return CATALOG.data.providers.get(name + CUSTOM, CATALOG.data.providers[name])


def requests_for(name: str) -> Iterator[tuple[str, Sample]]:
    """Yield models and requests: all features, random ones, odd ones, and each family's models."""
    record = at_loopback(name)
    choices = random.Random(name)  # noqa: S311 - the same requests each time
    for sample in (one for rows in samples().values() for one in rows):
        yield NAMES[0], sample
    for sample in (*EVERYDAY, *ODD):
        yield NAMES[0], sample
    for _ in range(RANDOM_COUNT):
        yield NAMES[0], random_request(choices)
    listed = [choices.choice(models) for models in record.models.values() for _ in range(2)]
    for model in (*NAMES, *listed):
        for _ in range(4):
            yield model, random_request(choices)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROVIDERS)
def test_a_request_arrives_as_litellm_sends_it_or_is_left_to_litellm(name: str) -> None:
    asyncio.run(_check_requests(name))


async def _check_requests(name: str) -> None:
    record = at_loopback(name)
    direct_count = total_count = 0
    failures = []
    async with RecordingServer() as server:
        litellm = LiteLLM(server)
        base_url = f"{server.base_url}/v1"
        for model, sample in requests_for(name):
            total_count += 1
            ours = direct(f"{name}/{model}", base_url, sample)
            if ours is None:
                continue
            direct_count += 1
            theirs = await litellm.chat(f"{name}/{model}", base_url, sample)
            if found := difference(ours, theirs, record):
                failures.append(f"{model} {sample.params}: {found}"[:3000])
        failures += await _embedding_differences(name, base_url, litellm)
    assert not failures, f"{len(failures)} of {direct_count}\n" + "\n\n".join(failures[:5])
    assert total_count >= MIN_REQUEST_COUNT
    if record.family != THROUGH_LITELLM:
        assert direct_count >= MIN_REQUEST_COUNT / 4, f"only {direct_count} of {total_count} without LiteLLM"


async def _embedding_differences(name: str, base_url: str, litellm: LiteLLM) -> list[str]:
    at = endpoint(f"{name}/embed-1", base_url)
    provider = CATALOG.direct(at)
    if provider is None or not provider.embeddings:
        return []
    found = []
    for texts in (["a"], ["a", "ü \n 日本"], ["x" * 100_000]):
        ours = embedding_request(EmbedRequest(endpoint=at, texts=tuple(texts)), provider)
        theirs = await litellm.embed(at.model, base_url, texts)
        if ours is None:
            continue
        if theirs is None or json.loads(ours.body) != theirs.body or urlsplit(ours.url).path != theirs.target:
            found.append(f"{texts}: {ours.body!r} != {theirs}"[:500])
    return found


def everyday_count(name: str) -> int:
    return sum(direct(f"{name}/{NAMES[0]}", "http://127.0.0.1:9/v1", sample) is not None for sample in EVERYDAY)


@pytest.mark.parametrize("name", ALL_EVERYDAY)
def test_everyday_requests_are_sent_without_litellm(name: str) -> None:
    assert everyday_count(name) == len(EVERYDAY)


@pytest.mark.parametrize(("name", "count"), LEAST_EVERYDAY.items())
def test_most_everyday_requests_are_sent_without_litellm(name: str, count: int) -> None:
    assert everyday_count(name) >= count
