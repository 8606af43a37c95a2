"""Both transports read the same answer alike: each scripted answer goes over flowai's connections and LiteLLM."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.scripted_provider import ScriptedProvider
from support.wire_answers import answers

from flowai.errors import CallError
from flowai.providers import Endpoint, Request
from flowai.providers.answer_check import checked_completion
from flowai.providers.direct.client import OpenAIClient
from flowai.providers.litellm.client import LiteLLMClient

if TYPE_CHECKING:
    from flowai.providers.client import Transport

ANSWERS = answers()
DIFFERENCES = {
    "fault: malformed_chunk": "LiteLLM ends a stream at its first malformed chunk; flowai drops one without text",
    "stream: a refusal": "LiteLLM's chunks lack the model's refusal, so that the answer is empty",
    "stream: a second choice": "LiteLLM puts the texts of all choices into one answer; flowai takes the first choice",
    "stream: two finish reasons": "LiteLLM reports the last finish reason; flowai the worst, so that a cut is seen",
    "body: an error object": "LiteLLM cannot read a plain answer to a request for a stream",
    "body: a whole answer": "LiteLLM cannot read a plain answer to a request for a stream",
}
"""Answers that only flowai's own connections understand, and why."""


TRANSPORTS: tuple[Transport, ...] = ("direct", "litellm")
Outcome = dict[str, Any]
ASKED = ("text", "tool_calls", "finish_reason", "input_tokens", "output_tokens", "cost_usd")


async def ask(client: OpenAIClient, request: Request, transport: Transport) -> Outcome:
    """Return the fields of a checked answer, or of an error."""
    endpoint = msgspec.structs.replace(request.endpoint, transport=transport)
    try:
        completion = await client.complete(msgspec.structs.replace(request, endpoint=endpoint))
        answer = checked_completion(completion, request)
    except CallError as error:
        return {"error": type(error).__name__, "status": error.status, "retry_after_s": error.retry_after_s}
    return {name: getattr(answer, name) for name in ASKED}


async def ask_all() -> dict[str, list[Outcome]]:
    outcomes = {}
    with ScriptedProvider(remember=False) as provider:
        endpoint = Endpoint(
            name="m", model="openai/gpt-4o-mini", provider="openai", api_base=provider.base_url, api_key="a-key"
        )
        request = Request(endpoint=endpoint, messages=({"role": "user", "content": "hi"},), first_token_timeout_s=5)
        client = OpenAIClient(LiteLLMClient(shared_process=False))
        try:
            for name, reply in ANSWERS.items():
                provider.default = reply
                outcomes[name] = [await ask(client, request, transport) for transport in TRANSPORTS]
        finally:
            await client.aclose()
    return outcomes


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list[Outcome]]:
    return asyncio.run(ask_all())


@pytest.mark.parametrize("name", sorted(ANSWERS.keys() - DIFFERENCES.keys()))
def test_both_transports_read_an_answer_alike(name: str, outcomes: dict[str, list[Outcome]]) -> None:
    direct, litellm = outcomes[name]
    costs = [outcome.pop("cost_usd", None) for outcome in (direct, litellm)]
    assert direct == litellm
    assert costs[0] == (None if costs[1] is None else pytest.approx(costs[1], rel=1e-12))


@pytest.mark.parametrize("name", sorted(DIFFERENCES))
def test_a_documented_difference_exists(name: str, outcomes: dict[str, list[Outcome]]) -> None:
    direct, litellm = outcomes[name]
    assert direct != litellm


def test_there_are_enough_answers() -> None:
    assert len(ANSWERS) >= 120
    assert not DIFFERENCES.keys() - ANSWERS.keys()
