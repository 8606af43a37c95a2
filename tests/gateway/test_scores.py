"""What judges find in answers goes into the log, beside the call it is about."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, KEY, Sample, sample

from flowai.errors import CallNotFoundError, InfrastructureError, UsageError
from flowai.events import ScoreEvent
from flowai.gateway.sync_gateway import SyncGateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Sample]:
    with sample(tmp_path) as made:
        yield made


def test_a_score_is_in_the_log_when_it_returns(project: Sample) -> None:
    async def judged() -> str:
        async with project.gateway() as gateway:
            answer = await gateway.complete("chat", HELLO)
            await gateway.score(answer.call_id, name="hallucination", passed=False, score=0.25, judge="gpt-4o")
            (written,) = project.logged(ScoreEvent)
            assert written in project.told
            await gateway.score(answer.call_id, name="hallucination", passed=True)
            return answer.call_id

    call_id = asyncio.run(judged())
    first, last = project.logged(ScoreEvent)
    assert {first.call_id, last.call_id} == {call_id}
    assert first.name == "hallucination"
    assert first.passed is False
    assert first.score == 0.25
    assert first.judge == "gpt-4o"
    assert first.origin == "library"
    assert last.passed is True
    assert last.score is None
    assert last.judge is None
    assert last.at >= first.at


def test_the_sync_gateway_scores_calls_of_other_processes_too(project: Sample) -> None:
    with SyncGateway(project.root, settings=project.settings()) as gateway:
        gateway.score("of another day", name="tone", passed=True, judge=f"judge with {KEY}")
    (score,) = project.logged(ScoreEvent)
    assert score.call_id == "of another day"
    assert score.name == "tone"
    assert score.passed is True
    assert KEY not in str(score)


def test_a_score_of_an_unknown_call_is_refused_on_request(project: Sample) -> None:
    answer = project.ask()
    with SyncGateway(project.root, settings=project.settings()) as gateway:
        gateway.score(answer.call_id, name="tone", passed=True, must_exist=True)
        with pytest.raises(CallNotFoundError):
            gateway.score("another", name="tone", passed=True, must_exist=True)
    assert [score.call_id for score in project.logged(ScoreEvent)] == [answer.call_id]


@pytest.mark.parametrize(
    "wrong",
    [{"name": ""}, {"score": 1.01}, {"score": -0.1}, {"score": float("nan")}, {"passed": "yes"}, {"call_id": ""}],
    ids=str,
)
def test_invalid_scores_are_refused(project: Sample, wrong: dict[str, Any]) -> None:
    given = {"call_id": "c1", "name": "hallucination", "passed": True, **wrong}
    with SyncGateway(project.root, settings=project.settings()) as gateway, pytest.raises(UsageError):
        gateway.score(given.pop("call_id"), **given)
    assert project.logged(ScoreEvent) == []


def test_a_score_that_cannot_be_written_raises(project: Sample) -> None:
    project.write(".flowai/events", "a file where a directory should be")
    with SyncGateway(project.root, settings=project.settings()) as gateway, pytest.raises(InfrastructureError):
        gateway.score("c1", name="hallucination", passed=True)
