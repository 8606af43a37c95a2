"""Assertions that a model grades."""

from flowai.evals.assertions.graded.builders import GRADED_BUILDERS, check_graders
from flowai.evals.assertions.graded.grading import Grading
from flowai.evals.assertions.graded.replies import GraderReplyError
from flowai.evals.assertions.graded.selection import select_best

__all__ = ["GRADED_BUILDERS", "GraderReplyError", "Grading", "check_graders", "select_best"]
