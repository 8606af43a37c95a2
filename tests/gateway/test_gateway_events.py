"""What the log says of a call, what its user makes of it, and what a gateway tells about itself."""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, KEY, Sample, until
from support.scripted_replies import Reply

from flowai.errors import (
    AllModelsFailedError,
    BudgetError,
    CallNotFoundError,
    InvalidRequestError,
    UsageError,
)
from flowai.gateway.call_event import user_hash
from flowai.gateway.gateway import Gateway

if TYPE_CHECKING:
    from flowai.gateway.records import CompletionResult, Explanation


# --- the event ---


def test_the_event_of_a_miss_has_every_field(project: Sample) -> None:
    answer = project.ask(user="ann", tenant="acme", session="s1")
    (event,) = project.calls
    assert event.call_id == answer.call_id
    assert event.origin == "library"
    assert event.tenant == "acme"
    assert event.session == "s1"
    assert event.user_hash == user_hash("ann")
    assert event.user_hash != "ann"
    assert event.caller_hash is None, "calls from Python come from trusted code"
    assert event.feature == "chat"
    assert event.release == "v1"
    assert event.variant is None
    assert event.experiment is None
    assert event.arm is None
    assert event.is_sticky is False, "nothing was assigned"
    assert event.prompt_id == "prompts/hello_v1"
    assert re.fullmatch("[0-9a-f]{64}", event.prompt_hash or "")
    assert event.requested_model == "main"
    assert event.served_model == "main-1"
    assert event.provider == "main"
    (attempt,) = event.attempts
    assert attempt.model == "main"
    assert attempt.provider == "main"
    assert attempt.status == "ok"
    assert attempt.reason is None
    assert attempt.error_class is None
    assert event.degraded is False
    assert event.cache == "miss"
    assert event.similarity is None
    same = ("input_tokens", "output_tokens", "cost_usd", "finish_reason", "json_valid", "latency_ms")
    assert {name: getattr(event, name) for name in same} == {name: getattr(answer, name) for name in same}
    assert event.ttft_ms is not None
    assert event.error_class is None
    assert event.error_message is None
    assert event.content is None


def test_the_event_of_a_hit_has_no_cost_and_no_attempts(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})

    async def asked() -> list[CompletionResult]:
        async with project.gateway() as gateway:
            return [await gateway.complete("chat", HELLO, user=user) for user in ("ann", "bob")]

    first, second = asyncio.run(asked())
    assert first.cache == "miss"
    assert second.cache == "exact"
    assert second.text == "main says hello"
    assert second.cost_usd == 0.0
    assert second.ttft_ms is None
    assert second.model == "main"
    assert second.served_model == "main-1"
    assert second.input_tokens == 10
    assert second.output_tokens == 2
    event = project.calls[1]
    assert event.cache == "exact"
    assert event.attempts == ()
    assert event.cost_usd == 0.0
    assert event.ttft_ms is None
    assert event.requested_model == "main"
    assert event.served_model == "main-1"
    assert event.provider == "main"
    assert event.user_hash == user_hash("bob")
    assert project.requests == {"main": 1}


def test_a_degraded_answer_is_flagged_with_its_disclaimer_and_model(project: Sample) -> None:
    for name in ("main", "other"):
        project.providers[name].default = Reply(status=503)
    answer = project.ask()
    assert answer.degraded is True
    assert answer.disclaimer == "in short"
    assert answer.model == "small"
    assert answer.provider == "small"
    (event,) = project.calls
    assert event.degraded is True
    assert event.requested_model == "main"
    assert event.served_model == "small-1"
    assert event.provider == "small"
    assert [(one.model, one.status, one.error_class, one.http_status) for one in event.attempts] == [
        ("main", "error", "ServerError", 503),
        ("other", "error", "ServerError", 503),
        ("small", "ok", None, None),
    ]
    assert event.error_class is None


def test_the_event_of_a_failure_names_the_error_and_the_last_provider(project: Sample) -> None:
    for provider in project.providers.values():
        provider.default = Reply(status=503)
    with pytest.raises(AllModelsFailedError) as failed:
        project.ask()
    assert all(name in str(failed.value) for name in ("main", "other", "small"))
    assert KEY not in str(failed.value)
    (event,) = project.calls
    assert event.error_class == "AllModelsFailedError"
    assert event.provider == "small"
    assert event.served_model is None
    assert event.finish_reason is None
    assert event.error_message == str(failed.value)
    assert event.cost_usd is None
    assert event.input_tokens is None
    assert {attempt.model for attempt in event.attempts} == {"main", "other", "small"}


