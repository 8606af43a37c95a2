"""Combines the verdicts of a jury: a juror that fails or cannot be read is left out, and the reason says so."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from flowai.evals.assertions.records import CheckResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MEAN_THRESHOLD = 0.5
"""Mean score that an answer needs if its assertion has no threshold."""


class AnswerChoice(NamedTuple):
    """Choice of the best of several answers."""

    position: int | None
    """Of the best answer, from 0; None if there is none."""
    detail: str = ""
    """Why there is none, or how many judges agreed."""


@dataclass(frozen=True, slots=True)
class Jury:
    """Models that judge the same answer, or compare the same answers.

    Args:
        models: at least two, by their names in the registry.
        combine: see `flowai.registry.records.JuryPolicy`.
        threshold: the assertion's; for `mean`.
    """

    models: tuple[str, ...]
    combine: Literal["majority", "mean", "cyclic"]
    threshold: float | None = None

    async def judge(self, grade: Callable[[str], Awaitable[CheckResult]], *, turn: str) -> CheckResult:
        """Return the jury's verdict.

        Args:
            grade: returns the verdict of one juror; None as `passed` if it gave none.
            turn: decides which juror of a `cyclic` jury is asked; the next one is asked if it gives no verdict.
        """
        if self.combine == "cyclic":
            return await self._judge_in_turn(grade, turn)
        import asyncio  # late: a fully cached run needs no event loop

        results = await asyncio.gather(*(grade(model) for model in self.models))
        readable = [result for result in results if result.passed is not None]
        by_model = zip(self.models, results, strict=True)
        left_out = [f"{model}{result.detail}" for model, result in by_model if result.passed is None]
        if not readable:
            return _none_readable(left_out)
        combined = self._mean(readable) if self.combine == "mean" else _majority(readable)
        return _with_left_out(combined, left_out)

    async def choose(self, choose: Callable[[str], Awaitable[AnswerChoice]], *, turn: str) -> AnswerChoice:
        """Return the best of several answers: that of more than half of the jurors, or of most with `mean`.

        Args:
            choose: returns the choice of one juror.
            turn: as of `judge`.
        """
        if self.combine == "cyclic":
            return await self._choose_in_turn(choose, turn)
        import asyncio  # late, as above

        choices = await asyncio.gather(*(choose(model) for model in self.models))
        votes = Counter(choice.position for choice in choices if choice.position is not None)
        left_out = [
            f"{model}{choice.detail}"
            for model, choice in zip(self.models, choices, strict=True)
            if choice.position is None
        ]
        if not votes:
            return AnswerChoice(None, f": no judge of the jury chose: {'; '.join(left_out)}")
        total = sum(votes.values())
        (best, count), *others = votes.most_common()
        others_count = (others[0][1] if others else 0) if self.combine == "mean" else total - count
        names = f"; left out: {'; '.join(left_out)}" if left_out else ""
        if count <= others_count:
            return AnswerChoice(None, f": the jury is split, {count} of {total} judges for one answer{names}")
        return AnswerChoice(best, f" ({count} of {total} judges){names}")

    async def _choose_in_turn(self, choose: Callable[[str], Awaitable[AnswerChoice]], turn: str) -> AnswerChoice:
        left_out: list[str] = []
        for model in self._order(turn):
            choice = await choose(model)
            if choice.position is not None:
                return choice._replace(
                    detail=f" [{model}]" + (f"; left out: {'; '.join(left_out)}" if left_out else "")
                )
            left_out.append(f"{model}{choice.detail}")
        return AnswerChoice(None, f": no judge of the jury chose: {'; '.join(left_out)}")

    def _order(self, turn: str) -> tuple[str, ...]:
        """Return the models, that whose turn it is first."""
        first = int.from_bytes(hashlib.sha256(turn.encode()).digest()[:8]) % len(self.models)
        return (*self.models[first:], *self.models[:first])

    async def _judge_in_turn(self, grade: Callable[[str], Awaitable[CheckResult]], turn: str) -> CheckResult:
        left_out: list[str] = []
        for model in self._order(turn):
            result = await grade(model)
            if result.passed is not None:
                return _with_left_out(result._replace(detail=f"{result.detail} [{model}]"), left_out)
            left_out.append(f"{model}{result.detail}")
        return _none_readable(left_out)

    def _mean(self, results: list[CheckResult]) -> CheckResult:
        score = math.fsum(map(_score_of, results)) / len(results)
        threshold = MEAN_THRESHOLD if self.threshold is None else self.threshold
        detail = f": mean score {score:.2f} of {len(results)} judges, expected at least {threshold:g}"
        return CheckResult(passed=score >= threshold - 1e-12, detail=detail, score=score)


def _majority(results: list[CheckResult]) -> CheckResult:
    passes = [result for result in results if result.passed]
    fails = [result for result in results if not result.passed]
    if len(passes) == len(fails):
        return CheckResult(passed=None, detail=f" could not be judged: {len(passes)} judges against {len(fails)}")
    side = passes if len(passes) > len(fails) else fails
    score = math.fsum(map(_score_of, results)) / len(results)
    return CheckResult(
        passed=side is passes, detail=f"{side[0].detail} ({len(side)} of {len(results)} judges)", score=score
    )


def _score_of(result: CheckResult) -> float:
    return float(bool(result.passed)) if result.score is None else result.score


def _none_readable(left_out: list[str]) -> CheckResult:
    return CheckResult(passed=None, detail=f" could not be judged by any of the jury: {'; '.join(left_out)}")


def _with_left_out(result: CheckResult, left_out: list[str]) -> CheckResult:
    return result._replace(detail=f"{result.detail}; left out: {'; '.join(left_out)}") if left_out else result
