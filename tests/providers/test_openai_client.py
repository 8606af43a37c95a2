"""The clients, against a provider that behaves: what is sent, what comes back, what is left behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.client_calls import BOTH, Way, both_transports, complete, error, failure, listen, run, until
from support.scripted_provider import Reply, ScriptedProvider

from flowai.errors import (
    CallError,
    ContentFilteredError,
    ContextTooLongError,
    RateLimitedError,
    UnreachableError,
)
from flowai.providers import EmbedRequest
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.providers import Completion, Request
    from flowai.providers.direct.client import OpenAIClient

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def test_llama_cpp_s_context_error_has_both_lengths(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    body = {
        "code": 400,
        "message": "too long",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 9028,
        "n_ctx": 8192,
    }
    provider.script(Reply(status=400, error=body))
    caught = failure(ask())
    assert type(caught) is ContextTooLongError
    assert caught.what == "the request has 9028 tokens; the model's context holds 8192"


def test_a_plain_answer_carries_tokens_cost_and_finish_reason(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(text="fine", finish_reason="length", usage=(1000, 100)))
    answer = complete(ask())
    assert answer.text == "fine"
    assert answer.finish_reason == "length"
    assert answer.served_model == "scripted-1"
    assert answer.model == "openai/gpt-4o-mini"
    assert answer.provider == "openai"
    assert answer.tool_calls == ()
    assert answer.input_tokens == 1000
    assert answer.output_tokens == 100
    assert answer.cost_usd == pytest.approx(1000 * 0.15e-6 + 100 * 0.6e-6)
    assert answer.ttft_ms is not None
    assert 0 < answer.ttft_ms < answer.latency_ms


def test_a_streamed_answer_carries_the_same_and_its_first_token(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(text="fine", finish_reason="length", usage=(1000, 100), chunk_delay_s=0.01))
    answer = complete(ask(), "stream")
    assert answer.text == "fine"
    assert answer.finish_reason == "length"
    assert answer.model == "openai/gpt-4o-mini"
    assert answer.input_tokens == 1000
    assert answer.output_tokens == 100
    assert answer.cost_usd == pytest.approx(1000 * 0.15e-6 + 100 * 0.6e-6)
    assert answer.ttft_ms is not None
    assert 0 < answer.ttft_ms < answer.latency_ms


@both_transports
def test_chunks_add_up_to_the_complete_answer(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    chunks = listen(ask())
    assert "".join(chunk.text for chunk in chunks) == "hello world"
    assert [chunk.completion is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].completion is not None
    assert chunks[-1].completion.text == "hello world"
    assert provider.request_count == 1


@both_transports
@pytest.mark.parametrize("way", BOTH)
def test_unknown_figures_are_none(way: Way, provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    provider.script(Reply(usage=None))
    answer = complete(ask(), way)
    assert answer.input_tokens is None
    assert answer.output_tokens is None
    assert answer.cost_usd is None
    assert complete(ask(model="openai/a-model-of-our-own"), way).cost_usd is None


@both_transports
@pytest.mark.parametrize("way", BOTH)
def test_an_empty_answer_is_an_answer(way: Way, provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    provider.script(Reply(text=""))
    answer = complete(ask(), way)
    assert answer.text == ""
    assert answer.finish_reason == "stop"


@both_transports
@pytest.mark.parametrize("way", BOTH)
def test_a_filtered_answer_has_its_finish_reason_and_an_empty_one_is_an_error(
    way: Way, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    provider.script(Reply(finish_reason="content_filter"), Reply(finish_reason="content_filter", text=""))
    assert complete(ask(), way).finish_reason == "content_filter"
    assert type(failure(ask(), way)) is ContentFilteredError


@both_transports
def test_the_request_body_is_complete(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    complete(
        ask("grüß", params={"temperature": 0, "max_tokens": 7, "timeout": 1, "num_retries": 5}, response_schema=SCHEMA)
    )
    (asked,) = provider.asked
    assert asked.body["messages"] == [{"role": "user", "content": "grüß"}]
    assert asked.body["temperature"] == 0
    assert asked.body["max_tokens"] == 7
    assert asked.body["response_format"]["json_schema"] == {"name": "answer", "schema": SCHEMA, "strict": True}


@both_transports
def test_a_provider_s_key_is_never_sent_to_another_address(
    provider: ScriptedProvider, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment-000000000000")
    complete(ask(api_key=None))
    assert "environment" not in provider.asked[0].headers["authorization"]


@both_transports
@pytest.mark.parametrize("way", BOTH)
def test_keys_stay_out_of_errors(way: Way, provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    planted = "a-key-of-no-known-shape"
    provider.script(
        Reply(status=401, error=error(f"Incorrect API key provided: {ask().endpoint.api_key} or {planted}"))
    )
    caught = failure(ask(), way, redactor=Redactor([planted]))
    shown = f"{caught} {caught!r} {caught.hint} {caught.__cause__}"
    assert "sk-abc" not in shown
    assert planted not in shown
    assert caught.__suppress_context__


def test_an_earlier_failure_does_not_affect_a_later_one(
    provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    reset = Reply(fault="reset_before_headers")  # the first on the kept connection of the 429: it may just have aged
    provider.script(Reply(status=429, retry_after="9"), reset, reset)

    async def twice(client: OpenAIClient) -> None:
        try:
            await client.complete(ask())
        except RateLimitedError:
            await client.complete(ask())  # as a ladder does, while the first failure is still being handled

    with pytest.raises(UnreachableError) as caught:
        run(twice)
    assert caught.value.status is None
    assert caught.value.retry_after_s is None


@both_transports
@pytest.mark.parametrize("way", BOTH)
def test_tool_calls_arrive(way: Way, provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    provider.script(Reply(text="", tool_calls=(("t1", "look", '{"up": 1}'),), finish_reason="tool_calls"))
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    answer = complete(ask(params={"tools": [tool]}), way)
    function = {"name": "look", "arguments": '{"up": 1}'}
    assert answer.tool_calls == ({"id": "t1", "type": "function", "function": function},)
    assert answer.text == ""
    assert answer.finish_reason == "tool_calls"
    assert answer.ttft_ms is not None
    assert provider.asked[0].body["tools"] == [tool]


@both_transports
def test_tool_calls_are_streamed_as_deltas(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    provider.script(Reply(text="", tool_calls=(("t1", "look", "{}"), ("t2", "go", "{}")), finish_reason="tool_calls"))
    deltas = [call for chunk in listen(ask()) for call in chunk.tool_calls]
    assert [(call["index"], call.get("id"), call["function"]["arguments"]) for call in deltas] == [
        (0, "t1", "{"),
        (0, None, "}"),
        (1, "t2", "{"),
        (1, None, "}"),
    ]


@both_transports
def test_a_caller_s_response_format_is_sent_unchanged(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    complete(ask(response_format={"type": "json_object"}))
    assert provider.asked[0].body["response_format"] == {"type": "json_object"}


def test_a_server_that_does_not_stream_is_understood(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    body = {
        "model": "plain-1",
        "choices": [{"message": {"role": "assistant", "content": "all at once"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    provider.default = Reply(body=json.dumps(body).encode())
    answer = complete(ask())
    assert answer.text == "all at once"
    assert answer.served_model == "plain-1"
    assert answer.output_tokens == 4
    assert answer.ttft_ms is None
    assert [chunk.text for chunk in listen(ask())] == ["all at once", ""]


def test_the_environment_s_proxy_is_used_except_for_models_on_this_machine(
    provider: ScriptedProvider, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", provider.base_url.removesuffix("/v1"))
    assert complete(ask(api_base="http://nowhere.invalid/v1")).text == "hello world"
    assert provider.asked[0].path == "http://nowhere.invalid/v1/chat/completions"
    monkeypatch.setenv("http_proxy", "http://nowhere.invalid")
    assert complete(ask(provider="local")).text == "hello world"


def test_calls_in_a_row_share_one_connection(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    async def several(client: OpenAIClient) -> None:
        for _ in range(5):
            await client.complete(ask())

    run(several)
    assert provider.connection_count == 1


@both_transports
def test_parameters_do_not_change_streaming(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    answer = complete(ask(params={"stream": False, "stream_options": {"include_usage": False}}))
    assert answer.text == "hello world"
    assert answer.output_tokens == 2
    assert provider.asked[0].body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "vector", ["[1.0, NaN]", '["a"]', "[]", "null", '"%%%"', '"AAA="', "{}", "[[1]]", "[1.0], [1.0, 2.0]"]
)
def test_invalid_vectors_are_an_error(vector: str, provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    rows = f'{{"object": "embedding", "index": 0, "embedding": {vector}}}'
    provider.default = Reply(body=f'{{"object": "list", "model": "m", "data": [{rows}]}}'.encode())
    request = EmbedRequest(endpoint=ask(model="openai/text-embedding-3-small").endpoint, texts=("a",))
    with pytest.raises(CallError):
        run(lambda client: client.embed(request))


def test_embeddings_may_come_in_base64(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    provider.default = Reply(base64_vectors=True)
    endpoint = ask(model="openai/text-embedding-3-small").endpoint
    answer = run(lambda client: client.embed(EmbedRequest(endpoint=endpoint, texts=("a", "three"))))
    assert answer.vectors == ((1.0, 1.0), (5.0, 1.0))


@both_transports
def test_embeddings_are_in_the_order_of_the_texts(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    endpoint = ask(model="openai/text-embedding-3-small").endpoint
    request = EmbedRequest(endpoint=endpoint, texts=("a", "three"))
    answer = run(lambda client: client.embed(request))
    assert answer.vectors == ((1.0, 1.0), (5.0, 1.0))
    assert answer.input_tokens == 3
    assert answer.cost_usd == pytest.approx(3 * 0.02e-6)
    provider.script(Reply(status=429, retry_after="2"))
    with pytest.raises(RateLimitedError) as caught:
        run(lambda client: client.embed(request))
    assert caught.value.retry_after_s == 2
    assert provider.request_count == 2


@both_transports
@pytest.mark.parametrize("way", BOTH)
def test_a_cancelled_call_ends_as_cancelled_and_closes_its_connection(
    way: Way, provider: ScriptedProvider, ask: Callable[..., Request]
) -> None:
    async def exhaust(client: OpenAIClient) -> None:
        async for _ in client.stream(ask()):
            pass

    async def cancel(client: OpenAIClient) -> None:
        provider.script(Reply(fault="silent"))
        call = asyncio.create_task(client.complete(ask()) if way == "complete" else exhaust(client))
        await until(lambda: bool(provider.asked))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: not provider.open_connections)

    run(cancel)


@both_transports
def test_a_stream_closed_early_closes_its_connection(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    async def leave(client: OpenAIClient) -> None:
        provider.script(Reply(fault="stall"))
        stream = client.stream(ask())
        assert (await anext(stream)).text == "hello"
        await stream.aclose()
        await until(lambda: not provider.open_connections)

    run(leave)


@both_transports
def test_fifty_calls_at_a_time_each_get_their_own_answer(ask: Callable[..., Request]) -> None:
    def echo(asked: Any) -> Reply:
        return Reply(text=asked.body["messages"][0]["content"])

    async def many(client: OpenAIClient, base_url: str) -> list[Completion]:
        return await asyncio.gather(*(client.complete(ask(f"n{index}", api_base=base_url)) for index in range(50)))

    with ScriptedProvider(answerer=echo) as server:
        answers = run(lambda client: many(client, server.base_url))
    assert [answer.text for answer in answers] == [f"n{index}" for index in range(50)]


@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_a_session_prints_nothing_and_leaves_nothing_open(transport: str, provider: ScriptedProvider) -> None:
    """In a fresh interpreter with every warning shown: good and bad calls, then the end of the process."""
    provider.script(Reply(), Reply(), Reply(status=500), Reply(status=401), Reply(fault="no_done"), Reply(fault="cut"))
    script = """
