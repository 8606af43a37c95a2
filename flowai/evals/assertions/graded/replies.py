"""Parses the replies of graders: JSON first, then the forms that promptfoo's own prompts ask for.

A reply that cannot be read is a GraderReplyError; the assertion is then not judged, never failed.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from flowai.evals.assertions.records import quoted
from flowai.evals.assertions.structure import iterate_json

if TYPE_CHECKING:
    from collections.abc import Sequence

_YES = frozenset({"true", "yes", "pass", "y"})
_NO = frozenset({"false", "no", "fail", "n"})
_CATEGORY = re.compile(r"\(?\b([A-E])\)", re.IGNORECASE)
_CATEGORIES = frozenset("ABCDE")
_INTEGER = re.compile(r"\d+")


class GraderReplyError(ValueError):
    """Raised if a grader's reply cannot be read; the message is one short line."""


def reply_object(text: str) -> dict[str, Any]:
    """Return the first JSON object in a reply."""
    try:
        for value in iterate_json(text):
            if isinstance(value, dict):
                return value
    except TimeoutError as error:
        raise GraderReplyError(str(error)) from None
    raise GraderReplyError(f"no JSON object in the reply {quoted(text)}")


def reason_of(reply: dict[str, Any]) -> str:
    """Return the reason in a reply; empty if it has none."""
    reason = reply.get("reason", "")
    return reason.strip() if isinstance(reason, str) else ""


def truth(value: object) -> bool:
    """Return a verdict written as true, false, yes, no, pass, fail, Y or N."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _YES | _NO:
        return word in _YES
    raise GraderReplyError(f"found the verdict {quoted(value)}; expected true or false")


def number(value: object, *, max_value: float) -> float:
    """Return a finite score from 0 to `max_value`."""
    try:
        score = float(str(value)) if not isinstance(value, bool) else math.nan
    except ValueError:
        score = math.nan
    if not 0 <= score <= max_value:
        raise GraderReplyError(f"found the score {quoted(value)}; expected a number from 0 to {max_value:g}")
    return score


def rubric_verdict(text: str, threshold: float | None) -> tuple[bool, float, str]:
    """Return verdict, score from 0 to 1 and reason of a rubric's reply.

    As in promptfoo a missing `pass` is true, a missing `score` is 1 or 0 by `pass`, and the threshold applies to the
    score.
    """
    reply = reply_object(text)
    if "pass" not in reply and "score" not in reply:
        raise GraderReplyError(f"neither `pass` nor `score` in the reply {quoted(text)}")
    passed = truth(reply.get("pass", True))
    score = float(passed) if reply.get("score") is None else number(reply["score"], max_value=math.inf)
    if threshold is not None:
        passed = passed and score >= threshold
    return passed, min(score, 1.0), reason_of(reply)


def category(text: str) -> tuple[str, str]:
    """Return category A to E and the reason of a comparison of facts."""
    try:
        reply = reply_object(text)
    except GraderReplyError:
        reply = {}
    letter = str(reply.get("category", "")).strip().upper()
    if not letter and (match := _CATEGORY.search(text)):
        letter = match[1].upper()
    if letter not in _CATEGORIES:
        raise GraderReplyError(f"no category from A to E in the reply {quoted(text)}")
    return letter, reason_of(reply)


def yes_or_no(text: str) -> tuple[bool, str]:
    """Return the verdict and the reason of a decision: JSON with `verdict`, or a text that ends in Y or N."""
    try:
        reply = reply_object(text)
    except GraderReplyError:
        reply = {}
    if "verdict" in reply:
        return truth(reply["verdict"]), reason_of(reply)
    last = text.rstrip()[-1:]
    if last not in {"Y", "N"}:
        raise GraderReplyError(f"the reply ends in neither Y nor N: {quoted(text)}")
    return last == "Y", text.strip()


def texts(value: object, name: str) -> list[str]:
    """Return a list of texts."""
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise GraderReplyError(f"`{name}` in the reply is not a list of texts")
    return [part.strip() for part in value if part.strip()]


def truths(value: object, name: str, *, count: int) -> list[bool]:
    """Return a list of as many verdicts."""
    if not isinstance(value, list) or len(value) != count:
        raise GraderReplyError(f"`{name}` in the reply is not a list of {count} verdicts")
    return [truth(part) for part in value]


def marked_lines(text: str, yes: Sequence[str], no: Sequence[str]) -> list[bool]:
    """Return a verdict for each line that has one of the marks; marks are compared without case."""
    verdicts = []
    for line in text.lower().splitlines():
        if any(mark in line for mark in no):
            verdicts.append(False)
        elif any(mark in line for mark in yes):
            verdicts.append(True)
    return verdicts


def position(text: str, count: int) -> int:
    """Return the number of the selected answer, from 0."""
    try:
        found = str(reply_object(text).get("index", ""))
    except GraderReplyError:
        found = text
    match = _INTEGER.search(found)
    if match is None or int(match[0]) >= count:
        raise GraderReplyError(f"no number from 0 to {count - 1} in the reply {quoted(text)}")
    return int(match[0])
