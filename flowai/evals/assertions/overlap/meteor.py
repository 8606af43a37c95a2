"""METEOR with the matches of equal words and of equal stems; it has no synonyms, since WordNet is no Python package.

Source: Lavie and Agarwal, METEOR (2007); promptfoo, "Deterministic metrics" (parameters, tokens, order of matching).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from flowai.evals.assertions.javascript_text import split_at_spaces
from flowai.evals.assertions.overlap.porter import stem
from flowai.evals.assertions.overlap.references import check_score, references_of
from flowai.evals.assertions.records import quoted, suite_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.evals.assertions.records import CheckFunction
    from flowai.evals.suites.records import Assertion

_DEFAULTS = {"alpha": 0.9, "beta": 3.0, "gamma": 0.5}
_Indexed = list[tuple[int, str]]


def meteor(assertion: Assertion) -> CheckFunction:
    """Pass if METEOR is at least `threshold` (default 0.5); `config` may set `alpha`, `beta` and `gamma`."""
    references = [_words(text) for text in references_of(assertion)]
    alpha, beta, gamma = (_parameter(assertion, name) for name in _DEFAULTS)

    def score(text: str) -> float:
        words = _words(text)
        return max(meteor_score(words, reference, alpha, beta, gamma) for reference in references) if text else 0.0

    return check_score(assertion, score, default_threshold=0.5)


def _parameter(assertion: Assertion, name: str) -> float:
    value = assertion.config.get(name, _DEFAULTS[name])
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise suite_error(assertion, f"found `{name}` {quoted(value)}; expected a number")
    return float(value)


def _words(text: str) -> list[str]:
    return [word.rstrip(".").lower() for word in split_at_spaces(text)]


def meteor_score(words: Sequence[str], reference: Sequence[str], alpha: float, beta: float, gamma: float) -> float:
    """Return the weighted harmonic mean of precision and recall, less a penalty for matches in separate chunks."""
    exact, left, reference_left = _match(list(enumerate(words)), list(enumerate(reference)), str)
    stems, _, _ = _match(left, reference_left, stem)
    matches = sorted(exact + stems)
    if not matches:
        return 0.0
    precision, recall = len(matches) / len(words), len(matches) / len(reference)
    denominator = alpha * precision + (1 - alpha) * recall
    if denominator == 0:
        return 0.0
    chunk_count = 1 + sum(
        following != (position + 1, reference_position + 1)
        for (position, reference_position), following in pairwise(matches)
    )
    return float((1 - gamma * (chunk_count / len(matches)) ** beta) * precision * recall / denominator)


def _match(
    words: _Indexed, reference: _Indexed, key: Callable[[str], str]
) -> tuple[list[tuple[int, int]], _Indexed, _Indexed]:
    """Match words from the end, each with the last free equal one of the reference; also return what is left."""
    free: dict[str, _Indexed] = {}
    for position, word in reference:
        free.setdefault(key(word), []).append((position, word))
    matches: list[tuple[int, int]] = []
    left: _Indexed = []
    for position, word in reversed(words):
        candidates = free.get(key(word))
        if candidates:
            matches.append((position, candidates.pop()[0]))
        else:
            left.append((position, word))
    return matches, left[::-1], sorted(item for items in free.values() for item in items)