def test_a_caller_error_is_passed_on_unchanged(project: Sample) -> None:
    project.providers["main"].default = Reply(status=400)
    with pytest.raises(InvalidRequestError) as failed:
        project.ask()
    assert failed.value.status == 400
    assert project.requests == {"main": 1}
    assert project.calls[0].error_class == "InvalidRequestError"


def test_the_time_to_first_token_includes_failed_attempts(project: Sample) -> None:
    project.providers["main"].default = Reply(status=503, delay_s=0.2)
    project.ask()
    (event,) = project.calls
    assert event.attempts[1].at_ms is not None
    assert event.ttft_ms is not None
    assert event.latency_ms >= event.ttft_ms >= event.attempts[1].at_ms >= 200


def test_the_event_of_a_cancelled_call_is_cancelled(project: Sample) -> None:
    project.providers["main"].default = Reply(fault="silent")

    async def left() -> None:
        async with project.gateway() as gateway:
            await gateway.warm_up()
            call = asyncio.create_task(gateway.complete("chat", HELLO))
            await until(lambda: project.requests)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(left())
    (event,) = project.calls
    assert event.error_class == "Cancelled"
    assert event.provider == "main"
    assert event.cost_usd is None
    assert [(attempt.status, attempt.error_class) for attempt in event.attempts] == [("error", "Cancelled")]
    assert project.requests == {"main": 1}


@pytest.mark.parametrize("log_content", ["none", "redacted"])
def test_content_is_logged_only_with_log_content_and_without_secrets(project: Sample, log_content: str) -> None:
    secret = "sk-ant-api03-" + "Zx9" * 10
    project.feature(log_content=log_content)
    project.providers["main"].default = Reply(text=f"you said {secret} and {KEY}")
    answer = project.ask(variables={"text": f"my key is {secret}"}, user="ann@example.org")
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


def test_the_content_of_a_failed_call_is_its_request(project: Sample) -> None:
    project.feature(log_content="redacted", fallback=[], degrade=None)
    project.providers["main"].default = Reply(status=400)
    with pytest.raises(InvalidRequestError):
        project.ask()
    content = project.calls[0].content
    assert content is not None
    assert content.output is None
    assert "hello there" in content.messages[-1]["content"]


def test_events_have_the_gateway_s_origin(project: Sample) -> None:
    async def asked() -> None:
        async with Gateway(project.root, origin="serve", settings=project.settings()) as gateway:
            answer = await gateway.complete("chat", HELLO)
            await gateway.feedback(answer.call_id, verdict="accepted")

    asyncio.run(asked())
    assert project.calls[0].origin == "serve"
    assert project.feedback[0].origin == "serve"


# --- feedback, explanations, standing ---


def test_feedback_has_the_call_s_fields(project: Sample) -> None:
    project.feature(log_content="redacted")

    async def asked() -> CompletionResult:
        async with project.gateway() as gateway:
            answer = await gateway.complete("chat", HELLO, user="ann", tenant="acme")
            await gateway.feedback(answer.call_id, verdict="edited", text=f"better, with {KEY}")
            await gateway.feedback(answer.call_id, verdict="saved", user="bob")
            await gateway.feedback("of another time", verdict="thumbs_down")
            return answer

    answer = asyncio.run(asked())
    edited, saved, unknown = project.feedback
    assert edited.call_id == answer.call_id
    assert edited.verdict == "edited"
    assert edited.tenant == "acme"
    assert edited.feature == "chat"
    assert edited.release == "v1"
    assert edited.text is not None
    assert edited.text.startswith("better, with ")
    assert KEY not in edited.text
    assert edited.user_hash == user_hash("ann")
    assert saved.user_hash == user_hash("bob")
    assert unknown.call_id == "of another time"
    assert unknown.feature is None
    assert unknown.release is None


def test_feedback_on_an_unknown_call_is_refused_on_request(project: Sample) -> None:
    async def asked() -> None:
        async with project.gateway() as gateway:
            answer = await gateway.complete("chat", HELLO)
            await gateway.feedback(answer.call_id, verdict="saved", must_exist=True)
            with pytest.raises(CallNotFoundError, match="no call `another`"):
                await gateway.feedback("another", verdict="saved", must_exist=True)

    asyncio.run(asked())
    assert [event.verdict for event in project.feedback] == ["saved"]


