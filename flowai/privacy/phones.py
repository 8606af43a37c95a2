"""Phone numbers: international ones by their country's plan, national ones by form, plan and the words around them.

phonenumbers' own search through a text is far too slow for a data set, and finds numbers in every row of code. So it is
asked about single numbers only, after the form and the words around have made them likely.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.privacy.numbers import DigitRun, extension_end
from flowai.privacy.spans import EntityType, Span
from flowai.privacy.vocabulary import listed, stems

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REGIONS = (
    "US", "GB", "DE", "FR", "ES", "IT", "BR", "IN", "AU", "NL", "PL", "JP", "SE", "NO", "DK", "FI", "IS", "BE", "AT",
    "CH", "IE", "PT", "CZ", "SK", "HU", "SI", "HR", "RO", "BG", "GR", "CY", "EE", "LT", "LV", "UA", "RU", "TR", "ZA",
    "NZ", "MX", "AR", "CO", "IL",
)  # fmt: skip
"""Whose numbering plans a national number may follow, where nobody says otherwise (ISO 3166-1 alpha-2)."""

# words before a number that say what it is; the nearest decides. Stems stand for every ending.
_CUE_WORD = re.compile(r"[^\W\d_]+")
_AFTER_CUE = re.compile(
    r"(?:\W{1,3}| as (?:a|my|the|his|her) |\W{1,3}(?:is|was) (?:my|his|her|our|the) (?:new )?)"
    r"(?:number|phone|tel|office|fax|mobile|mob|cell|home|work|desk|handy|mobil|gsm|direct)\b"
)
# any area: people invent numbers too
_NANP = re.compile(
    r"(?:\+?1[-. ]{0,2})?(?:\([0-9]{3}\)[-. ]{0,2}[0-9]{3}[-. ][0-9]{4}|([0-9]{3})([-. ])[0-9]{3}(?:\2|-)[0-9]{4})"
)
_DATE = re.compile(
    r"(?:[0-3]?[0-9][./-][0-3]?[0-9][./-](?:19|20)?[0-9]{2}|(?:19|20)[0-9]{2}[01][0-9][0-3][0-9]"
    r"|[0-9]{4}[./-][01][0-9][./-][0-3][0-9])(?![0-9]|[./-][0-9])"
    r"|(?:19|20)[0-9]{2}\s?[-/]\s?(?:19|20)?[0-9]{2}(?![0-9])"
)
_OCTETS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]+)?|[0-9]+\.[0-9]+|[0-9]{1,3}\.[0-9]{1,2}\.[0-9]+")
# two to six groups with the same kind of separator, the first perhaps in parentheses
_GROUPED = re.compile(
    r"\(0?[0-9]{1,4}\)[ -]?[0-9]{2,7}(?:[ -][0-9]{2,5}){0,3}|[0-9]{2,5} [0-9]{2,7}(?: [0-9]{2,5}){0,4}"
    r"|[0-9]{2,5}-[0-9]{2,7}(?:-[0-9]{2,5}){0,4}|0[0-9]{1,4}[-/][0-9]{2,4}(?: [0-9]{2,4}){1,3}"
    r"|[0-9]{2} 9?[0-9]{4}-[0-9]{4}"
    r"|\(0?[0-9]{1,4}\)/[0-9]{2,4}-[0-9]{3,4}|[0-9]{2,5}(?:\.[0-9]{2,3}){3,5}"
    r"|0[0-9]{1,4}/[0-9]{2,8}(?:[ .-][0-9]{2,4}){0,3}"
)
_REACHED = re.compile(
    r"\b(?:on|under|via|or|text|left|with me at|me at)[ ]\Z|[a-z] \(\Z"
)  # may stand before a number to call
_SECONDS = re.compile("1[5-9][0-9]{8}")  # since 1970
_DECIMAL = re.compile(r"\+?[0-9]+\.[0-9]{1,3}")
_DIALLED = re.compile("0[1-9][0-9]{7,9}")  # with the prefix that is dialled before an area
_SAID_BEFORE = re.compile(r"[a-z:,] \Z")
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(?:[ .][0-9]{3}){2,}")
_BOOK = re.compile(r"97[89][ -]?[0-9]")
_INTERNATIONAL_PREFIX = re.compile("00|011")  # dialled before a country's code
_ALONE_AFTER = re.compile(r"\s?(?:\Z|[.,;:!?)\]\n\"'])")
_APART = re.compile(r"\s[-/.]\s?|[-/.]\s|\s{2,}")
_SHORTEST_COUNT, _LONGEST_COUNT = 7, 15  # digits; Source: ITU-T E.164
_MIN_PLUS = 8
# two houses, a dump of memory, a broken social security number, a postal code
_CODES = frozenset({(4, 4), (4, 4, 4), (3, 2, 4), (5, 3)})
_NEAR_COUNT = 3  # words; `home` and `order` name a number only close to it
_MIN_UNTOLD = 8  # where no word says what it is
_ISBN_COUNT = 13
_MAX_NATIONAL = 12
_REMEMBERED_COUNT = 4096


class PhoneFinder:
    """Judges chains of digits; build it once.

    Args:
        regions: whose numbering plans a national number may follow (ISO 3166-1 alpha-2), the likeliest first.

    Raises:
        UsageError: phonenumbers is not installed, or a region has no numbering plan.
    """

    def __init__(self, regions: Sequence[str] = REGIONS) -> None:
        try:
            import phonenumbers
        except ImportError as error:
            raise UsageError(
                "phone numbers cannot be found: `phonenumbers` is not installed",
                hint="install flowai with its extra: pip install 'flowai[finetune]'",
            ) from error
        unknown = sorted(set(regions) - phonenumbers.SUPPORTED_REGIONS)
        if unknown:
            raise UsageError(
                f"no numbering plan for the region `{unknown[0]}`", hint="regions are two capital letters: US, GB, DE"
            )
        self._phonenumbers = phonenumbers
        self._regions = tuple(regions)
        self._is_national = lru_cache(maxsize=_REMEMBERED_COUNT)(self._follows_a_plan)

    def find(self, chain: DigitRun) -> Iterator[Span]:
        """Find the phone numbers of a chain; two that follow each other are told apart.

        Args:
            chain: any chain.
        """
        for part in _apart(chain):
            score = self._score(part)
            if score:
                yield Span(start=part.start, end=extension_end(part.text, part.end), kind=EntityType.PHONE, score=score)

    def _score(self, chain: DigitRun) -> float:
        """Tell how sure it is that a chain is a phone number, 0 to 1."""
        digits, raw = chain.digits, chain.text[chain.start : chain.end]
        if not _SHORTEST_COUNT <= len(digits) <= _LONGEST_COUNT:
            return 0.0
        if raw.startswith("+"):
            is_sum = _DECIMAL.fullmatch(raw) or (raw[1] == " " and chain.before.rstrip()[-1:].isalnum())
            return 0.9 if not is_sum and self._is_international(digits) else 0.0
        if _DATE.match(raw) or _OCTETS.fullmatch(raw) or (_BOOK.match(raw) and len(digits) == _ISBN_COUNT):
            return 0.0
        cue = _cue(chain)
        return 0.0 if cue < 0 else self._without_plus(chain, raw, digits, has_cue=cue > 0)

    def _without_plus(self, chain: DigitRun, raw: str, digits: str, *, has_cue: bool) -> float:
        abroad = _INTERNATIONAL_PREFIX.match(digits)
        is_abroad = abroad and len(chain.groups) > 1 and self._is_international(digits[abroad.end() :])
        return 0.8 if is_abroad or _NANP.fullmatch(raw) else self._national(chain, raw, digits, has_cue=has_cue)

    def _national(self, chain: DigitRun, raw: str, digits: str, *, has_cue: bool) -> float:
        if len(digits) > _MAX_NATIONAL:
            return 0.0
        if has_cue:
            return 0.7
        if _REACHED.search(chain.before):
            is_time = len(digits) < _MIN_UNTOLD or _SECONDS.fullmatch(raw) is not None
            return 0.5 if not is_time and self._is_national(digits) else 0.0
        is_form = _GROUPED.fullmatch(raw) or (_DIALLED.fullmatch(raw) and _SAID_BEFORE.search(chain.before))
        if len(digits) < _MIN_UNTOLD or not is_form or chain.lengths in _CODES:
            return 0.0
        # a code such as `aix-6107-1415`; an amount with its unit, or in a sum
        if chain.before.endswith("-") or (_THOUSANDS.fullmatch(raw) and not _stands_alone(chain)):
            return 0.0
        return 0.6 if self._is_national(digits) else 0.0

    def _is_international(self, digits: str) -> bool:
        """Tell whether digits after a `+` have a country's code and a length its plan has."""
        if len(digits) < _MIN_PLUS:
            return False
        try:
            number = self._phonenumbers.parse(f"+{digits}", None)
        except self._phonenumbers.NumberParseException:
            return False
        return self._phonenumbers.is_possible_number(number)

    def _follows_a_plan(self, digits: str) -> bool:
        for region in self._regions:
            try:
                number = self._phonenumbers.parse(digits, region)
            except self._phonenumbers.NumberParseException:
                continue
            if self._phonenumbers.is_valid_number(number):
                return True
        return False


