"""Finds runs of digits in a text, and card and social security numbers in them.

Every number begins as a run: digits with at most three separators between them. One pattern finds all runs, each
character is read once, and a run is then judged by its groups, so that nothing here can backtrack.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.privacy.spans import EntityType, Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CHAIN = re.compile(r"(?<![0-9A-Za-z_])(?:\+ ?)?+(?:\( ?)?+[0-9]++(?:[ .()/\-\u00b7\u2022]{1,3}+[0-9]++)*+")
_GROUP = re.compile("[0-9]+")
_BEFORE_COUNT = 48  # characters in which a cue may be
_AFTER_COUNT = 24
_MIN_COUNT = 7  # digits of the shortest number


@dataclass(frozen=True, kw_only=True, slots=True)
class DigitRun:
    """Digits with separators between them."""

    text: str
    start: int
    """Index of the first character: a digit, `+` or `(`."""
    end: int
    groups: tuple[tuple[int, int], ...]
    """Start and end of each group of digits, in order."""

    @property
    def digits(self) -> str:
        """The digits alone."""
        return "".join(self.text[start:end] for start, end in self.groups)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of digits in each group."""
        return tuple(end - start for start, end in self.groups)

    @property
    def separators(self) -> tuple[str, ...]:
        """Text between the groups."""
        pairs = zip(self.groups, self.groups[1:], strict=False)
        return tuple(self.text[left[1] : right[0]] for left, right in pairs)

    @property
    def before(self) -> str:
        """Text before it, in lower case."""
        return self.text[max(0, self.start - _BEFORE_COUNT) : self.start].lower()

    @property
    def after(self) -> str:
        """Text after it, in lower case."""
        return self.text[self.end : self.end + _AFTER_COUNT].lower()

    def part(self, first: int, last: int) -> DigitRun:
        """Return the run of the groups from `first` to before `last`."""
        groups = self.groups[first:last]
        start = self.start if first == 0 else groups[0][0]
        return DigitRun(text=self.text, start=start, end=groups[-1][1], groups=groups)

    def outside(self, spans: Sequence[Span]) -> Iterator[DigitRun]:
        """Yield the runs of groups outside of disjoint spans, each from the start of a group to the end of one."""
        starts = [start for start, _ in self.groups]
        first = 0
        for span in spans:
            end = bisect_left(starts, span.start)
            if end > first:
                yield self.part(first, end)
            first = bisect_left(starts, span.end)
        if first < len(self.groups):
            yield self.part(first, len(self.groups))


def digit_runs(text: str) -> Iterator[DigitRun]:
    """Find runs that are long enough for a number, and not part of a word, a hash or an identifier."""
    for match in _CHAIN.finditer(text):
        start, end = match.span()
        if text[start] == "(" and ")" not in match.group():  # `Ann (058-4748440)`
            start += 2 if text[start + 1] == " " else 1
        if end - start < _MIN_COUNT or _is_glued(text, start, end):
            continue
        groups = tuple(group.span() for group in _GROUP.finditer(text, start, end))
        yield DigitRun(text=text, start=start, end=end, groups=groups)


_GLUE_BEFORE = re.compile(r"[0-9A-Za-z_]*[0-9_][0-9A-Za-z_]*[-.:]\Z|(?<=[A-Za-z])\.\Z|[A-Fa-f]-\Z")
_ABBREVIATION_BEFORE = re.compile(
    r"(?:tel|telef|fax|mob|cel|kom|gsm|ph|\bno|\bnr|nro|num|núm|[a-zäöüß]{4}nr)\.\Z", re.IGNORECASE
)
_GLUE_AFTER = re.compile(r"(?!x[0-9])[A-Za-z_]|-[0-9A-Za-z]*[A-Za-z][0-9]|-[a-f0-9]{4,}\b|[.:]?[0-9]")
_EXTENSION_AFTER = re.compile(r"(?: ?,? ?(?:x|ext\.?|extension) ?\.?:? ?#?([0-9]{1,6}))(?![0-9A-Za-z])", re.IGNORECASE)


def _is_glued(text: str, start: int, end: int) -> bool:
    """Return whether the run is part of a longer token: a UUID, a version, `x.1`, `0x…`, `12ab`."""
    if _GLUE_AFTER.match(text, end):
        return True
    return (
        text[start - 1 : start] in {"-", ".", ":"}
        and _GLUE_BEFORE.search(text[max(0, start - 40) : start]) is not None
        and _ABBREVIATION_BEFORE.search(text[max(0, start - 12) : start]) is None
    )


