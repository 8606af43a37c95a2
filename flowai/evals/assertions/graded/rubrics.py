"""Grades by a rubric: `llm-rubric`, `factuality`, `model-graded-closedqa`, `g-eval`, `conversation-relevance`.

Source: promptfoo, "Model-graded metrics" (promptfoo.dev/docs/configuration/expected-outputs/model-graded); G-Eval: Liu
et al. 2023, "NLG Evaluation using GPT-4 with Better Human Alignment". docs/reference/assertions.md has the differences.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from flowai.evals.assertions.graded.grading import graded_check, scored, short
from flowai.evals.assertions.graded.replies import (
    GraderReplyError,
    category,
    number,
    reason_of,
    reply_object,
    rubric_verdict,
    texts,
    yes_or_no,
)
from flowai.evals.assertions.records import CheckResult, quoted, suite_error

if TYPE_CHECKING:
    from flowai.evals.assertions.graded.grading import Grading
    from flowai.evals.assertions.records import Answer, AsyncCheck
    from flowai.evals.assertions.services import CheckServices
    from flowai.evals.suites.records import Assertion

G_EVAL_THRESHOLD = 0.7
G_EVAL_MAX_SCORE = 10
DEFAULT_WINDOW = 5
"""Turns of a conversation that `conversation-relevance` reads at once."""

_CATEGORIES = {
    "A": ("subset", 1.0, "the answer holds a part of the expected facts"),
    "B": ("superset", 1.0, "the answer holds more than the expected facts"),
    "C": ("agree", 1.0, "the answer holds the expected facts"),
    "D": ("disagree", 0.0, "the answer contradicts the expected facts"),
    "E": ("differButFactual", 1.0, "the answer differs, but not in facts"),
}
"""Key of its score in `options.factuality`, default score and meaning of each category."""


def llm_rubric(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if a grader says that the answer fulfils the rubric, and its score reaches the threshold."""
    rubric = _text(assertion)

    async def grade(grading: Grading, answer: Answer) -> CheckResult:
        reply = await grading.ask(answer, "llm_rubric", {"output": answer.text, "rubric": rubric})
        passed, score, reason = rubric_verdict(reply, assertion.threshold)
        return CheckResult(passed=passed, detail=f": {short(reason) or f'score {score:g}'}", score=score)

    return graded_check(assertion, services, grade)


def factuality(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if a grader finds no contradiction between the answer's facts and the expected ones."""
    expected = _text(assertion)

    async def grade(grading: Grading, answer: Answer) -> CheckResult:
        values = {"question": answer.prompt, "expected": expected, "output": answer.text}
        own = {"input": answer.prompt, "ideal": expected, "completion": answer.text}
        letter, reason = category(await grading.ask(answer, "factuality", values, own_values=own))
        key, default, meaning = _CATEGORIES[letter]
        scores = answer.case.options.factuality if answer.case is not None else {}
        score = scores.get(key, default)
        return CheckResult(passed=score > 0, detail=f": {meaning} ({letter}){_because(reason)}", score=min(score, 1.0))

    return graded_check(assertion, services, grade)


def closed_qa(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if a grader says that the answer meets the criterion."""
    criterion = _text(assertion)

    async def grade(grading: Grading, answer: Answer) -> CheckResult:
        values = {"question": answer.prompt, "criterion": criterion, "output": answer.text}
        own = {"input": answer.prompt, "criteria": criterion, "completion": answer.text}
        passed, reason = yes_or_no(await grading.ask(answer, "closed_qa", values, own_values=own))
        return CheckResult(passed=passed, detail=f": {short(reason) or quoted(criterion)}")

    return graded_check(assertion, services, grade)


def g_eval(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if the mean score over the criteria, by steps that the grader plans first, reaches the threshold (0.7)."""
    value = assertion.value
    criteria = [_text(assertion)] if not isinstance(value, list) else [str(part) for part in value]
    if not criteria:
        raise suite_error(assertion, "found an empty list; expected criteria")
    threshold = G_EVAL_THRESHOLD if assertion.threshold is None else assertion.threshold

    async def score_of(grading: Grading, answer: Answer, criterion: str) -> float:
        planned = await grading.ask(
            answer, "g_eval_steps", {"criterion": criterion}, rubric_key="steps", own_values={"criteria": criterion}
        )
        steps = texts(reply_object(planned).get("steps"), "steps")
        if not steps:
            raise GraderReplyError("the grader planned no step")
        values = {"criterion": criterion, "steps": steps, "source": answer.prompt, "output": answer.text}
        own = {
            "criteria": criterion,
            "steps": "\n- ".join(steps),
            "input": answer.prompt,
            "output": answer.text,
            "maxScore": str(G_EVAL_MAX_SCORE),
        }
        reply = reply_object(await grading.ask(answer, "g_eval", values, rubric_key="evaluate", own_values=own))
        return number(reply.get("score"), max_value=G_EVAL_MAX_SCORE) / G_EVAL_MAX_SCORE

    async def grade(grading: Grading, answer: Answer) -> CheckResult:
        scores = [await score_of(grading, answer, criterion) for criterion in criteria]
        return scored("score", math.fsum(scores) / len(scores), threshold)

    return graded_check(assertion, services, grade)


def conversation_relevance(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if the share of windows of a conversation whose last reply is relevant reaches the threshold (default 0)."""
    size = assertion.config.get("windowSize", DEFAULT_WINDOW)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise suite_error(assertion, f"found `windowSize` {quoted(size)}; expected a whole number >= 1")
    threshold = assertion.threshold or 0.0

    async def grade(grading: Grading, answer: Answer) -> CheckResult:
        turns = _turns(answer)
        windows = [turns[max(0, end - size) : end] for end in range(1, len(turns) + 1)]
        verdicts = []
        for window in windows:
            text = "\n".join(f"{role}: {content}" for turn in window for role, content in turn)
            reply = reply_object(await grading.ask(answer, "conversation_relevance", {"conversation": text}))
            verdicts.append(_is_relevant(reply))
        return scored("relevance", sum(verdicts) / len(verdicts), threshold)

    return graded_check(assertion, services, grade)


def _is_relevant(reply: dict[str, Any]) -> bool:
    verdict = str(reply.get("verdict", "")).strip().lower()
    if verdict not in {"yes", "no"}:
        raise GraderReplyError(f"found the verdict {quoted(verdict)}; expected yes or no ({reason_of(reply)})")
    return verdict == "yes"


def _turns(answer: Answer) -> list[list[tuple[str, str]]]:
    """Return the turns of the conversation, the last of which has this answer."""
    earlier = answer.variables.get("_conversation")
    turns = [
        [("user", _as_text(turn.get("input", turn.get("prompt", "")))), ("assistant", _as_text(turn.get("output", "")))]
        for turn in (earlier if isinstance(earlier, list) else ())
        if isinstance(turn, dict)
    ]
    return [*turns, [("user", answer.prompt), ("assistant", answer.text)]]


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(assertion: Assertion) -> str:
    value = assertion.value
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, dict | list) and value:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise suite_error(assertion, f"found {quoted(value)}; expected a text")


def _because(reason: str) -> str:
    return f": {short(reason)}" if reason else ""
