"""What follows a street and its number: a flat, towns and regions, a country, a postal code.

In: text, and where the street ends. Out: where the address ends, and whether a postal code was met. Must never know
streets.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from flowai.finetune.capitals import UPPER
from flowai.finetune.vocabulary import fold, listed, vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

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
_MORE = re.compile(
    rf"(?P<gap>(?:\.(?=\n))?[ \t]*,?[ \t]*(?:\n[> \t]*){{0,2}},?[ \t]*)(?:(?P<unit>(?i:{_UNIT}))"
    rf"|(?P<code>(?:{_POSTCODE})(?![\w-]))"
    rf"|(?P<place>(?:(?:de|da|do|dos|das|del|di|du|la|le|les|los|las|of|am|an|der|an der|im|sur|sous|en|nad|upon|el"
    rf"|al|ob|pri|i|y|e)[ ]){{0,3}}{_PLACE}|nan\b|\([{UPPER}][^()\n]{{1,20}}\)|[0-9]{{2}}(?=\n)))"
)
_REGION_AFTER = re.compile(r"[ ]?(?:\([A-Z]{2}\)|/ ?[A-Z]{2}\b)")
_MOST_PARTS_COUNT = 10
_LONGEST_COUNT = 160
_MOST_TOWN_WORDS_COUNT = 4
_TELLING_COUNT = 5  # digits that make a bare number a postal code


class Rest(NamedTuple):
    """The rest of an address.

    Args:
        end: where the address ends.
        has_code: whether a postal code beside a place says that it is one.
    """

    end: int
    has_code: bool


class AddressRest:
    """Reads what follows; build it once."""

    def __init__(self) -> None:
        self.no_places = vocabulary().no_names - vocabulary().places - listed("places begin with")
        self._countries = vocabulary().places

    def find(self, text: str, end: int, limits: Sequence[int]) -> Rest:
        """Take what follows as long as it looks like the rest of an address.

        Places are taken only when a postal code, a flat or a comma confirms them.

        Args:
            text: plain text.
            end: where the street and its number end.
            limits: places the address must not run over, in order.
        """
        following = bisect_left(limits, end)
        limit = min(limits[following] if following < len(limits) else len(text), end + _LONGEST_COUNT)
        sure, place = end, end
        is_open = has_place = False
        for _ in range(_MOST_PARTS_COUNT):
            match = _MORE.match(text, place, limit)
            if match is None or (text[place - 1] == "." and "\n" not in match.group("gap") and not match.group("unit")):
                break
            if match.group("place") and self._ends_address(match, text):
                break
            place = match.end()
            if match.group("code"):
                return self._with_code(text, match, limit, has_place=has_place)
            has_place = has_place or match.group("place") is not None
            if match.group("unit") or is_open or "," in match.group("gap"):
                sure, is_open = place, True
        return Rest(sure, has_code=False)

    def _with_code(self, text: str, code: re.Match[str], limit: int, *, has_place: bool) -> Rest:
        """Take what follows a postal code: a country, and the town where the code comes first (`, 75002 Paris`)."""
        end = code.end()
        digits = code.group("code")
        is_telling = len(digits) >= _TELLING_COUNT or not digits.isdigit()
        is_first = "," in code.group("gap") or "\n" in code.group("gap")
        may_break = "\n" in code.group("gap") and not digits.isdigit()  # 4335 LR, and the town on the next line
        town = self._town_end(text, end, limit, is_first=is_first, gaps=(" ", ", ", "\n") if may_break else (" ", ", "))
        return Rest(town, has_code=(has_place and is_telling) or (is_first and town > end))

    def _town_end(self, text: str, end: int, limit: int, *, is_first: bool, gaps: tuple[str, ...]) -> int:
        for _ in range(_MOST_TOWN_WORDS_COUNT):
            match = _MORE.match(text, end, limit)
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
