"""The gateway as a user of the library meets it: what comes back, and what is refused before anybody is asked."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, KEY, Sample, gathered
from support.scripted_replies import Reply

from flowai.errors import (
    AllModelsFailedError,
    FlowaiError,
    MissingKeyError,
    ProjectError,
    PromptError,
    UsageError,
)
from flowai.gateway.gateway import Gateway
from flowai.gateway.plan import FeatureToggles
from flowai.gateway.records import CompletionRequest, CompletionResult
from flowai.providers import PriceTable

if TYPE_CHECKING:
    from pathlib import Path


RAW = ({"role": "user", "content": "hello there"},)
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALLED = (("call_1", "weather", '{"city": "Bonn"}'),)


# --- what comes back ---


def test_a_result_has_every_field(project: Sample) -> None:
    answer = project.ask(user="ann", tenant="acme", session="s1")
    assert answer.text == "main says hello"
    assert answer.feature == "chat"
    assert answer.release == "v1"
    assert answer.variant is None
    assert answer.experiment is None
    assert answer.arm is None
    assert answer.model == "main"
    assert answer.served_model == "main-1"
    assert answer.provider == "main"
    assert answer.degraded is False
    assert answer.disclaimer is None
    assert answer.cache == "miss"
    assert answer.similarity is None
    assert answer.finish_reason == "stop"
    assert answer.json_valid is None
    assert answer.input_tokens == 10
    assert answer.output_tokens == 2
    price = PriceTable().price("openai/gpt-4o-mini")
    assert price is not None
    assert answer.cost_usd == pytest.approx(price.cost_usd(10, 2))
    assert answer.ttft_ms is not None
    assert 0 < answer.ttft_ms <= answer.latency_ms < 10_000


def test_the_request_has_prompt_and_parameters_but_no_user(project: Sample) -> None:
    project.ask(user="ann", tenant="acme", session="s1")
    (sent,) = project.providers["main"].asked
    assert sent.body["model"] == "gpt-4o-mini"
    assert sent.body["temperature"] == 0
    said = [(message["role"], message["content"].strip()) for message in sent.body["messages"]]
    assert said == [("system", "Prompt v1."), ("user", "hello there")]
    assert sent.headers["authorization"] == f"bearer {KEY}"
    for name in ("ann", "acme", "s1"):
        assert f'"{name}"' not in json.dumps(sent.body)


def test_messages_replace_the_prompt(project: Sample) -> None:
    answer = project.ask(variables=None, messages=[{"role": "user", "content": "as it is {{text}}"}])
    assert answer.text == "main says hello"
    assert project.providers["main"].asked[0].body["messages"] == [{"role": "user", "content": "as it is {{text}}"}]
    (event,) = project.calls
    assert event.feature == "chat"
    assert event.release == "v1"
    assert event.prompt_id is None
    assert event.prompt_hash is None


def test_a_direct_model_call_has_no_release_and_no_fallback(project: Sample) -> None:
    answer = project.ask(None, None, model="other", messages=RAW)
    assert answer.feature is None
    assert answer.release is None
    assert answer.model == "other"
    assert answer.text == "other says hello"
    project.providers["other"].default = Reply(status=500)
    with pytest.raises(AllModelsFailedError):
        project.ask(None, None, model="other", messages=RAW)
    assert set(project.requests) == {"other"}
    assert [(event.feature, event.release, event.requested_model) for event in project.calls] == [
        (None, None, "other")
    ] * 2


def test_a_request_record_gives_the_same_result(project: Sample) -> None:
    async def asked() -> tuple[CompletionResult, CompletionResult]:
        async with project.gateway() as gateway:
            whole = await gateway.complete_request(CompletionRequest(feature="chat", variables=HELLO, user="ann"))
            _, _, streamed = await gathered(
                gateway.stream_request(CompletionRequest(feature="chat", variables=HELLO, user="ann"))
            )
            return whole, streamed

    whole, streamed = asyncio.run(asked())
    assert whole.text == streamed.text == "main says hello"
    assert whole.call_id != streamed.call_id


def test_parameters_of_the_caller_win_up_to_the_feature_s_budget(project: Sample) -> None:
    project.feature(budget={"completion_tokens": 40})
    for params in ({}, {"max_tokens": 10}, {"max_tokens": 4000}, {"max_completion_tokens": 4000}, {"temperature": 1.5}):
        project.ask(params=params)
        project.ask(variables=None, messages=RAW, params=params)
    sent = [asked.body for asked in project.providers["main"].asked]
    limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in sent]
    most = [max(limit for limit in pair if limit is not None) for pair in limits]
    assert most == [40, 40, 10, 10, 40, 40, 40, 40, 40, 40]
    assert [body["temperature"] for body in sent[-2:]] == [1.5, 1.5]


def test_an_answer_cut_at_the_limit_has_the_finish_reason_length(project: Sample) -> None:
    project.providers["main"].default = Reply(text="and so", finish_reason="length")
    assert project.ask().finish_reason == "length"


def test_tool_calls_are_returned(project: Sample) -> None:
    project.providers["main"].default = Reply(text="", tool_calls=CALLED, finish_reason="tool_calls")
    answer = project.ask(params={"tools": [WEATHER], "tool_choice": "auto"})
    assert project.providers["main"].asked[0].body["tools"] == [WEATHER]
    (called,) = answer.tool_calls
    assert called["id"] == "call_1"
    assert called["type"] == "function"
    assert called["function"] == {"name": "weather", "arguments": '{"city": "Bonn"}'}
    assert answer.text == ""
    assert answer.finish_reason == "tool_calls"
    assert answer.json_valid is None


@pytest.mark.parametrize(("text", "is_valid"), [('{"city": "Bonn"}', True), ('{"city": "Bo', False)])
def test_requested_json_is_validated(project: Sample, text: str, is_valid: bool) -> None:
    project.providers["main"].default = Reply(text=text)
    asked_for = {"type": "json_object"}
    answer = project.ask(variables=None, messages=RAW, response_format=asked_for)
    assert answer.json_valid is is_valid
    assert project.providers["main"].asked[0].body["response_format"] == asked_for
    assert project.calls[0].json_valid is is_valid


def test_the_prompt_s_schema_is_sent_and_validated(project: Sample) -> None:
    prompt = "---\ninput: {schema: {text: string}}\noutput: {schema: {city: string}}\n---\n{{text}}\n"
    project.write("prompts/hello_v1.prompt", prompt)
    project.providers["main"].default = Reply(text='{"city": "Bonn"}')
    assert project.ask().json_valid is True
    schema = project.providers["main"].asked[0].body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["city"]


def test_a_tier_is_resolved_to_its_models_in_order(project: Sample) -> None:
    project.registry["tiers"] = {"standard": ["main", "other"]}
    project.registry["releases"]["v1"]["chat"]["model"] = "standard"
    project.feature(fallback=[], degrade=None)
    assert project.ask().model == "main"
    project.providers["main"].default = Reply(status=503)
    answer = project.ask()
    assert answer.model == "other"
    assert answer.degraded is False
    assert answer.disclaimer is None
    assert [event.requested_model for event in project.calls] == ["main", "main"]


def test_texts_are_embedded(project: Sample) -> None:
    async def embedded() -> Any:
        async with project.gateway() as gateway:
            with pytest.raises(UsageError, match="no model `nobody`"):
                await gateway.embed("nobody", ["a"])
            with pytest.raises(UsageError, match="`texts` is empty"):
                await gateway.embed("main", [])
            return await gateway.embed("main", ["a", "four"])

    assert asyncio.run(embedded()).vectors == ((1.0, 1.0), (4.0, 1.0))
    assert project.calls == []


def test_toggles_switch_off_caches_fallback_and_assignment(project: Sample) -> None:
    project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v2"}}
    project.registry["rollout"] = {"candidate": "v2", "stage": 100}
    project.feature(cache={"kind": "exact"})
    toggles = FeatureToggles(caches=False, fallback=False, assignment=False)

    async def asked() -> list[CompletionResult]:
        async with project.gateway(toggles=toggles) as gateway:
            answers = [await gateway.complete("chat", HELLO, user="ann") for _ in range(2)]
            project.providers["main"].default = Reply(status=500)
            with pytest.raises(AllModelsFailedError):
                await gateway.complete("chat", HELLO, user="ann")
            return answers

    answers = asyncio.run(asked())
    assert [(answer.release, answer.variant, answer.cache) for answer in answers] == [("v1", None, "miss")] * 2
    assert set(project.requests) == {"main"}


# --- what is refused, before anybody is asked ---


@pytest.mark.parametrize(
    ("wishes", "kind", "what", "hint"),
    [
        ({"feature": "chatt"}, UsageError, "no feature `chatt`", "did you mean `chat`?"),
        ({"feature": None, "variables": None, "model": "mian", "messages": RAW}, UsageError, "no model `mian`", "main"),
        ({"feature": None, "variables": None, "model": "main"}, UsageError, "has no prompt", "messages"),
        ({"model": "main"}, UsageError, "a feature or a model", None),
        ({"feature": None}, UsageError, "a feature or a model", None),
        ({"messages": RAW}, UsageError, "not both", None),
        ({"variables": None, "messages": ()}, UsageError, "`messages` is empty", None),
        ({"variables": None, "messages": ("hi",)}, UsageError, "`messages[0]` is not a chat message", "role"),
        ({"variables": None, "messages": (*RAW, {"content": "hi"})}, UsageError, "`messages[1]`", "role"),
        ({"variables": {}}, PromptError, "text", None),
        ({"variables": {"text": "a", "txt": "b"}}, PromptError, "txt", None),
        ({"variables": {"text": 7}}, PromptError, "text", None),
        (
            {"params": {"api_base": "http://elsewhere"}},
            UsageError,
            "`api_base` is not a sampling parameter",
            "registry",
        ),
        ({"params": {"model": "openai/o1"}}, UsageError, "`model` is not a sampling parameter", "registry"),
        ({"params": {"stream": True}}, UsageError, "`stream` is not a sampling parameter", "registry"),
        ({"params": {"mock_response": "x"}}, UsageError, "`mock_response` is not a sampling parameter", "registry"),
        ({"params": {"fallbacks": ["x"]}}, UsageError, "`fallbacks` is not a sampling parameter", "registry"),
        ({"params": {"max_tokens": "many"}}, UsageError, "`max_tokens: 'many'`", None),
        ({"params": {"max_completion_tokens": True}}, UsageError, "expected an integer", None),
        ({"params": {"max_tokens": 0}}, UsageError, "expected an integer", None),
        ({"params": {"n": 9}}, UsageError, "`n` is not a sampling parameter", None),
        ({"response_format": {"type": "json_object"}}, UsageError, "`response_format`", "prompt"),
        ({"colour": "blue"}, UsageError, "unknown argument", None),
    ],
)
def test_invalid_requests_are_typed_errors_without_a_provider_call(
    project: Sample, wishes: dict[str, Any], kind: type[FlowaiError], what: str, hint: str | None
) -> None:
    async def refused() -> FlowaiError:
        async with project.gateway() as gateway:
            with pytest.raises(kind) as whole:
                await gateway.complete(**{"feature": "chat", "variables": HELLO, **wishes})
            with pytest.raises(kind):
                async for _ in gateway.stream(**{"feature": "chat", "variables": HELLO, **wishes}):
                    pass
            return whole.value

    error = asyncio.run(refused())
    assert what in str(error)
    assert hint is None or hint in (error.hint or "")
    assert project.requests == {}
    assert project.calls == [], "what never was a call is not counted as one"


def test_a_missing_key_names_the_variable_without_a_provider_call(project: Sample) -> None:
    project.feature(fallback=[], degrade=None)

    async def refused() -> None:
        async with project.gateway(environ={}) as gateway:
            with pytest.raises(MissingKeyError, match="LOOPBACK_KEY"):
                await gateway.complete("chat", HELLO)

    asyncio.run(refused())
    assert project.requests == {}


def test_a_model_with_a_missing_key_is_skipped(project: Sample) -> None:
    project.registry["models"]["main"]["api_key"] = "${NEVER_SET}"
    project.write()
    answer = project.ask()
    assert answer.model == "other"
    assert [(attempt.model, attempt.reason) for attempt in project.calls[0].attempts] == [
        ("main", "no_key"),
        ("other", None),
    ]


def test_an_invalid_project_is_an_error_when_opened(project: Sample, tmp_path: Path) -> None:
    async def opened(root: Path) -> None:
        async with Gateway(root, settings=project.settings()):
            pass

    project.write("registry.yaml", "schema_version: 1\nmodels: 7\n")
    with pytest.raises(ProjectError, match=r"registry\.yaml"):
        asyncio.run(opened(tmp_path))
    with pytest.raises(ProjectError, match=r"no `registry\.yaml`"):
        asyncio.run(opened(tmp_path.parent))


def test_nothing_is_read_before_the_first_use(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "nowhere")
    with pytest.raises(ProjectError):
        asyncio.run(gateway.complete("chat", HELLO))
