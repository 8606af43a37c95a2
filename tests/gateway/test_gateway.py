"""The gateway as a user of the library meets it: what is asked, what comes back, what the log says."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from gateways import KEY, Sample, gathered, open_descriptors, sample
from scripted_replies import Reply

from flowai.calls import PriceTable
from flowai.errors import (
    BudgetError,
    FlowaiError,
    InvalidRequestError,
    LadderError,
    MissingKeyError,
    ProjectError,
    PromptError,
    UsageError,
)
from flowai.events import CallEvent, OTEL_NAMES
from flowai.gateway.gateway import Gateway
from flowai.gateway.model import Answer, Ask, Explanation, Started
from flowai.gateway.plan import Switches
from flowai.gateway.record import user_hash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripted_replies import Asked

HELLO = {"text": "hello there"}
RAW = ({"role": "user", "content": "hello there"},)
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALLED = (("call_1", "weather", '{"city": "Bonn"}'),)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Sample]:
    with sample(tmp_path) as made:
        yield made


def ask(project: Sample, feature: str | None = "chat", variables: Any = HELLO, **wishes: Any) -> Answer:
    """Make one call with a gateway of its own."""

    async def asked() -> Answer:
        async with project.gateway() as gateway:
            return await gateway.complete(feature, variables, **wishes)

    return asyncio.run(asked())


def explained(project: Sample, **wishes: Any) -> Explanation:
    """Make one call, whatever comes of it, and have it explained."""

    async def asked() -> Explanation:
        async with project.gateway() as gateway:
            try:
                await gateway.complete(**{"feature": "chat", "variables": HELLO, **wishes})
            except FlowaiError:
                pass
            return await gateway.explain(project.told[-1].call_id)

    return asyncio.run(asked())


# --- what comes back ---


def test_a_feature_answers_with_all_that_is_known_of_it(project: Sample) -> None:
    answer = ask(project, user="ann", tenant="acme", session="s1")
    assert answer.text == "main says hello"
    assert (answer.feature, answer.release, answer.variant, answer.experiment, answer.arm) == (
        "chat",
        "v1",
        None,
        None,
        None,
    )
    assert (answer.model, answer.served_model, answer.provider) == ("main", "main-1", "main")
    assert (answer.degraded, answer.disclaimer, answer.cache, answer.similarity) == (False, None, "miss", None)
    assert (answer.finish_reason, answer.json_valid) == ("stop", None)
    assert (answer.input_tokens, answer.output_tokens) == (10, 2)
    price = PriceTable().price("openai/gpt-4o-mini")
    assert price is not None
    assert answer.cost_usd == pytest.approx(price.cost_usd(10, 2))
    assert answer.ttft_ms is not None
    assert 0 < answer.ttft_ms <= answer.latency_ms < 10_000


def test_what_is_sent_is_the_prompt_with_the_release_s_parameters(project: Sample) -> None:
    ask(project)
    (sent,) = project.providers["main"].asked
    assert sent.body["model"] == "gpt-4o-mini"
    assert sent.body["temperature"] == 0
    assert sent.body["messages"] == [
        {"role": "system", "content": "Prompt v1.\n"},
        {"role": "user", "content": "hello there\n"},
    ] or [message["content"].strip() for message in sent.body["messages"]] == ["Prompt v1.", "hello there"]
    assert sent.headers["authorization"] == f"bearer {KEY}".lower() or KEY in sent.headers["authorization"]
    assert "ann" not in str(sent.body)


def test_messages_of_the_caller_s_own_take_the_place_of_the_prompt(project: Sample) -> None:
    answer = ask(project, variables=None, messages=[{"role": "user", "content": "as it is {{text}}"}])
    assert answer.text == "main says hello"
    assert project.providers["main"].asked[0].body["messages"] == [{"role": "user", "content": "as it is {{text}}"}]
    (event,) = project.calls
    assert (event.feature, event.release, event.prompt_id, event.prompt_hash) == ("chat", "v1", None, None)


def test_a_model_on_its_own_has_no_release_and_no_fallback(project: Sample) -> None:
    answer = ask(project, None, None, model="other", messages=RAW)
    assert (answer.feature, answer.release, answer.model, answer.text) == (None, None, "other", "other says hello")
    project.providers["other"].default = Reply(status=500)
    with pytest.raises(LadderError):
        ask(project, None, None, model="other", messages=RAW)
    assert set(project.requests) == {"other"}
    assert [(event.feature, event.release, event.requested_model) for event in project.calls] == [
        (None, None, "other")
    ] * 2


def test_the_record_asks_the_same(project: Sample) -> None:
    async def asked() -> tuple[Answer, Answer]:
        async with project.gateway() as gateway:
            whole = await gateway.ask(Ask(feature="chat", variables=HELLO, user="ann"))
            _, _, streamed = await gathered(gateway.ask_stream(Ask(feature="chat", variables=HELLO, user="ann")))
            return whole, streamed

    whole, streamed = asyncio.run(asked())
    assert whole.text == streamed.text == "main says hello"
    assert whole.call_id != streamed.call_id


def test_parameters_of_the_caller_win_up_to_the_feature_s_budget(project: Sample) -> None:
    project.feature(budget={"completion_tokens": 40})
    for params in ({}, {"max_tokens": 10}, {"max_tokens": 4000}, {"max_completion_tokens": 4000}, {"temperature": 1.5}):
        ask(project, params=params)
        ask(project, variables=None, messages=RAW, params=params)
    sent = [asked.body for asked in project.providers["main"].asked]
    limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in sent]
    most = [max(limit for limit in pair if limit is not None) for pair in limits]
    assert most == [40, 40, 10, 10, 40, 40, 40, 40, 40, 40]
    assert [body["temperature"] for body in sent[-2:]] == [1.5, 1.5]


def test_an_answer_that_is_cut_at_the_limit_says_so(project: Sample) -> None:
    project.providers["main"].default = Reply(text="and so", finish_reason="length")
    assert ask(project).finish_reason == "length"


def test_tools_are_called(project: Sample) -> None:
    project.providers["main"].default = Reply(text="", tool_calls=CALLED, finish_reason="tool_calls")
    answer = ask(project, params={"tools": [WEATHER], "tool_choice": "auto"})
    assert project.providers["main"].asked[0].body["tools"] == [WEATHER]
    (called,) = answer.tool_calls
    assert (called["id"], called["type"], called["function"]) == (
        "call_1",
        "function",
        {"name": "weather", "arguments": '{"city": "Bonn"}'},
    )
    assert (answer.text, answer.finish_reason, answer.json_valid) == ("", "tool_calls", None)


@pytest.mark.parametrize(("text", "is_valid"), [('{"city": "Bonn"}', True), ('{"city": "Bo', False)])
def test_promised_json_is_held_to(project: Sample, text: str, is_valid: bool) -> None:
    project.providers["main"].default = Reply(text=text)
    asked_for = {"type": "json_object"}
    answer = ask(project, variables=None, messages=RAW, response_format=asked_for)
    assert answer.json_valid is is_valid
    assert project.providers["main"].asked[0].body["response_format"] == asked_for
    assert project.calls[0].json_valid is is_valid


def test_the_prompt_s_own_schema_is_sent_and_held_to(project: Sample) -> None:
    prompt = "---\ninput: {schema: {text: string}}\noutput: {schema: {city: string}}\n---\n{{text}}\n"
    project.write("prompts/hello_v1.prompt", prompt)
    project.providers["main"].default = Reply(text='{"city": "Bonn"}')
    assert ask(project).json_valid is True
    schema = project.providers["main"].asked[0].body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["city"]


def test_a_tier_stands_for_its_models_in_order(project: Sample) -> None:
    project.registry["tiers"] = {"standard": ["main", "other"]}
    project.registry["releases"]["v1"]["chat"]["model"] = "standard"
    project.feature(fallback=[], degrade=None)
    assert ask(project).model == "main"
    project.providers["main"].default = Reply(status=503)
    answer = ask(project)
    assert (answer.model, answer.degraded, answer.disclaimer) == ("other", False, None)
    assert [event.requested_model for event in project.calls] == ["main", "main"]


def test_texts_are_embedded(project: Sample) -> None:
    async def embedded() -> Any:
        async with project.gateway() as gateway:
            with pytest.raises(UsageError, match="no model `nobody`"):
                await gateway.embed("nobody", ["a"])
            with pytest.raises(UsageError, match="no text"):
                await gateway.embed("main", [])
            return await gateway.embed("main", ["a", "four"])

    assert asyncio.run(embedded()).vectors == ((1.0, 1.0), (4.0, 1.0))
    assert project.calls == []


def test_switches_leave_out_what_could_hide_a_fault(project: Sample) -> None:
    project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v2"}}
    project.registry["rollout"] = {"candidate": "v2", "stage": 100}
    project.feature(cache={"kind": "exact"})
    switches = Switches(caches=False, falls_back=False, assigns=False)

    async def asked() -> list[Answer]:
        async with project.gateway(switches=switches) as gateway:
            answers = [await gateway.complete("chat", HELLO, user="ann") for _ in range(2)]
            project.providers["main"].default = Reply(status=500)
            with pytest.raises(LadderError):
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
        ({"feature": None, "variables": None, "model": "main"}, UsageError, "no prompt of its own", "messages"),
        ({"model": "main"}, UsageError, "a feature or a model", None),
        ({"feature": None}, UsageError, "a feature or a model", None),
        ({"messages": RAW}, UsageError, "not both", None),
        ({"variables": None, "messages": ()}, UsageError, "`messages` is empty", None),
        ({"variables": {}}, PromptError, "text", None),
        ({"variables": {"text": "a", "txt": "b"}}, PromptError, "txt", None),
        ({"variables": {"text": 7}}, PromptError, "text", None),
        ({"params": {"api_base": "http://elsewhere"}}, UsageError, "`api_base` is no sampling parameter", "registry"),
        ({"params": {"model": "openai/o1"}}, UsageError, "`model` is no sampling parameter", "registry"),
        ({"params": {"stream": True}}, UsageError, "`stream` is no sampling parameter", "registry"),
        ({"params": {"mock_response": "x"}}, UsageError, "`mock_response` is no sampling parameter", "registry"),
        ({"params": {"fallbacks": ["x"]}}, UsageError, "`fallbacks` is no sampling parameter", "registry"),
        ({"params": {"max_tokens": "many"}}, UsageError, "`max_tokens: 'many'`", None),
        ({"params": {"max_completion_tokens": True}}, UsageError, "expected a whole number", None),
        ({"params": {"max_tokens": 0}}, UsageError, "expected a whole number", None),
        ({"params": {"n": 9}}, UsageError, "`n` is no sampling parameter", None),
        ({"response_format": {"type": "json_object"}}, UsageError, "`response_format`", "prompt"),
        ({"colour": "blue"}, UsageError, "takes no such argument", None),
    ],
)
def test_what_cannot_be_asked_is_a_typed_error_and_nobody_is_asked(
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


def test_without_a_key_the_variable_is_named_and_nobody_is_asked(project: Sample) -> None:
    project.feature(fallback=[], degrade=None)

    async def refused() -> None:
        async with project.gateway(environ={}) as gateway:
            with pytest.raises(MissingKeyError, match="LOOPBACK_KEY"):
                await gateway.complete("chat", HELLO)

    asyncio.run(refused())
    assert project.requests == {}


def test_a_model_whose_key_is_missing_does_not_stop_the_others(project: Sample) -> None:
    project.registry["models"]["main"]["api_key"] = "${NEVER_SET}"
    project.write()
    answer = ask(project)
    assert answer.model == "other"
    assert [(attempt.model, attempt.reason) for attempt in project.calls[0].attempts] == [
        ("main", "no_key"),
        ("other", None),
    ]


def test_a_wrong_project_says_so_when_it_is_opened(project: Sample, tmp_path: Path) -> None:
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


# --- the event ---


def test_the_event_of_a_miss_says_everything(project: Sample) -> None:
    answer = ask(project, user="ann", tenant="acme", session="s1")
    (event,) = project.calls
    assert event.call_id == answer.call_id
    assert (event.origin, event.tenant, event.session) == ("library", "acme", "s1")
    assert event.user_hash == user_hash("ann")
    assert event.user_hash != "ann"
    assert (event.feature, event.release, event.variant, event.experiment, event.arm) == (
        "chat",
        "v1",
        None,
        None,
        None,
    )
    assert event.is_sticky is False, "nothing was assigned"
    assert event.prompt_id == "prompts/hello_v1"
    assert re.fullmatch("[0-9a-f]{64}", event.prompt_hash or "")
    assert (event.requested_model, event.served_model, event.provider) == ("main", "main-1", "main")
    (attempt,) = event.attempts
    assert (attempt.model, attempt.provider, attempt.status, attempt.reason, attempt.error_class) == (
        "main",
        "main",
        "ok",
        None,
        None,
    )
    assert (event.degraded, event.cache, event.similarity) == (False, "miss", None)
    same = ("input_tokens", "output_tokens", "cost_usd", "finish_reason", "json_valid", "latency_ms")
    assert {name: getattr(event, name) for name in same} == {name: getattr(answer, name) for name in same}
    assert event.ttft_ms is not None
    assert (event.error_class, event.error_message, event.content) == (None, None, None)
    assert set(OTEL_NAMES) >= {"call_id", "attempts"}


def test_the_event_of_a_hit_is_free_and_asked_nobody(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})

    async def asked() -> list[Answer]:
        async with project.gateway() as gateway:
            return [await gateway.complete("chat", HELLO, user=user) for user in ("ann", "bob")]

    first, second = asyncio.run(asked())
    assert (first.cache, second.cache, second.text) == ("miss", "exact", "main says hello")
    assert (second.cost_usd, second.ttft_ms, second.model, second.served_model) == (0.0, None, "main", "main-1")
    assert (second.input_tokens, second.output_tokens) == (10, 2)
    event = project.calls[1]
    assert (event.cache, event.attempts, event.cost_usd, event.ttft_ms) == ("exact", (), 0.0, None)
    assert (event.requested_model, event.served_model, event.provider) == ("main", "main-1", "main")
    assert event.user_hash == user_hash("bob")
    assert project.requests == {"main": 1}


def test_a_degraded_answer_is_flagged_with_its_disclaimer_and_model(project: Sample) -> None:
    for name in ("main", "other"):
        project.providers[name].default = Reply(status=503)
    answer = ask(project)
    assert (answer.degraded, answer.disclaimer, answer.model, answer.provider) == (True, "in short", "small", "small")
    (event,) = project.calls
    assert (event.degraded, event.requested_model, event.served_model, event.provider) == (
        True,
        "main",
        "small-1",
        "small",
    )
    assert [(one.model, one.status, one.error_class, one.http_status) for one in event.attempts] == [
        ("main", "error", "ServerError", 503),
        ("other", "error", "ServerError", 503),
        ("small", "ok", None, None),
    ]
    assert event.error_class is None


def test_the_event_of_a_failure_names_the_error_and_who_was_asked_last(project: Sample) -> None:
    for provider in project.providers.values():
        provider.default = Reply(status=503)
    with pytest.raises(LadderError) as failed:
        ask(project)
    assert all(name in str(failed.value) for name in ("main", "other", "small"))
    assert KEY not in str(failed.value)
    (event,) = project.calls
    assert (event.error_class, event.provider, event.served_model, event.finish_reason) == (
        "LadderError",
        "small",
        None,
        None,
    )
    assert event.error_message == str(failed.value)
    assert (event.cost_usd, event.input_tokens) == (None, None)
    assert {attempt.model for attempt in event.attempts} == {"main", "other", "small"}


def test_an_error_of_the_caller_s_is_passed_on_as_it_is(project: Sample) -> None:
    project.providers["main"].default = Reply(status=400)
    with pytest.raises(InvalidRequestError) as failed:
        ask(project)
    assert failed.value.status == 400
    assert project.requests == {"main": 1}
    assert project.calls[0].error_class == "InvalidRequestError"


def test_the_wait_for_the_first_token_includes_what_failed_before(project: Sample) -> None:
    project.providers["main"].default = Reply(status=503, delay_s=0.2)
    ask(project)
    (event,) = project.calls
    assert event.attempts[1].at_ms is not None
    assert event.ttft_ms is not None
    assert event.latency_ms >= event.ttft_ms >= event.attempts[1].at_ms >= 200


def test_the_event_of_a_call_whose_caller_leaves_says_cancelled(project: Sample) -> None:
    project.providers["main"].default = Reply(fault="silent")

    async def left() -> None:
        async with project.gateway() as gateway:
            await gateway.warm_up()
            call = asyncio.create_task(gateway.complete("chat", HELLO))
            while not project.requests:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(left())
    (event,) = project.calls
    assert (event.error_class, event.provider, event.cost_usd) == ("Cancelled", "main", None)
    assert [(attempt.status, attempt.error_class) for attempt in event.attempts] == [("error", "Cancelled")]
    assert project.requests == {"main": 1}


@pytest.mark.parametrize("log_content", ["none", "redacted"])
def test_content_is_kept_only_where_the_feature_says_so_and_without_secrets(project: Sample, log_content: str) -> None:
    secret = "sk-ant-api03-" + "Zx9" * 10
    project.feature(log_content=log_content)
    project.providers["main"].default = Reply(text=f"you said {secret} and {KEY}")
    answer = ask(project, variables={"text": f"my key is {secret}"}, user="ann@example.org")
    assert secret in answer.text, "the caller gets what the model said"
    (event,) = project.calls
    if log_content == "none":
        assert event.content is None
    else:
        assert event.content is not None
        assert "my key is" in event.content.messages[-1]["content"]
        assert "you said" in (event.content.output or "")
    written = b"".join(path.read_bytes() for path in (project.root / ".flowai" / "events").rglob("*.jsonl"))
    for planted in (secret, KEY, "ann@example.org"):
        assert planted.encode() not in written


def test_the_content_of_a_failed_call_is_what_was_asked(project: Sample) -> None:
    project.feature(log_content="redacted", fallback=[], degrade=None)
    project.providers["main"].default = Reply(status=400)
    with pytest.raises(InvalidRequestError):
        ask(project)
    content = project.calls[0].content
    assert content is not None
    assert content.output is None
    assert "hello there" in content.messages[-1]["content"]


def test_origin_says_what_the_calls_are_for(project: Sample) -> None:
    async def asked() -> None:
        async with Gateway(project.root, origin="serve", settings=project.settings()) as gateway:
            answer = await gateway.complete("chat", HELLO)
            await gateway.feedback(answer.call_id, verdict="accepted")

    asyncio.run(asked())
    assert [event.origin for event in (*project.calls, *project.feedback)] == ["serve", "serve"]


# --- feedback, explanations, standing ---


def test_feedback_carries_the_call_s_facts(project: Sample) -> None:
    project.feature(log_content="redacted")

    async def asked() -> Answer:
        async with project.gateway() as gateway:
            answer = await gateway.complete("chat", HELLO, user="ann", tenant="acme")
            await gateway.feedback(answer.call_id, verdict="edited", text=f"better, with {KEY}")
            await gateway.feedback(answer.call_id, verdict="saved", user="bob")
            await gateway.feedback("of another time", verdict="thumbs_down")
            return answer

    answer = asyncio.run(asked())
    edited, saved, unknown = project.feedback
    assert (edited.call_id, edited.verdict, edited.tenant, edited.feature, edited.release) == (
        answer.call_id,
        "edited",
        "acme",
        "chat",
        "v1",
    )
    assert edited.text is not None
    assert edited.text.startswith("better, with ")
    assert KEY not in edited.text
    assert (edited.user_hash, saved.user_hash) == (user_hash("ann"), user_hash("bob"))
    assert (unknown.call_id, unknown.feature, unknown.release) == ("of another time", None, None)


def test_an_edited_text_is_kept_only_where_contents_are(project: Sample) -> None:
    async def asked() -> None:
        async with project.gateway() as gateway:
            answer = await gateway.complete("chat", HELLO)
            await gateway.feedback(answer.call_id, verdict="edited", text="better")
            for verdict, text in (("edited", None), ("accepted", "better")):
                with pytest.raises(UsageError, match="`text` belongs to the verdict `edited`"):
                    await gateway.feedback(answer.call_id, verdict=verdict, text=text)  # type: ignore[arg-type]

    asyncio.run(asked())
    assert [(event.verdict, event.text) for event in project.feedback] == [("edited", None)]


def test_feedback_finds_calls_of_another_process(project: Sample) -> None:
    answer = ask(project, tenant="acme")

    async def said() -> Explanation:
        async with project.gateway() as gateway:
            await gateway.feedback(answer.call_id, verdict="saved")
            return await gateway.explain(answer.call_id)

    explanation = asyncio.run(said())
    assert (project.feedback[0].tenant, project.feedback[0].release) == ("acme", "v1")
    assert (explanation.event.call_id, explanation.breakers) == (answer.call_id, None)


def test_an_explanation_tells_each_attempt_the_breakers_and_the_pins_passed_over(project: Sample) -> None:
    project.registry["releases"]["v0"] = {"extends": "v1"}
    project.registry["bad"] = ["v0"]
    project.registry["policies"] = {"breaker": {"failures": 1}}
    project.write()
    project.providers["main"].default = Reply(status=503)

    async def asked() -> Explanation:
        async with project.gateway(environ={"LOOPBACK_KEY": KEY, "AI_MODEL_VERSION": "v0"}) as gateway:
            for _ in range(3):
                answer = await gateway.complete("chat", HELLO)
            found = await gateway.explain(answer.call_id)
            with pytest.raises(UsageError, match="no call `nothing`"):
                await gateway.explain("nothing")
            return found

    explanation = asyncio.run(asked())
    assert [(one.model, one.status, one.reason) for one in explanation.event.attempts] == [
        ("main", "skipped", "open"),
        ("other", "ok", None),
    ]
    assert explanation.breakers is not None
    assert explanation.breakers["main"].status == "open"
    assert explanation.warnings is not None
    assert any("v0" in warning for warning in explanation.warnings)


def test_standing_tells_what_can_be_asked_and_what_is_open(project: Sample) -> None:
    project.registry["policies"] = {"breaker": {"failures": 1}}
    project.write()
    project.providers["main"].default = Reply(status=503)

    async def stood() -> list[Any]:
        async with project.gateway() as gateway:
            before = await gateway.standing()
            for _ in range(2):
                await gateway.complete("chat", HELLO)
            return [before, await gateway.standing()]

    before, after = asyncio.run(stood())
    assert (before.features, before.models) == ({"chat"}, {"main", "other", "small"})
    assert (before.release, before.candidate, before.warnings, before.troubles) == ("v1", None, (), {})
    assert (before.open_breakers, after.open_breakers) == ((), ("main",))
    assert (before.is_warm, after.is_warm) == (False, True)
    assert (after.held_event_count, after.dropped_event_count) == (0, 0)


def test_a_call_that_is_too_long_or_too_dear_is_an_event_too(project: Sample) -> None:
    project.feature(budget={"prompt_tokens": 20})
    with pytest.raises(BudgetError):
        ask(project, variables={"text": "many words " * 50})
    assert project.requests == {}
    (event,) = project.calls
    assert (event.error_class, event.attempts, event.provider) == ("BudgetError", (), None)


# --- caches ---


def kept(project: Sample, *calls: dict[str, Any]) -> list[str]:
    """Make calls one after the other; give their cache verdicts."""

    async def asked() -> list[str]:
        verdicts = []
        async with project.gateway() as gateway:
            for call in calls:
                try:
                    verdicts.append((await gateway.complete(**{"feature": "chat", "variables": HELLO, **call})).cache)
                except FlowaiError as error:
                    verdicts.append(type(error).__name__)
        return verdicts

    return asyncio.run(asked())


def test_a_hundred_identical_calls_at_once_ask_once(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    project.providers["main"].default = Reply(text="one for all", delay_s=0.2)

    async def asked() -> list[Answer]:
        async with project.gateway() as gateway:
            return await asyncio.gather(*(gateway.complete("chat", HELLO, user=f"u{at}") for at in range(100)))

    answers = asyncio.run(asked())
    assert {answer.text for answer in answers} == {"one for all"}
    assert len({answer.call_id for answer in answers}) == 100
    assert sorted(answer.cache for answer in answers) == ["exact"] * 99 + ["miss"]
    assert sum(answer.cost_usd or 0 for answer in answers) == max(answer.cost_usd or 0 for answer in answers)
    assert project.requests == {"main": 1}
    assert len(project.calls) == 100


def test_the_leader_may_leave_while_others_wait(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    project.providers["main"].default = Reply(text="one for all", delay_s=0.3)

    async def asked() -> list[Answer]:
        async with project.gateway() as gateway:
            await gateway.warm_up()
            leader = asyncio.create_task(gateway.complete("chat", HELLO))
            await asyncio.sleep(0)
            others = [asyncio.create_task(gateway.complete("chat", HELLO)) for _ in range(5)]
            while not project.requests:
                await asyncio.sleep(0.01)
            leader.cancel()
            return await asyncio.gather(*others)

    assert {answer.text for answer in asyncio.run(asked())} == {"one for all"}
    assert project.requests == {"main": 1}


def test_only_the_same_question_of_the_same_tenant_is_a_hit(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    project.feature("chat2", **project.registry["features"]["chat"])
    project.registry["releases"]["v1"]["chat2"] = project.registry["releases"]["v1"]["chat"]
    project.write()
    assert kept(
        project,
        {},
        {},
        {"tenant": "acme"},
        {"tenant": "acme"},
        {"tenant": "other"},
        {"variables": {"text": "hello there!"}},
        {"params": {"top_p": 0.5}},
        {"feature": "chat2"},
        {"variables": None, "messages": RAW},
        {"use_cache": False},
        {"user": "bob", "session": "s9"},
    ) == ["miss", "exact", "miss", "exact", *["miss"] * 6, "exact"]


def test_a_new_prompt_hash_or_model_is_a_miss(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    assert kept(project, {}, {}) == ["miss", "exact"]
    text = (project.root / "prompts/hello_v1.prompt").read_text()
    project.write("prompts/hello_v1.prompt", text.replace("v1", "v1 again"))
    assert kept(project, {}, {}) == ["miss", "exact"]
    project.registry["releases"]["v2"] = {"extends": "v1", "chat": {"model": "other"}}
    project.registry["current"] = "v2"
    project.write()
    assert kept(project, {}, {}) == ["miss", "exact"]


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (Reply(text="cut", finish_reason="length"), "miss"),
        (Reply(status=503), "miss"),  # the fallback answers
        (Reply(text="filtered", finish_reason="content_filter"), "ContentFilteredError"),
        (Reply(status=400), "InvalidRequestError"),
    ],
)
def test_what_is_no_whole_answer_of_the_model_asked_is_not_kept(project: Sample, reply: Reply, verdict: str) -> None:
    project.feature(cache={"kind": "exact"})
    project.providers["main"].default = reply
    assert kept(project, {}, {}) == [verdict, verdict]
    project.providers["other"].default = Reply(status=503)
    if reply.status == 503:
        assert kept(project, {}) == ["miss"], "nor is a degraded one"
        assert project.calls[-1].degraded


def test_invalid_json_is_not_kept(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    project.providers["main"].script(Reply(text='{"a'), Reply(text='{"a": 1}'))
    wish = {"variables": None, "messages": RAW, "response_format": {"type": "json_object"}}
    assert kept(project, wish, wish, wish) == ["miss", "miss", "exact"]


def test_answers_that_a_model_would_vary_are_kept_only_where_the_feature_says_so(project: Sample) -> None:
    binding = project.registry["releases"]["v1"]["chat"]
    for params in ({"temperature": 0.7}, {}):
        binding["params"] = params
        for any_temperature, verdict in ((False, "miss"), (True, "exact")):
            project.feature(cache={"kind": "exact", "any_temperature": any_temperature})
            tenant = f"{params} {any_temperature}"
            assert kept(project, {"tenant": tenant}, {"tenant": tenant}) == ["miss", verdict]


def test_a_call_without_the_cache_neither_finds_nor_keeps(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    assert kept(project, {"use_cache": False}, {}, {"use_cache": False}, {}) == ["miss", "miss", "miss", "exact"]


def test_a_cache_that_cannot_be_used_fails_no_call(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    (project.root / ".flowai").mkdir()
    (project.root / ".flowai" / "cache").write_text("no directory")

    async def asked() -> Any:
        async with project.gateway() as gateway:
            for _ in range(2):
                assert (await gateway.complete("chat", HELLO)).cache == "miss"
            return await gateway.standing()

    assert list(asyncio.run(asked()).troubles) == ["cache_failing"]


# --- a gateway's life ---


def test_a_gateway_needs_no_with_block_but_may_be_closed_twice(project: Sample) -> None:
    async def used() -> None:
        gateway = project.gateway()
        assert (await gateway.complete("chat", HELLO)).text == "main says hello"
        await gateway.aclose()
        await gateway.aclose()

    asyncio.run(used())
    assert len(project.calls) == 1


def test_a_closed_gateway_says_so_until_it_is_opened_again(project: Sample) -> None:
    async def used() -> None:
        gateway = project.gateway()
        async with gateway:
            answer = await gateway.complete("chat", HELLO)
        for use in (
            gateway.complete("chat", HELLO),
            gathered(gateway.stream("chat", HELLO)),
            gateway.embed("main", ["a"]),
            gateway.feedback(answer.call_id, verdict="saved"),
            gateway.standing(),
        ):
            with pytest.raises(UsageError, match="closed"):
                await use
        async with gateway:
            assert (await gateway.complete("chat", HELLO)).text == "main says hello"

    asyncio.run(used())
    assert len(project.calls) == 2
    assert project.requests == {"main": 2}


def test_one_gateway_serves_one_event_loop_after_another(project: Sample) -> None:
    gateway = project.gateway()

    async def used() -> None:
        async with gateway:
            await asyncio.gather(*(gateway.complete("chat", HELLO) for _ in range(3)))

    for _ in range(3):
        asyncio.run(used())
    assert project.requests == {"main": 9}


def test_two_gateways_of_one_process_do_not_meet(project: Sample, tmp_path_factory: pytest.TempPathFactory) -> None:
    with sample(tmp_path_factory.mktemp("second")) as second:
        second.providers["main"].default = Reply(text="second")

        async def used() -> list[str]:
            async with project.gateway() as one, second.gateway() as two:
                first = await asyncio.gather(one.complete("chat", HELLO), two.complete("chat", HELLO))
                await two.aclose()
                return [*(answer.text for answer in first), (await one.complete("chat", HELLO)).text]

        assert asyncio.run(used()) == ["main says hello", "second", "main says hello"]
        assert (len(project.calls), len(second.calls)) == (2, 1)


def test_many_first_calls_at_once_open_the_project_once(project: Sample) -> None:
    async def used() -> set[str]:
        gateway = project.gateway()
        await asyncio.gather(*(gateway.complete("chat", HELLO) for _ in range(20)))
        await gateway.aclose()
        return {str(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    left = asyncio.run(used())
    assert not [task for task in left if "LoggingWorker" not in task], "LiteLLM keeps one task of its own per loop"
    assert len(list((project.root / ".flowai" / "events").rglob("*.jsonl"))) == 1


def test_nothing_stays_open_when_it_is_closed(project: Sample) -> None:
    ask(project)  # what LiteLLM itself keeps is there from now on
    before = open_descriptors()
    project.feature(cache={"kind": "exact"})

    async def used() -> None:
        async with project.gateway() as gateway:
            await asyncio.gather(*(gateway.complete("chat", {"text": str(at)}) for at in range(5)))
            await gathered(gateway.stream("chat", HELLO))

    asyncio.run(used())
    assert open_descriptors() == before


@pytest.mark.parametrize("way", ["complete", "stream"])
def test_a_close_ends_what_is_under_way(project: Sample, way: str) -> None:
    project.providers["main"].default = Reply(fault="stall")

    async def used() -> BaseException | None:
        async with project.gateway() as gateway:
            await gateway.warm_up()
            work = gateway.complete("chat", HELLO) if way == "complete" else gathered(gateway.stream("chat", HELLO))
            call = asyncio.ensure_future(work)
            while not project.requests:
                await asyncio.sleep(0.01)
        (result,) = await asyncio.gather(call, return_exceptions=True)
        return result if isinstance(result, BaseException) else None

    before = open_descriptors()
    error = asyncio.run(used())
    assert isinstance(error, UsageError)
    assert "closed" in str(error)
    assert project.requests == {"main": 1}, "nobody else is asked"
    (event,) = project.calls
    assert event.error_class == "UsageError"
    assert open_descriptors() <= before


def test_a_gateway_that_nobody_closes_is_closed_with_its_event_loop(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    ask(project)
    before = open_descriptors()
    gateway = project.gateway()
    for at in range(3):
        assert asyncio.run(gateway.complete("chat", {"text": str(at)})).text == "main says hello"
    assert open_descriptors() == before
    assert len(project.calls) == 4


def test_a_gateway_belongs_to_one_event_loop(project: Sample) -> None:
    async def used() -> None:
        async with project.gateway() as gateway:
            elsewhere = asyncio.to_thread(asyncio.run, gateway.complete("chat", HELLO))
            with pytest.raises(UsageError, match="another event loop"):
                await elsewhere
            assert (await gateway.complete("chat", HELLO)).text == "main says hello"

    asyncio.run(used())


def test_a_stream_that_is_left_open_ends_with_its_gateway(project: Sample) -> None:
    project.providers["main"].default = Reply(text="some words", fault="stall")

    async def used() -> None:
        gateway = project.gateway()
        items = gateway.stream("chat", HELLO)
        assert isinstance(await anext(items), Started)
        await gateway.aclose()
        with pytest.raises(UsageError, match="closed"):
            await anext(items)

    asyncio.run(used())
