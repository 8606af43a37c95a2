"""`select-best`: a grader, or the registry's judge with its jury, selects the best of a case's answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowai.errors import BudgetError, CallError, PromptError
from flowai.evals.assertions.graded.grading import case_turn, short
from flowai.evals.assertions.graded.jury import AnswerChoice, Jury
from flowai.evals.assertions.graded.replies import GraderReplyError, position
from flowai.evals.assertions.services import CodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.evals.assertions.graded.grading import Grading
    from flowai.evals.assertions.records import Answer

MIN_OUTPUT_COUNT = 2


async def select_best(grading: Grading, answers: Sequence[Answer]) -> int:
    """Return the number of the best answer, from 0, as one grader or juror selects it.

    Raises:
        GraderReplyError: there are fewer than two answers, or the reply names none of them.
        CallError: the grader failed.
    """
    if len(answers) < MIN_OUTPUT_COUNT:
        raise GraderReplyError(f"`select-best` compares at least {MIN_OUTPUT_COUNT} answers; found {len(answers)}")
    criterion = str(grading.assertion.value)
    outputs = [answer.text for answer in answers]
    own = {"criteria": criterion, "outputs": outputs}
    values = {"criterion": criterion, "outputs": outputs}
    return position(await grading.ask(answers[0], "select_best", values, own_values=own), len(answers))


async def choose_best(grading: Grading, answers: Sequence[Answer]) -> AnswerChoice:
    """Return the best answer by the assertion's value, asked about in this order alone.

    A jury votes; a grader that fails, or whose reply cannot be read, chooses none.
    """
    judge = grading.judge(answers[0]) if answers else None
    if judge is None or judge.combine is None:
        return await _choice(grading, answers)
    jury = Jury(judge.jury, judge.combine)
    turn = min(map(case_turn, answers))  # the same juror in both orders
    return await jury.choose(lambda juror: _choice(replace(grading, juror=juror), answers), turn=turn)


async def choose_best_in_both_orders(grading: Grading, answers: Sequence[Answer]) -> AnswerChoice:
    """Return the best answer, asked about in both orders; none if the order decides."""
    first = await choose_best(grading, answers)
    if first.position is None:
        return first
    second = await choose_best(grading, answers[::-1])
    if second.position is None:
        return second
    if first.position != len(answers) - 1 - second.position:
        return AnswerChoice(None, ": in the other order the judge selects another answer")
    return first


async def _choice(grading: Grading, answers: Sequence[Answer]) -> AnswerChoice:
    try:
        return AnswerChoice(await select_best(grading, answers))
    except GraderReplyError as error:
        return AnswerChoice(None, f": {error}")
    except (CallError, CodeError, BudgetError, PromptError) as error:
        return AnswerChoice(None, f": {short(str(error))}")
