"""Tokens of a text, each in one spelling: numbers, dates, times, units, literals and words.

`1,000`, `1000`, `one thousand` and `1k` are one number; `5km` and `5 kilometres` one length; `2026-03-05`, `March 5,
2026` and `5th of March 2026` one date. Nothing is rounded or converted: `1 km` and `1000 m` differ.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from flowai.cache.equivalence import units

if TYPE_CHECKING:
    from collections.abc import Callable

TokenKind = Literal["word", "name", "number", "date", "unit", "literal", "symbol", "stop"]
"""`literal`: quoted, code, an address, an identifier; compared unchanged. `stop`: the end of a clause."""

_TOKEN = re.compile(
    r"""
      (?P<literal> ```.*?``` | `[^`]*` | "[^"]*" | (?<!\w)'[^'\n]+'(?!\w)
                 | https?://\S+ | [\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]+
                 | (?<!\S)--?[A-Za-z][\w-]* )
    | (?P<iso> \b\d{4}-\d{1,2}-\d{1,2}\b )
    | (?P<slashed> \b\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b )
    | (?P<clock> \b\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\b\.?)? | \b\d{1,2}\s?[ap]\.?m\b\.? )
    | (?P<ordinal> \b\d+(?:st|nd|rd|th)\b )
    | (?P<number> (?:(?<![\w)\]])[+-])?\d+(?:[.,]\d+)* )
    | (?P<named> [^\W\d][\w]*(?:[_.]\w+|::\w+)+ (?:\(\))? | [^\W\d]*[a-z][A-Z]\w* | [A-Za-z]\w*(?:\+\+|\#)(?!\w)
               | [^\W\d_]+\d\w* | _\w+ )
    | (?P<word> [^\W\d_]+(?:'[^\W\d_]+)* )
    | (?P<stop> [.?!;:\n]+(?=\s|$) )
    | (?P<symbol> \S )
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s?(?:([ap])\.?m\.?)?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_ASCII_MARKS = str.maketrans(
    {
        **dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "'"),
        **dict.fromkeys(
            "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}\N{DOUBLE LOW-9 QUOTATION MARK}", '"'
        ),
        **dict.fromkeys(
            "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}", '"'
        ),
        **dict.fromkeys("\N{MINUS SIGN}\N{EN DASH}", "-"),
    }
)
_SUFFIXES = {"k": 10**3, "K": 10**3, "M": 10**6, "bn": 10**9, "B": 10**9}
_LATEST_YEAR = 2999
_MAX_DIGITS = 18  # longer ones are identifiers, not amounts
_PRONOUN_BEFORE_ONE = frozenset(
    ("which", "this", "that", "the", "another", "every", "each", "no", "any", "some", "right", "only", "new", "best")
)
_NAMES_IN_CAPITALS = frozenset({"IT", "US", "WHO"})  # stopwords in lower case


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """Part of a text with one meaning."""

    kind: TokenKind
    value: str
    """Its normal spelling."""
    text: str
    """Its spelling in the text."""


def tokenize(text: str) -> list[Token]:
    """Split a text into tokens: words in lower case, contractions expanded, amounts in one spelling."""
    clean = unicodedata.normalize("NFKC", text).translate(_ASCII_MARKS)
    is_all_caps = clean.isupper()
    raw: list[Token] = []
    for match in _TOKEN.finditer(clean):
        group = match.lastgroup or "symbol"
        if group != "symbol" or not _joins_words(match):
            raw.extend(_match_tokens(group, match.group(), raw, is_all_caps=is_all_caps))
    return _join_tokens(raw)


def _match_tokens(group: str, text: str, before: list[Token], *, is_all_caps: bool) -> list[Token]:
    if group == "word":
        is_first = not before or before[-1].kind == "stop"
        return _words(text, is_first=is_first, is_all_caps=is_all_caps)
    return [_token(group, text)]


def _token(group: str, text: str) -> Token:
    kind: TokenKind = "symbol"
    value = text
    if group in {"literal", "named", "slashed"}:
        kind = "literal"
    elif group == "iso":
        kind, value = "date", _date(*(int(part) for part in text.split("-")))
    elif group == "clock":
        kind, value = "date", _clock(text)
    elif group == "ordinal":
        kind, value = "number", f"#{text[:-2].lstrip('0')}"
    elif group == "number":
        kind, value = "number", _number(text)
    elif group == "stop":
        kind, value = "stop", ""
    elif text in units.UNITS:
        kind, value = "unit", units.UNITS[text]
    return Token(kind=kind, value=value, text=text)


def _words(text: str, *, is_first: bool, is_all_caps: bool) -> list[Token]:
    if not is_all_caps and (text in _NAMES_IN_CAPITALS or (text == "A" and not is_first)):
        return [Token(kind="name", value=text, text=text)]
    is_name = text[0].isupper() and (not is_first or text[1:].isupper())
    kind: TokenKind = "name" if is_name and not is_all_caps else "word"
    low = text.lower()
    if low in {"can't", "cannot"}:
        parts = ["can", "not"]
    elif low == "won't":
        parts = ["will", "not"]
    elif low.endswith("n't"):
        parts = [low[:-3], "not"]
    else:
        first, *rest = low.split("'")
        parts = [first, *(_SHORT.get(part, part) for part in rest if part != "s" or first in _BEFORE_IS)]
    return [Token(kind=kind if at == 0 else "word", value=part, text=text) for at, part in enumerate(parts)]


_SHORT = {"s": "is", "m": "am", "re": "are", "ve": "have", "ll": "will", "d": "would"}
_BEFORE_IS = frozenset(  # elsewhere `'s` is possessive
    ("what", "how", "who", "where", "when", "why", "that", "it", "there", "here", "he", "she")
)


