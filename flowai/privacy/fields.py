"""Finds values by the name of their field: a label before a colon, the header of a table's column, the question before.

A field that names a person, an address or a number is a cue that needs no list of names and no form of an address.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from flowai.privacy.spans import STRUCTURED, EntityType, Span
from flowai.privacy.vocabulary import fold, vocabulary, word_sections

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_KINDS = (EntityType.PERSON, EntityType.ADDRESS, EntityType.PHONE, EntityType.CARD, EntityType.SSN)
_COLON = re.compile(r"[\"'*]{0,3} ?[:=](?![/=:])[ \"'*]{0,4}")
_LABEL_END = re.compile(r"[\n;|,(\t{\u060c\u3001]|[.!?\u0964] ")
_LABEL_COUNT = 32  # characters of a label
_PERSON_VALUE = re.compile(
    r"[^\W\d_][^\W\d]*(?:['\u2019.-][^\W\d_]+)*\.?(?:[ \u3000·・][^\W\d_][^\W\d_.'\u2019-]*\.?(?:-[^\W\d_]+)?){0,4}"
)
# combining vowel signs of Indian scripts are no letters for `re`
_INDIAN_VALUE = re.compile("[\u0900-\u0963\u0970-\u097f]{2,}(?: [\u0900-\u0963\u0970-\u097f]{2,}){0,3}")
_VALUE_END = re.compile(r"\s*(?:\Z|[\n,;|\"'()<}\t\]/\u060c\u3001\u0964]|\.(?:\s|\Z)|-)")
_NUMBER_VALUE = re.compile(r"[+(]{0,2}[0-9][0-9 ().\-/]{4,28}[0-9Xx]")
_ADDRESS_VALUE = re.compile(r"[^\n;|\"]{6,160}")
_NEXT_LABEL = re.compile(r"[,\u060c\u3001] ?[^\W\d_][^\n:=,;]{1,24} ?[:=]|[.!?\u3002] (?=[^\W\d_]{2,}[ '\u2019])")
_LONG_WORD_BEFORE_STOP = re.compile(r"(?:[^\W\d_]{5,}|[0-9])\Z")
_NO_ADDRESS = re.compile(r"@|://|0x|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[{}<>$=\\]|::")
_LETTERS = re.compile(r"[^\W\d_]{3,}|[\u4e00-\u9fff\uac00-\ud7a3]{2,}|[\u0900-\u097f]{3,}")
_MIN_DIGITS = {EntityType.PHONE: 6, EntityType.CARD: 12, EntityType.SSN: 6}
_MIN_ADDRESS = 6  # characters
# the word that names the next value: `, odbiorca `, `、받는 사람 `
_CUE_BEFORE = re.compile(r"[,;.\u060c\u3001] ?[^\W\d_A-Z][^\W\d_]{0,20}(?: [^\W\d_]{1,12})? ?[:.]? ?\Z")
_MAX_CELLS_COUNT = 60
_MIN_COLUMNS = 2
_MIN_LINES = 2
_HEADER_COUNT = 300  # characters of a header
_CELL = {
    "|": re.compile(r"[^|\n]*"),
    ",": re.compile(r'"[^"\n]*"|[^,\n]*'),
    ";": re.compile(r'"[^"\n]*"|[^;\n]*'),
    "\t": re.compile(r"[^\t\n]*"),
}
# the words above a signature
_CLOSING = re.compile(
    r"(?:[Rr]egards|[Ss]incerely|[Tt]hank you|[Tt]hanks|[Cc]heers|[Bb]est|[Yy]ours truly|[Gg]r[uü](?:ß"
    r"|ss)(?:en?)?|LG|VG|[Cc]ordialement"
    r"|[Bb]ien à vous|[Aa]tentamente|[Aa]tenciosamente|[Ss]alud[oi]s?|[Ss]aluti|[Cc]umprimentos"
    r"|[Aa]bra[çz]o[s]?|groet(?:en)?|[Pp]ozdrawiam|poważaniem"
    r"|[Ss]ayg[ıi]lar[ıi]mla|уважением|пожеланиями|التحية|تحياتي|وشكرا|भवदीय|धन्यवाद|敬具|以上"
    r"|よろしくお願い(?:いた)?します|此致敬礼|敬上|谢谢|감사합니다|올림)"
    r"[,.!\u060c\u0964]? ?\n[ \n]{0,2}"
)
_QUESTION_END = re.compile(r"[?\uff1f]\s{1,3}(?:[A-Za-z]{1,10}: ?)?(?=\S)")
_QUESTION_COUNT = 80  # characters of a question


@cache
def _labels() -> dict[str, EntityType]:
    """Return the kinds of fields by label, in lower case with spaces."""
    sections = word_sections("field_words.txt")
    return {label.replace("_", " "): kind for kind in _KINDS for label in sections[kind.value]}


@cache
def _table_labels() -> dict[str, EntityType]:
    sections = word_sections("field_words.txt")
    return {**dict.fromkeys(sections["PERSON in a table"], EntityType.PERSON), **_labels()}


@cache
def _questions() -> tuple[tuple[str, EntityType], ...]:
    sections = word_sections("field_words.txt")
    kinds = (EntityType.PERSON, EntityType.ADDRESS, EntityType.PHONE)
    return tuple(
        (words.replace("_", " "), kind) for kind in kinds for words in sorted(sections[f"questions for {kind}"])
    )


def find_in_fields(text: str, others: Sequence[Span] = ()) -> Iterator[Span]:
    """Find values after labels, in tables with a header, and after questions, in a plain text.

    An address ends before the first of the `others`, spans of other kinds that were found in it.
    """
    for span in _all_fields(text):
        yield _before_others(span, text, others) if span.kind is EntityType.ADDRESS else span


def _before_others(address: Span, text: str, others: Sequence[Span]) -> Span:
    """Return an address without the values that follow it, and the words that name them (`, recipient Ann Lee`)."""
    begins = [
        other.start
        for other in others
        if address.start + _MIN_ADDRESS < other.start < address.end
        and (
            other.kind in STRUCTURED
            or (other.kind is EntityType.PERSON and _CUE_BEFORE.search(text, address.start, other.start))
        )
    ]
    if not begins:
        return address
    lead = _CUE_BEFORE.search(text, address.start, min(begins))
    end = lead.start() if lead else min(begins)
    while end > address.start + 1 and text[end - 1] in " ,;.\u060c\u3001":
        end -= 1
    return replace(address, end=end)


def _all_fields(text: str) -> Iterator[Span]:
    if ":" in text or "=" in text:
        labels = _labels()
        for match in _COLON.finditer(text):
            lead = _LABEL_END.split(text[max(0, match.start() - _LABEL_COUNT) : match.start()])[-1]
            kind = labels.get(lead.strip(" \"'*>-").lower().replace("_", " "))
            if kind is not None:
                yield from _value(kind, text, match.end())
    if "\n" in text:
        yield from _table(text)
        for match in _CLOSING.finditer(text):
            yield from _value(EntityType.PERSON, text, match.end())
    if "?" in text:
        for match in _QUESTION_END.finditer(text):
            asked = asked_kind(text[max(0, match.start() - _QUESTION_COUNT) : match.start() + 1])
            if asked is not None:
                yield from _value(asked, text, match.end())


def asked_kind(text: str) -> EntityType | None:
    """Return the kind of value that the last question of a text asks for; None without one."""
    end = max(text.rfind("?"), text.rfind("\uff1f"))
    if end < 0 or len(text) - end > _MAX_CELLS_COUNT:
        return None
    question = text[max(0, end - _QUESTION_COUNT) : end].lower()
    return next((kind for words, kind in _questions() if words in question), None)


def answer(kind: EntityType, text: str) -> Iterator[Span]:
    """Find the value in a short answer to a question for a kind."""
    yield from _value(kind, text, len(text) - len(text.lstrip()))


def _value(kind: EntityType, text: str, start: int) -> Iterator[Span]:
    """Find the value of a field that begins at `start`."""
    if kind is EntityType.PERSON:
        match = _INDIAN_VALUE.match(text, start) or _PERSON_VALUE.match(text, start)
        if match is not None and _VALUE_END.match(text, match.end()) and _is_name(match.group()):
            end = match.end() - match.group().endswith(".")
            yield Span(start=start, end=end, kind=kind, score=0.72)
    elif kind is EntityType.ADDRESS:
        match = _ADDRESS_VALUE.match(text, start)
        end = 0 if match is None else _address_end(text, start, match.end())
        if end and _is_address(text[start:end]):
            yield Span(start=start, end=end, kind=kind, score=0.7)
    else:
        match = _NUMBER_VALUE.match(text, start)
        if match is not None and not text[match.end() : match.end() + 1].isalnum():
            digits = sum(map(str.isdigit, match.group()))
            if digits >= _MIN_DIGITS[kind]:
                yield Span(start=start, end=match.end(), kind=kind, score=0.75)


def _address_end(text: str, start: int, end: int) -> int:
    """Return the end of an address that begins at `start`: before the next label or the end of a sentence."""
    for stop in _NEXT_LABEL.finditer(text, start, end):
        is_sentence = stop.group()[0] in ".!?\u3002"
        if not is_sentence or _LONG_WORD_BEFORE_STOP.search(text, start, stop.start()):
            end = stop.start()
            break
    while end > start and text[end - 1] in " .,\u060c\u3001\u0964'":
        end -= 1
    return end


def _is_address(value: str) -> bool:
    has_digit = any(map(str.isdigit, value))
    is_spaced = " " in value or not value.isascii()
    return has_digit and is_spaced and _LETTERS.search(value) is not None and _NO_ADDRESS.search(value) is None


def _is_name(value: str) -> bool:
    """Return whether a field's value is a name: no ordinary words; one word alone begins with a capital."""
    words = value.replace("\u3000", " ").split()
    if len(value) <= 1 or any(fold(word.strip(".")) in vocabulary().no_names for word in words):
        return False
    if value.isascii() and (value.isupper() and len(words) == 1):
        return False
    return len(words) > 1 or not value.isascii() or (value[0].isupper() and fold(value) not in vocabulary().ambiguous)


