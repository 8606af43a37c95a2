"""Finds phone numbers: international ones by their country's plan, national ones by form, plan and context.

The search of `phonenumbers` through a text is far too slow for a data set, and finds numbers in all code. So it checks
only single numbers whose form and context make them likely.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.privacy.numbers import DigitRun, extension_end
from flowai.privacy.spans import EntityType, Span
from flowai.privacy.vocabulary import cue_stems, cue_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REGIONS = (
    "US", "GB", "DE", "FR", "ES", "IT", "BR", "IN", "AU", "NL", "PL", "JP", "SE", "NO", "DK", "FI", "IS", "BE", "AT",
    "CH", "IE", "PT", "CZ", "SK", "HU", "SI", "HR", "RO", "BG", "GR", "CY", "EE", "LT", "LV", "UA", "RU", "TR", "ZA",
    "NZ", "MX", "AR", "CO", "IL", "CN", "KR", "SA", "AE", "EG",
)  # fmt: skip
"""Numbering plans that a national number may follow by default (ISO 3166-1 alpha-2)."""

# words before a number that tell its kind; the nearest decides. Stems match every ending.
_CUE_WORD = re.compile(r"[^\W\d_]+")
_AFTER_CUE = re.compile(
    r"(?:\W{1,3}| as (?:a|my|the|his|her) |\W{1,3}(?:is|was) (?:my|his|her|our|the) (?:new )?)"
    r"(?:number|phone|tel|office|fax|mobile|mob|cell|home|work|desk|handy|mobil|gsm|direct)\b"
)
# any area code: invented numbers count too
_NANP = re.compile(
    r"(?:\+?1[-. ]{0,2})?(?:\([0-9]{3}\)[-. ]{0,2}[0-9]{3}[-. ][0-9]{4}|([0-9]{3})([-. ])[0-9]{3}(?:\2|-)[0-9]{4})"
)
_DATE = re.compile(
    r"(?:[0-3]?[0-9][./-][0-3]?[0-9][./-](?:19|20)?[0-9]{2}|(?:19|20)[0-9]{2}[01][0-9][0-3][0-9]"
    r"|[0-9]{4}[./-][01][0-9][./-][0-3][0-9])(?![0-9]|[./-][0-9])"
    r"|(?:19|20)[0-9]{2}\s?[-/]\s?(?:19|20)?[0-9]{2}(?![0-9])"
    r"|1[0-9]{3}\s?[-/]\s?(?:1[0-9]|20)[0-9]{2}(?![0-9])"
)
_ARITHMETIC_AFTER = re.compile(r"\s?(?:=|[*^%×÷])|\s?[+/-]\s?[$€£(]|\s[+*/-]\s[0-9(]|[,;][0-9]{3}")
_ARITHMETIC_BEFORE = re.compile(r"(?:[=*^+×÷<>$€£¥]|[0-9)]\s?[-/])\s?\(?\Z")
_OCTETS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]+)?|[0-9]+\.[0-9]+|[0-9]{1,3}\.[0-9]{1,2}\.[0-9]+")
# two to six groups with the same kind of separator, the first perhaps in parentheses
_GROUPED = re.compile(
    r"\(0?[0-9]{1,4}\)[ -]?[0-9]{2,7}(?:[ -][0-9]{2,5}){0,3}|[0-9]{2,5} [0-9]{2,7}(?: [0-9]{2,5}){0,4}"
    r"|[0-9]{2,5}-[0-9]{2,8}(?:-[0-9]{2,5}){0,4}|0[0-9]{1,4}[-/][0-9]{2,4}(?: [0-9]{2,4}){1,3}"
    r"|[0-9]{2} 9?[0-9]{4}-[0-9]{4}"
    r"|\(0?[0-9]{1,4}\)/[0-9]{2,4}-[0-9]{3,4}|[0-9]{2,5}(?:\.[0-9]{2,3}){3,5}"
    r"|0[0-9]{1,4}/[0-9]{2,8}(?:[ .-][0-9]{2,4}){0,3}"
)
_CONTACT_CUE = re.compile(
    r"\b(?:on|under|via|or|text|left|with me at|me at)[ ]\Z|[a-z] \(\Z"
)  # before a number to call
_UNIX_TIME = re.compile("1[5-9][0-9]{8}")  # seconds since 1970
_DECIMAL = re.compile(r"\+?[0-9]+\.[0-9]{1,3}")
_TRUNK_NUMBER = re.compile("0[1-9][0-9]{7,9}")  # with the trunk prefix before an area code
_WORD_BEFORE = re.compile(r"[a-z:,] \Z")
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(?:[ .][0-9]{3}){2,}")
_ISBN_PREFIX = re.compile(r"97[89][ -]?[0-9]")
_INTERNATIONAL_PREFIX = re.compile("00|011")  # dialled before a country's code
_ALONE_AFTER = re.compile(r"\s?(?:\Z|[.,;:!?)\]\n\"'])")
_NUMBER_SEPARATOR = re.compile(r"\s[-/.]\s?|[-/.]\s|\s{2,}")
_MIN_DIGITS, _MAX_DIGITS = 7, 15  # digits; Source: ITU-T E.164
_MIN_PLUS = 8
# two house numbers, a memory dump, an invalid social security number, a postal code
_CODES = frozenset({(4, 4), (4, 4, 4), (3, 2, 4), (5, 3)})
_NEAR_WORDS = 3  # `home` and `order` tell a number's kind only close to it
_MIN_UNCUED_DIGITS = 8  # without a cue
_ISBN_DIGITS = 13
_MAX_NATIONAL_DIGITS = 12
_CACHE_SIZE = 4096


class PhoneFinder:
    """Scores runs of digits as phone numbers; build it once.

    `regions` are the numbering plans that a national number may follow (ISO 3166-1 alpha-2), the likeliest first.
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
        self._is_national = lru_cache(maxsize=_CACHE_SIZE)(self._follows_a_plan)

    def find(self, run: DigitRun) -> Iterator[Span]:
        """Find the phone numbers of a run; it may contain several."""
        for part in _split_numbers(run):
            score = self._score(part)
            if score:
                yield Span(start=part.start, end=extension_end(part.text, part.end), kind=EntityType.PHONE, score=score)

    def _score(self, run: DigitRun) -> float:
        """Return the confidence that a run is a phone number, 0 to 1."""
        digits, raw = run.digits, run.text[run.start : run.end]
        if not _MIN_DIGITS <= len(digits) <= _MAX_DIGITS:
            return 0.0
        if raw.startswith("+"):
            is_sum = _DECIMAL.fullmatch(raw) or (raw[1] == " " and run.before.rstrip()[-1:].isalnum())
            return 0.9 if not is_sum and self._is_international(digits) else 0.0
        if _DATE.match(raw) or _OCTETS.fullmatch(raw) or (_ISBN_PREFIX.match(raw) and len(digits) == _ISBN_DIGITS):
            return 0.0
        cue = _cue(run)
        has_operator = _ARITHMETIC_AFTER.match(run.after) or _ARITHMETIC_BEFORE.search(run.before)
        if cue < 0 or (cue == 0 and has_operator):
            return 0.0
        return self._without_plus(run, raw, digits, has_cue=cue > 0)

    def _without_plus(self, run: DigitRun, raw: str, digits: str, *, has_cue: bool) -> float:
        abroad = _INTERNATIONAL_PREFIX.match(digits)
        is_abroad = abroad and len(run.groups) > 1 and self._is_international(digits[abroad.end() :])
        return 0.8 if is_abroad or _NANP.fullmatch(raw) else self._national(run, raw, digits, has_cue=has_cue)

    def _national(self, run: DigitRun, raw: str, digits: str, *, has_cue: bool) -> float:
        if len(digits) > _MAX_NATIONAL_DIGITS:
            return 0.0
        if has_cue:
            return 0.7
        if _CONTACT_CUE.search(run.before):
            is_time = len(digits) < _MIN_UNCUED_DIGITS or _UNIX_TIME.fullmatch(raw) is not None
            return 0.5 if not is_time and self._is_national(digits) else 0.0
        is_form = _GROUPED.fullmatch(raw) or (_TRUNK_NUMBER.fullmatch(raw) and _WORD_BEFORE.search(run.before))
        if len(digits) < _MIN_UNCUED_DIGITS or not is_form or run.lengths in _CODES:
            return 0.0
        # a code such as `aix-6107-1415`; an amount with its unit, or in a sum
        if run.before.endswith("-") or (_THOUSANDS.fullmatch(raw) and not _has_no_unit(run)):
            return 0.0
        return 0.6 if self._is_national(digits) else 0.0

    def _is_international(self, digits: str) -> bool:
        """Return whether the digits after a `+` have a country code and a length of its plan."""
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


