"""Answers of Anthropic are read as the installed LiteLLM reads them; each difference is in a table, with its reason."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from support.anthropic_answers import (
    ANSWERS,
)
from support.anthropic_samples import Sample
from support.no_client import NoClient
from support.scripted_provider import Reply, ScriptedProvider

from flowai.errors import AuthError, CallError, InvalidRequestError, RateLimitedError, ServerError
from flowai.providers import PriceTable
from flowai.providers.anthropic.client import MessagesClient
from flowai.providers.anthropic.cost import message_cost_usd
from flowai.providers.anthropic.usage import convert_usage
from flowai.providers.litellm.adapter import load
from flowai.providers.litellm.client import LiteLLMClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scripted_replies import Asked

    from flowai.providers.client import Chunk, Client

NAME = "claude-haiku-5-5"
"""A model with every kind of price: for cached tokens, for long prompts, for a region."""
COST_TOLERANCE_USD = 1e-12
LIMIT_S = 2.0
_ERROR_CLASS = "LiteLLM makes a server error of every error event; flowai keeps its type"
_ARGUMENTS = "LiteLLM gives no arguments for a call without a piece of them; flowai gives those of its begin, or {}"
DIFFERENCES = {
    "text: tags": "LiteLLM keeps Claude's tags, flowai's client of LiteLLM hides them: other models think in such tags",
    "text: a control character": "LiteLLM takes U+2028 for the end of a line, and loses the answer",
    "stop: model_context_window_exceeded": "LiteLLM calls an unknown reason `stop`; the answer was cut",
    "stop: pause_turn": "LiteLLM calls an unknown reason `stop`; the turn goes on",
    "stop: a new reason": "LiteLLM calls an unknown reason `stop`",
    "stop: null": "LiteLLM calls a missing reason `stop`; it does not prove that the answer is complete",
    "usage: three times": "LiteLLM keeps the first counts at the end; the protocol calls them cumulative",
    "tool: no arguments": _ARGUMENTS,
    "tool: two without arguments": _ARGUMENTS,
    "tool: arguments in the begin": _ARGUMENTS,
    **{
        f"{when}: {kind}": _ERROR_CLASS
        for when in ("error", "error after text")
        for kind in (
            "rate_limit_error",
            "invalid_request_error",
            "authentication_error",
            "permission_error",
            "not_found_error",
            "billing_error",
        )
    },
    "error: a body": "LiteLLM reads no error from a body with status 200",
    "torn: not UTF-8": "LiteLLM gives a text that the model did not write",
    "whole: a message": "LiteLLM reads no message that was not streamed",
}


Outcome = tuple[Any, ...]
"""Text, tool calls, finish reason, tokens and cost of an answer; or the class of an error, and an HTTP status."""


def answer_for(asked: Asked) -> Reply:
    """Return the answer whose name is the request's text."""
    return ANSWERS[asked.body["messages"][0]["content"][0]["text"]]


async def outcome(client: Client, name: str, api_base: str) -> Outcome:
    sample = Sample(NAME, [{"role": "user", "content": name}], {"max_tokens": 40_000})
    try:
        answer = await client.complete(sample.request(api_base, first_token_timeout_s=LIMIT_S))
    except CallError as error:
        return type(error), error.status if name.startswith("status") else None, error.retry_after_s
    return (
        answer.text,
        answer.tool_calls,
        answer.finish_reason,
        answer.input_tokens,
        answer.output_tokens,
        None if answer.cost_usd is None else pytest.approx(answer.cost_usd, rel=0, abs=COST_TOLERANCE_USD),
    )


def outcomes(make_client: Callable[[], Client]) -> dict[str, Outcome]:
    async def session(api_base: str) -> dict[str, Outcome]:
        client = make_client()
        try:
            await client.warm_up()
            return {name: await outcome(client, name, api_base) for name in ANSWERS}
        finally:
            await client.aclose()

    with ScriptedProvider(answerer=answer_for) as provider:
        return asyncio.run(session(provider.base_url.removesuffix("/v1")))


@pytest.fixture(scope="module")
def ours() -> dict[str, Outcome]:
    return outcomes(lambda: MessagesClient(NoClient()))


@pytest.fixture(scope="module")
def theirs() -> dict[str, Outcome]:
    return outcomes(lambda: LiteLLMClient(shared_process=False))


def test_answers_are_read_as_litellm_reads_them(ours: dict[str, Outcome], theirs: dict[str, Outcome]) -> None:
    assert len(ANSWERS) >= 150
    different = {name: (ours[name], theirs[name]) for name in ANSWERS if ours[name] != theirs[name]}
    assert {name: pair for name, pair in different.items() if name not in DIFFERENCES} == {}
    assert DIFFERENCES.keys() - different.keys() == set()


