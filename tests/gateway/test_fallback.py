"""The chain's rules, failure by failure, on a clock that only waits move."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fallback_scenario import World, candidate, fails, said

from flowai.errors import (
    AllModelsFailedError,
    AuthError,
    CallError,
    ContentFilteredError,
    ContextTooLongError,
    InvalidRequestError,
    MalformedAnswerError,
    MissingKeyError,
    ModelNotFoundError,
    RateLimitedError,
    ServerError,
    TimedOutError,
    UnreachableError,
)
from flowai.providers import Chunk
from flowai.registry.records import Retry

if TYPE_CHECKING:
    from flowai.gateway.routing.attempts import AttemptSuccess, PlannedAttempt
    from flowai.providers import ChatMessage

PASSING = [RateLimitedError, ServerError, TimedOutError, UnreachableError, MalformedAnswerError]
A, B, C = candidate("a"), candidate("b"), candidate("c")


@pytest.mark.parametrize("kind", [*PASSING, AuthError, ModelNotFoundError])
def test_a_fallback_answers_at_once_without_a_wait(kind: type[CallError]) -> None:
    world = World()
    world.models.will("a", fails(kind))
    world.models.will("b", "good")
    assert world.complete(A, B).completion.text == "good"
    assert world.models.asked_names == ["a", "b"]
    assert world.clock.waits_s == []
    assert world.said == [f"a:{kind.__name__}", "b:ok"]


@pytest.mark.parametrize("kind", [InvalidRequestError, ContentFilteredError])
def test_caller_errors_use_no_fallback(kind: type[CallError]) -> None:
    world = World()
    world.models.will("a", fails(kind))
    world.models.will("b", "good")
    with pytest.raises(kind):
        world.complete(A, B)
    assert world.models.asked_names == ["a"]


def test_a_filtered_answer_falls_back_only_with_fallback_on_filtered() -> None:
    world = World()
    world.models.will("a", fails(ContentFilteredError))
    world.models.will("b", "good")
    assert world.complete(A, B, fallback_on_filtered=True).completion.text == "good"


def test_an_answer_cut_off_by_a_filter_is_no_answer() -> None:
    world = World()
    world.models.will("a", said("half of", A.endpoint, finish_reason="content_filter"))
    with pytest.raises(ContentFilteredError):
        world.complete(A, B)


def test_an_empty_answer_moves_on_but_a_tool_call_is_an_answer() -> None:
    world = World()
    world.models.will("a", said("  ", A.endpoint))
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    world.models.will("b", said("", B.endpoint, tool_calls=(call,)))
    assert world.complete(A, B).completion.tool_calls
    assert world.said == ["a:MalformedAnswerError", "b:ok"]


def test_a_context_that_is_too_small_needs_a_larger_one_and_never_the_same_request_again() -> None:
    small, same, large = (candidate(name, context_tokens=size) for name, size in (("a", 8), ("b", 8), ("c", 128)))
    world = World()
    world.models.will("a", fails(ContextTooLongError))
    world.models.will("c", "good")
    assert world.complete(small, same, large).completion.text == "good"
    assert world.said == ["a:ContextTooLongError", "b:too_small", "c:ok"]


def test_without_a_larger_context_the_error_is_the_caller_s() -> None:
    world = World()
    world.models.will("a", fails(ContextTooLongError))
    with pytest.raises(ContextTooLongError):
        world.complete(candidate("a", context_tokens=8), candidate("b", context_tokens=4))
    assert world.models.asked_names == ["a"]


@pytest.mark.parametrize("kind", [TimedOutError, UnreachableError, AuthError])
def test_after_a_timeout_or_key_error_models_of_the_same_provider_are_skipped(kind: type[CallError]) -> None:
    world = World()
    world.models.will("a", fails(kind))
    world.models.will("c", "good")
    siblings = candidate("a", provider="p"), candidate("b", provider="p"), candidate("c", provider="q")
    assert world.complete(*siblings).completion.text == "good"
    assert world.said == [f"a:{kind.__name__}", "b:same_provider", "c:ok"]


def test_a_wrong_key_and_a_retired_model_raise_alerts() -> None:
    world = World()
    world.models.will("a", fails(AuthError))
    world.models.will("b", fails(ModelNotFoundError))
    world.models.will("c", "good")
    world.complete(A, B, C)
    assert [cause for cause, _ in world.fallback.alerts] == ["auth", "retired_model"]


# --- the same model again ---


def test_the_last_candidate_is_retried_once() -> None:
    world = World()
    world.models.will("a", fails(ServerError))
    world.models.will("b", fails(ServerError), "good")
    assert world.complete(A, B).completion.text == "good"
    assert world.models.asked_names == ["a", "b", "b"]
    assert 0 <= world.clock.waits_s[0] <= 0.5


def test_a_feature_may_retry_the_same_model_first() -> None:
    world = World()
    world.models.will("a", fails(ServerError), fails(ServerError), "good")
    assert world.complete(A, B, retry=Retry(same_provider=2)).completion.text == "good"
    assert world.models.asked_names == ["a", "a", "a"]


def test_a_retry_after_within_the_longest_wait_is_waited_for() -> None:
    world = World()
    world.models.will("a", fails(RateLimitedError, retry_after_s=2.0), "good")
    assert world.complete(A, retry=Retry(max_wait="3s")).completion.text == "good"
    assert world.clock.waits_s == [pytest.approx(2.01)]


def test_a_retry_after_above_the_longest_wait_backs_off_the_provider_for_all_calls() -> None:
    world = World()
    world.models.will("a", fails(RateLimitedError, retry_after_s=20.0), "well again")
    world.models.will("b", "good")
    with pytest.raises(RateLimitedError):
        world.complete(A)
    assert world.clock.waits_s == []
    assert world.complete(A, B).completion.text == "good"
    assert world.said == ["a:backing_off", "b:ok"]
    world.clock.now_s += 20.1
    assert world.complete(A, B).completion.text == "well again"


def test_a_silent_model_is_not_retried() -> None:
    world = World()
    world.models.will("a", fails(TimedOutError))
    with pytest.raises(TimedOutError):
        world.complete(A, retry=Retry(same_provider=3))
    assert world.models.asked_names == ["a"]


def test_the_only_available_candidate_counts_as_the_last() -> None:
    world = World()
    world.models.will("b", fails(ServerError))
    for _ in range(6):
        with pytest.raises(AllModelsFailedError):
            world.complete(B, candidate("none", unavailable=MissingKeyError("no key")))
    world.models.will("a", fails(ServerError), "good")
    assert world.complete(A, B).completion.text == "good"


# --- time ---


def test_candidates_share_one_deadline_with_time_reserved_for_the_next() -> None:
    world = World()
    world.models.will("a", fails(MalformedAnswerError))
    world.models.takes_s = {"a": 20.0}
    world.models.will("b", "good")
    world.complete(A, B, first_token_s=10.0, total_s=30.0)
    first, second = world.models.asked
    assert first.first_token_timeout_s == 10.0
    assert first.total_timeout_s == 20.0
    assert second.total_timeout_s == pytest.approx(10.0)


def test_no_model_is_called_after_the_deadline() -> None:
    world = World()
    world.models.will("a", fails(MalformedAnswerError))
    world.models.takes_s = {"a": 31.0}
    world.models.will("b", "good")
    with pytest.raises(CallError):
        world.complete(A, B)
    assert world.models.asked_names == ["a"]


# --- the breaker ---


def test_the_sixth_failure_opens_the_breaker_for_siblings_too_then_one_probe_closes_it() -> None:
    world = World()
    world.models.will("a", fails(ServerError))
    world.models.will("c", "good")
    chain = candidate("a", provider="p"), candidate("c", provider="q")
    for _ in range(6):
        world.complete(*chain)
    asked = world.models.asked_names.count("a")
    assert asked == 6
    world.complete(candidate("sibling", provider="p"), candidate("c", provider="q"))
    assert world.said == ["sibling:open", "c:ok"]
    world.clock.now_s += 300.1
    world.models.will("a", "well again")
    assert world.complete(*chain).completion.text == "well again"
    assert world.complete(*chain).completion.text == "well again"


def test_a_probe_that_fails_opens_it_again() -> None:
    world = World()
    world.models.will("a", fails(ServerError))
    world.models.will("b", "good")
    for _ in range(6):
        world.complete(A, B)
    world.clock.now_s += 300.1
    world.complete(A, B)
    world.complete(A, B)
    assert world.models.asked_names.count("a") == 7
    assert world.said == ["a:open", "b:ok"]


def test_caller_errors_never_open_a_breaker() -> None:
    world = World()
    world.models.will("a", fails(InvalidRequestError))
    for _ in range(20):
        with pytest.raises(InvalidRequestError):
            world.complete(A)
    assert world.models.asked_names == ["a"] * 20


def test_a_cancelled_call_releases_its_probe() -> None:
    world = World()
    world.models.will("a", fails(ServerError))
    world.models.will("b", "good")
    for _ in range(6):
        world.complete(A, B)
    world.clock.now_s += 300.1

    async def leaves() -> None:
        async def never(_: object) -> Any:
            await asyncio.Event().wait()

        world.models.complete = never  # type: ignore[method-assign,assignment]
        task = asyncio.create_task(world.chain.complete(world._fallback_request(A, B)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del world.models.complete

    asyncio.run(leaves())
    world.models.will("a", "well again")
    assert world.complete(A, B).completion.text == "well again"


# --- when nothing helps ---


def test_the_error_names_every_model_and_the_retry_time() -> None:
    world = World()
    world.models.will("a", fails(RateLimitedError, status=429, retry_after_s=7.0))
    world.models.will("b", fails(ServerError, status=503))
    with pytest.raises(AllModelsFailedError) as caught:
        world.complete(A, B, candidate("c", unavailable=MissingKeyError("no key")))
    assert str(caught.value) == (
        "no model answered: `a` failed (RateLimitedError 429), `b` failed (ServerError 503), "
        "`b` failed (ServerError 503), `c` was skipped (no key)"
    )
    assert caught.value.retry_after_s == 7.0
    assert [type(failure) for failure in caught.value.failures] == [RateLimitedError, ServerError, ServerError]


def test_when_all_available_models_refuse_the_request_the_error_is_invalid_request() -> None:
    world = World()
    world.models.will("a", fails(ServerError))
    world.models.will("b", fails(InvalidRequestError))
    for _ in range(6):
        with pytest.raises(CallError):
            world.complete(A, B)
    with pytest.raises(InvalidRequestError):
        world.complete(A, B)  # a's breaker is open


# --- prefill ---

PREFILL: tuple[ChatMessage, ...] = (
    {"role": "user", "content": "a story"},
    {"role": "assistant", "content": "Once upon"},
)


def test_a_refused_prefill_is_rewritten_as_an_instruction() -> None:
    world = World()
    world.models.will("a", fails(ServerError))
    world.models.will("b", fails(InvalidRequestError), "Once upon a time")
    assert world.complete(A, B, messages=PREFILL).completion.text == " a time"
    assert [message["role"] for message in world.models.asked[-1].messages] == ["user"]
    assert "Once upon" in world.models.asked[-1].messages[-1]["content"]


def test_a_streamed_answer_does_not_repeat_the_prefill() -> None:
    world = World()
    world.models.will("a", fails(ServerError))
    world.models.will("b", fails(InvalidRequestError), said("Once upon a time", B.endpoint))
    items = world.stream(A, B, messages=PREFILL)
    assert "".join(item.text for item in items if isinstance(item, Chunk)) == " a time"


# --- streams ---


def texts(items: list[PlannedAttempt | Chunk | AttemptSuccess]) -> list[str]:
    return [f"<{item.candidate.endpoint.name}>" if not isinstance(item, Chunk) else item.text for item in items]


def test_a_stream_that_breaks_before_its_first_text_falls_back_unnoticed() -> None:
    world = World()
    world.models.will("a", fails(MalformedAnswerError))
    world.models.will("b", "good one")
    assert texts(world.stream(A, B)) == ["<b>", "good", " one", "<b>"]


def test_a_stream_that_breaks_after_its_first_text_is_an_error_with_on_break_error() -> None:
    world = World()
    world.models.will("a", ("half of", fails(MalformedAnswerError)))
    world.models.will("b", "good one")
    with pytest.raises(MalformedAnswerError):
        world.stream(A, B, on_break="error")
    assert world.models.asked_names == ["a"]


def test_a_stream_that_breaks_after_its_first_text_restarts_with_on_break_restart() -> None:
    world = World()
    world.models.will("a", ("half of", fails(MalformedAnswerError)))
    world.models.will("b", "good one")
    assert texts(world.stream(A, B, on_break="restart")) == ["<a>", "half", " of", "<b>", "good", " one", "<b>"]


def test_a_stream_closed_by_its_reader_is_no_provider_failure() -> None:
    world = World()
    world.models.will("a", "a b c d")

    async def leave() -> None:
        items = world.chain.stream(world._fallback_request(A, B), on_break="error")
        async for item in items:
            if isinstance(item, Chunk):
                break
        await items.aclose()

    for _ in range(10):
        asyncio.run(leave())
    assert world.said == ["a:Cancelled"]
    assert asyncio.run(world.state.shared("")).breakers == {}


# --- the law ---

OUTCOMES = st.sampled_from([*PASSING, AuthError, ModelNotFoundError, None])


@given(plans=st.lists(OUTCOMES, min_size=1, max_size=6))
def test_a_call_fails_only_if_every_model_of_its_chain_fails(plans: list[type[CallError] | None]) -> None:
    world = World()
    candidates = [candidate(f"m{index}") for index in range(len(plans))]
    for one, kind in zip(candidates, plans, strict=True):
        world.models.will(one.endpoint.name, "good" if kind is None else fails(kind))
    try:
        world.complete(*candidates)
    except CallError:
        assert None not in plans
    else:
        assert world.models.asked_names[-1] == f"m{plans.index(None)}"
    assert len(world.models.asked) <= len(plans) + 1
