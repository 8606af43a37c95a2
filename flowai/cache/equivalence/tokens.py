"""Tokens of a sentence, in order and each in one spelling; all that is no plain word stays uncut: paths, code, names.

`1,000`, `1000` and `one thousand` are one number; `5km` and `5 kilometres` one length; `2026-03-05`, `March 5, 2026`
and `5th of March 2026` one date. Nothing is rounded or converted: `1 km` and `1000 m` differ.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from flowai.cache.equivalence import units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TokenKind = Literal["word", "name", "number", "date", "unit", "literal", "symbol", "stop"]
"""`name`: a capital inside a sentence. `literal`: quoted, code, a path, an address. `stop`: a mark after a word."""

_CHUNK = re.compile(
    r"""
      (?P<quoted> ```.*?``` | `[^`]*` | "[^"]*" | (?<!\w)'[^'\n]+'(?!\w) )
    | (?P<chunk> [^\s"`]+ | ["`] )
    """,
    re.VERBOSE | re.DOTALL,
)
_AMOUNT = re.compile(r"([$€£¥]?)([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)([A-Za-z%]*)")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?(?:([ap])\.?m\.?)?", re.IGNORECASE)
_ISO_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)")
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*'?")
_INNER_CAPITAL = re.compile(r"[a-z][A-Z]")
_STOPS = ".,;:!?"
_BEFORE_STOPS = "%)]}'.,;:!?"  # elsewhere a dot is part of a path or of code: `cp a/. b`
_CLOSING = {")": "(", "]": "[", "}": "{"}
_ASCII_MARKS = str.maketrans(
    {
        **dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "'"),
        **dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
        "\N{NO-BREAK SPACE}": " ",
    }
)
_LATEST_YEAR = 2999
_MAX_DIGITS = 18  # longer ones are identifiers, not amounts
_HOURS_OF_HALF_A_DAY = 12
_AUXILIARIES = {"n't": "not", "'m": "am", "'re": "are", "'ve": "have", "'ll": "will"}
_IRREGULAR = {"can't": ("can", "not"), "cannot": ("can", "not"), "won't": ("will", "not"), "i'd": ("i", "'d")}
_BEFORE_IS = frozenset(("what", "where", "who", "how", "why", "when"))
_AFTER_IS = frozenset(("the", "a", "an", "my", "your", "our", "this", "that", "not"))  # elsewhere `'s` may be `has`


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """Part of a text with one meaning."""

    kind: TokenKind
    value: str
    """Its normal spelling."""


def tokenize(text: str) -> list[Token]:
    """Split a text into tokens: contractions expanded, amounts and dates in one spelling, no mark left out."""
    clean = unicodedata.normalize("NFC", text).translate(_ASCII_MARKS)
    raw: list[Token] = []
    end = 0
    for match in _CHUNK.finditer(clean):
        chunk = match.group()
        if raw and match.start() == end and chunk[0] not in _STOPS:
            raw.append(Token(kind="symbol", value="~"))  # `f"a"` is not `f "a"`
        end = match.end()
        if match.lastgroup == "quoted":
            raw.append(Token(kind="literal", value=chunk))
        elif match.start() and raw and all(mark in _STOPS for mark in chunk) and not clean[match.start() - 1].isspace():
            raw.extend(Token(kind="stop", value=mark) for mark in chunk)  # behind a quotation
        else:
            raw.extend(_chunk_tokens(chunk, is_first=not raw or raw[-1].kind == "stop"))
    return _join_tokens(_expand_is(raw))


def _chunk_tokens(chunk: str, *, is_first: bool) -> Iterator[Token]:
    """Yield the tokens of text between spaces: brackets, the word or amount, and the marks after it."""
    if not any(mark.isalnum() for mark in chunk):
        yield Token(kind="symbol", value=chunk)
        return
    core = chunk.lstrip("([{")
    yield from (Token(kind="symbol", value=mark) for mark in chunk[: len(chunk) - len(core)])
    after: list[Token] = []
    while (core[-1] in _STOPS and (core[-2].isalnum() or core[-2] in _BEFORE_STOPS)) or (
        core[-1] in _CLOSING and _CLOSING[core[-1]] not in core
    ):
        after.append(Token(kind="stop" if core[-1] in _STOPS else "symbol", value=core[-1]))
        core = core[:-1]
    yield from _core_tokens(core, is_first=is_first)
    yield from reversed(after)


def _core_tokens(core: str, *, is_first: bool) -> list[Token]:
    if _WORD.fullmatch(core) and not _INNER_CAPITAL.search(core):
        return _word_tokens(core, is_first=is_first)
    if iso := _ISO_DATE.fullmatch(core):
        return [Token(kind="date", value=_date(*(int(part) for part in iso.groups())))]
    if ordinal := _ORDINAL.fullmatch(core):
        return [Token(kind="number", value=f"#{ordinal.group(1)}")]
    if not core.isdecimal() and (clock := _CLOCK.fullmatch(core)):
        return [Token(kind="date", value=_clock(*clock.groups()))]
    if amount := _AMOUNT.fullmatch(core):
        return _amount_tokens(core, *amount.groups())
    return [Token(kind="literal" if any(mark.isalnum() for mark in core) else "symbol", value=core)]


def _amount_tokens(core: str, currency: str, number: str, suffix: str) -> list[Token]:
    plain = number.replace(",", "")
    if suffix == "k" and len(plain) <= _MAX_DIGITS:
        plain, suffix = _plain(Decimal(plain) * 1000), ""
    if suffix and (currency or suffix not in units.UNITS):
        return [Token(kind="literal", value=core)]
    before = [Token(kind="unit", value=currency)] if currency else []
    after = [Token(kind="unit", value=units.UNITS[suffix])] if suffix else []
    return [*before, Token(kind="number", value=plain), *after]


def _word_tokens(core: str, *, is_first: bool) -> list[Token]:
    low = core.lower()
    is_name = core not in {low, "I"} and not core.startswith("I'") and (not is_first or core[1:] != low[1:])
    kind: TokenKind = "name" if is_name else "word"
    parts: tuple[str, ...] = (core if is_name else low,)
    if low in _IRREGULAR:
        parts = _IRREGULAR[low]
    else:
        for ending, auxiliary in _AUXILIARIES.items():
            if low.endswith(ending) and len(low) > len(ending):
                parts = (parts[0][: -len(ending)], auxiliary)
    if "-" in low and all(part in units.NUMBERS for part in low.split("-")):
        parts = tuple(low.split("-"))
    return [Token(kind=kind if at == 0 else "word", value=part) for at, part in enumerate(parts)]


def _expand_is(raw: list[Token]) -> list[Token]:
    """Expand `what's the` to `what is the`; `who's paid` may also be `who has paid`, and stays."""
    expanded: list[Token] = []
    for at, token in enumerate(raw):
        stem = token.value.removesuffix("'s")
        following = raw[at + 1].value if at + 1 < len(raw) else ""
        if stem != token.value and stem in _BEFORE_IS and following in _AFTER_IS:
            expanded += [Token(kind="word", value=stem), Token(kind="word", value="is")]
        else:
            expanded.append(token)
    return expanded


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
        return (_day_month, _half_of_day, _amount)
    if token.kind == "unit":
        return (_currency,)
    if token.kind not in {"word", "name"}:
        return ()
    if token.value in units.NUMBERS or token.value in units.SCALES:
        return (_amount,)
    return (_month_day, _the_day, _single_word)


_NO_MATCH: tuple[list[Token], int] = ([], 0)


def _peek(raw: list[Token], at: int) -> Token:
    return raw[at] if at < len(raw) else Token(kind="symbol", value="")


def _is_word(token: Token) -> bool:
    return token.kind in {"word", "name"}


def _month(token: Token) -> int | None:
    return units.MONTHS.get(token.value.lower()) if token.kind == "name" else None


def _day(token: Token) -> int | None:
    digits = token.value.lstrip("#")
    is_day = token.kind == "number" and digits.isdecimal() and len(digits) <= 2 and 1 <= int(digits) <= 31  # noqa: PLR2004 - days
    return int(digits) if is_day else None


def _year(token: Token) -> int | None:
    is_year = token.kind == "number" and token.value.isdecimal() and len(token.value) == 4  # noqa: PLR2004 - digits
    return int(token.value) if is_year and int(token.value) <= _LATEST_YEAR else None


def _month_day(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`March 5`, `March 5th, 2026`, `March 2026`."""
    month = _month(raw[at]) or (units.MONTHS.get(raw[at].value) if at == 0 else None)
    if month is None:
        return _NO_MATCH
    year, day = _year(_peek(raw, at + 1)), _day(_peek(raw, at + 1))
    if year is not None:
        return [Token(kind="date", value=_date(year, month, None))], 2
    return _NO_MATCH if day is None else _with_year(raw, at, 2, month, day)


def _the_day(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`the 5th of March`."""
    if raw[at].value != "the" or not _peek(raw, at + 1).value.startswith("#"):
        return _NO_MATCH
    parts, used_count = _day_month(raw, at + 1)
    return (parts, used_count + 1) if used_count else _NO_MATCH


def _day_month(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`5 March`, `5th of March, 2026`."""
    day = _day(raw[at])
    skip = 2 if _peek(raw, at + 1).value == "of" else 1
    month = _month(_peek(raw, at + skip))
    return _NO_MATCH if month is None or day is None else _with_year(raw, at, skip + 1, month, day)


def _with_year(raw: list[Token], at: int, count: int, month: int, day: int) -> tuple[list[Token], int]:
    skip = 1 if _peek(raw, at + count).value == "," else 0
    year = _year(_peek(raw, at + count + skip))
    return [Token(kind="date", value=_date(year, month, day))], count if year is None else count + skip + 1


def _date(year: int | None, month: int, day: int | None) -> str:
    return f"date {'' if year is None else year}-{month}-{'' if day is None else day}"


def _clock(hour: str, minute: str | None, second: str | None, half: str | None) -> str:
    """Return a time of 24 hours; `3:00` may be either half of the day, and is neither."""
    hours = int(hour)
    if half:
        hours = hours % _HOURS_OF_HALF_A_DAY + (_HOURS_OF_HALF_A_DAY if half.lower() == "p" else 0)
    is_unclear = not half and 1 <= hours <= _HOURS_OF_HALF_A_DAY
    return f"{'unclear ' if is_unclear else ''}time {hours}:{int(minute or 0)}:{int(second or 0)}"


def _half_of_day(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`3 pm`."""
    half = _peek(raw, at + 1).value
    if half not in {"am", "pm"} or not raw[at].value.isdecimal() or len(raw[at].value) > 2:  # noqa: PLR2004 - digits
        return _NO_MATCH
    return [Token(kind="date", value=_clock(raw[at].value, None, None, half[0]))], 2


def _number_words(raw: list[Token], at: int) -> tuple[str, int]:
    """Return a number and its length: `205` and 4 for `two hundred and five`, `1500000` and 2 for `1.5 million`."""
    total = part = Decimal(0)
    end, found, smallest = at, "", max(units.SCALES.values()) * 10
    while True:
        token = _peek(raw, end)
        scale = units.SCALES.get(token.value, 0) if _is_word(token) and found else 0
        if _is_word(token) and token.value in units.NUMBERS:
            if found == "small" and not (part % 10 == 0 and part > 10 and 1 <= units.NUMBERS[token.value] < 10):  # noqa: PLR2004 - tens
                break
            part, found = part + units.NUMBERS[token.value], "small"
        elif scale == 100 and part < 100:  # noqa: PLR2004 - multiplies what was counted so far; the others close a group
            part, found = part * scale, "hundred"
        elif 100 < scale < smallest:  # noqa: PLR2004 - as above
            total, part, smallest, found = total + part * scale, Decimal(0), scale, "scale"
        elif end == at and token.kind == "number" and _is_amount(token.value):
            part, found = Decimal(token.value), "digits"
        elif not (found == "hundred" and token.value == "and" and _peek(raw, end + 1).value in units.NUMBERS):
            break
        end += 1
    is_spelled = end > at + 1 or (end > at and raw[at].kind != "number")
    return (_plain(total + part), end - at) if is_spelled else ("", 0)


def _is_amount(value: str) -> bool:
    return len(value) <= _MAX_DIGITS and re.fullmatch(r"-?\d+(\.\d+)?", value, re.ASCII) is not None


def _plain(amount: Decimal) -> str:
    whole = amount.to_integral_value()
    return str(int(whole)) if whole == amount else format(amount.normalize(), "f")


def _amount(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`one thousand`, `1.5 million`, `5 km`, `twenty percent`."""
    value, used_count = _number_words(raw, at)
    if not used_count:
        if raw[at].kind != "number":
            return _NO_MATCH
        value, used_count = raw[at].value, 1
    number, unit = Token(kind="number", value=value), _peek(raw, at + used_count)
    if _is_word(unit) and unit.value in units.UNITS:
        return [number, Token(kind="unit", value=units.UNITS[unit.value])], used_count + 1
    return [number], used_count


def _currency(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`$5` as `5 dollars`."""
    if raw[at].value not in units.CURRENCIES or _peek(raw, at + 1).kind != "number":
        return _NO_MATCH
    parts, used_count = _amount(raw, at + 1)
    return [*parts, Token(kind="unit", value=units.UNITS[raw[at].value])], 1 + used_count


def _single_word(raw: list[Token], at: int) -> tuple[list[Token], int]:
    """`first`, `Monday`."""
    token = raw[at]
    if token.value in units.ORDINALS:
        return [Token(kind="number", value=f"#{units.ORDINALS[token.value]}")], 1
    if token.kind == "name" and token.value.lower() in units.WEEKDAYS:
        return [Token(kind="date", value=token.value)], 1
    return _NO_MATCH
