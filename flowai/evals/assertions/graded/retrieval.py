"""Grades answers from retrieved text by what a grader extracts from answer and context.

Source: Es et al. 2023, "RAGAS: Automated Evaluation of Retrieval Augmented Generation"; promptfoo, "Model-graded
metrics". docs/reference/assertions.md lists the differences.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from flowai.evals.assertions.graded.grading import graded_check, scored
from flowai.evals.assertions.graded.replies import (
    GraderReplyError,
    marked_lines,
    reply_object,
    texts,
    truth,
    truths,
)
from flowai.evals.assertions.records import quoted, suite_error

if TYPE_CHECKING:
    from flowai.evals.assertions.graded.grading import Grading
    from flowai.evals.assertions.records import Answer, AsyncCheck, CheckResult
    from flowai.evals.assertions.services import CheckServices
    from flowai.evals.suites.records import Assertion

QUESTION_COUNT = 3
"""Questions that a grader writes for one answer."""
INSUFFICIENT = "insufficient information"
"""Reply of promptfoo's own prompt if no sentence of the context helps."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def answer_relevance(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if the questions that the answer answers are on average as similar to the one asked as the threshold."""
    threshold = assertion.threshold or 0.0

    async def grade(grading: Grading, answer: Answer) -> CheckResult:
        query = answer.variables.get("query")
        query = query if isinstance(query, str) and query.strip() else answer.prompt
        questions = []
        for count in range(1, QUESTION_COUNT + 1):
            values = {"output": answer.text, "number": count}
            reply = await grading.ask(answer, "answer_question", values, own_values={"answer": answer.text})
            questions.append(_question(reply))
        similarities = await grading.similarity(answer, query, questions)
        return scored("relevance", min(1.0, max(0.0, math.fsum(similarities) / len(similarities))), threshold)

    return graded_check(assertion, services, grade)


def _question(reply: str) -> str:
    try:
        question = reply_object(reply).get("question")
    except GraderReplyError:
        question = reply
    if not isinstance(question, str) or not question.strip():
        raise GraderReplyError(f"no question in the reply {quoted(reply)}")
    return question.strip()


def context_recall(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if the share of the expected answer's sentences that the context supports reaches the threshold."""
    expected = assertion.value
    if not isinstance(expected, str) or not expected.strip():
        raise suite_error(assertion, f"found {quoted(expected)}; expected the text of the right answer")
    threshold = assertion.threshold or 0.0

    async def grade(grading: Grading, answer: Answer) -> CheckResult:
        context = _joined(await grading.context(answer))
        values = {"context": context, "expected": expected}
        own = {"context": context, "groundTruth": expected}
        verdicts = _attributions(await grading.ask(answer, "context_recall", values, own_values=own))
        return scored("recall", sum(verdicts) / len(verdicts), threshold)

    return graded_check(assertion, services, grade)


def _attributions(reply: str) -> list[bool]:
    try:
        statements = reply_object(reply).get("statements")
    except GraderReplyError:
        statements = None
    if isinstance(statements, list):
        verdicts = [truth(part.get("attributed")) for part in statements if isinstance(part, dict)]
    else:
        verdicts = marked_lines(reply, ("[attributed]",), ("[not attributed]",))
    if not verdicts:
        raise GraderReplyError(f"no sentence is attributed or not in the reply {quoted(reply)}")
    return verdicts


def context_relevance(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if the share of the context's sentences that the question needs reaches the threshold."""
    threshold = assertion.threshold or 0.0

    async def grade(grading: Grading, answer: Answer) -> CheckResult:
        query = grading.variable(answer, "query")
        context = await grading.context(answer)
        parts = _parts(context)
        values = {"context": _joined(context), "query": query}
        needed = _needed(await grading.ask(answer, "context_relevance", values), context)
        return scored("relevance", min(len(needed), len(parts)) / len(parts), threshold)

    return graded_check(assertion, services, grade)


def _needed(reply: str, context: str | list[str]) -> set[str]:
    try:
        sentences = texts(reply_object(reply).get("sentences"), "sentences")
    except GraderReplyError:
        if INSUFFICIENT in reply.lower():
            return set()
        sentences = reply.splitlines() if _is_in_lines(context) else _SENTENCE_END.split(reply)
    known = _folded(_joined(context))
    copied = {folded for sentence in sentences if (folded := _folded(sentence)) and folded in known}
    if sentences and not copied:
        raise GraderReplyError(f"the reply quotes nothing of the context: {quoted(reply)}")
    return copied


def context_faithfulness(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if the share of the answer's statements that the context supports reaches the threshold."""
    threshold = assertion.threshold or 0.0

    async def grade(grading: Grading, answer: Answer) -> CheckResult:
        query = grading.variable(answer, "query")
        context = _joined(await grading.context(answer))
        split = await grading.ask(
            answer,
            "faithfulness_statements",
            {"question": query, "output": answer.text},
            rubric_key=0,
            own_values={"question": query, "answer": answer.text},
        )
        statements = _statements(split)
        values = {"context": context, "statements": statements}
        judged = await grading.ask(answer, "faithfulness_verdicts", values, rubric_key=1)
        verdicts = _verdicts(judged, len(statements))
        return scored("faithfulness", sum(verdicts) / len(verdicts), threshold)

    return graded_check(assertion, services, grade)


def _statements(reply: str) -> list[str]:
    try:
        found = texts(reply_object(reply).get("statements"), "statements")
    except GraderReplyError:
        found = [line.strip() for line in reply.splitlines() if line.strip()]
    if not found:
        raise GraderReplyError("the grader found no statement in the answer")
    return found


def _verdicts(reply: str, count: int) -> list[bool]:
    try:
        return truths(reply_object(reply).get("verdicts"), "verdicts", count=count)
    except GraderReplyError:
        words = re.findall(r"verdict:\s*(yes|no)\b", reply, re.IGNORECASE)
        final = re.search(r"final verdict[^:]*:(.*)", reply, re.IGNORECASE | re.DOTALL)
        if final is not None:
            words = re.findall(r"\b(yes|no)\b", final[1], re.IGNORECASE) or words
        if len(words) != count:
            raise
        return [word.lower() == "yes" for word in words]


def _joined(context: str | list[str]) -> str:
    return context if isinstance(context, str) else "\n\n".join(context)


def _is_in_lines(context: str | list[str]) -> bool:
    return isinstance(context, list) or sum(bool(line.strip()) for line in context.splitlines()) > 1


def _parts(context: str | list[str]) -> list[str]:
    """Return the units of a context: its chunks, its lines, or the sentences of a single line."""
    if isinstance(context, list):
        parts = context
    elif _is_in_lines(context):
        parts = context.splitlines()
    else:
        parts = _SENTENCE_END.split(context)
    return [part for part in parts if part.strip()]


def _folded(text: str) -> str:
    return " ".join(re.sub(r"^\s*(?:\d+[.)]|[-*])\s*", "", text).lower().split())
