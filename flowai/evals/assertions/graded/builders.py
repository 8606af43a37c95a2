"""Builders of the checks that a model grades, by type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import SuiteError
from flowai.evals.assertions.graded import moderation, retrieval, rubrics
from flowai.evals.assertions.records import suite_error
from flowai.evals.suites.records import iterate_assertions

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.evals.assertions.records import AsyncCheck
    from flowai.evals.assertions.services import CheckServices
    from flowai.evals.suites.records import Assertion, Case, SuiteProvider

GRADED_BUILDERS: dict[str, Callable[[Assertion, CheckServices], AsyncCheck]] = {
    "llm-rubric": rubrics.llm_rubric,
    "factuality": rubrics.factuality,
    "model-graded-factuality": rubrics.factuality,
    "model-graded-closedqa": rubrics.closed_qa,
    "g-eval": rubrics.g_eval,
    "conversation-relevance": rubrics.conversation_relevance,
    "answer-relevance": retrieval.answer_relevance,
    "context-recall": retrieval.context_recall,
    "context-relevance": retrieval.context_relevance,
    "context-faithfulness": retrieval.context_faithfulness,
    "moderation": moderation.moderation,
}
"""Each raises SuiteError for a wrong value or threshold, or if no model may be called."""


def check_graders(case: Case, check_grader: Callable[[SuiteProvider | None], object]) -> None:
    """Check every graded assertion's own grader, None for the default, by a function that raises SuiteError.

    Raises:
        SuiteError: the function's, with the assertion's place.
    """
    for assertion in iterate_assertions(case.assertions):
        if assertion.type in GRADED_BUILDERS and assertion.type != "moderation":
            try:
                check_grader(assertion.grader or case.options.grader)
            except SuiteError as error:
                raise suite_error(assertion, error.what, hint=error.hint) from None