import asyncio, json, sys
from flowai.providers import Endpoint, Request, create_client
from flowai.errors import CallError
from flowai.redaction import Redactor

async def session():
    client = create_client(redactor=Redactor())
    endpoint = Endpoint(name="m", model="openai/gpt-4o-mini", provider="openai", api_base=sys.argv[1], api_key="k",
                        transport=sys.argv[2])
    request = Request(endpoint=endpoint, messages=({"role": "user", "content": "hi"},))
    kinds = []
    for _ in range(6):
        try:
            kinds.append((await client.complete(request)).text)
        except CallError as error:
            kinds.append(type(error).__name__)
    await client.aclose()
    return kinds

print(json.dumps(asyncio.run(session())))
"""
    ignored = "ignore:Accessing the 'model_:DeprecationWarning"  # hidden by default; LiteLLM's own, at every stream
    done = subprocess.run(
        [sys.executable, "-W", "always", "-W", ignored, "-c", script, provider.base_url, transport],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert done.stderr == ""
    kinds = ["hello world", "hello world", "ServerError", "AuthError", "hello world", "MalformedAnswerError"]
    assert json.loads(done.stdout) == kinds


@both_transports
def test_a_looping_model_s_answer_is_an_answer(provider: ScriptedProvider, ask: Callable[..., Request]) -> None:
    # LiteLLM itself would end the stream after 100 equal chunks, and call it the provider's failure
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunk = {**head, "choices": [{"index": 0, "delta": {"content": "again "}, "finish_reason": None}]}
    last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
    frames = [json.dumps(frame) for frame in (*[chunk] * 300, last)]
    body = "".join(f"data: {frame}\n\n" for frame in (*frames, "[DONE]"))
    provider.script(Reply(body=body.encode(), content_type="text/event-stream"))
    answer = complete(ask())
    assert answer.text == "again " * 300
    assert answer.finish_reason == "length"
