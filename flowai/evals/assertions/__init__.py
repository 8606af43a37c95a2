"""Assertions: checks of answers."""

from flowai.evals.assertions.catalog import AssertionFunction, compile_cases, compile_check, compile_checks
from flowai.evals.assertions.records import Answer
from flowai.evals.assertions.schema import Schemas
from flowai.evals.assertions.scoring import Score, score_answer

__all__ = [
    "Answer",
    "AssertionFunction",
    "Schemas",
    "Score",
    "compile_cases",
    "compile_check",
    "compile_checks",
    "score_answer",
]