EXPECTED: dict[str, Outcome] = {
    "text: tags": ("<thinking>hm</thinking> yes", (), "stop"),
    "text: a control character": ("a\u0000b\u2028\x1b[0m", (), "stop"),
    "stop: model_context_window_exceeded": ("Good day.", (), "length"),
    "stop: pause_turn": ("Good day.", (), "pause_turn"),
    "stop: a new reason": ("Good day.", (), "new_reason"),
    "usage: three times": ("Good day.", (), "stop", 25, 9),
    "error: rate_limit_error": (RateLimitedError,),
    "error: invalid_request_error": (InvalidRequestError,),
    "error: authentication_error": (AuthError,),
    "error: a body": (ServerError,),
    "torn: a character in two pieces": ("😀", (), "stop"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_differences_are_flowai_s(name: str, ours: dict[str, Outcome]) -> None:
    assert ours[name][: len(EXPECTED[name])] == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tool: no arguments", ["{}"]),
        ("tool: two without arguments", ["{}", "{}"]),
        ("tool: arguments in the begin", ['{"city":"Rom"}']),
        ("whole: a message", ['{"city":"Rom"}']),
    ],
)
def test_a_call_has_the_arguments_that_came_with_its_begin(
    name: str, arguments: list[str], ours: dict[str, Outcome]
) -> None:
    assert [call["function"]["arguments"] for call in ours[name][1]] == arguments


def test_a_stream_has_the_text_and_the_calls_of_the_complete_answer() -> None:
    async def session(api_base: str) -> None:
        client = MessagesClient(NoClient())
        for name in ANSWERS:
            request = Sample(NAME, [{"role": "user", "content": name}], {}).request(api_base, first_token_timeout_s=0.3)
            chunks: list[Chunk] = []
            try:
                async for chunk in client.stream(request):
                    chunks.append(chunk)  # noqa: PERF401 - a failure ends it
            except CallError:
                assert all(chunk.completion is None for chunk in chunks)
                continue
            completion = chunks[-1].completion
            assert completion is not None
            assert "".join(chunk.text for chunk in chunks) == completion.text
            assert joined_calls(chunks) == {
                number: call["function"]["arguments"] for number, call in enumerate(completion.tool_calls)
            }
        await client.aclose()

    with ScriptedProvider(answerer=answer_for) as provider:
        asyncio.run(session(provider.base_url.removesuffix("/v1")))


def joined_calls(chunks: list[Chunk]) -> dict[int, str]:
    joined: dict[int, str] = {}
    for chunk in chunks:
        for call in chunk.tool_calls:
            joined[call["index"]] = joined.get(call["index"], "") + call["function"]["arguments"]
    return joined


RATES = (0, 1, 17, 4_000, 99_999, 100_000, 100_001, 250_000)


def usages(rng: random.Random) -> dict[str, Any]:
    """Return random token counts."""
    usage: dict[str, Any] = {"input_tokens": rng.choice(RATES), "output_tokens": rng.choice(RATES)}
    for name in ("cache_read_input_tokens", "cache_creation_input_tokens"):
        if rng.random() < 0.7:
            usage[name] = rng.choice(RATES)
    if rng.random() < 0.5:
        long = rng.choice((0, 5, usage.get("cache_creation_input_tokens", 0)))
        short = max(0, usage.get("cache_creation_input_tokens", 0) - long)
        usage["cache_creation"] = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    if rng.random() < 0.3:
        usage["inference_geo"] = rng.choice(("us", "eu", "global", "US", "not_available"))
    if rng.random() < 0.3:
        usage["speed"] = rng.choice(("fast", "standard"))
    if rng.random() < 0.3:
        usage["output_tokens_details"] = {"thinking_tokens": rng.choice(RATES)}
    return usage


@pytest.mark.filterwarnings("ignore")  # of LiteLLM's import
def test_costs_are_litellm_s() -> None:
    litellm: Any = asyncio.run(load(shared_process=False)).module
    prices, rng = PriceTable(), random.Random(3)  # noqa: S311 - samples
    names = sorted(litellm.anthropic_models & {name for name in litellm.model_cost if name.startswith("claude-")})
    assert len(names) >= 20
    for name in names:
        row = prices.row(name)
        assert row is not None
        for _ in range(60):
            usage = usages(rng)
            theirs = litellm.AnthropicConfig().calculate_usage(usage, reasoning_content=None)
            converted = convert_usage(usage)
            assert (converted["prompt_tokens"], converted["completion_tokens"]) == (
                theirs.prompt_tokens,
                theirs.completion_tokens,
            )
            expected = sum(litellm.cost_per_token(model=f"anthropic/{name}", usage_object=theirs))
            assert message_cost_usd(row, converted) == pytest.approx(expected, rel=0, abs=COST_TOLERANCE_USD)


def test_a_row_without_prices_has_no_cost() -> None:
    assert message_cost_usd({"max_tokens": 5}, convert_usage({"input_tokens": 1})) is None
