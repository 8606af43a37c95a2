"""Finds street addresses: a number beside words of a street, a room number, a PO box, or a cue for an address.

A search starts at each number of at most five digits, reads a few words on both sides, and then includes what follows
while it looks like the rest of an address.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from flowai.privacy.spans import EntityType, Span
from flowai.privacy.vocabulary import UPPER, cue_words, fold, street_words, vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_PARTICLE = (
    r"(?:de|da|do|dos|das|del|della|delle|dei|di|du|des|d'|l'|la|le|les|los|las|van|von|der|den|dem|und|an|am|im"
    r"|zum|zur|aux|sur|en|of|y|e|na|nad|u|az|a|al|el|ul\.|st\.)"
)
_TOKEN = (
    rf"(?:[{UPPER}](?:[^\W\d_]|['\u2019.-](?=[^\W\d_]))*+\.?|[0-9]{{1,3}}(?:st|nd|rd|th)\b"
    rf"|[^\W\d_]{{1,12}}\.(?=[ ][{UPPER}])|(?:ul|u|út|utca|tér|str|street|road"
    rf"|avenue|rue|via|rua|calle|katu|gade|vej|köz|sor|krt|chemin|impasse|boulevard|allée|quai|viale|piazza|avenida"
    rf"|ulica)\b\.?|{_PARTICLE}(?=[ ]))"
)
_NUMBER = re.compile(
    r"[0-9](?<![\w.,:/$€£#%+=*\\-][0-9])(?<!\d [0-9])[0-9]{0,4}(?:[a-zA-Z](?![a-zA-Z])"
    r"|[-/][0-9]{1,3}[a-zA-Z]?)?(?![\w%°€$*=])(?![.,:/-]\d)(?!\.\w)"
)
_FORWARD = re.compile(rf"(?:[ ][0-9]{{1,5}}(?=[ ][{UPPER}]))?(?:,?[ ]{_TOKEN}){{1,6}}")
_BACKWARD_WORD = re.compile(
    rf"(?:[{UPPER}](?:[^\W\d_]|['\u2019.-](?=[^\W\d_]))*+\.?|[0-9]{{1,3}}(?:st|nd|rd|th)?|[^\W\d_]{{1,12}}\.|utca"
    rf"|út|tér|köz|katu|gade|vej|{_PARTICLE}),?"
)
_UNIT_NEAR = re.compile(
    r"[ ,\n\t>]{1,6}(?:apt|apartment|suite|ste|unit|flat|floor|rm|room|appt|apto"
    r"|wohnung)\.?[ ]?(?:#[ ]?)?[0-9]{1,5}[a-z]?\b",
    re.IGNORECASE,
)
_BOX = re.compile(
    r"(?<![\w])(?:(?:psc|unit|cmr)[ ]?[0-9]{1,5},?[ ]box[ ][0-9]{1,5}|(?:p\.?[ ]?o\.?[ ]?box"
    r"|post(?:al)?[ ]?(?:office[ ])?box|postbus|postfach|postboks"
    r"|boîte postale|b\.?p\.|apartado(?: de correos)?|apdo\.?|caixa postal|casella postale|skrytka pocztowa|gpo box"
    r"|locked bag|private bag)[ ]?(?:no\.?[ ])?#?[0-9]{1,6})"
    r"(?![\w])|(?<![\w])(?:uss|usns|usnv|uscgc)[ ][^\W\d_]+(?=\s+[afd]po\b)",
    re.IGNORECASE,
)
_BOX_HINT = re.compile(
    r"[bB](?:ox|OX|p |P |\.[pP]|ag|AG)|[pP]ost(?:fach|bus|boks|box)|[aA]p(?:artado|do)|[cC]a[ix][xi]|[cC]asella"
    r"|[uU][sS][sSnNcC]|skrytka|boîte"
)
_MILITARY = re.compile(r"[ ,]*\s+[ADF]PO,?[ ](?:A[AEP]),?[ ][0-9]{5}(?:-[0-9]{4})?", re.IGNORECASE)
_CUE = re.compile(
    r"(?:\b(?:address|addresses|adresse|dirección|indirizzo|endereço|adres|adress|osoite|cím|bydliště)(?:'s"
    r"|\u2019s)?(?: (?:is|was|to|of|with|are|on file|for \w+))?(?: (?:now|the|same|following|as"
    r"|changed))*[:,]?\s{0,3}"
    r"|\b(?:live|lives|lived|living|reside|resides|residing|stay|staying|located|situated|based|based out|moved"
    r"|moving|relocated|office is|offices are|house is|home is|property)"
    r"(?: \w{1,6})?(?: at| in| on| to)[ ]|\b(?:deliver|delivered|delivery|ship|shipped|send|sent|mail|return"
    r"|returned|taxi|uber|ride|cab|arrived|come|drive|go|bring)(?: \w+){0,3} (?:to|at)[ ]"
    r"|\b(?:ich wohne|wohnhaft|habite|vivo|moro|abito|woon|mieszkam|bor|asun)(?: \w{1,3})?[ ])\Z",
    re.IGNORECASE,
)
_CORNER = re.compile(
    rf"\b(?:the )?(?:corner|intersection"
    rf"|junction) of (?:[0-9]{{1,5}} )?(?:{_TOKEN}[ ]?){{1,5}}(?:[0-9]{{1,5}}[ ])?(?:and"
    rf"|&)[ ](?:[0-9]{{1,5}} )?{_TOKEN}(?:[ ]{_TOKEN}){{0,4}}(?:[ ][0-9]{{1,5}}\b\.?)?"
)
_SIDE_AFTER = re.compile(r"[ ](?:North|South|East|West|[NS][EW]?|[EW])\b(?![.']\w)")
_UNIT_BEFORE = re.compile(
    r"(?:(?:flat|apt\.?|apartment|unit|suite|room|villa|block|floor|appartement|appt\.?|bâtiment|bât\.?"
    r"|piso|apto\.?|wohnung)"
    r" ?[0-9]{0,4}[A-Za-z]?|(?:résidence|residencia|residenza|residencial|edificio|edifício|immeuble"
    r"|urbanización)(?: [^\W\d_]+){1,3}"
    r"|[A-Z][a-z]+ (?:House|Court|Tower|Lodge|Building)), \Z",
    re.IGNORECASE,
)
_HOUSE_BEFORE = re.compile(r"(?<![\w.,:#-])[0-9]{1,5}[a-zA-Z]?,? \Z")
# words before a street's name that do not occur in English sentences
_LOWER = frozenset(
    {"rue", "avenue", "boulevard", "chemin", "impasse", "allee", "viale", "piazza", "calle", "avenida", "rua", "ulica"}
)
_BEFORE_COUNT = 64
_MAX_WORDS = 5
_MIN_COMPOUND_COUNT = 7  # letters: Bergweg
_PLAIN_WORD = re.compile(r"[^\W\d_]+")


class _StreetMatch(NamedTuple):
    """A street with its number."""

    start: int
    end: int
    is_sure: bool
    """Whether it is an address in any context; else a postal code must follow."""


class AddressFinder:
    """Finds addresses; build it once."""

    def __init__(self) -> None:
        self._streets = street_words()
        self._tail = AddressTail()

    def find(self, text: str, spans: Sequence[Span] = ()) -> Iterator[Span]:
        """Find street addresses and PO boxes outside the given spans, with town, country and postal code after them."""
        limits = sorted(span.start for span in spans)
        done = 0
        for match in _BOX.finditer(text) if _BOX_HINT.search(text) else ():
            military = _MILITARY.match(text, match.end())
            end = military.end() if military else self._tail.find(text, match.end(), limits).end
            yield _span(match.start(), end, 0.75)
        if "corner" in text or "ntersection" in text or "unction of" in text:
            for match in _CORNER.finditer(text):
                yield _span(match.start(), match.end(), 0.75)
        for number in _NUMBER.finditer(text):
            if number.start() < done:
                continue
            street = self._find_street(text, number)
            rest = None if street is None else self._tail.find(text, street.end, limits)
            if street is not None and rest is not None and (street.is_sure or rest.has_code):
                house = _HOUSE_BEFORE.search(text, max(done, street.start - 8), street.start)
                done = rest.end
                if house and any(span.start <= house.start() < span.end for span in spans):
                    house = None  # the end of a phone number
                start = house.start() if house else street.start
                unit = _UNIT_BEFORE.search(text, max(0, start - 40), start)
                yield _span(unit.start() if unit else start, done, 0.7)

    def _find_street(self, text: str, number: re.Match[str]) -> _StreetMatch | None:
        """Return the street with a number, if there is one."""
        lead = text[max(0, number.start() - _BEFORE_COUNT) : number.start()]
        return self._number_first(text, lead, number) or self._number_last(text, lead, number)

    def _number_first(self, text: str, lead: str, number: re.Match[str]) -> _StreetMatch | None:
        """Check the words after a number: `12 Baker Street`, `864 Dora Creek Apt. 3`, or any after a cue."""
        start, end = number.span()
        forward = _FORWARD.match(text, end)
        if forward is not None:
            cued = _CUE.search(lead) is not None
            words = _PLAIN_WORD.findall(forward.group())
            last = self._last_street_word(forward)
            unit = _UNIT_NEAR.match(text, forward.end())
            is_named = words[0][0].isupper() and fold(words[0]) not in self._tail.no_places
            if last is not None or unit or is_named:
                after = (
                    _first_part_end(forward)
                    if last is None and not unit
                    else forward.end()
                    if unit or last is None
                    else last
                )
                side = _SIDE_AFTER.match(text, after)
                after = side.end() if side else after
                house = re.match(r"[ ][0-9]{1,5}[a-zA-Z]?\b\.?", text[after : after + 8])
                is_sure = last is not None or unit is not None or cued
                return _StreetMatch(start, after + (house.end() if house else 0), is_sure=is_sure)
        return None

    def _number_last(self, text: str, lead: str, number: re.Match[str]) -> _StreetMatch | None:
        """Check the words before a number: `Hauptstrasse 12`, `Rua do Sol 3`, `Rahu 37 Apt. 405`."""
        start, end = number.span()
        words = _words_before(lead)
        if words:
            begin = self._street_before(words)
            if begin is not None:
                return _StreetMatch(start - len(words) + begin, end, is_sure=True)
            words = words[words.rfind(", ") + 2 :] if ", " in words[:-2] else words
            first = _PLAIN_WORD.search(words)
            is_named = first is not None and words[0].isupper() and fold(first.group()) not in self._tail.no_places
            if is_named or _UNIT_NEAR.match(text, end):
                return _StreetMatch(start - len(words), end, is_sure=_UNIT_NEAR.match(text, end) is not None)
        return None

    def _last_street_word(self, forward: re.Match[str]) -> int | None:
        """Return the end of the last street word after a number; None without one."""
        words = list(_PLAIN_WORD.finditer(forward.string, forward.start(), forward.end()))
        last = None
        for index, word in enumerate(words):
            folded = fold(word.group())
            if index and folded in self._streets.after and (len(folded) > 1 or word.group().islower()):
                last = word.end()
            elif (
                index + 1 < len(words)
                and folded in self._streets.before
                and not index
                and (word.group()[0].isupper() or folded in _LOWER)
            ):
                last = words[-1].end()
            elif self._is_compound(folded):
                last = word.end()
        return last

    def _street_before(self, words: str) -> int | None:
        """Return the start of a street in the words before a number; None without one."""
        matches = list(_PLAIN_WORD.finditer(words))
        for index, word in enumerate(matches):
            folded = fold(word.group())
            if folded in self._streets.before and index + 1 < len(matches):
                return word.start()
            if self._is_compound(folded):
                return word.start() if word.group()[0].isupper() else None
            if folded in self._streets.european and index:
                return matches[0].start()
        return None

    def _is_compound(self, folded: str) -> bool:
        if len(folded) < _MIN_COMPOUND_COUNT or folded in self._streets.no_compounds:
            return False
        return folded.endswith(self._streets.endings)


def _first_part_end(forward: re.Match[str]) -> int:
    """Return the end of the words before the first comma: a street without a word for it (`112 Queensway, London`)."""
    comma = forward.group().find(",")
    return forward.end() if comma <= 0 else forward.start() + comma


def _words_before(lead: str) -> str:
    """Return the end of a text as far as its words look like a street, at most five words."""
    position = len(lead)
    for _ in range(_MAX_WORDS):
        if not lead.endswith(" ", 0, position):
            break
        begin = max(lead.rfind(gap, 0, position - 1) for gap in " \n>") + 1
        if not _BACKWARD_WORD.fullmatch(lead, begin, position - 1):
            break
        position = begin
    return lead[position:]


def _span(start: int, end: int, score: float) -> Span:
    return Span(start=start, end=end, kind=EntityType.ADDRESS, score=score)


_UNIT = (
    r"(?:apt|apartment|suite|ste|unit|flat|floor|fl|room|rm|bldg|building|box|lot|no|appt|apto|piso|puerta|etage"
    r"|stock|wohnung|whg|byt|lakás|em"
    r"|lgh|int|interno|scala|esc|bte|bus|lejl)\.?[ ]?(?:#[ ]?)?[0-9]{1,5}[a-z]?\b|\#[ ]?[0-9]{1,5}[a-z]?\b"
)
_PLACE = rf"[{UPPER}](?:[^\W\d_]|['\u2019\u2018.\u2206-](?=[^\W\d_\u2206])|\u2206)*+(?!\w)\.?"
_POSTCODE = (
    r"[A-Z]{1,2}[0-9][0-9A-Z]?[ ][0-9][A-Z]{2}|[A-Z][0-9][A-Z][ ]?[0-9][A-Z][0-9]|[0-9]{4}[ ]?[A-Z]{2}"
    r"|(?:[A-Z]{1,2}-)?[0-9]{3}[ ][0-9]{2}|[0-9]{2}-[0-9]{3}|(?:[A-Z]{1,2}-)?[0-9]{4,6}(?:-[0-9]{3,4})?"
)
_NEXT_PART = re.compile(
    rf"(?P<gap>(?:\.(?=\n))?[ \t]*,?[ \t]*(?:\n[> \t]*){{0,2}},?[ \t]*)(?:(?P<unit>(?i:{_UNIT}))"
    rf"|(?P<code>(?:{_POSTCODE})(?![\w-]))"
    rf"|(?P<place>(?:(?:de|da|do|dos|das|del|di|du|la|le|les|los|las|of|am|an|der|an der|im|sur|sous|en|nad|upon|el"
    rf"|al|ob|pri|i|y|e)[ ]){{0,3}}{_PLACE}|nan\b|\([{UPPER}][^()\n]{{1,20}}\)|[0-9]{{2}}(?=\n)))"
)
_REGION_AFTER = re.compile(r"[ ]?(?:\([A-Z]{2}\)|/ ?[A-Z]{2}\b)")
_MAX_PARTS = 10
_MAX_COUNT = 160
_MAX_TOWN_WORDS = 4
_MIN_CODE_CHARS = 5  # of a postal code that is a bare number


class AddressTailSpan(NamedTuple):
    """The rest of an address."""

    end: int
    has_code: bool
    """Whether it contains a postal code beside a place."""


class AddressTail:
    """Reads the rest of an address; build it once."""

    def __init__(self) -> None:
        self.no_places = vocabulary().no_names - vocabulary().places - cue_words("places begin with")
        self._countries = vocabulary().places

    def find(self, text: str, end: int, limits: Sequence[int]) -> AddressTailSpan:
        """Return the rest of an address after its street and number, which end at `end`.

        A postal code, a unit or a comma must confirm its places. `limits` are positions that it must not pass, in
        order.
        """
        following = bisect_left(limits, end)
        limit = min(limits[following] if following < len(limits) else len(text), end + _MAX_COUNT)
        sure, position = end, end
        is_open = has_place = False
        for _ in range(_MAX_PARTS):
            match = _NEXT_PART.match(text, position, limit)
            if match is None or (
                text[position - 1] == "." and "\n" not in match.group("gap") and not match.group("unit")
            ):
                break
            if match.group("place") and self._ends_address(match, text):
                break
            position = match.end()
            if match.group("code"):
                return self._end_after_code(text, match, limit, has_place=has_place)
            has_place = has_place or match.group("place") is not None
            if match.group("unit") or is_open or "," in match.group("gap"):
                sure, is_open = position, True
        return AddressTailSpan(sure, has_code=False)

    def _end_after_code(self, text: str, code: re.Match[str], limit: int, *, has_place: bool) -> AddressTailSpan:
        """Return the end after a postal code: a country, or the town if the code comes first (`, 75002 Paris`)."""
        end = code.end()
        digits = code.group("code")
        is_distinct = len(digits) >= _MIN_CODE_CHARS or not digits.isdigit()
        is_first = "," in code.group("gap") or "\n" in code.group("gap")
        may_break = "\n" in code.group("gap") and not digits.isdigit()  # 4335 LR, and the town on the next line
        town = self._town_end(text, end, limit, is_first=is_first, gaps=(" ", ", ", "\n") if may_break else (" ", ", "))
        return AddressTailSpan(town, has_code=(has_place and is_distinct) or (is_first and town > end))

    def _town_end(self, text: str, end: int, limit: int, *, is_first: bool, gaps: tuple[str, ...]) -> int:
        for _ in range(_MAX_TOWN_WORDS):
            match = _NEXT_PART.match(text, end, limit)
            if match is None or not match.group("place") or match.group("gap") not in gaps:
                break
            gaps = (" ", ", ")
            is_known = fold(match.group("place").rstrip(".")) in self._countries
            is_town = is_first and not self._ends_address(match, text)
            if not (is_known or is_town):
                break
            end = match.end() - match.group("place").endswith(".")
        region = _REGION_AFTER.match(text, end, limit) if is_first else None
        return end if region is None else region.end()

    def _ends_address(self, match: re.Match[str], text: str) -> bool:
        word = _PLAIN_WORD.search(match.group("place"))
        if word is None or match.group("place").startswith("("):
            return False
        is_word = fold(word.group()) in self.no_places and not word.group().isupper()
        return is_word or text[match.end() : match.end() + 1] in {":", "'", "\u2019", "@"}
