"""Providers other than OpenAI are called by naming their model: their own protocol, on a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from scripted_provider import Reply, ScriptedProvider

from flowai.calls import Completion, Endpoint, Request
from flowai.calls.litellm_client import LiteLLMClient
from flowai.errors import ServerError

if TYPE_CHECKING:
    from flowai.calls import Measure

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


def events(items: list[dict[str, Any]]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (item["type"].encode(), json.dumps(item).encode()) for item in items)


def ask(provider: ScriptedProvider, model: str, measure: Measure = "whole") -> Completion:
    """Ask once, as a registry entry with an address and a key would."""
    endpoint = Endpoint(
        name="m",
        model=model,
        provider=model.partition("/")[0],
        api_base=provider.base_url.removesuffix("/v1") if "anthropic" in model else provider.base_url,
        api_key="key-of-this-provider",
    )
    messages = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "say hi"})
    request = Request(endpoint=endpoint, messages=messages, params={"max_tokens": 5})

    async def session() -> Completion:
        client = LiteLLMClient()
        try:
            return await client.complete(request, measure=measure)
        finally:
            await client.aclose()

    return asyncio.run(session())


@pytest.mark.filterwarnings("ignore:Items? .* using the `ReadOnly` qualifier")  # pydantic, on LiteLLM's Cohere records
@pytest.mark.parametrize(
    ("model", "answer"),
    [
        ("anthropic/claude-haiku-4-5", ANTHROPIC),
        ("cohere/command-r-08-2024", COHERE),
        ("cohere_chat/command-r-08-2024", COHERE),
    ],
)
def test_text_tokens_price_and_key(model: str, answer: dict[str, Any]) -> None:
    with ScriptedProvider() as provider:
        provider.script(Reply(body=json.dumps(answer).encode(), content_type="application/json"))
        completion = ask(provider, model)
        sent = provider.asked[0].headers
    assert (completion.text, completion.finish_reason) == ("hi", "stop")
    assert (completion.input_tokens, completion.output_tokens) == (5, 2)
    assert completion.cost_usd is not None
    assert completion.cost_usd > 0
    assert "key-of-this-provider" in (sent.get("authorization", "") + sent.get("x-api-key", ""))


def test_anthropics_own_stream_has_a_first_token() -> None:
    with ScriptedProvider() as provider:
        provider.script(Reply(body=events(ANTHROPIC_EVENTS), content_type="text/event-stream"))
        completion = ask(provider, "anthropic/claude-haiku-4-5", "first_token")
    assert (completion.text, completion.output_tokens) == ("hi", 2)
    assert completion.ttft_ms is not None


def test_anthropics_overload_is_a_server_error_that_may_pass() -> None:
    body = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    with ScriptedProvider() as provider:
        provider.script(Reply(status=529, body=body, content_type="application/json"))
        with pytest.raises(ServerError, match="Overloaded") as caught:
            ask(provider, "anthropic/claude-haiku-4-5")
    assert (caught.value.status, caught.value.retryable) == (529, True)
