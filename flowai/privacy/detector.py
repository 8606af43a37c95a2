"""Every detector run over one text, in the order of what each costs."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Protocol

from flowai.privacy.addresses import AddressFinder
from flowai.privacy.identifiers import domains, emails, ibans, ip_addresses, urls
from flowai.privacy.names import NameFinder
from flowai.privacy.normalise import normalise
from flowai.privacy.numbers import DigitRun, cards, digit_runs, social_security
from flowai.privacy.phones import REGIONS, PhoneFinder
from flowai.privacy.spans import EntityType, Span, disjoint
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_DIGIT = re.compile("[0-9]")
_MIN_COUNT = 3  # characters; nothing shorter gives anybody away
# our own marks and those of log redaction: what was scrubbed may be scrubbed again
_MARK = re.compile(rf"<(?:{'|'.join(EntityType)})_[0-9a-f]{{8}}>|\[REDACTED:[\w -]{{1,40}}\]")


class Recognizer(Protocol):
    """A further detector."""

    def find(self, text: str) -> Iterable[Span]:
        """Find spans in a plain text."""
        ...


class Detector:
    """Finds what gives somebody away; build it once.

    Args:
        regions: whose numbering plans a national phone number may follow (ISO 3166-1 alpha-2).
        known_secrets: literal keys, found wherever they stand.
        others: further detectors, such as Presidio's.

    Raises:
        UsageError: phonenumbers is not installed, or a region has no numbering plan.
    """

    def __init__(
        self, *, regions: Sequence[str] = REGIONS, known_secrets: Iterable[str] = (), others: Sequence[Recognizer] = ()
    ) -> None:
        self._phones = PhoneFinder(regions)
        self._names = NameFinder()
        self._addresses = AddressFinder()
        self._redactor = Redactor(known_secrets)
        self._others = tuple(others)

    def find(self, text: str) -> list[Span]:
        """Find everything, written plainly or hidden.

        Args:
            text: any length, any content.

        Returns:
            Disjoint spans, in order, in the places of this text.
        """
        if len(text) < _MIN_COUNT:
            return []
        seen = normalise(text)
        plain = seen.text
        found = self._structured(plain)
        if _DIGIT.search(plain) or "corner" in plain or "ntersection" in plain:
            found += self._addresses.find(plain, found)
        found += self._names.find(plain)
        for finder in self._others:
            found += finder.find(plain)
        if not found:
            return []
        kept = disjoint(found) if len(found) > 1 else found
        if "<" in plain or "[" in plain:
            kept = _not_overlapping(kept, [match.span() for match in _MARK.finditer(plain)])
        return kept if plain is text else [_moved(span, *seen.source(span.start, span.end)) for span in kept]

    def _structured(self, plain: str) -> list[Span]:
        found: list[Span] = []
        if "@" in plain or " dot " in plain or "(at" in plain or "[at" in plain or "[AT" in plain or "(AT" in plain:
            found += emails(plain)
        if "://" in plain or "www." in plain or "WWW." in plain:
            found += urls(plain)
        if "." in plain:
            found += domains(plain)
        if _DIGIT.search(plain):
            for chain in digit_runs(plain):
                found += self._number(chain)
            if "." in plain or ":" in plain:
                found += ip_addresses(plain)
            found += ibans(plain)
        stretches = self._redactor.spans(plain)
        found += (
            Span(start=start, end=end, kind=EntityType.SECRET, score=1.0, name=name) for start, end, name in stretches
        )
        return found

    def _number(self, chain: DigitRun) -> list[Span]:
        found = list(cards(chain))
        for rest in chain.between(found) if found else (chain,):
            number = social_security(rest)
            found += [number] if number else self._phones.find(rest)
        return found


def _not_overlapping(spans: Sequence[Span], marks: Sequence[tuple[int, int]]) -> list[Span]:
    """Keep the spans that touch no mark; both are disjoint and in order."""
    if not marks:
        return list(spans)
    ends = [end for _, end in marks]
    kept = []
    for span in spans:
        place = bisect_right(ends, span.start)
        if place == len(marks) or marks[place][0] >= span.end:
            kept.append(span)
    return kept


def _moved(span: Span, start: int, end: int) -> Span:
    return Span(start=start, end=end, kind=span.kind, score=span.score, name=span.name)