def _table(text: str) -> Iterator[Span]:
    """Find values in the columns of a table whose first line names them (CSV, TSV, Markdown)."""
    position = 0
    lines: list[tuple[int, str]] = []
    for line in text.split("\n"):
        lines.append((position, line))
        position += len(line) + 1
    index = 0
    while index + 1 < len(lines):
        columns, delimiter = _header(lines[index][1])
        index += 1
        if not columns:
            continue
        while index < len(lines) and lines[index][1].count(delimiter) >= len(columns) - 1:
            yield from _row(text, lines[index], columns, delimiter)
            index += 1


def _header(line: str) -> tuple[list[EntityType | None], str]:
    """Return the kinds of a header's columns and the delimiter; no columns if the line is no header."""
    if len(line) > _HEADER_COUNT:
        return [], ""
    delimiter = max(_CELL, key=line.count)
    if line.count(delimiter) + 1 < _MIN_COLUMNS:
        return [], ""
    cells = [cell.strip(" \"'").lower().replace("_", " ") for cell in line.split(delimiter)]
    kinds = [_table_labels().get(cell) for cell in cells]
    is_plain = all(len(cell) <= 30 and not any(map(str.isdigit, cell[1:])) for cell in cells)  # noqa: PLR2004 - a name
    known = [cell for cell, kind in zip(cells, kinds, strict=True) if kind is not None]
    is_header = is_plain and (len(known) >= _MIN_LINES or any(cell in _labels() for cell in known))
    return (kinds, delimiter) if is_header else ([], "")


def _row(text: str, line: tuple[int, str], columns: Sequence[EntityType | None], delimiter: str) -> Iterator[Span]:
    position, end = line[0], line[0] + len(line[1])
    for kind in columns:
        match = _CELL[delimiter].match(text, position, end)
        if match is None:
            return
        if kind is not None:
            cell = match.group().strip(" \"'\r")
            start = position + match.group().find(cell) if cell else position
            if _is_cell(kind, cell):
                yield Span(start=start, end=start + len(cell), kind=kind, score=0.76)
        position = match.end() + 1


def _is_cell(kind: EntityType, cell: str) -> bool:
    if kind is EntityType.PERSON:
        match = _INDIAN_VALUE.fullmatch(cell) or _PERSON_VALUE.fullmatch(cell)
        return match is not None and _is_name(cell)
    if kind is EntityType.ADDRESS:
        return _is_address(cell)
    return _NUMBER_VALUE.fullmatch(cell) is not None and sum(map(str.isdigit, cell)) >= _MIN_DIGITS[kind]
