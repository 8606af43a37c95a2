"""Room: assertions. Checks on answers."""

from flowai.assertions.catalog import CheckFunction, compile_cases, compile_check, compile_checks
from flowai.assertions.model import Answer
from flowai.assertions.schema import Schemas
from flowai.assertions.scoring import Score, score_answer

__all__ = [
    "Answer",
    "CheckFunction",
    "Schemas",
    "Score",
    "compile_cases",
    "compile_check",
    "compile_checks",
    "score_answer",
]