def _joins_words(match: re.Match[str]) -> bool:
    """Return whether a mark only joins a word (`e-mail`, `twenty-five`) or ends a quotation that never began."""
    if match.group() in {"'", '"'}:
        return True
    before, after = match.string[max(0, match.start() - 1) : match.start()], match.string[match.end() : match.end() + 1]
    is_sum = before.isdecimal() and after.isdecimal()
    return match.group() == "-" and before.isalnum() and after.isalnum() and not is_sum


def _join_tokens(raw: list[Token]) -> list[Token]:
    """Join tokens that form one: number words, dates, numbers and their units."""
    joined: list[Token] = []
    at = 0
    while at < len(raw):
        for join in _joins(raw[at]):
            parts, used_count = join(raw, at)
            if used_count:
                joined.extend(parts)
                at += used_count
                break
        else:
            joined.append(raw[at])
            at += 1
    return joined


def _joins(token: Token) -> tuple[Callable[[list[Token], int], tuple[list[Token], int]], ...]:
    """Return the joins that may begin with a token, the longest first."""
    if token.kind == "number":
        return (_day_month, _number_words, _amount)
    if token.kind == "unit":
        return (_currency,)
    if token.kind not in {"word", "name"}:
        return ()
    if token.value in units.NUMBERS or token.value in units.SCALES:
        return (_number_words,)
    return (_month_day, _single_word) if token.value in units.MONTHS else (_single_word,)


_NO_MATCH: tuple[list[Token], int] = ([], 0)


def _month(token: Token | None) -> int | None:
    return None if token is None or token.kind not in {"word", "name"} else units.MONTHS.get(token.value)


def _day(token: Token | None) -> int | None:
    if token is None or token.kind != "number":
        return None
    digits = token.value.lstrip("#")
    return int(digits) if digits.isdecimal() and len(digits) <= 2 and 1 <= int(digits) <= 31 else None  # noqa: PLR2004 - days


def _year(token: Token | None) -> int | None:
    if token is None or token.kind != "number" or not token.value.isdecimal() or len(token.value) != 4:  # noqa: PLR2004 - digits
        return None
    return int(token.value) if int(token.value) <= _LATEST_YEAR else None


def _peek(raw: list[Token], at: int) -> Token | None:
    return raw[at] if at < len(raw) else None


def _has_value(token: Token | None, *values: str) -> bool:
    return token is not None and token.value in values


