"""Asks a judge about answers, several at a time, and counts calls, cost and failures of each verdict."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from flowai.errors import BudgetError, CallError, PromptError
from flowai.evals.assertions.catalog import compile_check
from flowai.evals.assertions.graded import Grading, choose_best, fact_check
from flowai.evals.execution.services import RunServices
from flowai.evals.judges.pairwise import PairwiseJudge, read_preference
from flowai.providers import create_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from flowai.evals.assertions.records import Answer
    from flowai.evals.assertions.services import CheckServices, JudgeFeature, JudgeRequest, ModelCaller
    from flowai.evals.suites.records import Assertion, Suite, SuiteProvider
    from flowai.providers import Client, Completion
    from flowai.providers.client import ChatMessage, Embeddings
    from flowai.workspace.workspace import Workspace


@dataclass(kw_only=True, slots=True)
class _Tally:
    call_count: int = 0
    cost_usd: float | None = 0.0
    failures: list[CallError | BudgetError | PromptError] = field(default_factory=list)

    def add(self, cost_usd: float | None) -> None:
        self.call_count += 1
        self.cost_usd = None if cost_usd is None or self.cost_usd is None else self.cost_usd + cost_usd


_tally: ContextVar[_Tally] = ContextVar("tally")


class Verdict(NamedTuple):
    """A judge's verdict on an answer."""

    passed: bool | None
    """None if it gave none that could be read."""
    score: float | None
    reason: str
    call_count: int
    """Calls that were answered."""
    cost_usd: float | None
    """Of all calls; None if a price is not known."""
    failure: CallError | BudgetError | PromptError | None
    """Last call that failed; None if all were answered."""


class JudgeSession:
    """Client and services of one run of a judge; close it in the event loop that used it.

    Args:
        workspace: the project.
        suite: names the grader, or none.
        replay: recording to answer from; None to call models.
        record: recording to write; None for none.
    """

    def __init__(
        self, workspace: Workspace, suite: Suite, *, replay: Path | None = None, record: Path | None = None
    ) -> None:
        self._client: Client = create_client(redactor=workspace.redactor, replay=replay, record=record)
        self._services = RunServices(workspace, lambda: self._client, runs_code=False, needs_keys=replay is None)
        self._workspace = workspace
        self._needs_keys = replay is None
        checks = self._services.checks_of(suite)
        assert checks.models is not None  # noqa: S101 - RunServices always has them
        self.checks: CheckServices = replace(checks, models=_CountingModels(checks.models))

    def asks_assertion(self, assertion: Assertion) -> Callable[[Answer], Awaitable[Verdict]]:
        """Return a function that asks for the verdict of a graded assertion."""
        check = compile_check(assertion, services=self.checks)

        async def ask(answer: Answer) -> Verdict:
            tally = _Tally()
            _tally.set(tally)
            result = await check.wait(answer)
            return _verdict(tally, result.passed, result.score, result.reason)

        return ask

    def asks_fact_check(self) -> Callable[[Answer], Awaitable[Verdict]]:
        """Return a function that asks whether the variable `context` supports an answer."""
        check = fact_check(self.checks)

        async def ask(answer: Answer) -> Verdict:
            tally = _Tally()
            _tally.set(tally)
            result = await check.apply(answer)
            return _verdict(tally, result.passed, result.score, result.detail)

        return ask

    def asks_choice(self, assertion: Assertion) -> Callable[[Answer, Answer], Awaitable[Verdict]]:
        """Return a function that asks for the better of two answers; score 1 is the first one, 0 the second."""
        assert self.checks.models is not None  # noqa: S101 - a session always has them
        grading = Grading(assertion=assertion, models=self.checks.models, services=self.checks)

        async def ask(first: Answer, second: Answer) -> Verdict:
            tally = _Tally()
            _tally.set(tally)
            choice = await choose_best(grading, (first, second))
            score = None if choice.position is None else 1.0 - choice.position
            return _verdict(tally, None, score, choice.detail)

        return ask

    def asks_preference(self, model: str) -> Callable[[str, str, str], Awaitable[Verdict]]:
        """Return a function that asks the pairwise judge about a request and two answers; score as above, 0.5 equal."""
        workspace = self._workspace.with_models((model,))
        endpoint = workspace.resolve_endpoint(model) if self._needs_keys else workspace.endpoint(model)
        judge = PairwiseJudge(self._client, endpoint)

        async def ask(request: str, first: str, second: str) -> Verdict:
            try:
                completion = await judge.ask(request, first, second)
            except CallError as error:
                return Verdict(None, None, f" could not be judged: {error}", 0, 0.0, error)
            reply = read_preference(completion.text)
            if reply.better is None:
                reason = " could not be judged: the reply names none of first, second and equal"
                return Verdict(None, None, reason, 1, completion.cost_usd, None)
            score = {"first": 1.0, "second": 0.0, "equal": 0.5}[reply.better]
            return Verdict(None, score, reply.reason, 1, completion.cost_usd, None)

        return ask

    async def aclose(self) -> None:
        """Close the judge and its client; may be called twice."""
        await self._services.aclose()
        await self._client.aclose()


async def in_parallel(work: Sequence[Callable[[], Awaitable[None]]], concurrency: int) -> None:
    """Run work, a few at a time, in order of their begin; raise the first error after the others are cancelled."""
    waiting = iter(work)

    async def run() -> None:
        for one in waiting:
            await one()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(work))):
                group.create_task(run())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


def _verdict(tally: _Tally, passed: bool | None, score: float | None, reason: str) -> Verdict:  # noqa: FBT001
    failure = tally.failures[-1] if tally.failures else None
    return Verdict(passed, score, reason, tally.call_count, tally.cost_usd, failure)


class _CountingModels:
    """Graders whose calls are counted for the verdict that is being asked for."""

    def __init__(self, models: ModelCaller) -> None:
        self._models = models

    @property
    def judge(self) -> JudgeFeature | None:
        return self._models.judge

    async def ask_judge(self, request: JudgeRequest) -> Completion:
        return await self._counted(self._models.ask_judge(request))

    async def complete(
        self,
        grader: SuiteProvider | None,
        messages: Sequence[ChatMessage],
        *,
        params: Mapping[str, Any],
        schema: Mapping[str, Any] | None = None,
    ) -> Completion:
        return await self._counted(self._models.complete(grader, messages, params=params, schema=schema))

    async def embed(self, embedder: SuiteProvider | None, texts: Sequence[str]) -> Embeddings:
        return await self._models.embed(embedder, texts)

    async def moderate(self, grader: SuiteProvider | None, text: str) -> tuple[str, ...]:
        return await self._models.moderate(grader, text)

    async def _counted(self, call: Awaitable[Completion]) -> Completion:
        tally = _tally.get(None) or _Tally()
        try:
            completion = await call
        except (CallError, BudgetError, PromptError) as error:
            tally.failures.append(error)
            raise
        tally.add(completion.cost_usd)
        return completion
