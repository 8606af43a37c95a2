"""Requests that LiteLLM cannot convert are no failure of a provider, and it fetches nothing that a message names."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.anthropic_answers import end, start, text
from support.bait import bait
from support.mutated_bodies import CALL, PIXEL
from support.scripted_provider import ScriptedProvider
from support.scripted_replies import Reply

from flowai.errors import (
    AuthError,
    CallError,
    InvalidRequestError,
    MalformedAnswerError,
    ServerError,
    TimedOutError,
    UnreachableError,
)
from flowai.providers.client import Endpoint, Request
from flowai.providers.direct.client import OpenAIClient
from flowai.providers.litellm.adapter import import_litellm
from flowai.providers.litellm.client import LiteLLMClient

if TYPE_CHECKING:
    from collections.abc import Iterator

Message = dict[str, Any]
MODELS = ("anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash")
CLOSED = "http://127.0.0.1:9/v1"


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as made:
        yield made


def failure_of(request: Request, *, stream: bool = False, shared_process: bool = False) -> CallError | None:
    """Return the error of a request through LiteLLM."""
    litellm = import_litellm()

    async def called() -> CallError | None:
        client = LiteLLMClient(shared_process=shared_process)
        try:
            if stream:
                async for _ in client.stream(request):
                    pass
            else:
                await client.complete(request)
        except CallError as error:
            return error
        finally:
            await client.aclose()
            if shared_process:  # flowai leaves LiteLLM's own connections to the other code
                await litellm.close_litellm_async_clients()
                litellm.in_memory_llm_clients_cache.flush_cache()
        return None

    return asyncio.run(called())


def request(model: str, address: str | None, *messages: Message, **params: Any) -> Request:
    endpoint = Endpoint(name="m", model=model, provider="p", api_base=address, api_key="k")
    return Request(endpoint=endpoint, messages=messages or ({"role": "user", "content": "hello"},), params=params)


def user(*parts: Any) -> Message:
    return {"role": "user", "content": list(parts)}


UNSENDABLE: dict[str, tuple[Message, ...]] = {
    "a part of another protocol": (user({"type": "input_text", "text": "x"}),),
    "an image without an address": (user({"type": "image_url", "image_url": {}}),),
    "an address that is none": (user({"type": "image_url", "image_url": {"url": "nowhere"}}),),
    "a result without a call": ({"role": "tool", "content": "x"},),
    "arguments that are not JSON": (
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": "{{"}}]},
        {"role": "tool", "tool_call_id": "t1", "content": "x"},
    ),
    "half of a character": ({"role": "user", "content": "\ud800"},),
    "no JSON": (user({"type": "text", "text": object()}),),
}


@pytest.mark.parametrize("case", UNSENDABLE)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_was_not_sent_blames_no_provider(
    provider: ScriptedProvider, model: str, case: str, stream: bool
) -> None:
    error = failure_of(request(model, provider.base_url, *UNSENDABLE[case]), stream=stream)
    assert provider.request_count == 0
    assert isinstance(error, InvalidRequestError)
    assert (error.was_tried, error.is_provider_fault, error.status, error.retryable) == (False, False, None, False)
    assert "Traceback" not in str(error)


@pytest.mark.parametrize(
    ("reply", "kind"), [(Reply(status=500), ServerError), (Reply(body=b"<html>"), MalformedAnswerError)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_of_a_request_that_was_sent_is_the_provider_s(
    provider: ScriptedProvider, reply: Reply, kind: type[CallError], stream: bool
) -> None:
    provider.default = reply
    error = failure_of(request("openai/gpt-4o", provider.base_url), stream=stream)
    assert isinstance(error, kind)
    assert (error.was_tried, error.is_provider_fault) == (True, True)


@pytest.mark.parametrize("model", ["openai/gpt-4o", "ollama_chat/small", *MODELS])
@pytest.mark.parametrize("stream", [False, True])
def test_an_address_without_a_listener_was_tried(model: str, stream: bool) -> None:
    error = failure_of(request(model, CLOSED), stream=stream)
    assert isinstance(error, UnreachableError)
    assert (error.was_tried, error.is_provider_fault) == (True, True)


@pytest.mark.parametrize("model", MODELS)
def test_a_time_limit_that_passes_before_anything_was_sent_blames_no_provider(
    provider: ScriptedProvider, model: str
) -> None:
    hasty = msgspec.structs.replace(request(model, provider.base_url), total_timeout_s=1e-6, first_token_timeout_s=1e-6)
    error = failure_of(hasty)
    assert isinstance(error, TimedOutError)
    assert (error.was_tried, error.is_provider_fault) == (False, False)
    assert provider.request_count == 0


def test_a_key_that_is_missing_is_no_mistake_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    endpoint = Endpoint(name="m", model="openai/gpt-4o", provider="openai")
    error = failure_of(Request(endpoint=endpoint, messages=({"role": "user", "content": "x"},)))
    assert isinstance(error, AuthError)


def test_a_request_that_the_direct_client_cannot_build_is_the_caller_s(provider: ScriptedProvider) -> None:
    async def called(message: Message) -> CallError:
        client = OpenAIClient(LiteLLMClient(shared_process=False))
        endpoint = Endpoint(
            name="m", model="openai/x", provider="p", api_base=provider.base_url, api_key="k", transport="direct"
        )
        with pytest.raises(InvalidRequestError) as caught:
            await client.complete(Request(endpoint=endpoint, messages=(message,)))
        await client.aclose()
        return caught.value

    for message in ({"role": ["user"], "content": "x"}, {"role": "user", "content": "\ud800"}):
        error = asyncio.run(called(message))
        assert (error.was_tried, error.is_provider_fault) == (False, False)
    assert provider.request_count == 0


# --- nothing is fetched on a caller's behalf ---


def parts(address: str) -> dict[str, Message]:
    return {
        "image": {"type": "image_url", "image_url": {"url": f"{address}/a.png"}},
        "image without a record": {"type": "image_url", "image_url": f"{address}/b.png"},
        "file": {"type": "file", "file": {"file_id": f"{address}/c.pdf"}},
        "file as data": {"type": "file", "file": {"file_data": f"{address}/d.pdf"}},
        "video": {"type": "video_url", "video_url": {"url": f"{address}/e.mp4"}},
        "document": {"type": "document", "source": {"type": "url", "url": f"{address}/f.pdf"}},
        "audio": {"type": "input_audio", "input_audio": {"data": f"{address}/g.wav", "format": "wav"}},
    }


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off LiteLLM's own guards, so that it would fetch from this machine."""
    litellm = import_litellm()
    utils = litellm.litellm_core_utils
    monkeypatch.setattr(litellm, "user_url_validation", False)
    for module in (utils.prompt_templates.image_handling, utils.token_counter):
        monkeypatch.setattr(module, "MAX_IMAGE_URL_DOWNLOAD_SIZE_MB", 50.0)