def _month_day(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`March 5`, `March 5th, 2026`, `March 2026`."""
    month = _month(raw[at])
    if month is None:
        return _NO_MATCH
    year = _year(_peek(raw, at + 1))
    if year is not None:
        return _parse_date(raw, at, 2, _date(year, month, None))
    day = _day(_peek(raw, at + 1))
    if day is not None:
        return _with_year(raw, at, 2, month, day)
    is_verb = raw[at].value in {"may", "march"} and raw[at].kind == "word"
    return _NO_MATCH if is_verb or raw[at].value == "may" else _parse_date(raw, at, 1, _date(None, month, None))


def _day_month(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`5 March`, `5th of March, 2026`, `the 5th of March`."""
    day = _day(raw[at])
    if day is None:
        return _NO_MATCH
    skip = 2 if _has_value(_peek(raw, at + 1), "of") else 1
    month = _month(_peek(raw, at + skip))
    return _NO_MATCH if month is None else _with_year(raw, at, skip + 1, month, day)


def _with_year(raw: list[Token], at: int, count: int, month: int, day: int) -> tuple[list[Token], int]:
    skip = 1 if _has_value(_peek(raw, at + count), ",") else 0
    year = _year(_peek(raw, at + count + skip))
    return _parse_date(raw, at, count if year is None else count + skip + 1, _date(year, month, day))


def _parse_date(raw: list[Token], at: int, count: int, value: str) -> tuple[list[Token], int]:
    text = " ".join(token.text for token in raw[at : at + count])
    return [Token(kind="date", value=value, text=text)], count


def _date(year: int | None, month: int, day: int | None) -> str:
    return f"date {'' if year is None else year}-{month}-{'' if day is None else day}"


def _clock(text: str) -> str:
    match = _CLOCK.fullmatch(text)
    if match is None:
        return text
    hour, minute, second = (int(part or 0) for part in match.group(1, 2, 3))
    half = (match.group(4) or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return f"time {hour}:{minute}:{second}"


def _number(text: str) -> str:
    plain = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text
    return plain.removeprefix("+")


def _number_words(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`twenty-five`, `two hundred and five`, `1.5 million`, `a thousand`."""
    total = part = Decimal(0)
    end, found = at, ""
    while (token := _peek(raw, end)) is not None:
        if token.kind in {"word", "name"} and token.value in units.NUMBERS:
            if found == "small" and not (part % 10 == 0 and units.NUMBERS[token.value] < 10):  # noqa: PLR2004 - tens
                break
            part, found = part + units.NUMBERS[token.value], "small"
        elif token.kind in {"word", "name"} and token.value in units.SCALES:
            scale = units.SCALES[token.value]
            if scale == 100:  # noqa: PLR2004 - multiplies what was counted so far; the others close a group
                part = (part or Decimal(1)) * scale
            else:
                total, part = total + (part or Decimal(1)) * scale, Decimal(0)
            found = "scale"
        elif end == at and token.kind == "number" and _is_multiplier(_peek(raw, at + 1)) and _is_amount(token.value):
            part, found = Decimal(token.value), "digits"
        elif not (found == "scale" and _has_value(token, "and") and _is_small(_peek(raw, end + 1))):
            break
        end += 1
    if end == at or (end == at + 1 and _is_pronoun(raw, at)):
        return _NO_MATCH
    text = " ".join(token.text for token in raw[at:end])
    return [Token(kind="number", value=_plain(total + part), text=text)], end - at


def _is_pronoun(raw: list[Token], at: int) -> bool:
    return raw[at].value == "one" and at > 0 and raw[at - 1].value in _PRONOUN_BEFORE_ONE


def _is_multiplier(token: Token | None) -> bool:
    return token is not None and token.value in units.SCALES


def _is_small(token: Token | None) -> bool:
    return token is not None and token.kind == "word" and token.value in units.NUMBERS


def _is_amount(value: str) -> bool:
    return len(value) <= _MAX_DIGITS and re.fullmatch(r"-?\d+(\.\d+)?", value, re.ASCII) is not None


def _plain(amount: Decimal) -> str:
    whole = amount.to_integral_value()
    return str(int(whole)) if whole == amount else format(amount.normalize(), "f")


def _currency(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`$5` as `5 dollars`."""
    amount = _peek(raw, at + 1)
    if raw[at].kind != "unit" or raw[at].text not in {"$", "€", "£", "¥"} or amount is None or amount.kind != "number":
        return _NO_MATCH
    parts, used_count = _number_words(raw, at + 1)
    if not used_count:
        parts, used_count = _amount(raw, at + 1)
    return [*(parts or [amount]), raw[at]], 1 + (used_count or 1)


def _amount(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`10k`, `5km`, `5 m`."""
    number, unit = raw[at], _peek(raw, at + 1)
    if number.kind != "number" or unit is None or unit.kind not in {"word", "name"}:
        return _NO_MATCH
    if unit.text in _SUFFIXES and _is_amount(number.value):
        amount = _plain(Decimal(number.value) * _SUFFIXES[unit.text])
        return [Token(kind="number", value=amount, text=number.text + unit.text)], 2
    unit_name = units.UNITS_AFTER_NUMBERS.get(unit.text)
    if unit_name is None:
        return _NO_MATCH
    return [number, Token(kind="unit", value=unit_name, text=unit.text)], 2


def _single_word(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`first`, `Monday`, `kilometres`: single words with one spelling."""
    token = raw[at]
    if token.kind not in {"word", "name"}:
        return _NO_MATCH
    if token.value in units.ORDINALS:
        return [Token(kind="number", value=f"#{units.ORDINALS[token.value]}", text=token.text)], 1
    if token.value in units.WEEKDAYS and (len(token.value) > 3 or token.kind == "name"):  # noqa: PLR2004 - `sat`, `sun` are words
        return [Token(kind="date", value=units.WEEKDAYS[token.value], text=token.text)], 1
    if token.value in units.UNITS:
        return [Token(kind="unit", value=units.UNITS[token.value], text=token.text)], 1
    return _NO_MATCH
