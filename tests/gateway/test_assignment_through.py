"""Rollouts and experiments through the gateway: who gets which prompt, and what the events say of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, PROMPT, Sample, sample
from support.scripted_replies import Reply

from flowai.gateway.records import CompletionResult, StreamStarted
from flowai.gateway.routing.assignment import BUCKET_COUNT, assign_arm, assign_variant, bucket

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from support.scripted_replies import Asked

FLAG = {"x-feature-flag": "ai-beta"}
USERS = [f"user-{number}" for number in range(400)]


def which_prompt(asked: Asked) -> Reply:
    """Answer with the prompt that came."""
    return Reply(text=asked.body["messages"][0]["content"].strip())


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Sample]:
    """A project whose candidate differs from the baseline in its prompt; the model answers which prompt came."""
    with sample(tmp_path) as made:
        made.providers["main"].answerer = which_prompt
        made.registry["releases"]["v2"] = {"extends": "v1", "chat": {"prompt": "prompts/hello_v2"}}
        yield made


def rolled_out(project: Sample, stage: Any) -> None:
    project.registry["rollout"] = {"candidate": "v2", "stage": stage}
    project.write()


def ask_all(project: Sample, wishes: Sequence[dict[str, Any]]) -> list[CompletionResult]:
    """Make calls, a few at a time, with one gateway."""

    async def asked() -> list[CompletionResult]:
        places = asyncio.Semaphore(16)
        async with project.gateway() as gateway:

            async def one(wish: dict[str, Any]) -> CompletionResult:
                async with places:
                    return await gateway.complete(**{"feature": "chat", "variables": HELLO, **wish})

            return await asyncio.gather(*map(one, wishes))

    return asyncio.run(asked())


def expected_variant(stage: int, user: str) -> str:
    return assign_variant(candidate="v2", stage=stage, unit=user, critical=False, critical_from=25, flagged=False)


PROMPTS = {"v1": "Prompt v1.", "v2": "Prompt v2."}


# --- rollouts ---


def test_each_user_gets_the_assigned_variant_and_the_event_records_it(project: Sample) -> None:
    rolled_out(project, 5)
    answers = dict(zip(USERS, ask_all(project, [{"user": user} for user in USERS]), strict=True))
    for user, answer in answers.items():
        variant = expected_variant(5, user)
        assert answer.variant == variant
        assert answer.release == ("v2" if variant == "canary" else "v1")
        assert answer.text == PROMPTS[answer.release]
    shares: Counter[str | None] = Counter(answer.variant for answer in answers.values())
    for variant in ("canary", "control"):  # four binomial standard deviations
        assert abs(shares[variant] - 20) <= 4 * (400 * 0.05 * 0.95) ** 0.5
    events = {event.call_id: event for event in project.calls}
    for answer in answers.values():
        event = events[answer.call_id]
        assert event.variant == answer.variant
        assert event.release == answer.release
        assert event.prompt_id == f"prompts/hello_{answer.release}"
        assert event.is_sticky


def test_a_larger_share_moves_no_user_out(project: Sample) -> None:
    candidates: list[set[str]] = []
    for stage in (5, 20):
        rolled_out(project, stage)
        answers = ask_all(project, [{"user": user} for user in USERS[:200]])
        candidates.append({user for user, answer in zip(USERS, answers, strict=False) if answer.release == "v2"})
    assert candidates[0] < candidates[1]


def test_the_flag_s_header_asks_for_the_candidate(project: Sample) -> None:
    project.registry["features"]["chat"]["critical"] = True
    rolled_out(project, "dogfood")
    answers = ask_all(
        project,
        [
            {"user": "ann"},
            {"user": "ann", "headers": FLAG},
            {"headers": {"X-FEATURE-FLAG": "other, ai-beta"}},
            {"user": "ann", "headers": {"x-feature-flag": "ai-alpha"}},
        ],
    )
    assert [(answer.variant, answer.text) for answer in answers] == [
        ("stable", "Prompt v1."),
        ("dogfood", "Prompt v2."),
        ("dogfood", "Prompt v2."),
        ("stable", "Prompt v1."),
    ]


def test_without_a_rollout_the_flag_changes_nothing(project: Sample) -> None:
    project.write()
    (answer,) = ask_all(project, [{"user": "ann", "headers": FLAG}])
    assert answer.variant is None
    assert answer.release == "v1"
    assert project.calls[0].is_sticky is False


def test_a_critical_feature_joins_late(project: Sample) -> None:
    project.registry["features"]["chat"]["critical"] = True
    early = next(user for user in USERS if expected_variant(5, user) == "canary")
    seen = []
    for stage in (5, 24, 25, 100):
        rolled_out(project, stage)
        seen += [(answer.variant, answer.release) for answer in ask_all(project, [{"user": early}])]
    assert seen == [("stable", "v1"), ("stable", "v1"), ("canary", "v2"), ("canary", "v2")]


def test_a_bad_candidate_does_not_serve(project: Sample) -> None:
    project.registry["bad"] = ["v2"]
    rolled_out(project, 100)
    answers = ask_all(project, [{"user": "ann"}, {"user": "ann", "headers": FLAG}])
    assert [(answer.variant, answer.release) for answer in answers] == [(None, "v1")] * 2


def test_the_session_replaces_a_missing_user_and_the_call_both(project: Sample) -> None:
    rolled_out(project, 50)
    sessions = [f"s{number}" for number in range(20)]
    wishes = [{"session": name} for name in sessions] * 2 + [{} for _ in range(40)]
    answers = ask_all(project, wishes)
    first, second, alone = answers[:20], answers[20:40], answers[40:]
    assert [answer.variant for answer in first] == [answer.variant for answer in second]
    assert [answer.variant for answer in first] == [expected_variant(50, name) for name in sessions]
    assert [answer.variant for answer in alone] == [expected_variant(50, answer.call_id) for answer in alone]
    sticky = {event.call_id: event.is_sticky for event in project.calls}
    assert all(sticky[answer.call_id] for answer in (*first, *second))
    assert not any(sticky[answer.call_id] for answer in alone)


def test_an_empty_user_is_no_user(project: Sample) -> None:
    rolled_out(project, 50)
    answers = ask_all(project, [{"user": ""} for _ in range(30)])
    assert len({answer.variant for answer in answers}) == 2, "not all anonymous callers are one"


def test_direct_model_calls_are_not_assigned(project: Sample) -> None:
    rolled_out(project, 100)
    project.providers["main"].answerer = None
    wish = {"feature": None, "variables": None, "model": "main", "messages": [{"role": "user", "content": "hi"}]}
    (answer,) = ask_all(project, [{**wish, "user": "ann", "headers": FLAG}])
    assert answer.release is None
    assert answer.variant is None
    assert answer.experiment is None


# --- experiments ---


@pytest.fixture
def experimental(project: Sample) -> Sample:
    project.write("prompts/hello_v3.prompt", PROMPT % 3)
    project.registry["experiments"] = {
        "tone": {
            "feature": "chat",
            "arms": {"A": {}, "B": {"prompt": "prompts/hello_v3", "params": {"top_p": 0.5}}},
            "goal": "save_rate",
        }
    }
    project.write()
    return project


def test_each_user_gets_the_assigned_arm_and_the_event_records_it(experimental: Sample) -> None:
    users = USERS[:200]
    answers = ask_all(experimental, [{"user": user} for user in users])
    events = {event.call_id: event for event in experimental.calls}
    for user, answer in zip(users, answers, strict=True):
        arm = assign_arm(experiment="tone", arms=["A", "B"], unit=user)
        assert answer.experiment == "tone"
        assert answer.arm == arm
        assert answer.release == "v1"
        assert answer.variant is None
        assert answer.text == {"A": "Prompt v1.", "B": "Prompt v3."}[arm]
        event = events[answer.call_id]
        assert event.experiment == "tone"
        assert event.arm == arm
        assert event.is_sticky is True
        assert event.prompt_id == {"A": "prompts/hello_v1", "B": "prompts/hello_v3"}[arm]
    count = Counter(answer.arm for answer in answers)["A"]
    assert abs(count - 100) <= 4 * (200 * 0.25) ** 0.5
    params = {
        asked.body["messages"][0]["content"].strip(): asked.body.get("top_p")
        for asked in experimental.providers["main"].asked
    }
    assert params == {"Prompt v1.": None, "Prompt v3.": 0.5}


def test_feedback_and_streams_have_the_arm(experimental: Sample) -> None:
    async def said() -> CompletionResult:
        async with experimental.gateway() as gateway:
            items = [item async for item in gateway.stream("chat", HELLO, user="ann")]
            started, answer = items[0], items[-1]
            assert isinstance(started, StreamStarted)
            assert isinstance(answer, CompletionResult)
            assert (started.experiment, started.arm) == (answer.experiment, answer.arm)
            await gateway.feedback(answer.call_id, verdict="saved")
            return answer

    answer = asyncio.run(said())
    (feedback,) = experimental.feedback
    assert feedback.experiment == answer.experiment
    assert feedback.arm == answer.arm
    assert answer.arm == assign_arm(experiment="tone", arms=["A", "B"], unit="ann")


def test_variants_and_arms_are_independent(experimental: Sample) -> None:
    rolled_out(experimental, 50)
    answers = ask_all(experimental, [{"user": user} for user in USERS])
    table = Counter((answer.variant, answer.arm) for answer in answers)
    assert set(table) == {(variant, arm) for variant in ("canary", "control") for arm in "AB"}
    for count in table.values():
        assert abs(count - 100) <= 4 * (400 * 0.25 * 0.75) ** 0.5
    texts = {(answer.release, answer.arm): answer.text for answer in answers}
    assert texts == {
        ("v1", "A"): "Prompt v1.",
        ("v2", "A"): "Prompt v2.",
        ("v1", "B"): "Prompt v3.",
        ("v2", "B"): "Prompt v3.",
    }


def test_caches_separate_variants_and_arms(experimental: Sample) -> None:
    experimental.registry["features"]["chat"]["cache"] = {"kind": "exact"}
    rolled_out(experimental, 50)
    answers = ask_all(experimental, [{"user": user} for user in USERS[:100]])
    for answer in answers:
        expected = "Prompt v3." if answer.arm == "B" else PROMPTS[answer.release or ""]
        assert answer.text == expected
    assert experimental.requests == {"main": 3}, "two releases of arm A, and arm B, whose prompt is the same in both"


def test_the_shares_are_those_of_the_buckets(project: Sample) -> None:
    """The gateway adds nothing of its own to what docs/reference/assignment.md promises."""
    rolled_out(project, 1)
    user = next(name for name in (f"u{number}" for number in range(10_000)) if bucket("rollout:v2", name) < 100)
    other = next(
        name for name in (f"u{number}" for number in range(10_000)) if bucket("rollout:v2", name) >= BUCKET_COUNT - 100
    )
    answers = ask_all(project, [{"user": user}, {"user": other}, {"user": user.upper()}])
    assert [answer.variant for answer in answers[:2]] == ["canary", "control"]
    assert answers[2].variant == expected_variant(1, user.upper()), "names are taken character by character"