def extension_end(text: str, end: int) -> int:
    """Return the end of a phone number with its extension (`x123`, `ext. 5`), or `end` without one."""
    match = _EXTENSION_AFTER.match(text, end)
    return end if match is None else match.end()


# Issuers by the first digits, with the lengths of their numbers. `firm`: such numbers are rare enough among arbitrary
# ones to count without a cue.
# Source: ISO/IEC 7812-1 (issuer identification numbers, the check digit), and the schemes' published ranges.
_FIRM = re.compile(
    r"4[0-9]{15}|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}|3[47][0-9]{13}"
    r"|(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12}|3(?:0[0-5]|[689][0-9])[0-9]{11}|35[0-9]{14}"
    r"|(?:2131|1800)[0-9]{11}|220[0-4][0-9]{12}|(?:62|81)[0-9]{14}"
)
_LOOSE = re.compile(r"[0-9]{12,19}")  # counts only with a cue
_LAYOUTS = frozenset(
    {(4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 4, 4, 4, 2), (4, 6, 5), (4, 6, 4), (4, 4, 4, 1), (4, 4, 4), (4, 4, 4, 2)}
    | {(4, 4, 4, 3), (8, 8), (4, 4, 5), (4, 5, 6), (6, 13), (4, 4, 4, 5), (3, 3, 3, 3), (6, 6, 4)}
)  # fmt: skip
_CARD_CUE = re.compile(
    r"(?:\b(?:credit|debit|cc|visa|mastercard|master ?card|amex|american express|maestro|discover|diners|jcb|unionpay"
    r"|pan|cvv|cvc|(?:\w{0,12})(?:karte|kort|kaart|kártya|kortti)\w{0,6}|cards?|carte|tarjeta|cart[aã]o"
    r"|carta|carta di"
    r"|kart[aąęuyıi]?\w{0,7}|thẻ)(?![a-z])"
    r"|карт(?!ин|оф|он)|виза|мастеркард|κάρτα|κάρτ|卡|カード|카드|कार्ड|بطاق|ויזה|כרטיס)"
)
# words of payment, and `number:` alone: with them a number in a known issuer's range counts
_PAY_CUE = re.compile(
    r"\b(?:pay|paid|payments?|charge[ds]?|billed|checkout|expir\w{1,5}|bank|banking)(?![a-z])"
    r"|(?:\A|[.!?:,;]\s|\b(?:my|the|your|is|this|his|her|with|of)\s)\s*(?:number|no|nr)\W{1,3}(?:is\W)?\Z"
)
_ISSUER_PREFIXES = re.compile(r"(?:4[0-9]{12}|4[0-9]{18}|(?:50|5[6-8]|6[0-9]|0604)[0-9]{8,17})")
_NO_CARD = re.compile(
    r"\b(?:order|tracking|invoice|ticket|id|ids|uuid|ref|reference|imei|isbn|serial|timestamp|ts|epoch|time|seq"
    r"|sequence|offset"
    r"|build|sku|ean|upc|gtin|iccid|request|trace|span|transaction|txn|shipment|parcel|nonce|seed|user|message|msg"
    r"|tweet|snowflake"
    r"|hash|checksum|size|bytes|count|number of|line)[\w ]{0,3}[ ._-]?(?:no|nr|num|number|id"
    r"|#)?\.?['\"]?\s?[:=#]{0,2}\s?['\"#]?\Z"
)
_MOST_GROUPS_COUNT, _GROUP_COUNT = 40, 4
_MAX_CARD = 19
_MIN_CARD = 12
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def passes_luhn(digits: str) -> bool:
    """Return whether the last digit is the check digit of the others.

    Source: ISO/IEC 7812-1, annex B (Luhn).
    """
    plain = sum(map(int, digits[-1::-2]))
    return (plain + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])) % 10 == 0


def is_card_number(digits: str) -> bool:
    """Return whether digits are a card number: an issuer's range and length, and a valid check digit."""
    return _FIRM.fullmatch(digits) is not None and passes_luhn(digits)


def has_card_cue(text: str) -> bool:
    """Return whether a text names a payment card, in one of several languages."""
    return _CARD_CUE.search(text.lower()) is not None


def cards(run: DigitRun) -> Iterator[Span]:
    """Find payment cards in a run: an issuer's range and length, a valid check digit, no cue for another number.

    A date or a code may follow the number in the run.
    """
    lengths = run.lengths
    if len(lengths) > _MOST_GROUPS_COUNT and run.end - run.start < _GROUP_COUNT * len(lengths):
        return  # a table of small numbers
    first = 0
    while first < len(lengths):
        last = _card_end(run, lengths, first)
        if last is None:
            first += 1
            continue
        card = run.part(first, last)
        yield Span(start=card.groups[0][0], end=card.end, kind=EntityType.CARD, score=0.95)
        first = last


