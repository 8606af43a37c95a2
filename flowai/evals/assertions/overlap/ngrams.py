"""BLEU, GLEU and ROUGE-N as promptfoo computes them.

Sources: Papineni et al., BLEU (ACL 2002); Wu et al., Google's Neural Machine Translation System (2016), section 4.2,
for GLEU; Lin, ROUGE (2004); promptfoo, "Deterministic metrics", for tokens, smoothing and thresholds.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from flowai.evals.assertions.javascript_text import split_at_spaces, trim
from flowai.evals.assertions.overlap.references import check_score, references_of
from flowai.evals.assertions.overlap.treebank import tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.evals.assertions.records import CheckFunction
    from flowai.evals.suites.records import Assertion

MAX_ORDER = 4
_SMOOTHED_PRECISION = 1e-7
"""Precision of an order without a match, so that its logarithm exists."""


def bleu(assertion: Assertion) -> CheckFunction:
    """Pass if BLEU is at least `threshold` (default 0.5)."""
    references = [_words(text) for text in references_of(assertion)]
    counts = [[_ngrams(words, order) for words in references] for order in range(1, MAX_ORDER + 1)]

    def score(text: str) -> float:
        return bleu_score(_words(text), references, counts) if trim(text) else 0.0

    return check_score(assertion, score, default_threshold=0.5)


def gleu(assertion: Assertion) -> CheckFunction:
    """Pass if GLEU is at least `threshold` (default 0.5)."""
    references = [_undotted(text) for text in references_of(assertion)]

    def score(text: str) -> float:
        words = _undotted(text)
        return max(gleu_score(words, reference) for reference in references) if text else 0.0

    return check_score(assertion, score, default_threshold=0.5)


def rouge_n(assertion: Assertion) -> CheckFunction:
    """Pass if the F1 of single words (ROUGE-1) is at least `threshold` (default 0.75)."""
    (text,) = references_of(assertion, allows_list=False)
    reference = Counter(tokenize(text.lower()))
    return check_score(
        assertion, lambda answer: rouge_score(Counter(tokenize(answer.lower())), reference), default_threshold=0.75
    )


def _words(text: str) -> list[str]:
    return split_at_spaces(trim(text.lower()))


def _undotted(text: str) -> list[str]:
    return [word.rstrip(".") for word in _words(text)]


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def bleu_score(
    words: Sequence[str],
    references: Sequence[Sequence[str]],
    reference_counts: Sequence[Sequence[Counter[tuple[str, ...]]]],
) -> float:
    """Return the geometric mean of the precisions of all orders that the words have, times the brevity penalty.

    The matches of an order are those with the reference that has most of them.
    """
    length = len(words)
    closest = min((len(reference) for reference in references), key=lambda count: (abs(count - length), count))
    logarithms = []
    for order in range(1, min(MAX_ORDER, length) + 1):
        counts = _ngrams(words, order)
        matches = max((counts & reference).total() for reference in reference_counts[order - 1])
        logarithms.append(math.log(matches / counts.total() or _SMOOTHED_PRECISION))
    penalty = 1.0 if length > closest else math.exp(1 - closest / length)
    return penalty * math.exp(math.fsum(logarithms) / len(logarithms))


def gleu_score(words: Sequence[str], reference: Sequence[str]) -> float:
    """Return the smaller of precision and recall over all n-grams of the orders 1 to 4."""
    if list(words) == list(reference):
        return 1.0
    matches = total = reference_total = 0
    for order in range(1, MAX_ORDER + 1):
        counts, reference_counts = _ngrams(words, order), _ngrams(reference, order)
        matches += (counts & reference_counts).total()
        total += counts.total()
        reference_total += reference_counts.total()
    return matches / max(total, reference_total)


def rouge_score(counts: Counter[str], reference: Counter[str]) -> float:
    """Return the F1 of the words that answer and reference share."""
    matches = (counts & reference).total()
    return 2 * matches / (counts.total() + reference.total()) if matches else 0.0