def _split_numbers(run: DigitRun) -> Iterator[DigitRun]:
    """Yield the numbers of a run one by one: `0490 75 40 81 / 0491 22 33 44` are two."""
    first = 0
    for index, separator in enumerate(run.separators, start=1):
        if _NUMBER_SEPARATOR.search(separator):
            yield run.part(first, index)
            first = index
    yield run.part(first, len(run.groups))


def _has_no_unit(run: DigitRun) -> bool:
    """Return whether no unit follows a number in groups of three, and it is not part of a calculation."""
    if "." in run.separators or run.before.rstrip()[-1:] in {"=", "<", ">", "*", "/", "+", "$", "€", "£", "~", "("}:
        return False
    return _ALONE_AFTER.match(run.after) is not None


def _cue(run: DigitRun) -> int:
    """Return the kind that the context tells: 1 a phone number, -1 another number, 0 unknown; the nearest word wins."""
    if _AFTER_CUE.match(run.after):
        return 1
    before = run.before
    words = _CUE_WORD.findall(before)
    for index in range(len(words) - 1, -1, -1):
        word = words[index]
        if word in cue_words("a phone number follows") or word.startswith(cue_stems("a phone number follows, stems")):
            return 1
        if word == "number" and _is_personal_number(words[:index], run):
            return 1
        is_near = len(words) - index <= _NEAR_WORDS
        if is_near and word in cue_words("a phone number is near"):
            return 1
        if is_near and word in cue_words("another number follows"):
            return -1
    return 0 if before.isascii() else _unspaced_cue(before)


def _unspaced_cue(before: str) -> int:
    """Return the kind that the nearest word tells in scripts without spaces or with prefixes, as in `_cue`."""
    kinds = ((1, "a phone number follows, unspaced"), (-1, "another number follows, unspaced"))
    nearest, kind = max((before.rfind(cue), kind) for kind, title in kinds for cue in cue_words(title))
    return kind if nearest >= 0 else 0


def _is_personal_number(words: Sequence[str], run: DigitRun) -> bool:
    """Return whether `number` after these words is a phone number: `my number`, `the number 0490 75 40 81`."""
    if words and words[-1] in cue_words("whose number"):
        return True
    return len(run.groups) > 1 and not (words and words[-1] in cue_words("another number follows"))