def _card_end(run: DigitRun, lengths: tuple[int, ...], first: int) -> int | None:
    """Return the index after the last group of a card that begins at group `first`; None without one."""
    if first and not _is_first_group(run, first):
        return None
    digits = ""
    card_end = None
    for last in range(first + 1, min(len(lengths), first + _MAX_CARD) + 1):
        start, end = run.groups[last - 1]
        digits += run.text[start:end]
        if len(digits) > _MAX_CARD:
            break
        if len(digits) < _MIN_CARD or not (_FIRM.fullmatch(digits) or _LOOSE.fullmatch(digits)):
            continue
        if (
            (passes_luhn(digits) or _is_mistyped_card(run.part(first, last)))
            and (last == len(lengths) or _is_first_group(run, last))
            and _is_card(run.part(first, last))
        ):
            card_end = last
    return card_end


def _is_first_group(run: DigitRun, index: int) -> bool:
    """Return whether a number may begin at a group: the separator before it is no decimal point, slash or bracket."""
    return run.text[run.groups[index - 1][1] : run.groups[index][0]] not in {".", "/", ")"}


def _is_card(run: DigitRun) -> bool:
    """Return whether a run with a valid check digit is a card, by issuer and groups, or by context."""
    digits, lengths = run.digits, run.lengths
    firm = _FIRM.fullmatch(digits) is not None
    if len(set(digits)) == 1:
        return False
    if run.text[run.start] == "+" or digits.startswith("00"):
        return False
    has_cue = _CARD_CUE.search(run.before) or _CARD_CUE.search(run.after)
    if _is_cued_card(run.before):
        return True
    if has_cue or (_ISSUER_PREFIXES.fullmatch(digits) and (_PAY_CUE.search(run.before) or _PAY_CUE.search(run.after))):
        return _NO_CARD.search(run.before) is None or firm
    return firm and (len(lengths) == 1 or lengths in _LAYOUTS) and _NO_CARD.search(run.before) is None


def _is_mistyped_card(run: DigitRun) -> bool:
    """Return whether a number without a valid check digit is a card: groups and issuer of one, after a word for it."""
    return (
        run.lengths in {(4, 4, 4, 4), (4, 6, 5), (16,)}
        and _FIRM.fullmatch(run.digits) is not None
        and len(set(run.digits)) > 1
        and _is_cued_card(run.before)
    )


def _is_cued_card(before: str) -> bool:
    """Return whether a word for a card is the nearest cue: it beats the words of other numbers before it."""
    card = None
    for match in _CARD_CUE.finditer(before):
        card = match
    return card is not None and _NO_CARD.search(before[card.end() :]) is None


_SSN = re.compile(r"(?!000|666|9)[0-9]{3}(?!00)[0-9]{2}(?!0000)[0-9]{4}")
_ITIN = re.compile(r"9[0-9]{2}(?:5[0-9]|6[0-5]|7[0-9]|8[0-8]|9[0-24-9])[0-9]{4}")
_SSN_CUE = re.compile(r"\b(?:ssn|ss#|ss no|itin|tin|social|social[ -]sec(?:urity)?|taxpayer|tax id)(?![a-z])")
_NO_SSN = re.compile(
    r"\b(?:order|part|sku|invoice|ticket|ref|item|isbn|model|serial|case|batch|lot)\W{0,2}(?:no|nr|number|id"
    r"|#)?\W{0,3}\Z"
)
_SSN_LENGTHS = (3, 2, 4)


def social_security(run: DigitRun) -> Span | None:
    """Find a social security number (or a taxpayer's, with a cue) that is a whole run.

    Source: SSA, "Social Security Number Randomization": never area 000, 666, 900-999, group 00, serial 0000.
    """
    lengths = run.lengths
    if lengths != _SSN_LENGTHS and lengths != (sum(_SSN_LENGTHS),):
        return None
    dashed = run.separators == ("-", "-")
    before = run.before
    has_cue = _SSN_CUE.search(before) is not None
    if not has_cue and (not dashed or _NO_SSN.search(before)):
        return None
    digits = run.digits
    if _SSN.fullmatch(digits) or (has_cue and _ITIN.fullmatch(digits)):
        return Span(start=run.groups[0][0], end=run.end, kind=EntityType.SSN, score=0.9)
    return None
