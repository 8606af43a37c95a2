"""People's names, by the words that stand around them and by what the words themselves look like.

Every run of capitalised words is a candidate. Its words are looked up (given names, family names, words that are
neither) or judged by their ending; the words before and after say whether somebody is spoken of. There is no model
behind it: more than half of all names are found, at little cost and with few false ones. Presidio with a model finds
more.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from flowai.privacy.spans import EntityType, Span
from flowai.privacy.vocabulary import (
    CAPITALISED,
    REST,
    UPPER,
    Vocabulary,
    ends_like_a_family_name,
    fold,
    listed,
    vocabulary,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARTICLES = r"(?:de|da|do|dos|das|del|della|di|du|la|le|van|von|vom|zu|der|den|ten|ter|bin|ibn|al|el|af|av|y|e)"
_PIECE = rf"(?:{CAPITALISED}(?:\.(?= [{UPPER}]))?)"
_RUN = re.compile(
    rf"[{UPPER}](?<![\w./\\@#$<=`_&-][{UPPER}]){REST}(?:(?<=\b[{UPPER}])\.)?"
    rf"(?:[ ](?:{_PARTICLES} ){{0,3}}{_PIECE})*+(?![\w@\\`(\[=])(?!\.\w)(?!://)"
)
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['\u2019\u2018-](?=[^\W\d_]))*\.?")
_APOSTROPHES = frozenset("'\u2019")

# the word before a name with which one of the cues below may end: the patterns run only behind one
_NAME_CUE = re.compile(
    r"(?:\bname(?:'s|\u2019s)?(?: (?:on|in|of|for) [\w ]{2,30})?(?: is| was| to|:|=| -)?:?\s*|\bnamed (?:him |her "
    r"|it |them |after )?|\bcall(?:s|ed)? (?:me|him|her) "
    r"|\b(?:dear|hi|hello|hey|hallo|bonjour|hola|ciao|ol[aá]|liebe[r]?|ch[eè]re?|estimad[oa]|caro|cara|beste|hej"
    r"|witaj)[ ]"
    r"|\b(?:regards|sincerely|cheers|yours(?: truly)?|best(?: wishes)?|gr[uü](?:ß|ss)en?|cordialement|saludos"
    r"|saluti|hälsningar|signed(?: by)?)[,:]?\s{1,3}"
    r"|\b(?:mein name ist|ich hei(?:ß|ss)e|je m'appelle|me llamo|mi nombre es|mi chiamo|meu nome [eé]|ik heet"
    r"|mijn naam is|jag heter|nazywam si[eę])[ ]"
    r"|\b(?:attn|attention|c/o)\.?:? )\Z",
    re.IGNORECASE,
)
_PERSON_CUE = re.compile(
    r"(?:\b(?:user|customer|client|patient|contact|author|from|to|cc|employee|agent|caller|owner|holder|beneficiary"
    r"|recipient|sender|buyer|seller"
    r"|tenant|guest|passenger|manager|supervisor|director|directed by|written by|produced by|composed by|speaker"
    r"|reporter|assignee|reviewer)[:=]\s*"
    r"|\b(?:says|said|by|i am|i'm|i\u2019m|am|producer|singer|actor|actress|author|player|founder|ceo|president"
    r"|minister|senator|engineer|lawyer"
    r"|artist|writer|director|manager|colleague|friend|husband|wife|son|daughter|brother|sister|mother|father"
    r"|cousin|neighbou?r|boss|partner"
    r"|under|with|contact|meet|met|married|thank you|thanks|ask|asked|told|tell|visited|add|remove|unlike|gave"
    r"|given|early|late|young|poor)[ ])\Z",
    re.IGNORECASE,
)
_AFTER_CUE = re.compile(
    r"(?:['\u2019]s (?:\w+ ){0,1}(?:mother|father|mom|dad|wife|husband|son|daughter|kid|kids|child|children|brother"
    r"|sister|friend|boss|house|home|office"
    r"|address|phone|number|email|account|card|birthday|appointment|car|killers?|team|family|parents|name|passport"
    r"|salary|opinion)\b"
    r"|,? (?:says|said|told|asked|wrote|writes|lives|lived|works|worked|was born|died|married|joined|moved|sings"
    r"|sang|played|scored|explained|listed"
    r"|began|recorded|had given|has been|will be (?:talking|speaking|joining)|called|calls|emailed|replied|thinks"
    r"|thought|wants|who|whose|herself|himself)\b"
    r"|, (?:aged )?[1-9][0-9]\b| \([1-9][0-9]\)| (?:as a|is a|is the|from|was the|was a)\b|:)"
)
_LOWER_CUE = re.compile(
    r"\b(?:my name is|my name's|call me|calls me|they call me|named (?:him|her"
    r"|me))[ ]([^\W\d_]{3,20})(?:[ ]([^\W\d_]{3,20}))?",
    re.IGNORECASE,
)
_TWO_CAPITALS = re.compile(r"(?:Mc|Mac|[OD]['\u2019]|De|Van|La|Le)[A-Z]|[^\W\d_]+-")
_BEFORE_COUNT = 48
_MAX_NAME_COUNT = 5  # words
_MIN_COUNT = 3  # letters of a name that stands alone
_REMEMBERED_COUNT = 8192

# sorts of words in a row that make a full name: John Doe, J. Doe, Xu K. Yu, May Johnson, Nagy Imre, Nguyen Van Minh
_FULL_NAME = re.compile(r"^G|[GM?F]I[GMF?]|[M?F]I?F\Z|FG\Z|MG|^FM+\Z")
_GIVEN, _MAYBE_GIVEN, _FAMILY, _INITIAL, _OTHER, _NO_NAME = "GMFI?-"


class _Word(NamedTuple):  # no dataclass: it is made for each capitalised word there is
    """A capitalised word of a run."""

    start: int
    """Its place in the text."""
    end: int
    """The end of its place, a possessive's `'s` left out."""
    folded: str
    """As the lists have it."""
    sort: str
    """What it is: G given name, M given name or word, F family name, I initial, ? unknown, - no name."""


class NameFinder:
    """Finds names; build it once."""

    def __init__(self) -> None:
        self._words: Vocabulary = vocabulary()
        self._sort = lru_cache(maxsize=_REMEMBERED_COUNT)(self._look_up)

    def find(self, text: str) -> Iterator[Span]:
        """Find people's names, without titles and possessives.

        Args:
            text: plain text.
        """
        for run in _RUN.finditer(text):
            word = run.group()
            if not (word.isalpha() and self._sort(word)[1] == _NO_NAME):  # most runs are one ordinary word
                yield from self._names(text, run)
        if "name" in text or "call" in text:
            for match in _LOWER_CUE.finditer(text):
                yield from self._lower(match)

    def _names(self, text: str, run: re.Match[str]) -> Iterator[Span]:
        words = self._parse(text, run)
        first = 0
        while first < len(words):
            last = first
            while last < len(words) and words[last].sort != _NO_NAME:
                last += 1
            if last > first:
                after = words[last] if last < len(words) else None
                before = words[first - 1] if first else None
                found = self._judge(text, words[first:last], before, after)
                if found is not None:
                    yield found
            first = last + 1

    def _parse(self, text: str, run: re.Match[str]) -> list[_Word]:
        """Cut a run into words, particles within a name left to the words around them."""
        words: list[_Word] = []
        for match in _WORD.finditer(text, run.start(), run.end()):
            start, end = match.span()
            word = match.group()
            if word[0].islower():
                continue
            is_possessive = word[-2:-1] in _APOSTROPHES and len(word) > 2 and word[-1] in "sS"  # noqa: PLR2004 - `'s`
            if is_possessive:
                end -= 2
                word = word[:-2]
            words.append(_Word(start, end, *self._sort(word)))
            if is_possessive:
                words.append(_Word(end, end, "", _NO_NAME))
        # Young, White, King: a family name after a given one, a word anywhere else
        for index in range(1, len(words)):
            one = words[index]
            if (
                one.sort == _NO_NAME
                and one.folded in self._words.family
                and words[index - 1].sort in {_GIVEN, _INITIAL}
            ):
                words[index] = one._replace(sort=_FAMILY)
        return words

    def _look_up(self, word: str) -> tuple[str, str]:
        """Fold a word and tell what it is."""
        bare = word.removesuffix(".")
        folded = fold(bare)
        if len(bare) == 1:
            return folded, _INITIAL if word != "I" else _NO_NAME
        return folded, _NO_NAME if bare != word else self._word_class(word, folded)

    def _word_class(self, word: str, folded: str) -> str:
        """Tell what a word of two letters and more is, by the lists, then by its ending."""
        lists = self._words
        if folded in lists.ambiguous or folded in lists.no_names:
            return _MAYBE_GIVEN if folded in lists.ambiguous or folded in lists.given else _NO_NAME
        whole = folded.split("-", maxsplit=1)[0]
        if folded in lists.given or (whole != folded and len(whole) >= _MIN_COUNT and whole in lists.given):
            return _GIVEN
        if any(map(str.isupper, word[1:])) and not word.isupper() and not _TWO_CAPITALS.match(word):
            return _NO_NAME  # CamelCase: a program's name
        return _FAMILY if folded in lists.family or ends_like_a_family_name(folded) else _OTHER

    def _judge(self, text: str, words: list[_Word], before: _Word | None, after: _Word | None) -> Span | None:
        start, end = words[0].start, words[-1].end
        if len(words) > _MAX_NAME_COUNT or (after is not None and after.folded in self._words.institutions):
            return None
        lead = text[max(0, start - _BEFORE_COUNT) : start]
        if (before is not None and before.folded in listed("a place follows")) or (text[end - 1] == "."):
            return None
        sorts = "".join(word.sort for word in words)
        near = lead.rsplit(None, 1)[-1].lower() if lead and not lead.isspace() else ""
        if near in listed("titles") and lead[-1] == " ":
            score = 0.8 if set(sorts) - {_INITIAL} else 0.0
        elif near and (near in listed("a name may follow") or near[-1] in ",:") and _NAME_CUE.search(lead):
            score = (
                0.8
                if len(words) > 1 or sorts in {_GIVEN, _FAMILY} or (sorts == _OTHER and self._is_named(text, words[0]))
                else 0.0
            )
        elif len(words) == 1:
            score = self._single_word_name(text, words[0], lead, near)
        else:
            score = self._together(sorts, text, end, lead)
        return Span(start=start, end=end, kind=EntityType.PERSON, score=score) if score else None

    @staticmethod
    def _is_named(text: str, word: _Word) -> bool:
        """Tell whether an unknown word after a cue is a name: no field's type (`name: Metric`), no `Dear CUSTOMER`."""
        return (
            text[word.start - 1] == " "
            and text[word.start - 2] not in ":=-"
            and not text[word.start : word.end].isupper()
        )

    def _together(self, sorts: str, text: str, end: int, lead: str) -> float:
        """Judge two words and more by what they are: a given name and another word, or one before a family name."""
        if _FULL_NAME.search(sorts):
            return 0.7
        cued = _PERSON_CUE.search(lead) is not None
        spoken_of = _AFTER_CUE.match(text, end) is not None
        return 0.5 if _GIVEN in sorts or (cued and spoken_of and _MAYBE_GIVEN not in sorts) else 0.0

    def _single_word_name(self, text: str, word: _Word, lead: str, near: str) -> float:
        """Judge a word that stands alone."""
        if len(word.folded) < _MIN_COUNT or text[word.start : word.end].isupper():
            return 0.0
        if word.sort == _GIVEN:
            return 0.0 if near in listed("a place may follow") else 0.6
        spoken_of = _AFTER_CUE.match(text, word.end) is not None
        if word.sort == _FAMILY:
            if near in listed("a place or thing may follow"):
                return 0.0
            return 0.5 if spoken_of or _PERSON_CUE.search(lead) else 0.0
        return 0.0

    def _lower(self, match: re.Match[str]) -> Iterator[Span]:
        """Find a name in lower case where the text says that one follows."""
        first, second = match.group(1), match.group(2)
        if not first.islower() or (fold(first) not in self._words.given and first.isascii()):
            return
        end = match.end(1)
        if second and (fold(second) in self._words.family or ends_like_a_family_name(fold(second))):
            end = match.end(2)
        yield Span(start=match.start(1), end=end, kind=EntityType.PERSON, score=0.6)