FETCHING = (
    *(
        "anthropic/claude-sonnet-4-5",
        "gemini/gemini-2.5-flash",
        "ollama_chat/small",
        "ollama/small",
        "vertex_ai/claude-3",
    ),
    *("azure_ai/claude-sonnet-4-5", "bedrock/anthropic.claude-3-haiku-20240307-v1:0", "vertex_ai/gemini-2.5-pro"),
    *("a2a/agent", "langgraph/agent", "snowflake/claude-3-5-sonnet", "bedrock_mantle/x", "vertex_ai/claude-3"),
)


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("model", FETCHING)
def test_addresses_that_litellm_would_fetch_are_refused(provider: ScriptedProvider, model: str) -> None:
    with bait() as (address, fetched):
        for name, part in parts(address).items():
            error = failure_of(request(model, provider.base_url, user(part)))
            assert isinstance(error, InvalidRequestError), name
            assert "takes images and files only as `data:` URLs" in str(error)
            assert (error.was_tried, error.is_provider_fault) == (False, False)
        assert fetched == []
    assert provider.request_count == 0


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("model", ["openai/gpt-4o", "mistral/x", "openrouter/x", "hosted_vllm/x", "groq/x", "azure/x"])
@pytest.mark.parametrize("stream", [False, True])
def test_addresses_are_passed_on_to_openai_and_its_like(provider: ScriptedProvider, model: str, stream: bool) -> None:
    provider.default = Reply(usage=None)  # so that LiteLLM would count the tokens
    with bait() as (address, fetched):
        part = parts(address)["image"]
        failure_of(request(model, provider.base_url, user(part)), stream=stream, shared_process=True)
        assert fetched == []
        assert f"{address}/a.png" in json.dumps(provider.asked[0].body)


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("stream", [False, True])
def test_no_image_is_fetched_to_count_its_tokens(
    provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    litellm = import_litellm()
    monkeypatch.setattr(litellm, "disable_token_counter", False)
    provider.default = Reply(usage=None)
    with bait() as (address, fetched):
        part = {"type": "image_url", "image_url": {"url": f"{address}/h.png", "detail": "high"}}
        error = failure_of(request("openai/gpt-4o", provider.base_url, user(part)), stream=stream, shared_process=True)
        assert isinstance(error, InvalidRequestError)
        assert "high detail" in str(error)
        assert fetched == []
    inline = {"type": "image_url", "image_url": {"url": PIXEL, "detail": "high"}}
    assert failure_of(request("openai/gpt-4o", provider.base_url, user(inline)), shared_process=True) is None


def test_anthropic_fetches_encrypted_addresses_itself(provider: ScriptedProvider) -> None:
    events = [start(), *text("hello"), *end()]
    frames = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    provider.default = Reply(body=frames.encode(), content_type="text/event-stream")
    part = {"type": "image_url", "image_url": {"url": "https://images.invalid/a.png"}}
    assert failure_of(request("anthropic/claude-sonnet-4-5", provider.base_url, user(part))) is None
    assert provider.asked[0].body["messages"][0]["content"][0]["source"]["url"] == "https://images.invalid/a.png"


def test_in_its_own_process_litellm_fetches_no_image() -> None:
    script = (
        "from flowai.providers.litellm.adapter import import_litellm\nimport_litellm()\n"
        "from litellm.constants import MAX_IMAGE_URL_DOWNLOAD_SIZE_MB as size\nprint(size)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100)
    assert float(done.stdout) == 0.0