def test_an_edited_text_is_logged_only_with_log_content(project: Sample) -> None:
    async def asked() -> None:
        async with project.gateway() as gateway:
            answer = await gateway.complete("chat", HELLO)
            await gateway.feedback(answer.call_id, verdict="edited", text="better")
            for verdict, text in (("edited", None), ("accepted", "better")):
                with pytest.raises(UsageError, match="`text` and the verdict `edited` require each other"):
                    await gateway.feedback(answer.call_id, verdict=verdict, text=text)  # type: ignore[arg-type]

    asyncio.run(asked())
    assert [(event.verdict, event.text) for event in project.feedback] == [("edited", None)]


def test_feedback_finds_calls_of_another_process(project: Sample) -> None:
    answer = project.ask(tenant="acme")

    async def said() -> Explanation:
        async with project.gateway() as gateway:
            await gateway.feedback(answer.call_id, verdict="saved")
            return await gateway.explain(answer.call_id)

    explanation = asyncio.run(said())
    assert project.feedback[0].tenant == "acme"
    assert project.feedback[0].release == "v1"
    assert explanation.event.call_id == answer.call_id
    assert explanation.breakers is None


def test_an_explanation_has_attempts_breakers_and_skipped_pins(project: Sample) -> None:
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


def test_the_status_has_the_models_that_cannot_be_called(project: Sample) -> None:
    project.registry["models"]["small"] = {"model": "local/small", "file": "models/none.gguf"}
    project.registry["models"]["other"]["api_key"] = "${NOT_SET}"
    project.registry["models"]["unused"] = {"model": "local/unused", "file": "models/none.gguf"}
    project.write()

    async def stood() -> dict[str, str]:
        async with project.gateway() as gateway:
            assert (await gateway.complete("chat", HELLO)).model == "main"
            return dict((await gateway.status()).unavailable_models)

    assert asyncio.run(stood()) == {
        "other": "registry.yaml:1: models.other: model `other` needs the variable `NOT_SET`, which is not set",
        "small": "registry.yaml:1: models.small: model `small`: no file `models/none.gguf`",
    }


def test_the_status_has_features_and_open_breakers(project: Sample) -> None:
    project.registry["policies"] = {"breaker": {"failures": 1}}
    project.write()
    project.providers["main"].default = Reply(status=503)

    async def stood() -> list[Any]:
        async with project.gateway() as gateway:
            before = await gateway.status()
            for _ in range(2):
                await gateway.complete("chat", HELLO)
            return [before, await gateway.status()]

    before, after = asyncio.run(stood())
    assert before.features == {"chat"}
    assert before.models == {"main", "other", "small"}
    assert before.release == "v1"
    assert before.candidate is None
    assert before.warnings == ()
    assert before.degraded == {}
    assert before.open_breakers == ()
    assert after.open_breakers == ("main",)
    assert before.is_warm is False
    assert after.is_warm is True
    assert after.held_event_count == 0
    assert after.dropped_event_count == 0


def test_a_budget_refusal_is_an_event(project: Sample) -> None:
    project.feature(budget={"prompt_tokens": 20})
    with pytest.raises(BudgetError):
        project.ask(variables={"text": "many words " * 50})
    assert project.requests == {}
    (event,) = project.calls
    assert event.error_class == "BudgetError"
    assert event.attempts == ()
    assert event.provider is None


def test_feedback_is_refused_for_another_tenant_on_request(project: Sample) -> None:
    other_process = project.ask(tenant="acme")

    async def asked() -> None:
        async with project.gateway() as gateway:
            own = await gateway.complete("chat", HELLO, tenant="acme")
            for call_id in (own.call_id, other_process.call_id):
                await gateway.feedback(call_id, verdict="saved", must_exist=True, tenant="acme")
                await gateway.score(call_id, name="tone", passed=True, must_exist=True, tenant="acme")
                for tenant in ("other", None):
                    with pytest.raises(CallNotFoundError, match=f"no call `{call_id}`"):
                        await gateway.feedback(call_id, verdict="saved", must_exist=True, tenant=tenant)
                    with pytest.raises(CallNotFoundError, match=f"no call `{call_id}`"):
                        await gateway.score(call_id, name="tone", passed=True, must_exist=True, tenant=tenant)

    asyncio.run(asked())
    assert len(project.feedback) == 2


def test_a_busy_thread_pool_delays_neither_reloads_nor_look_ups(project: Sample) -> None:
    answer = project.ask()
    go_on = threading.Event()

    async def asked() -> None:
        async with project.gateway() as gateway:
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
            blocked = asyncio.create_task(asyncio.to_thread(go_on.wait, 60))
            await asyncio.sleep(0)
            async with asyncio.timeout(30):
                await gateway.feedback(answer.call_id, verdict="saved", must_exist=True)
                await gateway.reload()
            assert not blocked.done()
            go_on.set()
            await blocked

    asyncio.run(asked())
