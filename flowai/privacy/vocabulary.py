"""Word lists that distinguish names from other capitalised words, and endings of family names."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# characters that NFKD does not decompose
_UNFOLDED: dict[int, int | str] = {
    **str.maketrans("łøđð\u0131\u2019\u2018", "loddi''"),
    **{ord(character): letters for character, letters in (("þ", "th"), ("ß", "ss"), ("æ", "ae"), ("œ", "oe"))},
}

# endings that family names have, and words, places and brands hardly ever; by region
_FAMILY_ENDING = re.compile(
    r".{2,}(?:sson|sdottir|dottir|[^aeiou]sen|qvist|quist|strom|gren|mark|kvist"  # Nordic
    r"|ova|eva|[aeiou]v[aeiou]?sky|ovsky|evsky|ovich|evich|ovic|evic|enko|chuk|czuk|czyk|owicz|ewicz|owski|ewski"
    r"|owska|ewska|inski|inska|(?:ow|ew|in|yn|al|dz|ez|ic)(?:skim|skiego|skiemu|skiej|ckiego|ckiemu|ckim"
    r"|ckiej)|iczem|icza|iczowi|czykiem|czyka"
    r"|ovna|evna|iyeva|ayeva|[lnrtksmhbd]ov|[lnrtksmhbdj]ev|ovski|evski"  # Slavic
    r"|opoulos|opoulou|akis|idis|oglu|shvili|adze|idze|escu|eanu"  # Greek, Turkish, Georgian, Romanian
    r"|inen|ainen|onen|unen|jarvi|lehto|vaara"  # Finnish
    r"|mann|stein|baum|meyer|meier|maier|huber|bauer|hausen"  # German
    r"|berg|feld|wald|bach"
    r"|ez|elli|etti|ucci|occhi|acci|ussi|azzi|ozzi)"  # Spanish, Italian
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """Kinds of capitalised words; all folded to a-z."""

    given: frozenset[str]
    ambiguous: frozenset[str]
    """Given names that are words, places or products too."""
    family: frozenset[str]
    no_names: frozenset[str]
    """Words that are not part of a name, even if some people have that name."""
    institutions: frozenset[str]
    """Words of `no_names` that turn a name before them into an organisation, a street or a theorem."""
    places: frozenset[str]
    """Words of `no_names` that are countries and towns."""


@cache
def vocabulary() -> Vocabulary:
    """Load the lists, once per process."""
    words = word_sections("not_names.txt")
    return Vocabulary(
        given=_all_words("given_names.txt"),
        ambiguous=_all_words("ambiguous_names.txt"),
        family=_all_words("surnames.txt"),
        no_names=frozenset().union(*words.values()),
        institutions=frozenset().union(
            *(listed for title, listed in words.items() if title.startswith(("organisations", "streets", "works")))
        ),
        places=words["places"],
    )


def fold(word: str) -> str:
    """Return a word in lower case without accents, as in the lists."""
    lower = word.lower()
    if lower.isascii():
        return lower
    parts = unicodedata.normalize("NFKD", lower.translate(_UNFOLDED))
    return "".join(character for character in parts if not unicodedata.combining(character))


def ends_like_a_family_name(folded: str) -> bool:
    """Return whether a folded word has an ending of family names."""
    return _FAMILY_ENDING.fullmatch(folded) is not None and folded not in cue_words("no family names")


@cache
def cue_words(title: str) -> frozenset[str]:
    """Return a list of `words/cue_words.txt` by its heading: words beside private values, or beside similar ones."""
    return word_sections("cue_words.txt")[title]


@cache
def cue_stems(title: str) -> tuple[str, ...]:
    """Return a list of word beginnings in `words/cue_words.txt` by its heading, for `str.startswith`."""
    return tuple(sorted(cue_words(title)))


@cache
def names_by_script(title: str) -> frozenset[str]:
    """Return a list of `words/names_by_script.txt` by its heading: names and the words beside them, not folded."""
    return word_sections("names_by_script.txt")[title]


def _all_words(name: str) -> frozenset[str]:
    return frozenset().union(*word_sections(name).values())


@cache
def word_sections(name: str) -> dict[str, frozenset[str]]:
    """Load a file of words under headings that begin with `# `, once per process."""
    sections: dict[str, frozenset[str]] = {}
    title = ""
    for line in files("flowai.privacy").joinpath("words", name).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            title = line.removeprefix("#").strip()
        else:
            sections[title] = sections.get(title, frozenset()) | frozenset(line.split())
    return sections


@dataclass(frozen=True, kw_only=True, slots=True)
class StreetWords:
    """Words that make a name a street; all folded to a-z."""

    after: frozenset[str]
    """Words after the name (`Baker Street`)."""
    before: frozenset[str]
    """Words before the name (`Rue Lepic`)."""
    endings: tuple[str, ...]
    """Endings of the name (`Hauptstrasse`)."""
    european: frozenset[str]
    """Words of `after` that are followed by the number (`Erzsébet tér 19`)."""
    no_compounds: frozenset[str]
    """Words that only seem to have such an ending."""


@cache
def street_words() -> StreetWords:
    """Load the list, once per process."""
    words = word_sections("street_words.txt")
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
"""Characters after the first letter of a word: letters, and apostrophes or hyphens between them."""

REST = rf"{WORD_REST}*+"
"""The rest of a capitalised word."""

CAPITALISED = rf"[{UPPER}]{WORD_REST}*+"
"""A word that begins with a capital letter."""
