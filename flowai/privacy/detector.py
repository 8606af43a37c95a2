"""Runs every recognizer over one text, cheap ones first."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from flowai.privacy.addresses import AddressFinder
from flowai.privacy.fields import find_in_fields
from flowai.privacy.identifiers import domains, emails, ibans, ip_addresses, urls
from flowai.privacy.names import NameFinder
from flowai.privacy.national_ids import lettered_ids, national_id
from flowai.privacy.normalise import normalise
from flowai.privacy.numbers import DigitRun, cards, digit_runs, social_security
from flowai.privacy.options import PrivacyOptions, SpanFilter
from flowai.privacy.phones import PhoneFinder
from flowai.privacy.scripts.script_addresses import ScriptAddressFinder
from flowai.privacy.scripts.script_names import ScriptNameFinder
from flowai.privacy.spans import EntityType, Span, disjoint_spans
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.privacy.spans import Recognizer

_DIGIT = re.compile("[0-9]")
_MIN_COUNT = 3  # characters; shorter texts identify no person
# placeholders and redaction marks: scrubbing twice is safe
_MARK = re.compile(rf"<(?:{'|'.join(EntityType)})_[0-9a-f]{{8}}>|\[REDACTED:[\w -]{{1,40}}\]")


class Detector:
    """Finds private values and secrets; build it once.

    `options` choose kinds, regions, languages and what stays; `known_secrets` are found everywhere. Raises UsageError
    if phonenumbers is not installed, or a region has no numbering plan.
    """

    def __init__(
        self,
        *,
        regions: Sequence[str] = (),
        options: PrivacyOptions | None = None,
        known_secrets: Iterable[str] = (),
        recognizers: Sequence[Recognizer] = (),
    ) -> None:
        chosen = options or PrivacyOptions()
        self._filter = SpanFilter(chosen)
        self._has_names = chosen.is_searched(EntityType.PERSON)
        self._has_addresses = chosen.is_searched(EntityType.ADDRESS)
        self._phones = PhoneFinder(regions or chosen.searched_regions)
        self._names = NameFinder()
        self._script_names = ScriptNameFinder(chosen.searched_languages)
        self._addresses = AddressFinder()
        self._script_addresses = ScriptAddressFinder(chosen.searched_languages)
        self._redactor = Redactor(known_secrets)
        self._recognizers = tuple(recognizers)

    def find(self, text: str) -> list[Span]:
        """Return disjoint spans of private values and secrets, in order, also of values in unusual characters."""
        if len(text) < _MIN_COUNT:
            return []
        normalised = normalise(text)
        plain = normalised.text
        spans = self._structured(plain)
        if self._has_addresses and (_DIGIT.search(plain) or "corner" in plain or "ntersection" in plain):
            spans += self._addresses.find(plain, spans)
            spans += self._script_addresses.find(plain)
        if self._has_names:
            spans += self._names.find(plain)
            spans += self._script_names.find(plain)
        spans += list(find_in_fields(plain, spans))
        for recognizer in self._recognizers:
            spans += recognizer.find(plain)
        spans = self._filter.keep(spans, plain)
        if not spans:
            return []
        kept = disjoint_spans(spans) if len(spans) > 1 else spans
        if "<" in plain or "[" in plain:
            kept = _not_overlapping(kept, [match.span() for match in _MARK.finditer(plain)])
        return kept if plain is text else [_moved(span, *normalised.source(span.start, span.end)) for span in kept]

    def keep(self, spans: Iterable[Span], text: str) -> list[Span]:
        """Return the spans that the options want."""
        return self._filter.keep(spans, text)

    def _structured(self, plain: str) -> list[Span]:
        spans: list[Span] = []
        if "@" in plain or " dot " in plain or "(at" in plain or "[at" in plain or "[AT" in plain or "(AT" in plain:
            spans += emails(plain)
        if "://" in plain or "www." in plain or "WWW." in plain:
            spans += urls(plain)
        if "." in plain:
            spans += domains(plain)
        if _DIGIT.search(plain):
            for run in digit_runs(plain):
                spans += self._number(run)
            if "." in plain or ":" in plain:
                spans += ip_addresses(plain)
            spans += ibans(plain)
            spans += lettered_ids(plain)
        spans += (
            Span(start=start, end=end, kind=EntityType.SECRET, score=1.0, name=name)
            for start, end, name in self._redactor.spans(plain)
        )
        return spans

    def _number(self, run: DigitRun) -> list[Span]:
        spans = list(cards(run))
        for rest in run.outside(spans) if spans else (run,):
            number = social_security(rest) or national_id(rest)
            spans += [number] if number else self._phones.find(rest)
        return spans


def _not_overlapping(spans: Sequence[Span], marks: Sequence[tuple[int, int]]) -> list[Span]:
    """Return the spans that touch no mark; both are disjoint and in order."""
    if not marks:
        return list(spans)
    ends = [end for _, end in marks]
    kept = []
    for span in spans:
        index = bisect_right(ends, span.start)
        if index == len(marks) or marks[index][0] >= span.end:
            kept.append(span)
    return kept


def _moved(span: Span, start: int, end: int) -> Span:
    return Span(start=start, end=end, kind=span.kind, score=span.score, name=span.name)
