"""Rules before a fact check: numbers, dates and names of an answer that its text does not contain cost no call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES_VERSION = 1
"""Part of the judge's hash: other rules are another judge."""
MAX_SMALL_NUMBER = 20
"""Whole numbers up to this may count what the text lists without a number."""
MAX_CAPITALIZED_SHARE = 0.2
"""Share of capitalized words within sentences above which capitals mark no names, as in German."""
MIN_WORDS = 20
"""Words of a text from which that share is known."""
MAX_SHOWN = 3

_NUMBER = re.compile(
    r"(?<![\w.,])[$€£]?(\d{1,3}(?:[,'\u202f\u00a0]\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?)(?:\s*(k|thousand|million|billion|m|bn)\b)?",
    re.IGNORECASE,
)
_SCALES = {
    "k": 1_000,
    "thousand": 1_000,
    "m": 1_000_000,
    "million": 1_000_000,
    "bn": 1_000_000_000,
    "billion": 1_000_000_000,
}
_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_VERB_MONTHS = frozenset({"march", "may"})
"""Months that are words too: only next to a number they are dates."""
_WORD = re.compile(r"[^\W\d_][\w'\u2019-]*")
_SENTENCE_BEGIN = re.compile(r"(?:^|[.!?:;\n\"“”«»()\[\]•*#|>-])\s*$")
_MIN_NAME_CHARS = 3


@dataclass(frozen=True, slots=True)
class _Number:
    shown: str
    value: Decimal
    unit: Decimal
    """Value of its last digit."""


def unsupported(answer: str, text: str) -> list[str]:
    """Return the numbers, dates and names of an answer that the text it was made from does not contain, in order.

    A number is supported by one that rounds to it. Small whole numbers, and names in texts whose nouns are
    capitalized, are not checked: silence is no proof that an answer is right.
    """
    found = [*_unsupported_numbers(answer, text), *_unsupported_months(answer, text), *_unsupported_names(answer, text)]
    return list(dict.fromkeys(found))


def shown_unsupported(found: list[str]) -> str:
    """Return a reason for people."""
    more = f" and {len(found) - MAX_SHOWN} more" if len(found) > MAX_SHOWN else ""
    return f"not in the text: {', '.join(found[:MAX_SHOWN])}{more}"


def _unsupported_numbers(answer: str, text: str) -> Iterator[str]:
    known = [number.value for number in _numbers(text)]
    exact = set(known)
    for number in _numbers(answer):
        value = number.value
        is_small = value == value.to_integral_value() and value <= MAX_SMALL_NUMBER
        if is_small or value in exact or value / 100 in exact or value * 100 in exact:
            continue
        if not any(abs(other - value) * 2 <= number.unit for other in known):
            yield number.shown


def _numbers(text: str) -> Iterator[_Number]:
    for match in _NUMBER.finditer(_DATE.sub(r"\1 \2 \3", text)):
        digits = re.sub(r"(?<=\d)[,'\u202f\u00a0](?=\d{3}(?:\D|$))", "", match[1]).replace(",", ".")
        scale = Decimal(_SCALES.get((match[2] or "").lower(), 1))
        try:
            value = Decimal(digits)
        except InvalidOperation:
            continue
        exponent = value.as_tuple().exponent
        unit = Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
        yield _Number(match[0].strip(), value * scale, unit * scale)


def _unsupported_months(answer: str, text: str) -> Iterator[str]:
    lowered = text.casefold()
    dated = {int(month) for _, month, _ in _DATE.findall(text)}
    for number, month in enumerate(_MONTHS, start=1):
        pattern = rf"\b{month}\b"
        if month in _VERB_MONTHS:
            pattern = rf"(?:\d\s+{month}\b|\b{month}\s+\d)"
        found = re.search(pattern, answer, re.IGNORECASE)
        if found and number not in dated and not re.search(rf"\b{month[:3]}", lowered):
            yield month.capitalize()


def _unsupported_names(answer: str, text: str) -> Iterator[str]:
    if _capitalizes_nouns(text):
        return
    known = {word.casefold() for word in _WORD.findall(text)}
    for match in _inner_words(answer):
        word = match[0].removesuffix("'s").removesuffix("\u2019s")
        folded = word.casefold()
        if not word[0].isupper() or len(word) < _MIN_NAME_CHARS or folded in _MONTHS or folded in known:
            continue
        if folded.rstrip("s") in known or any(part in known for part in re.split(r"['\u2019-]", folded)):
            continue
        yield word


def _inner_words(text: str) -> Iterator[re.Match[str]]:
    """Yield the words that begin no sentence, heading, list item or quotation."""
    for match in _WORD.finditer(text):
        if not _SENTENCE_BEGIN.search(text[max(0, match.start() - 8) : match.start()]):
            yield match


def _capitalizes_nouns(text: str) -> bool:
    words = [match[0] for match in _inner_words(text)]
    return len(words) >= MIN_WORDS and sum(word[0].isupper() for word in words) > MAX_CAPITALIZED_SHARE * len(words)
