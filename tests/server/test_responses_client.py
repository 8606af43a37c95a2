"""The official OpenAI client's Responses API against the server: whole responses, streams, tools, refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic
import pytest
from support.scripted_gateway import WHOLE, ScriptedGateway, ServedGateway, served

from flowai.errors import BudgetError, ContentFilteredError, ServerError
from flowai.gateway.records import TextChunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    import openai

PATH = "/v1/responses"
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": name,
        "description": "adds",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
        "strict": None,
    }
    for name in ("add", "sub")
]
CALLS = (
    {"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}},
    {"id": "t2", "type": "function", "function": {"name": "sub", "arguments": '{"a":2}'}},
)
ONE_CALL = msgspec.structs.replace(WHOLE, text="", tool_calls=CALLS[:1], finish_reason="tool_calls")
TWO_CALLS = msgspec.structs.replace(WHOLE, text="", tool_calls=CALLS, finish_reason="tool_calls")
PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ScriptedGateway, ServedGateway, openai.OpenAI]]:
    import openai

    gateway = ScriptedGateway()
    with (
        served(gateway) as server,
        openai.OpenAI(base_url=f"{server.address}/v1", api_key="unused", max_retries=0) as made,
    ):
        yield gateway, server, made


@pytest.fixture
def gateway(shared: tuple[ScriptedGateway, ServedGateway, openai.OpenAI]) -> ScriptedGateway:
    shared[0].reset()
    return shared[0]


@pytest.fixture
def server(shared: tuple[ScriptedGateway, ServedGateway, openai.OpenAI], gateway: ScriptedGateway) -> ServedGateway:  # noqa: ARG001 - reset
    return shared[1]


@pytest.fixture
def client(shared: tuple[ScriptedGateway, ServedGateway, openai.OpenAI], gateway: ScriptedGateway) -> openai.OpenAI:  # noqa: ARG001 - reset
    return shared[2]


def delta(index: int, arguments: str, call_id: str = "", name: str = "") -> TextChunk:
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    start = {"id": call_id, "type": "function"} if call_id else {}
    return TextChunk(text="", tool_calls=({"index": index, **start, "function": function},))


def test_a_complete_response(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    answer = client.responses.create(model="chat", input="hi")
    assert answer.id == "resp_c1"
    assert answer.model == "m"
    assert answer.status == "completed"
    assert answer.output_text == "hello world"
    assert answer.error is None
    assert answer.store is False  # type: ignore[attr-defined] # the client does not declare it
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (10, 2, 12)
    assert answer.usage.output_tokens_details.reasoning_tokens == 0
    assert answer.to_dict()["flowai"]["cost_usd"] == 0.001  # type: ignore[index]
    assert gateway.asks[0].messages == ({"role": "user", "content": "hi"},)
    assert gateway.asks[0].feature == "chat"


def test_the_response_repeats_the_request(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model="chat", input="hi", instructions="be brief", metadata={"k": "v"}, temperature=0.5, max_output_tokens=9
    )
    assert answer.instructions == "be brief"
    assert answer.metadata == {"k": "v"}
    assert answer.temperature == 0.5
    assert answer.max_output_tokens == 9
    assert answer.tool_choice == "auto"
    assert answer.parallel_tool_calls is True
    assert answer.text is not None
    assert answer.text.format is not None
    assert answer.text.format.type == "text"


def test_parameters_reach_the_gateway_by_their_chat_names(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    client.responses.create(
        model="chat",
        input="hi",
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=9,
        tools=TOOLS,
        tool_choice={"type": "function", "name": "add"},
        parallel_tool_calls=False,
        reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "low"},
        include=["reasoning.encrypted_content"],
        store=True,
        truncation="disabled",
        user="u1",
        extra_headers={"X-Session-Id": "s1"},
        extra_body={"flowai": {"cache": False}},
    )
    ask = gateway.asks[0]
    function = {"name": "add", "description": "adds", "parameters": TOOLS[0]["parameters"]}
    assert ask.params == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 9,
        "tools": [{"type": "function", "function": {**function, "name": name}} for name in ("add", "sub")],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "verbosity": "low",
    }
    assert (ask.user, ask.session, ask.use_cache) == ("u1", "s1", False)


def test_all_roles_and_images_become_chat_messages(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    items: list[Any] = [
        {"role": "developer", "content": "rules"},
        {"role": "system", "content": [{"type": "input_text", "text": "more"}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": PNG, "detail": "low"},
            ],
        },
        {"role": "assistant", "content": [{"type": "output_text", "text": "seen", "annotations": []}]},
    ]
    client.responses.create(model="chat", input=items, instructions="first")
    assert list(gateway.asks[0].messages or ()) == [
        {"role": "system", "content": "first"},
        {"role": "developer", "content": "rules"},
        {"role": "system", "content": "more"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            ],
        },
        {"role": "assistant", "content": "seen"},
    ]


def test_parallel_calls_and_their_results_make_the_round_trip(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    gateway.answer = msgspec.structs.replace(TWO_CALLS, text="let me see")
    first = client.responses.create(model="chat", input="hi", tools=TOOLS)
    assert [item.type for item in first.output] == ["message", "function_call", "function_call"]
    history: list[Any] = [{"role": "user", "content": "hi"}, *first.output]
    history += [
        {"type": "function_call_output", "call_id": item.call_id, "output": json.dumps({"for": item.call_id})}
        for item in first.output
        if item.type == "function_call"
    ]
    client.responses.create(model="chat", input=history, tools=TOOLS)
    assert list(gateway.asks[1].messages or ()) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "let me see", "tool_calls": list(CALLS)},
        {"role": "tool", "tool_call_id": "t1", "content": '{"for": "t1"}'},
        {"role": "tool", "tool_call_id": "t2", "content": '{"for": "t2"}'},
    ]


def test_a_streams_events_are_the_protocols(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="chat", input="hi", stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "hello world"
    assert last.response.usage is not None
    assert last.response.usage.total_tokens == 12


@pytest.mark.parametrize(
    ("pieces", "output_indexes"),
    [
        (
            [
                delta(0, "", "t1", "add"),
                delta(0, '{"a":'),
                delta(0, "1}"),
                delta(1, '{"a"', "t2", "sub"),
                delta(1, ":2}"),
            ],
            [0, 0, 1, 1],
        ),
        (
            [delta(0, '{"a"', "t1", "add"), delta(1, '{"a"', "t2", "sub"), delta(0, ":1}"), delta(1, ":2}")],
            [0, 0, 1],
        ),
        ([TextChunk(text="", tool_calls=tuple({"index": i, **call} for i, call in enumerate(CALLS)))], [0, 1]),
    ],
    ids=["one after the other", "interleaved", "at once"],
)
def test_the_clients_own_accumulator_understands_parallel_calls(
    gateway: ScriptedGateway, client: openai.OpenAI, pieces: list[TextChunk], output_indexes: list[int]
) -> None:
    gateway.pieces, gateway.answer = pieces, TWO_CALLS
    with client.responses.stream(model="chat", input="hi", tools=TOOLS) as stream:
        events = list(stream)
        final = stream.get_final_response()
    calls = [item for item in final.output if item.type == "function_call"]
    assert [(call.call_id, call.name, call.arguments) for call in calls] == [
        ("t1", "add", '{"a":1}'),
        ("t2", "sub", '{"a":2}'),
    ]
    deltas = [event for event in events if event.type == "response.function_call_arguments.delta"]
    assert [event.output_index for event in deltas] == output_indexes
    done = [event.arguments for event in events if event.type == "response.function_call_arguments.done"]
    assert done == ['{"a":1}', '{"a":2}']


def test_a_call_without_an_id_gets_one(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    gateway.answer = msgspec.structs.replace(TWO_CALLS, tool_calls=tuple({**call, "id": ""} for call in CALLS))
    ids = [
        item.call_id
        for item in client.responses.create(model="chat", input="hi", tools=TOOLS).output
        if item.type == "function_call"
    ]
    assert len(set(ids)) == 2
    assert all(ids)


def test_structured_output_is_parsed_by_the_client(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    class Sum(pydantic.BaseModel):
        total: int

    gateway.answer = msgspec.structs.replace(WHOLE, text='{"total": 3}', json_valid=True)
    gateway.pieces = [TextChunk(text='{"total"'), TextChunk(text=": 3}")]
    raw = client.responses.with_raw_response.parse(model="chat", input="hi", text_format=Sum)
    assert raw.parse().output_parsed == Sum(total=3)
    assert raw.headers["x-flowai-json-valid"] == "true"
    with client.responses.stream(model="chat", input="hi", text_format=Sum) as stream:
        assert stream.until_done().get_final_response().output_parsed == Sum(total=3)
    for ask in gateway.asks:
        assert ask.response_format is not None
        assert ask.response_format["type"] == "json_schema"
        assert ask.response_format["json_schema"]["name"] == "Sum"
        assert ask.response_format["json_schema"]["strict"] is True
        assert "total" in ask.response_format["json_schema"]["schema"]["properties"]


def test_an_answer_cut_at_the_token_limit_is_incomplete(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    gateway.answer = msgspec.structs.replace(WHOLE, finish_reason="length")
    answer = client.responses.create(model="chat", input="hi", max_output_tokens=2)
    last = list(client.responses.create(model="chat", input="hi", max_output_tokens=2, stream=True))[-1]
    assert last.type == "response.incomplete"
    for response in (answer, last.response):
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.output_text == "hello world"


def test_a_broken_stream_raises_and_fails_the_response(
    gateway: ScriptedGateway, server: ServedGateway, client: openai.OpenAI
) -> None:
    import openai

    gateway.fail_stream_after = ServerError("the stream broke off", provider="openai", model="m")
    seen: list[str] = []
    with pytest.raises(openai.APIError, match="the stream broke off") as caught:
        seen.extend(event.type for event in client.responses.create(model="chat", input="hi", stream=True))
    assert seen[-1] == "response.output_text.delta"
    assert caught.value.code == "provider_failed"
    text = server.http.post(PATH, json={"model": "chat", "input": "hi", "stream": True}).text
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-1]["response"]["status"] == "failed"
    assert events[-1]["response"]["error"] == {"code": "provider_failed", "message": "the stream broke off"}
    assert "response.completed" not in text


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (BudgetError("spent", retry_after_s=9.0), "RateLimitError", "insufficient_quota"),
        (ContentFilteredError("no", provider="p", model="m"), "BadRequestError", "content_filter"),
        (ServerError("no", provider="p", model="m"), "InternalServerError", "provider_failed"),
        (ZeroDivisionError("secret detail"), "InternalServerError", "bug"),
    ],
)
def test_errors_have_openais_classes(
    gateway: ScriptedGateway, client: openai.OpenAI, error: Exception, kind: str, code: str
) -> None:
    import openai

    gateway.fail = error
    for stream in (False, True):
        with pytest.raises(getattr(openai, kind)) as caught:
            client.responses.create(model="chat", input="hi", stream=stream)
        assert caught.value.code == code
        assert "secret detail" not in caught.value.response.text


def test_a_features_own_prompt_needs_no_input(gateway: ScriptedGateway, client: openai.OpenAI) -> None:
    client.responses.create(model="chat", extra_body={"prompt_variables": {"text": "long"}})
    assert gateway.asks[0].variables == {"text": "long"}
    assert gateway.asks[0].messages is None


@pytest.mark.parametrize(
    ("extra", "param", "word"),
    [
        ({"background": True}, "background", "false"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "stored"),
        ({"conversation": "conv_1"}, "conversation", "stored"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "prompt_variables"),
        ({"max_tool_calls": 3}, "max_tool_calls", "tools"),
        ({"truncation": "auto"}, "truncation", "disabled"),
        ({"service_tier": "flex"}, "service_tier", "auto"),
        ({"include": ["message.output_text.logprobs"]}, "include.0", "logprobs"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary", "detailed"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type", "web_search"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools.0.type", "file_search"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools.0.type", "mcp"),
        ({"tools": [{"type": "computer_use_preview"}]}, "tools.0.type", "computer_use_preview"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools.0.type", "custom"),
        ({"tools": [*TOOLS, {"type": "code_interpreter"}]}, "tools.2.type", "code_interpreter"),
        ({"tools": [{"name": "x"}]}, "tools.0.type", "missing"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type", "web_search"),
        ({"tool_choice": {"name": "x"}}, "tool_choice.type", "missing"),
        ({"input": [{"type": "reasoning", "id": "rs", "summary": []}]}, "input.0.type", "reasoning"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type", "item_reference"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input.0.content.0.type", "input_file"),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": PNG}]}]},
            "input.0.content.0.type",
            "input_image",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]}]},
            "input.0.content.0.image_url",
            "data:",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input.0.content.0.type", "input_audio"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PNG, "file_id": "f"}]}]},
            "input.0.content.0.file_id",
            "file_id",
        ),
        ({"input": [{"role": "robot", "content": "x"}]}, "input.0.role", "robot"),
        ({"input": []}, "input", "prompt_variables"),
        ({"instructions": "x", "input": None, "prompt_variables": {}}, "instructions", "exclude"),
        ({"temperatur": 1}, "temperatur", "not supported"),
        ({"metadata": {"k": 1}}, "metadata", "metadata"),
        ({"flowai": {"on_break": "restart"}}, "flowai.on_break", "not supported"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_unsupported_parameters_are_refused_by_name(
    gateway: ScriptedGateway, server: ServedGateway, extra: dict[str, Any], param: str, word: str
) -> None:
    answer = server.http.post(PATH, json={"model": "chat", "input": "hi", **extra})
    error = answer.json()["error"]
    assert answer.status_code == 400, answer.text
    assert error["param"] == param
    assert word in error["message"]
    assert error["type"] == "invalid_request_error"
    assert gateway.asks == []


def test_nothing_is_stored_to_be_read_later(client: openai.OpenAI) -> None:
    import openai

    answer = client.responses.create(model="chat", input="hi", store=True)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
