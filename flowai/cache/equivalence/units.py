"""English words for numbers, units, months and weekdays, and the normal spelling of each."""

from __future__ import annotations


def _spellings(lines: str) -> dict[str, str]:
    """Map each word of a line to the line's first word."""
    groups = [line.split() for line in lines.strip().splitlines()]
    return {word: group[0] for group in groups for word in group}


def _numbered(words: str, *, first: int, step: int = 1) -> dict[str, int]:
    return {word: first + step * at for at, word in enumerate(words.split())}


MONTHS = _numbered("january february march april may june july august september october november december", first=1)
WEEKDAYS = frozenset(("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"))

UNITS = _spellings("""
km kilometer kilometers kilometre kilometres
m meter meters metre metres
cm centimeter centimeters centimetre centimetres
mm millimeter millimeters millimetre millimetres
mile miles
ft foot feet
inch inches
kg kilogram kilograms
g gram grams
mg milligram milligrams
mcg microgram micrograms
lb lbs
oz ounce ounces
l liter liters litre litres
ml milliliter milliliters millilitre millilitres
hour hours h
minute minutes min
second seconds s
ms millisecond milliseconds
percent %
usd $ dollar dollars
eur € euro euros
gbp £
jpy ¥ yen
""")
"""Units directly after a number; case matters. Words elsewhere are words: `my feet`, `a minute`."""

CURRENCIES = "$€£¥"

NUMBERS = {
    **_numbered("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen", first=0),
    **_numbered("fifteen sixteen seventeen eighteen nineteen", first=15),
    **_numbered("twenty thirty forty fifty sixty seventy eighty ninety", first=20, step=10),
}

SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}

ORDINALS = _numbered("first second third fourth fifth sixth seventh eighth ninth tenth", first=1)
