"""Assertions that a model grades."""

from flowai.evals.assertions.graded.builders import GRADED_BUILDERS, check_graders
from flowai.evals.assertions.graded.fact_check import (
    FACT_CHECK_NAME,
    FACT_CHECK_PROMPT,
    FACT_CHECK_RUBRIC,
    fact_check,
)
from flowai.evals.assertions.graded.grading import Grading, uses_own_prompt
from flowai.evals.assertions.graded.judge_prompts import JudgePrompts
from flowai.evals.assertions.graded.replies import GraderReplyError
from flowai.evals.assertions.graded.selection import choose_best, choose_best_in_both_orders, select_best

__all__ = [
    "FACT_CHECK_NAME",
    "FACT_CHECK_PROMPT",
    "FACT_CHECK_RUBRIC",
    "GRADED_BUILDERS",
    "GraderReplyError",
    "Grading",
    "JudgePrompts",
    "check_graders",
    "choose_best",
    "choose_best_in_both_orders",
    "fact_check",
    "select_best",
    "uses_own_prompt",
]
