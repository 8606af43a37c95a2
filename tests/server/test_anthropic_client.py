"""The official Anthropic client, unchanged, against the server: whole messages, streams, tools, refusals, counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic
import pytest
from support.scripted_gateway import WHOLE, ScriptedGateway, ServedGateway, served

from flowai.errors import AllModelsFailedError, BudgetError, ContentFilteredError, ServerError, TimedOutError
from flowai.gateway.records import TextChunk
from flowai.registry import Serve, ServeKey
from flowai.server.api_keys import hash_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anthropic

PATH = "/v1/messages"
KEY = "sk-flowai-" + "1a" * 32
HELLO: list[Any] = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLS: list[Any] = [
    {"name": "add", "description": "adds", "input_schema": SCHEMA},
    {"name": "sub", "input_schema": SCHEMA, "type": "custom", "cache_control": {"type": "ephemeral"}},
]
CALLS = (
    {"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}},
    {"id": "t2", "type": "function", "function": {"name": "sub", "arguments": '{"a":2}'}},
)
TWO_CALLS = msgspec.structs.replace(WHOLE, text="", tool_calls=CALLS, finish_reason="tool_calls")
PNG = "iVBORw0KGgo="


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ScriptedGateway, ServedGateway, anthropic.Anthropic]]:
    import anthropic

    gateway = ScriptedGateway()
    with (
        served(gateway) as server,
        anthropic.Anthropic(base_url=server.address, api_key="unused", max_retries=0) as made,
    ):
        yield gateway, server, made


@pytest.fixture
def gateway(shared: tuple[ScriptedGateway, ServedGateway, anthropic.Anthropic]) -> ScriptedGateway:
    shared[0].reset()
    return shared[0]


@pytest.fixture
def server(
    shared: tuple[ScriptedGateway, ServedGateway, anthropic.Anthropic],
    gateway: ScriptedGateway,  # noqa: ARG001 - reset
) -> ServedGateway:
    return shared[1]


@pytest.fixture
def client(
    shared: tuple[ScriptedGateway, ServedGateway, anthropic.Anthropic],
    gateway: ScriptedGateway,  # noqa: ARG001 - reset
) -> anthropic.Anthropic:
    return shared[2]


def test_a_complete_message(gateway: ScriptedGateway, client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(model="chat", max_tokens=9, messages=HELLO)
    answer = raw.parse()
    assert raw.headers["x-flowai-call-id"] == "c1"
    assert raw.headers["x-flowai-cost-usd"] == "0.001"
    assert answer.id == "msg_c1"
    assert answer.model == "m"
    assert [block.to_dict() for block in answer.content] == [{"type": "text", "text": "hello world", "citations": None}]
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 2)
    assert answer.to_dict()["flowai"]["release"] == "v1"  # type: ignore[index]
    assert gateway.asks[0].messages == tuple(HELLO)
    assert gateway.asks[0].params == {"max_tokens": 9}


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason"), [("stop", "end_turn"), ("length", "max_tokens"), (None, "end_turn")]
)
def test_the_stop_reason(
    gateway: ScriptedGateway, client: anthropic.Anthropic, finish_reason: str | None, stop_reason: str
) -> None:
    gateway.answer = msgspec.structs.replace(WHOLE, finish_reason=finish_reason)
    assert client.messages.create(model="chat", max_tokens=9, messages=HELLO).stop_reason == stop_reason
    with client.messages.stream(model="chat", max_tokens=9, messages=HELLO) as stream:
        assert stream.get_final_message().stop_reason == stop_reason


def test_parameters_reach_the_gateway_by_their_chat_names(
    gateway: ScriptedGateway, client: anthropic.Anthropic
) -> None:
    client.messages.create(
        model="chat",
        max_tokens=9,
        messages=HELLO,
        stop_sequences=["END"],
        tools=TOOLS,
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        metadata={"user_id": "u1"},
        output_config={"effort": "low"},
        thinking={"type": "disabled"},
        service_tier="auto",
        extra_headers={"X-Session-Id": "s1", "anthropic-beta": "some-beta"},
        # of older clients; the current one no longer declares them
        extra_body={
            "flowai": {"cache": False},
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 5,
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        },
    )
    ask = gateway.asks[0]
    assert ask.params == {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop": ["END"],
        "tools": [
            {"type": "function", "function": {"name": "add", "description": "adds", "parameters": SCHEMA}},
            {
                "type": "function",
                "function": {"name": "sub", "parameters": SCHEMA},
                "cache_control": {"type": "ephemeral"},
            },
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
    }
    assert (ask.user, ask.session, ask.use_cache) == ("u1", "s1", False)
    assert "x-api-key" not in ask.headers


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "add"}, {"type": "function", "function": {"name": "add"}}),
    ],
)
def test_the_tool_choice(
    gateway: ScriptedGateway, client: anthropic.Anthropic, choice: Any, expected: str | dict[str, Any]
) -> None:
    client.messages.create(model="chat", max_tokens=9, messages=HELLO, tools=TOOLS, tool_choice=choice)
    assert gateway.asks[0].params["tool_choice"] == expected


def test_system_text_images_and_cache_control_become_chat_messages(
    gateway: ScriptedGateway, client: anthropic.Anthropic
) -> None:
    cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    messages: list[Any] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}, **cached},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "seen"}]},
    ]
    system: list[Any] = [{"type": "text", "text": "rules", **cached}]
    client.messages.create(model="chat", max_tokens=9, system=system, messages=messages)
    client.messages.create(model="chat", max_tokens=9, system="brief", messages=HELLO)
    assert list(gateway.asks[0].messages or ()) == [
        {"role": "system", "content": [{"type": "text", "text": "rules", **cached}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}, **cached},
            ],
        },
        {"role": "assistant", "content": "seen"},
    ]
    assert (gateway.asks[1].messages or ())[0] == {"role": "system", "content": "brief"}


def test_parallel_calls_and_their_results_make_the_round_trip(
    gateway: ScriptedGateway, client: anthropic.Anthropic
) -> None:
    gateway.answer = msgspec.structs.replace(TWO_CALLS, text="let me see")
    first = client.messages.create(model="chat", max_tokens=9, messages=HELLO, tools=TOOLS)
    assert first.stop_reason == "tool_use"
    assert [block.type for block in first.content] == ["text", "tool_use", "tool_use"]
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": "t1", "content": "1"},
        {
            "type": "tool_result",
            "tool_use_id": "t2",
            "is_error": True,
            "content": [{"type": "text", "text": "no"}],
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "text", "text": "go on"},
    ]
    history: list[Any] = [*HELLO, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    client.messages.create(model="chat", max_tokens=9, messages=history, tools=TOOLS)
    assert list(gateway.asks[1].messages or ()) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "let me see", "tool_calls": list(CALLS)},
        {"role": "tool", "tool_call_id": "t1", "content": "1"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no", "cache_control": {"type": "ephemeral"}},
        {"role": "user", "content": "go on"},
    ]


def test_a_streams_events_are_the_protocols(client: anthropic.Anthropic) -> None:
    events = list(client.messages.create(model="chat", max_tokens=9, messages=HELLO, stream=True))
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    with client.messages.stream(model="chat", max_tokens=9, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == "hello world"
        final = stream.get_final_message()
    assert final.id == "msg_c1"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (10, 2)


def test_the_clients_own_accumulator_understands_parallel_calls(
    gateway: ScriptedGateway, client: anthropic.Anthropic
) -> None:
    def delta(index: int, arguments: str, **start: Any) -> dict[str, Any]:
        name = {"name": start.pop("name")} if start else {}
        return {"index": index, **start, "function": {**name, "arguments": arguments}}

    gateway.pieces = [
        TextChunk(text="let me see"),
        TextChunk(text="", tool_calls=(delta(0, '{"a"', id="t1", name="add"),)),
        TextChunk(text="", tool_calls=(delta(1, '{"a"', id="t2", name="sub"), delta(0, ":1}"))),
        TextChunk(text="", tool_calls=(delta(1, ":2}"),)),
    ]
    gateway.answer = msgspec.structs.replace(TWO_CALLS, text="let me see")
    with client.messages.stream(model="chat", max_tokens=9, messages=HELLO, tools=TOOLS) as stream:
        indexes = [event.index for event in stream if event.type in {"content_block_start", "content_block_stop"}]
        final = stream.get_final_message()
    assert indexes == [0, 0, 1, 1, 2, 2], "one block after the other"
    calls = [(block.id, block.name, block.input) for block in final.content if block.type == "tool_use"]
    assert calls == [("t1", "add", {"a": 1}), ("t2", "sub", {"a": 2})]
    assert final.stop_reason == "tool_use"


def test_a_call_without_arguments_has_an_empty_input(gateway: ScriptedGateway, client: anthropic.Anthropic) -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": ""}}
    gateway.answer = msgspec.structs.replace(TWO_CALLS, tool_calls=(call,))
    gateway.pieces = [TextChunk(text="", tool_calls=({"index": 0, **call},))]
    whole = client.messages.create(model="chat", max_tokens=9, messages=HELLO, tools=TOOLS)
    with client.messages.stream(model="chat", max_tokens=9, messages=HELLO, tools=TOOLS) as stream:
        streamed = stream.get_final_message()
    for message in (whole, streamed):
        assert [block.to_dict() for block in message.content] == [
            {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
        ]


def test_arguments_that_are_no_object_are_an_error_unless_the_limit_cut_them(
    gateway: ScriptedGateway, client: anthropic.Anthropic
) -> None:
    import anthropic

    call = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a":'}}
    gateway.answer = msgspec.structs.replace(TWO_CALLS, tool_calls=(call,))
    gateway.pieces = [TextChunk(text="", tool_calls=({"index": 0, **call},))]
    with pytest.raises(anthropic.InternalServerError) as caught:
        client.messages.create(model="chat", max_tokens=9, messages=HELLO, tools=TOOLS)
    assert caught.value.status_code == 502
    with pytest.raises(anthropic.APIStatusError, match="not a JSON object"):
        list(client.messages.create(model="chat", max_tokens=9, messages=HELLO, tools=TOOLS, stream=True))
    gateway.answer = msgspec.structs.replace(gateway.answer, text="so far", finish_reason="length")
    cut = client.messages.create(model="chat", max_tokens=9, messages=HELLO, tools=TOOLS)
    assert (cut.stop_reason, [block.type for block in cut.content]) == ("max_tokens", ["text"])


def test_structured_output_is_parsed_by_the_client(gateway: ScriptedGateway, client: anthropic.Anthropic) -> None:
    class Sum(pydantic.BaseModel):
        total: int

    gateway.answer = msgspec.structs.replace(WHOLE, text='{"total": 3}', json_valid=True)
    answer = client.messages.parse(model="chat", max_tokens=9, messages=HELLO, output_format=Sum)
    assert answer.parsed_output == Sum(total=3)
    wanted = gateway.asks[0].response_format
    assert wanted is not None
    assert wanted["type"] == "json_schema"
    assert "total" in wanted["json_schema"]["schema"]["properties"]


def test_a_broken_stream_raises(gateway: ScriptedGateway, server: ServedGateway, client: anthropic.Anthropic) -> None:
    import anthropic

    gateway.fail_stream_after = ServerError("the stream broke off", provider="openai", model="m")
    seen: list[str] = []
    with pytest.raises(anthropic.APIStatusError, match="the stream broke off"):
        seen.extend(
            event.type for event in client.messages.create(model="chat", max_tokens=9, messages=HELLO, stream=True)
        )
    assert seen[-1] == "content_block_delta"
    body = {"model": "chat", "max_tokens": 9, "messages": HELLO, "stream": True}
    lines = server.http.post(PATH, json=body).text.strip().splitlines()
    assert lines[-2] == "event: error"
    assert json.loads(lines[-1].removeprefix("data: ")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "the stream broke off"},
    }
    assert "event: message_stop" not in lines


ERRORS = [
    (BudgetError("5,000 tokens; at most 4,000"), "BadRequestError", 400, "invalid_request_error"),
    (BudgetError("spent", retry_after_s=9.0), "RateLimitError", 429, "rate_limit_error"),
    (ContentFilteredError("no", provider="p", model="m"), "BadRequestError", 400, "invalid_request_error"),
    (ServerError("no", provider="p", model="m"), "InternalServerError", 502, "api_error"),
    (TimedOutError("no", provider="p", model="m"), "InternalServerError", 504, "timeout_error"),
    (
        AllModelsFailedError("all", failures=(), provider="p", model="m", retry_after_s=7.2),
        "InternalServerError",
        503,
        "overloaded_error",
    ),
    (ZeroDivisionError("secret detail"), "InternalServerError", 500, "api_error"),
]


@pytest.mark.parametrize(("error", "kind", "status", "name"), ERRORS, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_anthropics_classes_and_shape(
    gateway: ScriptedGateway,
    client: anthropic.Anthropic,
    error: Exception,
    kind: str,
    status: int,
    name: str,
    stream: bool,
) -> None:
    import anthropic

    gateway.fail = error
    with pytest.raises(getattr(anthropic, kind)) as caught:
        client.messages.create(model="chat", max_tokens=9, messages=HELLO, stream=stream)
    assert caught.value.status_code == status
    body = caught.value.response.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == name
    assert "secret detail" not in caught.value.response.text
    assert caught.value.response.headers.get("retry-after") == (
        None if getattr(error, "retry_after_s", None) is None else str(-int(-error.retry_after_s // 1))  # type: ignore[attr-defined]
    )


def test_unknown_names_paths_and_methods_have_anthropics_shape(
    server: ServedGateway, client: anthropic.Anthropic
) -> None:
    import anthropic

    with pytest.raises(anthropic.NotFoundError, match="did you mean `chat`"):
        client.messages.create(model="chta", max_tokens=9, messages=HELLO)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.list()
    wrong = server.http.get(PATH)
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (405, "invalid_request_error")


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_both_headers_carry_a_callers_key(server: ServedGateway, gateway: ScriptedGateway, header: str) -> None:
    import anthropic

    gateway.limit(Serve(keys={"one": ServeKey(tenant="acme", sha256=hash_of(KEY))}))
    given: dict[str, Any] = {"api_key": KEY} if header == "x-api-key" else {"auth_token": KEY}
    with anthropic.Anthropic(base_url=server.address, max_retries=0, **given) as client:
        assert client.messages.create(model="chat", max_tokens=9, messages=HELLO).stop_reason == "end_turn"
    assert gateway.asks[0].tenant == "acme"
    assert not {"x-api-key", "authorization"} & gateway.asks[0].headers.keys()
    with (
        anthropic.Anthropic(base_url=server.address, max_retries=0, api_key="wrong") as client,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        client.messages.create(model="chat", max_tokens=9, messages=HELLO)
    assert caught.value.response.json()["error"]["type"] == "authentication_error"


def test_tokens_are_counted_with_system_text_and_tools(client: anthropic.Anthropic) -> None:
    plain = client.messages.count_tokens(model="chat", messages=HELLO).input_tokens
    with_system = client.messages.count_tokens(model="chat", messages=HELLO, system="be brief").input_tokens
    with_tools = client.messages.count_tokens(model="chat", messages=HELLO, tools=TOOLS).input_tokens
    assert 0 < plain < with_system < with_tools


def test_a_features_own_prompt_needs_no_messages(gateway: ScriptedGateway, client: anthropic.Anthropic) -> None:
    client.messages.create(model="chat", max_tokens=9, messages=[], extra_body={"prompt_variables": {"text": "long"}})
    assert gateway.asks[0].variables == {"text": "long"}
    assert gateway.asks[0].messages is None


PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}


def content(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "`web_search_20250305` is not supported"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "`bash_20250124` is not supported"),
        ({"tools": [{**TOOLS[0], "defer_loading": True}]}, "`tools.0.defer_loading` is not supported"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "`enabled` is not supported"),
        ({"mcp_servers": [{"type": "url", "name": "x", "url": "y"}]}, "`mcp_servers`"),
        ({"container": "c"}, "`container` is not supported"),
        (
            {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
            "`clear_tool_uses_20250919` is not",
        ),
        ({"context_management": {"edits": [{}]}}, "`context_management.edits.0.type` is missing"),
        ({"system": [{"text": "x"}]}, "`system.0.type` is missing"),
        ({"service_tier": "priority"}, "`service_tier`"),
        ({"inference_geo": "us"}, "`inference_geo` is not supported"),
        (content({"type": "document", "source": {}}), "`document` is not supported"),
        (content({"type": "thinking", "thinking": "x", "signature": "y"}), "`thinking` is not supported"),
        (content({"type": "redacted_thinking", "data": "x"}), "`redacted_thinking` is not supported"),
        (content({"type": "search_result"}), "`search_result` is not supported"),
        (
            content({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "document"}]}),
            "`document` is not supported",
        ),
        (content({"type": "image", "source": {"type": "file", "file_id": "f"}}), "source.type"),
        (content({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}), "content.0.source.url"),
        (content({"type": "tool_use", "id": "t", "name": "look", "input": {}}), "`tool_use` is not supported"),
        (
            {"messages": [{"role": "assistant", "content": [PICTURE]}]},
            "`messages.0.content.0`: the type `image` is not",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": []}, "send `messages`"),
        ({"max_tokens": None}, "`max_tokens` is missing"),
        ({"tool_choice": {"type": "tool"}, "tools": TOOLS}, "`name` is required"),
        ({"temperature": 1.5}, "temperature"),
        ({"stop_sequences": ["a", "b", "c", "d", "e"]}, "stop_sequences"),
        ({"system": "x", "messages": [], "prompt_variables": {}}, "exclude each other"),
        ({"top_q": 1}, "`top_q` is not supported"),
        ({"flowai": {"on_break": "restart"}}, "`flowai.on_break` is not supported"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_unsupported_parameters_are_refused_by_name(
    gateway: ScriptedGateway, server: ServedGateway, extra: dict[str, Any], word: str
) -> None:
    answer = server.http.post(PATH, json={"model": "chat", "max_tokens": 9, "messages": HELLO, **extra})
    body = answer.json()
    assert answer.status_code == 400, answer.text
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert word in body["error"]["message"]
    assert gateway.asks == []
