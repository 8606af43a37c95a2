"""The official OpenAI client, unchanged, against the server: whole answers, streams, embeddings, errors by class."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.scripted_gateway import WHOLE, ScriptedGateway, served

from flowai.errors import (
    AllModelsFailedError,
    BudgetError,
    ContentFilteredError,
    ContextTooLongError,
    InfrastructureError,
    InvalidRequestError,
    MissingKeyError,
    PromptError,
    RateLimitedError,
    ServerError,
    TimedOutError,
)
from flowai.gateway.records import StreamRestarted, TextChunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    import openai

HELLO: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ScriptedGateway, openai.OpenAI]]:
    import openai

    gateway = ScriptedGateway()
    with (
        served(gateway) as server,
        openai.OpenAI(base_url=f"{server.address}/v1", api_key="unused", max_retries=0) as made,
    ):
        yield gateway, made


@pytest.fixture
def gateway(shared: tuple[ScriptedGateway, openai.OpenAI]) -> ScriptedGateway:
    shared[0].reset()
    return shared[0]


@pytest.fixture
def client(shared: tuple[ScriptedGateway, openai.OpenAI], gateway: ScriptedGateway) -> openai.OpenAI:  # noqa: ARG001 - reset
    return shared[1]


def test_a_complete_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="chat", messages=HELLO)
    assert answer.id == "chatcmpl-c1"
    assert answer.model == "m"
    assert answer.choices[0].message.content == "hello world"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 12


def test_headers_describe_how_the_answer_was_obtained(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    gateway.answer = msgspec.structs.replace(
        WHOLE,
        degraded=True,
        disclaimer="Gekürzt\r\nX-Evil: 1",
        cache="exact",
        experiment="tone",
        arm="B",
        json_valid=False,
        cost_usd=1e-7,
    )
    headers = client.chat.completions.with_raw_response.create(model="chat", messages=HELLO).headers
    assert headers["x-flowai-call-id"] == "c1"
    assert headers["x-flowai-release"] == "v1"
    assert headers["x-flowai-variant"] == "stable"
    assert headers["x-flowai-model"] == "m"
    assert headers["x-flowai-degraded"] == "true"
    assert headers["x-flowai-cache"] == "exact"
    assert headers["x-flowai-experiment"] == "tone"
    assert headers["x-flowai-arm"] == "B"
    assert headers["x-flowai-json-valid"] == "false"
    assert headers["x-flowai-cost-usd"] == "0.0000001"
    assert headers["x-flowai-disclaimer"] == "Gek%C3%BCrzt%0D%0AX-Evil: 1"
    assert "x-evil" not in headers


def test_a_stream(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="chat", messages=HELLO, stream=True))
    assert {chunk.id for chunk in chunks} == {"chatcmpl-c1"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hello world"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_with_usage_ends_with_a_chunk_of_it(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="chat", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2


def test_a_streams_headers_are_known_before_its_text(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    gateway.started = msgspec.structs.replace(gateway.started, experiment="tone", arm="B")
    gateway.answer = msgspec.structs.replace(WHOLE, json_valid=True)
    with client.chat.completions.with_streaming_response.create(model="chat", messages=HELLO, stream=True) as answer:
        assert answer.headers["x-flowai-model"] == "m"
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-flowai-arm"] == "B"
        assert "x-flowai-cost-usd" not in answer.headers
        lines = list(answer.iter_lines())
    assert '"arm":"B"' in lines[0]
    end = next(line for line in reversed(lines) if '"flowai":' in line)
    assert '"cost_usd":0.001' in end
    assert '"json_valid":true' in end


def test_the_clients_own_accumulator_understands_tool_calls(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    begin = {"index": 0, "id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a":'}}
    rest = {"index": 0, "function": {"arguments": "1}"}}
    gateway.pieces = [TextChunk(text="", tool_calls=(begin,)), TextChunk(text="", tool_calls=(rest,))]
    call = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    gateway.answer = msgspec.structs.replace(WHOLE, text="", tool_calls=(call,), finish_reason="tool_calls")
    tools: list[Any] = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    with client.chat.completions.stream(model="chat", messages=HELLO, tools=tools) as stream:
        streamed = stream.get_final_completion().choices[0]
    whole = client.chat.completions.create(model="chat", messages=HELLO, tools=tools).choices[0]
    for choice in (streamed, whole):
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls is not None
        assert choice.message.tool_calls[0].to_dict()["function"]["arguments"] == '{"a":1}'  # type: ignore[index]
    assert whole.message.content is None
    assert gateway.asks[0].params["tools"][0]["function"]["parameters"] == {"type": "object"}


def test_the_async_client(client: openai.OpenAI) -> None:
    import openai

    async def use() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="unused", max_retries=0) as used:
            answer = await used.chat.completions.create(model="m", messages=HELLO)
            stream = await used.chat.completions.create(model="m", messages=HELLO, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return answer.choices[0].message.content, "".join(pieces)

    assert asyncio.run(use()) == ("hello world", "hello world")


def test_a_feature_wins_over_a_model_of_the_same_name(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    for name in ("chat", "m", "both"):
        client.chat.completions.create(model=name, messages=HELLO)
    assert [(ask.feature, ask.model) for ask in gateway.asks] == [("chat", None), (None, "m"), ("both", None)]


def test_prompt_variables_need_no_messages(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    client.chat.completions.create(model="chat", messages=[], extra_body={"prompt_variables": {"text": "long"}})
    assert gateway.asks[0].variables == {"text": "long"}
    assert gateway.asks[0].messages is None


def test_request_fields_and_headers_reach_the_gateway(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    client.chat.completions.create(
        model="chat",
        messages=HELLO,
        user="u1",
        temperature=0.5,
        response_format={"type": "json_object"},
        extra_headers={"X-Session-Id": "s1", "X-Tenant": "t1", "X-Feature-Flag": "ai-beta"},
        extra_body={"flowai": {"cache": False}},
    )
    ask = gateway.asks[0]
    assert ask.user == "u1"
    assert ask.session == "s1"
    assert ask.tenant == "t1"
    assert ask.use_cache is False
    assert ask.headers["x-feature-flag"] == "ai-beta"
    assert "authorization" not in ask.headers
    assert ask.params == {"temperature": 0.5}
    assert ask.response_format == {"type": "json_object"}


def test_messages_reach_the_gateway_unchanged(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    messages: list[Any] = [
        {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
            "refusal": None,
        },
        {"role": "tool", "tool_call_id": "t", "content": "1"},
    ]
    client.chat.completions.create(model="m", messages=messages)
    assert list(gateway.asks[0].messages or ()) == messages


def test_a_broken_stream_is_an_error_without_done(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    import openai

    gateway.fail_stream_after = ServerError("the stream broke off", provider="openai", model="m")
    stream = client.chat.completions.create(model="chat", messages=HELLO, stream=True)
    pieces: list[str] = []
    with pytest.raises(openai.APIError, match="the stream broke off"):
        pieces.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    with client.chat.completions.with_streaming_response.create(model="chat", messages=HELLO, stream=True) as answer:
        lines = list(answer.iter_lines())
    assert "data: [DONE]" not in lines
    assert '"code":"provider_failed"' in lines[-2] + lines[-1]


def test_a_stream_may_restart_if_the_caller_allows_it(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    gateway.pieces = [TextChunk(text="half"), StreamRestarted(model="n", reason="reset"), TextChunk(text="whole")]
    gateway.answer = msgspec.structs.replace(WHOLE, model="n", text="whole")
    text = ""
    model = ""
    for chunk in client.chat.completions.create(
        model="chat", messages=HELLO, stream=True, extra_body={"flowai": {"on_break": "restart"}}
    ):
        about: dict[str, Any] = (chunk.model_extra or {}).get("flowai") or {}
        text = "" if about.get("restarted") else text
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        model = chunk.model
    assert text == "whole"
    assert model == "n"
    assert gateway.on_breaks == ["restart"]


def ladder(*failures: Any, retry_after_s: float | None = None) -> AllModelsFailedError:
    return AllModelsFailedError("all failed", failures=failures, provider="p", model="m", retry_after_s=retry_after_s)


def provider(kind: Any) -> Any:
    return kind("no", provider="p", model="m")


ERRORS = [
    (PromptError("`text` is missing"), "BadRequestError", 400, "invalid_variables"),
    (BudgetError("5,000 tokens; at most 4,000"), "BadRequestError", 400, "token_budget_exceeded"),
    (BudgetError("spent", retry_after_s=99.5), "RateLimitError", 429, "insufficient_quota"),
    (BudgetError("reserved", retry_after_s=1.5, is_spent=False), "RateLimitError", 429, "budget_reserved"),
    (provider(ContentFilteredError), "BadRequestError", 400, "content_filter"),
    (provider(ContextTooLongError), "BadRequestError", 400, "context_length_exceeded"),
    (provider(InvalidRequestError), "BadRequestError", 400, "invalid_request"),
    (ladder(provider(RateLimitedError), provider(ServerError)), "InternalServerError", 502, "provider_failed"),
    (ladder(provider(RateLimitedError)), "InternalServerError", 503, "provider_rate_limited"),
    (ladder(provider(TimedOutError)), "InternalServerError", 504, "provider_timed_out"),
    (ladder(retry_after_s=7.2), "InternalServerError", 503, "providers_backing_off"),
    (provider(TimedOutError), "InternalServerError", 504, "provider_timed_out"),
    (MissingKeyError("needs the variable `K`"), "InternalServerError", 500, "misconfigured"),
    (InfrastructureError("no"), "InternalServerError", 503, "unavailable"),
    (ZeroDivisionError("secret detail"), "InternalServerError", 500, "bug"),
]


@pytest.mark.parametrize(("error", "kind", "status", "code"), ERRORS, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_openais_classes(
    gateway: ScriptedGateway, client: openai.OpenAI, error: Exception, kind: str, status: int, code: str, stream: bool
) -> None:
    import openai

    gateway.fail = error
    with pytest.raises(getattr(openai, kind)) as caught:
        client.chat.completions.create(model="chat", messages=HELLO, stream=stream)
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert "secret detail" not in caught.value.response.text
    assert "Traceback" not in caught.value.response.text
    seconds = getattr(error, "retry_after_s", None)
    without_seconds = "1" if status == 503 else None  # each 503 has the header
    expected = without_seconds if seconds is None else str(int(seconds) + 1)
    assert caught.value.response.headers.get("retry-after") == expected


def test_an_unknown_name_is_not_found_and_the_nearest_is_named(client: openai.OpenAI) -> None:
    import openai

    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="chta", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "did you mean `chat`" in caught.value.message


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"n": True}, "n"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"functions": []}, "functions"),
        ({"temperatur": 1}, "temperatur"),
        ({"temperature": 3}, "temperature"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]},
            "messages.0.content.0.type",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
        ({"messages": []}, "messages"),
        ({"prompt_variables": {}}, "prompt_variables"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"flowai": {"on_brake": "restart"}}, "flowai.on_brake"),
    ],
)
def test_unsupported_parameters_are_refused_by_name(
    gateway: ScriptedGateway, client: openai.OpenAI, extra: dict[str, Any], param: str
) -> None:
    import openai

    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="chat", messages=HELLO, extra_body=extra)
    assert caught.value.param == param
    assert gateway.asks == []


def test_parameters_that_ask_for_nothing_are_accepted(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    nothing: dict[str, Any] = {
        "n": 1,
        "logprobs": False,
        "store": False,
        "seed": None,
        "service_tier": "auto",
        "prompt_cache_key": "k",
    }
    nothing["metadata"] = {"ticket": "7"}
    client.chat.completions.create(model="chat", messages=HELLO, extra_body=nothing)
    assert gateway.asks[0].params == {}


def test_embeddings_in_the_client_s_formats(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    import openai

    one = client.embeddings.create(model="m", input="four")
    many = client.embeddings.create(model="m", input=["a", "bb"], encoding_format="float")
    assert one.data[0].embedding == [4.0, 0.5]
    assert [row.embedding for row in many.data] == [[1.0, 0.5], [2.0, 0.5]]
    assert gateway.embedded == [("m", ("four",)), ("m", ("a", "bb"))]
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="chat", input="x")
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="m", input=[1, 2])


def test_models_are_listed_features_first(client: openai.OpenAI) -> None:
    import openai

    listed = [(model.id, model.owned_by) for model in client.models.list()]
    assert listed == [("both", "flowai:feature"), ("chat", "flowai:feature"), ("m", "flowai:model")]
    assert client.models.retrieve("chat").id == "chat"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no")
