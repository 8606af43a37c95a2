"""Asks the judge whether two answers say the same: each must be supported by the other."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from flowai.evals.assertions.records import Answer
from flowai.evals.judge_runs.asking import JudgeSession, in_parallel
from flowai.evals.suites.records import Suite
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.workspace.workspace import CommandContext

_CONCURRENCY = 4


class ComparedAnswers(NamedTuple):
    """Two answers, and a name for the pair."""

    name: str
    first: str
    second: str


class PairVerdicts(NamedTuple):
    """Verdicts of a judge on pairs, by name."""

    verdicts: dict[str, bool]
    """True where both answers say the same; without the pairs on which the judge gave no verdict."""
    cost_usd: float | None
    """None if a price is not known."""
    failure: str | None
    """Why a call of the judge failed last; None if all were answered."""


def judge_equal_answers(context: CommandContext, pairs: Sequence[ComparedAnswers]) -> PairVerdicts:
    """Ask the judge about pairs of answers, twice each.

    Raises:
        SuiteError: no model judges.
    """
    return asyncio.run(_judge_pairs(context, pairs))


async def _judge_pairs(context: CommandContext, pairs: Sequence[ComparedAnswers]) -> PairVerdicts:
    session = JudgeSession(open_workspace(context), Suite(path="cache review", cases=()))
    ask = session.asks_fact_check()
    verdicts: dict[str, bool] = {}
    costs: list[float | None] = []
    failures: list[str] = []

    async def judge(pair: ComparedAnswers) -> None:
        for context_text, output in ((pair.first, pair.second), (pair.second, pair.first)):
            verdict = await ask(Answer(text=output, variables={"context": context_text}))
            costs.append(verdict.cost_usd)
            if verdict.failure is not None:
                failures.append(str(verdict.failure))
            if not verdict.passed:
                if verdict.passed is False:
                    verdicts[pair.name] = False
                return
        verdicts[pair.name] = True

    try:
        await in_parallel([partial(judge, pair) for pair in pairs], _CONCURRENCY)
    finally:
        await session.aclose()
    known = [cost for cost in costs if cost is not None]
    return PairVerdicts(verdicts, sum(known) if len(known) == len(costs) else None, failures[-1] if failures else None)
