"""The words that tell names from other capitalised words: lists that ship with flowai, and endings of family names."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_UNFOLDED = str.maketrans(
    {
        "ł": "l",
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "\u0131": "i",
        "\u2019": "'",
        "\u2018": "'",
    }
)

# endings that family names have and words, places and brands hardly ever do; by region
_FAMILY_ENDING = re.compile(
    r".{2,}(?:sson|sdottir|dottir|[^aeiou]sen|qvist|quist|strom|gren|mark|kvist"  # Nordic
    r"|ova|eva|[aeiou]v[aeiou]?sky|ovsky|evsky|ovich|evich|ovic|evic|enko|chuk|czuk|czyk|owicz|ewicz|owski|ewski"
    r"|owska|ewska|inski|inska"
    r"|ovna|evna|iyeva|ayeva|[lnrtksmhbd]ov|[lnrtksmhbdj]ev|ovski|evski"  # Slavic
    r"|opoulos|opoulou|akis|idis|oglu|shvili|adze|idze|escu|eanu"  # Greek, Turkish, Georgian, Romanian
    r"|inen|ainen|onen|unen|jarvi|lehto|vaara"  # Finnish
    r"|mann|stein|baum|meyer|meier|maier|huber|bauer|hausen"  # German
    r"|berg|feld|wald|bach"
    r"|ez|elli|etti|ucci|occhi|acci|ussi|azzi|ozzi)"  # Spanish, Italian
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """Words by what they say about a capitalised word; all folded to a-z."""

    given: frozenset[str]
    """Given names."""
    ambiguous: frozenset[str]
    """Those of them that are words, places or products too."""
    family: frozenset[str]
    """Family names."""
    no_names: frozenset[str]
    """Words that are no part of a name, whoever has that name too."""
    institutions: frozenset[str]
    """Those of them that make a name before them that of an organisation, a street or a theorem."""
    places: frozenset[str]
    """Those of them that are countries and towns."""


@cache
def vocabulary() -> Vocabulary:
    """Read the lists; once per process."""
    words = _sections("not_names.txt")
    return Vocabulary(
        given=_all("given_names.txt"),
        ambiguous=_all("ambiguous_names.txt"),
        family=_all("surnames.txt"),
        no_names=frozenset().union(*words.values()),
        institutions=frozenset().union(
            *(listed for title, listed in words.items() if title.startswith(("organisations", "streets", "works")))
        ),
        places=words["places"],
    )


def fold(word: str) -> str:
    """Give a word in lower case without accents, as the lists have it.

    Args:
        word: a word in any script.
    """
    lower = word.lower()
    if lower.isascii():
        return lower
    parts = unicodedata.normalize("NFKD", lower.translate(_UNFOLDED))
    return "".join(character for character in parts if not unicodedata.combining(character))


def ends_like_a_family_name(folded: str) -> bool:
    """Tell whether a folded word has an ending that only family names have.

    Args:
        folded: what `fold` gave.
    """
    return _FAMILY_ENDING.fullmatch(folded) is not None and folded not in listed("no family names")


@cache
def listed(title: str) -> frozenset[str]:
    """Give the words that stand around private values, or only look like them.

    Args:
        title: heading of the list in `words/cue_words.txt`.
    """
    return _sections("cue_words.txt")[title]


@cache
def stems(title: str) -> tuple[str, ...]:
    """Give a list of beginnings of words, as `str.startswith` takes them.

    Args:
        title: heading of the list in `words/cue_words.txt`.
    """
    return tuple(sorted(listed(title)))


def _all(name: str) -> frozenset[str]:
    return frozenset().union(*_sections(name).values())


@cache
def _sections(name: str) -> dict[str, frozenset[str]]:
    """Read a list: words under headings that begin with `# `."""
    found: dict[str, frozenset[str]] = {}
    title = ""
    for line in files("flowai.privacy").joinpath("words", name).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            title = line.removeprefix("#").strip()
        else:
            found[title] = found.get(title, frozenset()) | frozenset(line.split())
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class StreetWords:
    """Words that make a street of a name; all folded to a-z."""

    after: frozenset[str]
    """They stand after the name (`Baker Street`)."""
    before: frozenset[str]
    """They stand before it (`Rue Lepic`)."""
    endings: tuple[str, ...]
    """The name ends in them (`Hauptstrasse`)."""
    european: frozenset[str]
    """Those of `after` with which the number comes last (`Erzsébet tér 19`)."""
    no_compounds: frozenset[str]
    """Words that only look as if they had such an ending."""


@cache
def street_words() -> StreetWords:
    """Read the list; once per process."""
    words = _sections("street_words.txt")
    after = words["after the name"]
    return StreetWords(
        after=after,
        before=words["before the name"],
        endings=tuple(sorted(words["ends the name"])),
        european=after - words["English"],
        no_compounds=words["no such endings"],
    )


_LETTERS = "".join(chr(code) for code in (*range(0x41, 0x5B), *range(0xC0, 0x250), *range(0x370, 0x530)))
UPPER = "".join(letter for letter in _LETTERS if letter.isupper())
"""Capital letters, for a character class."""

WORD_REST = r"(?:[^\W\d_]|['\u2019\u2018-](?=[^\W\d_]))"
"""What follows the first letter of a word: letters, and apostrophes or hyphens between them."""

REST = rf"{WORD_REST}*+"
"""The rest of a capitalised word."""

CAPITALISED = rf"[{UPPER}]{WORD_REST}*+"
"""A word that begins with a capital letter."""
