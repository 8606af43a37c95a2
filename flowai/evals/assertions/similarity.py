"""Checks by edit distance, and by the distance of embeddings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError
from flowai.evals.assertions.javascript_text import to_text
from flowai.evals.assertions.records import AsyncCheck, CheckResult, quoted, suite_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.assertions.services import CheckServices
    from flowai.evals.suites.records import Assertion

DEFAULT_MAX_DISTANCE = 5.0
DEFAULT_SIMILARITY = 0.75
_ROUNDING = 2.0**-52


def levenshtein(assertion: Assertion) -> CheckFunction:
    """Pass if at most `threshold` characters (default 5) must be inserted, deleted or replaced."""
    expected = assertion.value
    if not isinstance(expected, str):
        raise suite_error(assertion, f"found {quoted(expected)}; expected a text", hint="put it in quotes")
    max_distance = DEFAULT_MAX_DISTANCE if assertion.threshold is None else assertion.threshold

    def check(answer: Answer) -> CheckResult:
        distance = edit_distance(expected, answer.text, max_distance=int(max_distance))
        if distance is None:
            return CheckResult(passed=False, detail=f" distance to {quoted(expected)} > {max_distance:g}")
        return CheckResult(passed=True, detail=f" distance to {quoted(expected)} is {distance}")

    return check


def edit_distance(left: str, right: str, *, max_distance: int) -> int | None:
    """Count the insertions, deletions and substitutions of code points; None if there are more than `max_distance`."""
    from rapidfuzz.distance import Levenshtein  # imported only for this type

    limit = min(max_distance, max(len(left), len(right)))  # no distance is greater; the library accepts 64 bits
    distance = Levenshtein.distance(left, right, score_cutoff=limit)
    return distance if distance <= limit else None


def similar(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if the embedding of the answer is near enough to that of one of the texts.

    `similar` and `similar:cosine` need a cosine of at least `threshold` (default 0.75), `similar:dot` such a dot
    product, `similar:euclidean` a distance of at most `threshold`; its score is 1 / (1 + distance).
    """
    values = assertion.value if isinstance(assertion.value, list) else [assertion.value]
    if not values or not all(isinstance(value, str) or _is_number(value) for value in values):
        raise suite_error(assertion, f"found {quoted(assertion.value)}; expected a text, or a list of texts")
    models = services.models
    if models is None:
        raise suite_error(assertion, "calls a model, which this run does not allow")
    texts = [to_text(value) for value in values]
    threshold = DEFAULT_SIMILARITY if assertion.threshold is None else assertion.threshold
    metric = assertion.type.partition(":")[2] or "cosine"

    async def check(answer: Answer) -> CheckResult:
        embedder = assertion.embedder or (answer.case.options.embedder if answer.case else None)
        try:
            first, *others = (await models.embed(embedder, [answer.text, *texts])).vectors
        except FlowaiError as error:
            return CheckResult(None, f": {error.what}")
        if metric == "euclidean":
            distance = min(math.dist(first, other) for other in others)
            passed = distance <= threshold + _ROUNDING
            return CheckResult(passed, f" {distance:.2f} {'<=' if passed else '>'} {threshold:g}", 1 / (1 + distance))
        best = max(_dot(first, other) if metric == "dot" else _cosine(first, other) for other in others)
        passed = best >= threshold - _ROUNDING
        return CheckResult(passed, f" {best:.2f} {'>=' if passed else '<'} {threshold:g}", min(1.0, max(0.0, best)))

    return AsyncCheck(check)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(left, right, strict=True))


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    lengths = math.hypot(*left) * math.hypot(*right)
    return _dot(left, right) / lengths if lengths else 0.0