def _apart(chain: DigitRun) -> Iterator[DigitRun]:
    """Give the numbers of a chain one by one: `0490 75 40 81 / 0491 22 33 44` are two."""
    first = 0
    for index, separator in enumerate(chain.separators, start=1):
        if _APART.search(separator):
            yield chain.part(first, index)
            first = index
    yield chain.part(first, len(chain.groups))


def _stands_alone(chain: DigitRun) -> bool:
    """Tell whether no unit follows a number in groups of three, and nothing is reckoned with it."""
    if "." in chain.separators or chain.before.rstrip()[-1:] in {"=", "<", ">", "*", "/", "+", "$", "€", "£", "~", "("}:
        return False
    return _ALONE_AFTER.match(chain.after) is not None


def _cue(chain: DigitRun) -> int:
    """Tell what the words around say: 1 a phone number, -1 something else, 0 nothing; the nearest word wins."""
    if _AFTER_CUE.match(chain.after):
        return 1
    before = chain.before
    words = _CUE_WORD.findall(before)
    for index in range(len(words) - 1, -1, -1):
        word = words[index]
        if word in listed("a phone number follows") or word.startswith(stems("a phone number follows, stems")):
            return 1
        if word == "number" and _is_personal_number(words[:index], chain):
            return 1
        is_near = len(words) - index <= _NEAR_COUNT
        if is_near and word in listed("a phone number is near"):
            return 1
        if is_near and word in listed("another number follows"):
            return -1
    return 0 if before.isascii() else int(any(cue in before for cue in listed("a phone number follows, unspaced")))


def _is_personal_number(words: Sequence[str], chain: DigitRun) -> bool:
    """Tell whether `number` behind these words is that of a phone: `my number`, `the number 0490 75 40 81`."""
    if words and words[-1] in listed("whose number"):
        return True
    return len(chain.groups) > 1 and not (words and words[-1] in listed("another number follows"))
