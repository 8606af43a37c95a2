"""Finds pairs that no model should learn: empty, unreadable, too long, refusing, repeating."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.finetune.cleaning.refusals import is_refusal
from flowai.finetune.dedup.shingles import distinct_share, folded, shingles
from flowai.finetune.pairs.pair_text import all_texts, conversation_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.finetune.records import Pair, QuarantineReason

_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff\ud800-\udfff]")
_REPLACED = "\ufffd"
_MAX_REPLACED_SHARE = 0.01
_LOOP_LENGTH = 24  # characters; repetitions in tables and lists are shorter, or vary
_LOOP_MIN_CHARACTER_COUNT = 400
_LOOP_TAIL_COUNT = 1_000  # a loop continues to the end
_LOOP_DISTINCT_SHARE = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityLimits:
    """Limits for a pair; the defaults only reject what no training can use."""

    min_request_chars: int = 1
    """Characters of the request, without white space at its ends."""
    min_answer_chars: int = 1
    """Characters of the answer, as above; a label may be one letter."""
    max_chars: int = 262_144
    """Characters of all texts; the default is about 65,536 tokens, OpenAI's longest training example."""
    max_tokens: int | None = None
    """Tokens of all texts; None for no limit."""
    refusals: bool = True
    repetitions: bool = True


@dataclass(frozen=True, slots=True)
class QualityProblem:
    """A violated quality limit."""

    reason: QuarantineReason
    detail: str
    """Found and expected; nothing of the text."""


def quality_problem(
    pair: Pair, rules: QualityLimits, count_tokens: Callable[[str], int] | None = None
) -> QualityProblem | None:
    """Return the first quality problem of a pair; `max_tokens` is not checked without `count_tokens`."""
    parts = conversation_parts(pair)
    texts = list(all_texts(pair))
    answer = folded(parts.answer)
    return (
        _short(folded(parts.request), "request", rules.min_request_chars)
        or _short(answer, "answer", rules.min_answer_chars)
        or _unreadable(texts)
        or _long(texts, rules, count_tokens)
        or _boilerplate_problem(parts.answer, answer, rules)
    )


def has_repetition(text: str) -> bool:
    """Return whether a folded answer of at least 400 characters repeats itself to the end, as looping models do."""
    if len(text) < _LOOP_MIN_CHARACTER_COUNT - 1:
        return False
    spans = shingles(text[-_LOOP_TAIL_COUNT - _LOOP_LENGTH :], _LOOP_LENGTH)[-_LOOP_TAIL_COUNT:]
    return distinct_share(spans) < _LOOP_DISTINCT_SHARE


def _short(text: str, part: str, min_count: int) -> QualityProblem | None:
    if not text:
        return QualityProblem("empty", f"the {part} is empty")
    if len(text) < min_count:
        return QualityProblem("too_short", f"the {part} has {len(text)} characters, expected at least {min_count}")
    return None


def _unreadable(texts: list[str]) -> QualityProblem | None:
    for text in texts:
        if (match := _UNREADABLE.search(text)) is not None:
            return QualityProblem("binary", f"U+{ord(match.group()):04X} in a text")
        if text.count(_REPLACED) > _MAX_REPLACED_SHARE * len(text):
            return QualityProblem("binary", "more than 1 % replacement characters (U+FFFD)")
    return None


def _long(texts: list[str], rules: QualityLimits, count_tokens: Callable[[str], int] | None) -> QualityProblem | None:
    length = sum(map(len, texts))
    if length > rules.max_chars:
        return QualityProblem("too_long", f"{length} characters, expected at most {rules.max_chars}")
    if rules.max_tokens is None or count_tokens is None:
        return None
    tokens = sum(map(count_tokens, texts))
    if tokens > rules.max_tokens:
        return QualityProblem("too_long", f"{tokens} tokens, expected at most {rules.max_tokens}")
    return None


def _boilerplate_problem(answer: str, folded_answer: str, rules: QualityLimits) -> QualityProblem | None:
    if rules.refusals and is_refusal(answer):
        return QualityProblem("refusal", "the answer begins with a refusal")
    if rules.repetitions and has_repetition(folded_answer):
        return QualityProblem("repetition", "the answer repeats itself")
    return None
