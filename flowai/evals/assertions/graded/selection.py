"""`select-best`: a grader selects the best of a case's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.assertions.graded.replies import GraderReplyError, position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.evals.assertions.graded.grading import Grading
    from flowai.evals.assertions.records import Answer

MIN_OUTPUT_COUNT = 2


async def select_best(grading: Grading, answers: Sequence[Answer]) -> int:
    """Return the number of the best answer by the assertion's value, from 0.

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
