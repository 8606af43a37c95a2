"""Providers other than OpenAI are called by naming their model: their own protocol, on a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from support.scripted_provider import Reply, ScriptedProvider

from flowai.errors import ServerError, TimedOutError
from flowai.providers import Completion, Endpoint, Request
from flowai.providers.direct.client import OpenAIClient
from flowai.providers.litellm.client import LiteLLMClient

# what these providers' APIs answer, shortened to what a client reads
ANTHROPIC: dict[str, Any] = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 2},
}
# Cohere's stream, as LiteLLM 1.106 reads it, has no end: Cohere is asked plainly
COHERE: dict[str, Any] = {
    "id": "c",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "hi"}]},
    "usage": {
        "tokens": {"input_tokens": 5, "output_tokens": 2},
        "billed_units": {"input_tokens": 5, "output_tokens": 2},
    },
}
ANTHROPIC_EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": ANTHROPIC | {"content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
TOOL: dict[str, Any] = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
ANTHROPIC_TOOL_EVENTS: list[dict[str, Any]] = [
    ANTHROPIC_EVENTS[0],
    {"type": "content_block_start", "index": 0, "content_block": TOOL},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"up":'}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
    ANTHROPIC_EVENTS[-1],
]
GEMINI: dict[str, Any] = {
    "candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
    "modelVersion": "gemini-2.5-flash",
}


def events(items: list[dict[str, Any]]) -> bytes:
    """Frame a stream: Anthropic names its events, Gemini does not."""
    names = [b"event: %s\n" % item["type"].encode() if "type" in item else b"" for item in items]
    return b"".join(
        b"%sdata: %s\n\n" % (name, json.dumps(item).encode()) for name, item in zip(names, items, strict=True)
    )


STREAM = "text/event-stream"


def ask(provider: ScriptedProvider, model: str, **limits: Any) -> Completion:
    """Ask once, as a registry entry with an address and a key would."""
    endpoint = Endpoint(
        name="m",
        model=model,
        provider=model.partition("/")[0],
        api_base=provider.base_url.removesuffix("/v1") if "anthropic" in model else provider.base_url,
        api_key="key-of-this-provider",
    )
    messages = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "say hi"})
    request = Request(endpoint=endpoint, messages=messages, params={"max_tokens": 5}, **limits)

    async def session() -> Completion:
        client = OpenAIClient(LiteLLMClient(shared_process=False))
        try:
            return await client.complete(request)
        finally:
            await client.aclose()

    return asyncio.run(session())


@pytest.mark.filterwarnings("ignore:Items? .* using the `ReadOnly` qualifier")  # pydantic, on LiteLLM's Cohere records
@pytest.mark.parametrize(
    ("model", "body", "kind"),
    [
        ("anthropic/claude-haiku-4-5", events(ANTHROPIC_EVENTS), STREAM),
        ("gemini/gemini-2.5-flash", events([GEMINI]), STREAM),
        ("cohere/command-r-08-2024", json.dumps(COHERE).encode(), "application/json"),
        ("cohere_chat/command-r-08-2024", json.dumps(COHERE).encode(), "application/json"),
    ],
)
def test_text_tokens_price_and_key(model: str, body: bytes, kind: str) -> None:
    with ScriptedProvider() as provider:
        provider.script(Reply(body=body, content_type=kind))
        completion = ask(provider, model)
        (asked,) = provider.asked
    assert completion.text == "hi"
    assert completion.finish_reason == "stop"
    assert completion.input_tokens == 5
    assert completion.output_tokens == 2
    assert completion.cost_usd is not None
    assert completion.cost_usd > 0
    assert (completion.ttft_ms is not None) == (kind == STREAM)
    assert "key-of-this-provider" in f"{asked.headers} {asked.path}"


# called over flowai's own connections; and through LiteLLM, whose streams do not contain the model's own name
DIRECT = (
    *("openai", "custom_openai", "deepinfra", "perplexity", "nvidia_nim", "cerebras", "lm_studio", "moonshot"),
    *("deepseek", "fireworks_ai", "groq", "hosted_vllm", "mistral", "openrouter", "together_ai", "xai"),
)
LITELLM = ("azure_ai",)


@pytest.mark.parametrize("name", DIRECT + LITELLM)
def test_providers_with_openai_s_protocol_are_streamed(name: str) -> None:
    with ScriptedProvider() as provider:
        completion = ask(provider, f"{name}/some-model")
        (asked,) = provider.asked
    assert asked.body["stream"] is True
    assert completion.text == "hello world"
    assert completion.finish_reason == "stop"
    assert completion.output_tokens == 2
    assert completion.ttft_ms is not None
    assert (completion.served_model == "scripted-1") == (name in DIRECT)


@pytest.mark.parametrize("model", ["anthropic/claude-haiku-4-5", "groq/some-model"])
@pytest.mark.parametrize("fault", ["silent", "stall"])
def test_silent_providers_of_other_protocols_time_out(model: str, fault: Any) -> None:
    body = events(ANTHROPIC_EVENTS[:3]) if model.startswith("anthropic") and fault == "stall" else None
    reply = Reply(fault=fault, body=body, content_type=STREAM)
    with ScriptedProvider(reply) as provider, pytest.raises(TimedOutError) as caught:
        ask(provider, model, first_token_timeout_s=0.3)
    words = "no first token within" if fault == "silent" else "the answer stalled: nothing more came within"
    assert caught.value.what.startswith(f"{words} 0.3 s")


def test_anthropic_s_tool_calls_are_openai_s() -> None:
    with ScriptedProvider() as provider:
        provider.script(Reply(body=events(ANTHROPIC_TOOL_EVENTS), content_type=STREAM))
        completion = ask(provider, "anthropic/claude-haiku-4-5")
    function = {"name": "look", "arguments": '{"up":1}'}
    assert completion.tool_calls == ({"id": "t1", "type": "function", "function": function},)
    assert completion.text == ""
    assert completion.finish_reason == "tool_calls"


def test_anthropic_s_overload_is_a_transient_server_error() -> None:
    body = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    with ScriptedProvider() as provider:
        provider.script(Reply(status=529, body=body, content_type="application/json"))
        with pytest.raises(ServerError, match="Overloaded") as caught:
            ask(provider, "anthropic/claude-haiku-4-5")
    assert caught.value.status == 529
    assert caught.value.retryable is True
