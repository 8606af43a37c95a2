"""Assertions: checks of answers."""

from flowai.evals.assertions.catalog import AssertionFunction, compile_cases, compile_check, compile_checks
from flowai.evals.assertions.records import Answer
from flowai.evals.assertions.scoring import score_answer
from flowai.evals.assertions.services import CheckServices

__all__ = [
    "Answer",
    "AssertionFunction",
    "CheckServices",
    "compile_cases",
    "compile_check",
    "compile_checks",
    "score_answer",
]
