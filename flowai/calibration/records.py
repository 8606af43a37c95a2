"""A judge's results beside people's labels."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

SCHEMA_VERSION = 1

Count = Annotated[int, Meta(ge=0)]


class JudgeCounts(Struct, frozen=True, kw_only=True):
    """Labelled answers by label and by the judge's verdict. Positive is the fault: the judge flags an answer."""

    true_positive_count: Count
    """Faulty answers that the judge flags."""
    false_negative_count: Count
    """Faulty answers that it passes."""
    true_negative_count: Count
    """Sound answers that it passes."""
    false_positive_count: Count
    """Sound answers that it flags."""


class Calibration(Struct, frozen=True, kw_only=True):
    """A judge's measured error; a committed file."""

    schema_version: int = SCHEMA_VERSION
    name: str
    """Judged property, as in score events (`hallucination`), or the assertion's type and metric."""
    judge: str
    """Feature or models, for people."""
    judge_hash: str
    """Hash of all that determines a verdict: prompts, models, combination and rubric. Another one: not calibrated."""
    rubric_hash: str = ""
    """Tells properties of the same name apart; empty if the name says it all, or each case has a rubric of its own."""
    at: datetime
    """End of the measurement (UTC)."""
    source: str
    """Suite and labels, relative to the project."""
    counts: JudgeCounts
    unscored_count: Count = 0
    """Labelled answers for which the judge gave no readable verdict."""
