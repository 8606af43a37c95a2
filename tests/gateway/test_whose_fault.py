"""No caller's mistake costs another caller anything: what a breaker counts, and what proves that a provider is well."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from support.fallback_scenario import World, candidate, fails, said
from support.gateway_projects import HELLO, Sample
from support.scripted_replies import Reply

from flowai.errors import (
    AllModelsFailedError,
    AuthError,
    CallError,
    InvalidMessagesError,
    InvalidRequestError,
    MalformedAnswerError,
    PromptError,
    RateLimitedError,
    ServerError,
    TimedOutError,
)
from flowai.gateway.routing.attempts import AttemptSuccess
from flowai.state import BreakerRule

if TYPE_CHECKING:
    from flowai.gateway.records import CompletionResult
    from flowai.providers import Completion

A, B = candidate("a"), candidate("b")
MANY = 20
CALL = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at": "the s'}}


def no_fault(kind: type[CallError], **facts: Any) -> CallError:
    error = fails(kind, **facts)
    error.is_provider_fault = False
    return error


def breakers(world: World) -> set[str]:
    return set(asyncio.run(world.state.shared("")).breakers)


NO_FAULTS: dict[str, CallError | Completion] = {
    "an answer longer than the deadline": no_fault(TimedOutError),
    "an answer without a word": said("", A.endpoint),
    "a tool call that is not JSON": said("", A.endpoint, finish_reason="tool_calls", tool_calls=(CALL,)),
    "a malformed function call": said("so", A.endpoint, finish_reason="MALFORMED_FUNCTION_CALL"),
    "a 400 as a web page": no_fault(ServerError, status=400),
    "a request that is too large": fails(InvalidRequestError, status=413),
}


@pytest.mark.parametrize("case", NO_FAULTS)
def test_a_failure_that_the_request_explains_never_counts(case: str) -> None:
    world = World()
    world.models.will("a", NO_FAULTS[case])
    world.models.will("b", "good")
    for _ in range(MANY):
        assert world.complete(A, B).completion.text == "good"
    assert world.models.asked_names == ["a", "b"] * MANY
    assert breakers(world) == set()


LIMITS: dict[str, tuple[Completion, dict[str, Any]]] = {
    "a token limit": (said("", A.endpoint, finish_reason="length"), {}),
    "another word for it": (said("", A.endpoint, finish_reason="MAX_TOKENS"), {}),
    "a stop sequence": (said("", A.endpoint), {"stop": ["H"]}),
    "stop sequences": (said(" ", A.endpoint, finish_reason="stop_sequence"), {"stop_sequences": ["H"]}),
    "a tool call at the token limit": (said("", A.endpoint, finish_reason="length", tool_calls=(CALL,)), {}),
}


@pytest.mark.parametrize("way", ["complete", "stream"])
@pytest.mark.parametrize("case", LIMITS)
def test_an_answer_that_the_caller_s_limits_cut_is_an_answer(case: str, way: str) -> None:
    answer, params = LIMITS[case]
    world = World()
    world.models.will("a", answer)
    item = world.complete(A, B, params=params) if way == "complete" else world.stream(A, B, params=params)[-1]
    assert isinstance(item, AttemptSuccess)
    assert item.completion.finish_reason in {"length", "stop"}
    assert item.completion.tool_calls == answer.tool_calls
    assert world.said == ["a:ok"]


@pytest.mark.parametrize("reason", ["server_error", "canceled", "time_limit"])
def test_an_answer_that_the_provider_broke_off_counts(reason: str) -> None:
    world = World()
    world.models.will("a", said("half", A.endpoint, finish_reason=reason))
    world.models.will("b", "good")
    for _ in range(7):
        assert world.complete(A, B).completion.text == "good"
    assert world.said == ["a:open", "b:ok"]


def test_silence_counts_unless_earlier_models_used_up_the_time() -> None:
    world = World()
    world.models.will("a", fails(MalformedAnswerError))
    world.models.takes_s = {"a": 25.0}
    for _ in range(MANY):
        world.models.will("b", fails(TimedOutError))
        with pytest.raises(CallError):
            world.complete(A, B, first_token_s=10.0, total_s=30.0)
        world.clock.now_s += 60.0  # a's breaker stays closed
    assert world.models.asked_names.count("b") == MANY, "it never had the time that a model may be silent"
    for _ in range(6):
        world.models.will("b", fails(TimedOutError))
        with pytest.raises(TimedOutError):
            world.complete(B, first_token_s=10.0, total_s=30.0)
    with pytest.raises(AllModelsFailedError):
        world.complete(B)
    assert world.said == ["b:open"]


@pytest.mark.parametrize("status", [413, 429, 501])
def test_what_this_provider_refuses_another_may_take(status: int) -> None:
    world, refusal = World(), fails(InvalidRequestError, status=status)
    world.models.will("a", refusal)
    world.models.will("b", "good")
    assert world.complete(A, B).completion.text == "good"
    world.models.will("b", refusal)
    with pytest.raises(InvalidRequestError):
        world.complete(A, B)


@pytest.mark.parametrize("status", [400, 405, 415, 422, None])
def test_a_request_that_is_wrong_goes_to_no_other_model(status: int | None) -> None:
    world = World()
    world.models.will("a", fails(InvalidRequestError, status=status))
    world.models.will("b", "good")
    with pytest.raises(InvalidRequestError):
        world.complete(A, B)
    assert world.said == ["a:InvalidRequestError"]


def test_an_empty_account_calls_a_person_and_no_other_model_of_the_account() -> None:
    error = fails(AuthError, status=402)
    assert isinstance(error, AuthError)
    error.is_out_of_credit = True
    world = World()
    world.models.will("a", error)
    world.models.will("c", "good")
    chain = candidate("a", provider="p"), candidate("b", provider="p"), candidate("c", provider="q")
    assert world.complete(*chain).completion.text == "good"
    assert world.said == ["a:AuthError", "b:same_provider", "c:ok"]
    assert [cause for cause, _ in world.fallback.alerts] == ["credit"]


@pytest.mark.parametrize(
    ("error", "next_model"), [(no_fault(TimedOutError), "b:ok"), (no_fault(AuthError, status=400), "b:same_provider")]
)
def test_a_short_limit_says_nothing_of_the_provider_and_a_wrong_key_does(error: CallError, next_model: str) -> None:
    world = World()
    world.models.will("a", error)
    world.models.will("b", "good")
    world.models.will("c", "good")
    world.complete(candidate("a", provider="p"), candidate("b", provider="p"), candidate("c", provider="q"))
    assert world.said[1] == next_model


def test_a_back_off_is_the_model_s_and_its_siblings_are_called() -> None:
    world = World()
    world.models.will("a", fails(RateLimitedError, status=429, retry_after_s=60.0))
    world.models.will("b", "good")
    chain = candidate("a", provider="p"), candidate("b", provider="p")
    for _ in range(2):
        assert world.complete(*chain).completion.text == "good"
    assert world.said == ["a:backing_off", "b:ok"]


def test_a_retry_after_of_zero_is_the_ordinary_backoff() -> None:
    world = World()
    world.models.will("a", fails(RateLimitedError, status=429, retry_after_s=0.0), "good")
    assert world.complete(A).completion.text == "good"
    assert world.clock.waits_s[0] > 0.01
    world.models.will("a", fails(RateLimitedError, status=429, retry_after_s=0.0))
    with pytest.raises(AllModelsFailedError) as caught:
        world.complete(A)
    assert caught.value.retry_after_s is None


# --- probes ---


def opened() -> World:
    world = World(rule=BreakerRule(open_s=15, max_open_s=300))
    world.models.will("a", fails(ServerError, status=500))
    world.models.will("b", "good")
    for _ in range(6):
        world.complete(A, B)
    world.clock.now_s += 15.0
    return world


@pytest.mark.parametrize(
    "case", ["an answer longer than the deadline", "an answer without a word", "a request that is too large"]
)
def test_a_probe_that_shows_a_working_provider_closes_the_breaker(case: str) -> None:
    world = opened()
    world.models.will("a", NO_FAULTS[case])
    world.complete(A, B)
    assert breakers(world) == set()


def test_a_probe_that_gets_a_web_page_proves_nothing() -> None:
    world = opened()
    world.models.will("a", NO_FAULTS["a 400 as a web page"])
    for _ in range(2):
        world.complete(A, B)
        assert world.said == ["a:ServerError", "b:ok"], "each call probes, until one knows"
        assert breakers(world) == {"a"}


@pytest.mark.parametrize("calls_per_s", [1, 20])
@pytest.mark.parametrize("outage_s", [20, 45, 60])
def test_a_primary_that_was_down_for_a_minute_serves_within_30_s_of_its_recovery(
    outage_s: int, calls_per_s: int
) -> None:
    world = World(rule=BreakerRule(open_s=15, max_open_s=300))
    world.models.will("b", "backup")
    began_s = world.clock.now_s
    while True:
        is_down = world.clock.now_s - began_s < outage_s
        world.models.will("a", fails(ServerError) if is_down else "primary")
        if world.complete(A, B).completion.text == "primary":
            break
        world.clock.now_s += 1 / calls_per_s
    assert world.clock.now_s - began_s - outage_s <= 30
    assert world.models.asked_names.count("a") <= 6 + 4, "six failures, then probes only"


def test_after_a_long_outage_probes_are_five_minutes_apart() -> None:
    world = World(rule=BreakerRule(open_s=15, max_open_s=300))
    world.models.will("a", fails(ServerError))
    world.models.will("b", "backup")
    asked_s: list[float] = []
    began_s = world.clock.now_s
    while world.clock.now_s - began_s < 3600:
        before = world.models.asked_names.count("a")
        world.complete(A, B)
        if world.models.asked_names.count("a") > before:
            asked_s.append(world.clock.now_s - began_s)
        world.clock.now_s += 1.0
    probes_s = asked_s[6:]
    assert [round(at_s - asked_s[5]) for at_s in probes_s[:6]] == [15, 30, 60, 120, 240, 480]
    assert {round(later - earlier) for earlier, later in pairwise(probes_s[5:])} == {300}


# --- answers ---


def test_tool_calls_with_empty_arguments_are_completed() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": ""}}
    world = World()
    world.models.will("a", said("", A.endpoint, finish_reason="tool_calls", tool_calls=(call,)))
    (found,) = world.complete(A).completion.tool_calls
    assert found["function"] == {"name": "look", "arguments": "{}"}
    world.models.will("a", said("", A.endpoint, finish_reason="tool_calls"))
    with pytest.raises(AllModelsFailedError, match="MalformedAnswerError"):
        world.complete(A)


def test_an_unknown_finish_reason_is_in_the_event_and_not_in_the_cache(project: Sample) -> None:
    project.feature(cache={"kind": "exact"})
    project.providers["main"].default = Reply(text="one for all", finish_reason="galaxy")

    async def asked() -> list[tuple[str, str | None]]:
        async with project.gateway() as gateway:
            answers = [await gateway.complete("chat", HELLO) for _ in range(2)]
            return [(answer.cache, answer.finish_reason) for answer in answers]

    assert asyncio.run(asked()) == [("miss", "galaxy")] * 2
    assert [event.finish_reason for event in project.calls] == ["galaxy"] * 2


def test_answers_longer_than_their_deadline_shut_no_other_caller_out(project: Sample) -> None:
    project.registry["features"]["chat"].pop("degrade", None)
    project.feature(cache={"kind": "none"}, fallback=[], timeout={"first_token": "2s", "total": "3s"})
    project.providers["main"].default = Reply(fault="endless")

    async def asked() -> tuple[list[CompletionResult | BaseException], str]:
        async with project.gateway() as gateway:
            await gateway.warm_up()
            long = [gateway.complete("chat", HELLO, tenant="long") for _ in range(8)]
            failures = await asyncio.gather(*long, return_exceptions=True)
            project.providers["main"].default = Reply(text="well")
            return failures, (await gateway.complete("chat", HELLO, tenant="other")).text

    failures, text = asyncio.run(asked())
    assert {type(failure) for failure in failures} == {TimedOutError}
    assert text == "well"


def unsent() -> CallError:
    error = fails(InvalidRequestError)
    error.is_provider_fault = error.was_tried = False
    return error


def test_a_request_that_was_never_sent_is_not_counted_not_repeated_and_asks_no_other_model() -> None:
    world = World()
    world.models.will("a", unsent())
    world.models.will("b", "good")
    for _ in range(MANY):
        with pytest.raises(InvalidRequestError):
            world.complete(A, B)
        (attempt,) = world.fallback.attempts
        assert (attempt.model, attempt.status, attempt.was_tried) == ("a", "error", False)
    assert world.models.asked_names == ["a"] * MANY
    assert breakers(world) == set()


def test_a_fallback_that_cannot_take_the_request_leaves_it_to_the_next() -> None:
    world = World()
    world.models.will("a", fails(ServerError, status=500))
    world.models.will("b", unsent())
    world.models.will("c", "good")
    assert world.complete(A, B, candidate("c")).completion.text == "good"
    assert [attempt.was_tried for attempt in world.fallback.attempts] == [True, False, True]
    assert breakers(world) == {"a"}


def test_a_skipped_model_was_not_tried() -> None:
    world = World()
    world.models.will("a", fails(AuthError, status=401))
    world.models.will("c", "good")
    chain = candidate("a", provider="p"), candidate("b", provider="p"), candidate("c", provider="q")
    assert world.complete(*chain).completion.text == "good"
    assert [attempt.was_tried for attempt in world.fallback.attempts] == [True, None, True]


# --- bodies with mistakes, from the library ---

INVALID_MESSAGES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"role": "user", "content": [{"type": "input_text", "text": "x"}]}, "messages.0.content.0.type"),
    ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}, "image_url.url"),
    ({"role": "tool", "content": "x"}, "messages.0.tool_call_id"),
    ({"role": "assistant", "content": None}, "messages.0"),
)


@pytest.mark.parametrize(("message", "place"), INVALID_MESSAGES)
def test_messages_that_no_model_can_get_are_refused_before_any(
    project: Sample, message: dict[str, Any], place: str
) -> None:
    async def asked() -> None:
        async with project.gateway() as gateway:
            for _ in range(MANY):
                with pytest.raises(InvalidMessagesError) as caught:
                    await gateway.complete("chat", messages=[message])
                assert caught.value.param.endswith(place)
            assert (await gateway.complete("chat", HELLO)).model == "main"
            assert (await gateway.status()).open_breakers == ()

    asyncio.run(asked())
    assert project.requests == {"main": 1}
    assert [call.error_class for call in project.calls] == [None]


def test_a_prompt_with_an_address_that_cannot_be_sent_is_refused_before_any_model(project: Sample) -> None:
    text = '---\ninput: {schema: {text: string}}\n---\n{{role "user"}}{{media url=text}}\n'
    project.write("prompts/hello_v1.prompt", text)
    with pytest.raises(PromptError, match=r"messages\.0\.content\.0\.image_url\.url"):
        project.ask(variables={"text": "file:///etc/passwd"})
    assert project.ask(variables={"text": "https://images.invalid/a.png"}).model == "main"
    assert project.requests == {"main": 1}
