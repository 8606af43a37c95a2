"""The fact check: whether the text that an answer was made from supports all of its statements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.assertions.graded.fact_rules import shown_unsupported, unsupported
from flowai.evals.assertions.graded.grading import graded_check, short
from flowai.evals.assertions.graded.replies import rubric_verdict
from flowai.evals.assertions.records import CheckResult
from flowai.evals.suites.records import Assertion

if TYPE_CHECKING:
    from flowai.evals.assertions.graded.grading import Grading
    from flowai.evals.assertions.records import Answer, AsyncCheck
    from flowai.evals.assertions.services import CheckServices

FACT_CHECK_NAME = "hallucination"
"""Judged property, as in score events."""
FACT_CHECK_PROMPT = "fact_check"
FACT_CHECK_RUBRIC = (
    "Every statement of the answer follows from the text. A statement that the text contradicts, or that only general "
    "knowledge supports, is a fault. Opinions, questions and phrases without a statement are no fault."
)


def fact_check(services: CheckServices) -> AsyncCheck:
    """Pass if a judge finds every statement of the answer in its variable `context`.

    An answer with a number, date or name that the context lacks is flagged without a call.
    """
    assertion = Assertion(type="llm-rubric", value=FACT_CHECK_RUBRIC, metric=FACT_CHECK_NAME)

    async def grade(grading: Grading, answer: Answer) -> CheckResult:
        given = await grading.context(answer)
        context = given if isinstance(given, str) else "\n\n".join(given)
        found = unsupported(answer.text, context)
        if found:
            return CheckResult(passed=False, detail=f": {shown_unsupported(found)}", score=0.0)
        values = {"rubric": FACT_CHECK_RUBRIC, "context": context, "output": answer.text}
        passed, score, reason = rubric_verdict(await grading.ask(answer, FACT_CHECK_PROMPT, values), None)
        return CheckResult(passed=passed, detail=f": {short(reason) or 'unsupported'}", score=score)

    return graded_check(assertion, services, grade)
