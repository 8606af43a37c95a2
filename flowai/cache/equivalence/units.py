"""English words for numbers, units, months and weekdays, and the normal spelling of each."""

from __future__ import annotations


def _spellings(lines: str) -> dict[str, str]:
    """Map each word of a line to the line's first word."""
    groups = [line.split() for line in lines.strip().splitlines()]
    return {word: group[0] for group in groups for word in group}


def _numbered(words: str, *, first: int, step: int = 1) -> dict[str, int]:
    return {word: first + step * at for at, word in enumerate(words.split())}


MONTHS = {
    **dict.fromkeys(("january", "jan"), 1),
    **dict.fromkeys(("february", "feb"), 2),
    **dict.fromkeys(("march", "mar"), 3),
    **dict.fromkeys(("april", "apr"), 4),
    "may": 5,
    **dict.fromkeys(("june", "jun"), 6),
    **dict.fromkeys(("july", "jul"), 7),
    **dict.fromkeys(("august", "aug"), 8),
    **dict.fromkeys(("september", "sep", "sept"), 9),
    **dict.fromkeys(("october", "oct"), 10),
    **dict.fromkeys(("november", "nov"), 11),
    **dict.fromkeys(("december", "dec"), 12),
}

WEEKDAYS = _spellings("""
monday mon
tuesday tue tues
wednesday wed
thursday thu thur thurs
friday fri
saturday sat
sunday sun
""")

UNITS = {
    **_spellings("""
km kilometer kilometers kilometre kilometres
meter meters metre metres
cm centimeter centimeters centimetre centimetres
mm millimeter millimeters millimetre millimetres
mile miles
foot feet ft
inch inches
yard yards
kg kilogram kilograms kilo kilos
gram grams
mg milligram milligrams
mcg microgram micrograms
ton tons tonne tonnes
pound pounds lb lbs
ounce ounces oz
liter liters litre litres
ml milliliter milliliters millilitre millilitres
gallon gallons
hour hours hr hrs
minute minutes min mins
seconds secs
ms millisecond milliseconds
day days
week weeks
month months
year years yr yrs
percent percentage
celsius centigrade
fahrenheit
kelvin
usd dollar dollars
eur euro euros
gbp
jpy yen
cent cents
mph
kph kmh
volt volts
watt watts
kwh
byte bytes
bit bits
degree degrees
"""),
    "%": "percent",
    "$": "usd",
    "€": "eur",
    "£": "gbp",
    "¥": "jpy",
    "°": "degree",
}
"""Words that are units anywhere."""

UNITS_AFTER_NUMBERS = {
    "m": "meter",
    "g": "gram",
    "l": "liter",
    "L": "liter",
    "h": "hour",
    "s": "seconds",
    "second": "seconds",
    "sec": "seconds",
    "in": "in",
    "d": "day",
    "y": "year",
    "C": "celsius",
    "F": "fahrenheit",
    "K": "kelvin",
    "V": "volt",
    "W": "watt",
}
"""Units only directly after a number; case matters."""

NUMBERS = {
    **_numbered("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen", first=0),
    **_numbered("fifteen sixteen seventeen eighteen nineteen", first=15),
    **_numbered("twenty thirty forty fifty sixty seventy eighty ninety", first=20, step=10),
    "dozen": 12,
}

SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}

ORDINALS = _numbered("first second third fourth fifth sixth seventh eighth ninth tenth", first=1)
