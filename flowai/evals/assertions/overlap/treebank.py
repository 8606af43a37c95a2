"""Splits a text into words and punctuation by the rules of the Penn Treebank, which promptfoo's ROUGE-N counts.

Source: R. MacIntyre, tokenizer.sed of the Penn Treebank project (1995); the JavaScript package js-rouge (numbers keep
their separators, only the period at the end of the text is a token).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

_RULES = (
    (r"(?<=^|[\s\p{Ps}<])(?:``|\")(?=\S)|``", " `` "),
    (r"\"|''", " '' "),
    (r"\.{3}", " ... "),
    (r"[:,](?!\p{Nd})", r" \g<0> "),
    (r"[;@#$%&]", r" \g<0> "),
    (r"(?<=[^.])(?<!\b[A-Za-z]\.[A-Za-z])\.(?=[\])}>'\s]*$)", r" ."),
    (r"(?<= \.)([\])}>'\s]*)$", r"\1 "),
    (r"[?!]", r" \g<0> "),
    (r"[\]\[(){}<>]", r" \g<0> "),
    (r"--", " -- "),
    (r"^|$", " "),
    (r"(?<=[^'])' ", " ' "),
    (r"'([smd]) ", r" '\1 "),
    (r"('ll|'re|'ve|n't) ", r" \1 "),
    (r"\b(can)(not)\b", r" \1 \2 "),
    (r"\b(d)('ye)\b", r" \1 \2 "),
    (r"\b(gim|lem)(me)\b", r" \1 \2 "),
    (r"\b(gon)(na)\b|\b(wan)(na)\b(?= )", r" \1\3 \2\4 "),
    (r"\b(got)(ta)\b", r" \1 \2 "),
    (r"\b(more)('n)\b", r" \1 \2 "),
    (r"(?<!\w)('t)(is|was)\b", r" \1 \2 "),
)


def tokenize(text: str) -> list[str]:
    """Return the tokens of a text in lower case."""
    text = " ".join(text.replace("\ufeff", " ").split())
    if not text:
        return []
    for pattern, replacement in _compiled_rules():
        text = pattern.sub(replacement, text)
    return text.split()


@cache
def _compiled_rules() -> tuple[tuple[regex.Pattern[str], str], ...]:
    import regex  # 30 ms; few suites need it

    return tuple((regex.compile(pattern), replacement) for pattern, replacement in _RULES)
