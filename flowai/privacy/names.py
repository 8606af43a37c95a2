"""Finds names of people by context and by the words themselves: no model, more than half of all names, few false ones.

Every run of capitalised words is a candidate. Its words are looked up (given names, family names, other words) or
judged by their ending; the words before and after tell whether the text is about a person.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from flowai.privacy.scripts.script_names import cyrillic_or_greek_kind, is_cyrillic_or_greek
from flowai.privacy.spans import EntityType, Span
from flowai.privacy.vocabulary import (
    CAPITALISED,
    REST,
    UPPER,
    Vocabulary,
    cue_words,
    ends_like_a_family_name,
    fold,
    vocabulary,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARTICLES = r"(?:de|da|do|dos|das|del|della|di|du|la|le|van|von|vom|zu|der|den|ten|ter|bin|ibn|al|el|af|av|y|e)"
_PIECE = rf"(?:[{UPPER}][^\W\d_]?\.(?= [{UPPER}])|{CAPITALISED})"
_ASIAN = "\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3"  # no spaces separate them from a name in Latin letters
_RUN = re.compile(
    rf"[{UPPER}](?<![./\\@#$<=`_&-][{UPPER}])(?<![^\W{_ASIAN}][{UPPER}]){REST}(?:(?<=\b[{UPPER}])\.)?"
    rf"(?:[ ](?:{_PARTICLES} ){{0,3}}{_PIECE})*+(?![^\W{_ASIAN}]|[@\\`(\[=])(?!\.\w)(?!://)"
)
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['\u2019\u2018-](?=[^\W\d_]))*\.?")
_APOSTROPHES = frozenset("'\u2019")

# the patterns run only after a word with which a cue may end
_NAME_CUE = re.compile(
    r"(?:\bname(?:'s|\u2019s)?(?: (?:on|in|of|for) [\w ]{2,30})?(?: is| was| to|:|=| -)?:?\s*|\bnamed (?:him |her "
    r"|it |them |after )?|\bcall(?:s|ed)? (?:me|him|her) "
    r"|\b(?:dear|hi|hello|hey|hallo|bonjour|hola|ciao|ol[aá]|liebe[r]?|ch[eè]re?|estimad[oa]|caro|cara|beste|hej"
    r"|witaj)[ ]"
    r"|\b(?:regards|sincerely|cheers|yours(?: truly)?|best(?: wishes)?|gr[uü](?:ß|ss)en?|cordialement|saludos"
    r"|saluti|hälsningar|signed(?: by)?)[,:]?\s{1,3}"
    r"|\b(?:mein name ist|ich hei(?:ß|ss)e|je m'appelle|me llamo|mi nombre es|mi chiamo|meu nome [eé]|ik heet"
    r"|mijn naam is|ik ben|jag heter|nazywam si[eę]|mam na imi[eę]|benim ad[ıi]m|ad[ıi]m|ismim"
    r"|(?:(?:меня|его|её|ее|нас) )?зовут|(?:(?:мене|його|її) )?звати|имя|ф\.?и\.?о\.?|с уважением,?"
    r"|уважаем(?:ый|ая|ые)"
    r"|με λένε|ονομάζομαι|λέγομαι|όνομα(?:τεπώνυμο)?|[αά]γαπητ[έή])[: ]\s?"
    r"|\b(?:kunde|kundin|client|cliente|klant|klient|müşteri|клиент\w*|пациент\w*|получатель|заказчик"
    r"|отправитель|πελάτης"
    r"|nombre|nom|nome|naam|imi[eę]|imi[eę] i nazwisko|nazwisko|ad[ıi]?|soyad[ıi]|ad soyad|prénom|apellidos?|vorname"
    r"|nachname|surname|vezetéknév|jméno|paciente|patient|empf[aä]nger|destinataire|destinatario|odbiorca|alıcı) ?: "
    r"|\b(?:sayın|say[ıi]n|szanown[ay]|panie|pani|drog[ai]|sevgili|cher[e]?|querid[oa]|prezad[oa]|geachte|beste)[ ]"
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
# words after a person, hardly ever after a company or a place
_PERSONAL_AFTER = re.compile(
    r"['\u2019]s (?:mother|father|mom|dad|wife|husband|son|daughter|kids?|child|children|brother|sister"
    r"|friend|birthday|killers?"
    r"|parents|passport|salary|phone number|email|home address)\b"
    r"| (?:lives|lived) (?:at|in|on|with)\b| was born\b| had given\b| (?:phoned|emailed|texted)\b"
    r"| (?:herself|himself)\b"
)
_INITIALS = re.compile("I{1,3}[?FM]")  # J. Doe
_STRONG_CUE = re.compile(
    r"\b(?:patient|(?:holder|owner|driver|caller|tenant|passenger|name|recipient|beneficiary|contact) is"
    r"|driver|caller|tenant"
    r"|passenger|colleague|nurse|attorney|widow|named|soy|je suis|ich bin|sono|sou|ik ben|jestem|ben"
    r"|hier ist|kolleg(?:e|in)"
    r"|collègue|colega|collega|paciente|paziente|patientin|hasta|pan|pani|signora?|señora?)[ ]\Z",
    re.IGNORECASE,
)
_ENDS = frozenset([*".!?:>\n", ""])
_NAME_BEFORE = re.compile(rf"({CAPITALISED})(?:,| and| &|, and) \Z")
_NAME_AFTER = re.compile(rf"(?:,| and| &|, and) ({CAPITALISED})")
_LOWER_CUE = re.compile(
    r"\b(?:my name is|my name's|name's|call me|calls me|they call me|named (?:him|her|me)|this is|it's|its"
    r"|i am|i'm|im"
    r"|here is|ask for|ich bin|ich heiße|ich heisse|mein name ist|je suis|je m'appelle|soy|me llamo"
    r"|mi nombre es|sono|mi chiamo"
    r"|sou|me chamo|ik ben|ik heet|jestem|nazywam się|mam na imię|benim adım|adım|ben|меня зовут|зовут|это|я)[ ]"
    r"([^\W\d_]{3,20})(?:[ ]([^\W\d_]{3,20}))?",
    re.IGNORECASE,
)
_SURE_LOWER_CUE = re.compile(
    r"(?:name|call|calls|named (?:him|her|me)|heiße|heisse|appelle|llamo|nombre es|chiamo|chamo|heet"
    r"|nazywam się|imię|adım|зовут)"
)
_LOWER_HINTS = (
    "name", " call", "this is ", " it's ", " its ", " i am ", " i'm ", " im ", "here is ", " ask for ",
    " ich ", " je ", " soy ", "llamo ", "nombre es ", " sono ", "chiamo ", " sou ", "chamo ", " ik ",
    " jestem ", "nazywam ", " mam na ", "adım ", " ben ", "зовут ", " это ", " я ",
)  # fmt: skip
_TWO_CAPITALS = re.compile(r"(?:Mc|Mac|[OD]['\u2019]|De|Van|La|Le)[A-Z]|[^\W\d_]+-")
_CAPITAL_PARTICLES = frozenset(
    {"de", "di", "da", "del", "della", "dos", "la", "le", "lo", "van", "von", "der", "el", "san"}
)
# endings of Polish and Czech cases: Janem, Katarzynie, Markowi
_SLAVIC_CASE = re.compile(r"(?P<stem>.{3,})(?:iem|em|owi|ovi|om|ie|ze|a|u|y|i)")
_CONTEXT_CHARS = 48
_MAX_NAME_WORDS = 5
_MIN_LETTERS = 3  # of a single name
_CACHE_SIZE = 8192

# kinds of words that together are a full name: John Doe, J. Doe, Xu K. Yu, May Johnson, Nagy Imre, Nguyen Van Minh
_FULL_NAME = re.compile(r"^G|[GM?F]I[GMF?]|[M?F]I?F\Z|FG\Z|MG|^FM+\Z|^FII\Z|^III?F|^FGF")
_GIVEN, _MAYBE_GIVEN, _FAMILY, _INITIAL, _OTHER, _NO_NAME = "GMFI?-"


class _Word(NamedTuple):  # faster than a dataclass: built for each capitalised word
    """A capitalised word of a run."""

    start: int
    end: int
    """Index after it, without a possessive's `'s`."""
    folded: str
    kind: str
    """G given name, M given name or word, F family name, I initial, ? unknown, - not a name."""


class NameFinder:
    """Finds names; build it once."""

    def __init__(self) -> None:
        self._words: Vocabulary = vocabulary()
        self._cached_look_up = lru_cache(maxsize=_CACHE_SIZE)(self._look_up)

    def find(self, text: str) -> Iterator[Span]:
        """Find names of people, without titles and possessives."""
        for run in _RUN.finditer(text):
            word = run.group()
            if not (word.isalpha() and self._cached_look_up(word)[1] == _NO_NAME):  # most runs are one ordinary word
                yield from self._names(text, run)
        lower = f" {text.lower()}"
        if any(map(lower.__contains__, _LOWER_HINTS)):
            for match in _LOWER_CUE.finditer(text):
                yield from self._lowercase_name(match)

    def _names(self, text: str, run: re.Match[str]) -> Iterator[Span]:
        words = self._parse(text, run)
        first = 0
        while first < len(words):
            last = first
            while last < len(words) and words[last].kind != _NO_NAME:
                last += 1
            if last > first:
                after = words[last] if last < len(words) else None
                before = words[first - 1] if first else None
                span = self._score_name(text, words[first:last], before, after)
                if span is not None:
                    yield span
            first = last + 1

    def _parse(self, text: str, run: re.Match[str]) -> list[_Word]:
        """Split a run into words; particles within a name are left out."""
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
            words.append(_Word(start, end, *self._cached_look_up(word)))
            if is_possessive:
                words.append(_Word(end, end, "", _NO_NAME))
        # Matteo De Santis, Ana La Rosa: a capital particle within a name
        for index in range(1, len(words) - 1):
            if (
                words[index].folded in _CAPITAL_PARTICLES
                and words[index - 1].kind == _GIVEN
                and words[index + 1].kind != _NO_NAME
                and words[index].end + 1 == words[index + 1].start
            ):
                words[index] = words[index]._replace(kind=_OTHER)
        # Young, White, King: a family name after a given name, else a word
        for index in range(1, len(words)):
            candidate = words[index]
            if (
                candidate.kind == _NO_NAME
                and candidate.folded in self._words.family
                and words[index - 1].kind in {_GIVEN, _INITIAL}
            ):
                words[index] = candidate._replace(kind=_FAMILY)
        return words

    def _look_up(self, word: str) -> tuple[str, str]:
        """Return a word's folded form and its kind."""
        bare = word.removesuffix(".")
        folded = fold(bare)
        if len(bare) == 1:
            return folded, _INITIAL if word != "I" else _NO_NAME
        return folded, _NO_NAME if bare != word else self._word_class(word, folded)

    def _word_class(self, word: str, folded: str) -> str:
        """Return the kind of a word of at least two letters, by the lists, then by its ending."""
        lists = self._words
        if not word.isascii() and is_cyrillic_or_greek(word):
            return cyrillic_or_greek_kind(word)
        if folded in lists.ambiguous or folded in lists.no_names:
            return _MAYBE_GIVEN if folded in lists.ambiguous or folded in lists.given else _NO_NAME
        whole = folded.split("-", maxsplit=1)[0]
        if folded in lists.given or (whole != folded and len(whole) >= _MIN_LETTERS and whole in lists.given):
            return _GIVEN
        if any(map(str.isupper, word[1:])) and not word.isupper() and not _TWO_CAPITALS.match(word):
            return _NO_NAME  # CamelCase: a program's name
        if folded in lists.family or ends_like_a_family_name(folded):
            return _FAMILY
        case = _SLAVIC_CASE.fullmatch(folded)
        is_case = case is not None and (case["stem"] in lists.given or f"{case['stem']}a" in lists.given)
        return _MAYBE_GIVEN if is_case else _OTHER

    def _score_name(self, text: str, words: list[_Word], before: _Word | None, after: _Word | None) -> Span | None:
        start, end = words[0].start, words[-1].end
        lead = text[max(0, start - _CONTEXT_CHARS) : start]
        previous = lead.rsplit(None, 1)[-1].lower() if lead and not lead.isspace() else ""
        is_titled = lead[-1:] == " " and previous in cue_words("titles")
        is_institution = after is not None and after.folded in self._words.institutions
        if len(words) > _MAX_NAME_WORDS or (is_institution and not is_titled):
            return None
        if (before is not None and before.folded in cue_words("a place follows")) or (text[end - 1] == "."):
            return None
        kinds = "".join(word.kind for word in words)
        if is_titled:
            score = 0.8 if set(kinds) - {_INITIAL} else 0.0
        elif (
            previous and (previous in cue_words("a name may follow") or previous[-1] in ",:") and _NAME_CUE.search(lead)
        ):
            score = (
                0.8
                if len(words) > 1
                or kinds in {_GIVEN, _FAMILY}
                or (kinds == _OTHER and self._is_cued_name(text, words[0]))
                else 0.0
            )
        elif len(words) == 1:
            score = self._single_word_score(text, words[0], lead, previous)
        else:
            score = self._multi_word_score(kinds, text, end, lead)
        return Span(start=start, end=end, kind=EntityType.PERSON, score=score) if score else None

    @staticmethod
    def _is_cued_name(text: str, word: _Word) -> bool:
        """Return whether an unknown word after a cue is a name, unlike `name: Metric` or `Dear CUSTOMER`."""
        return (
            text[word.start - 1] == " "
            and text[word.start - 2] not in ":=-"
            and not text[word.start : word.end].isupper()
        )

    def _multi_word_score(self, kinds: str, text: str, end: int, lead: str) -> float:
        """Score several words by their kinds: a given name and another word, or a word before a family name."""
        if _FULL_NAME.search(kinds):
            return 0.7
        has_cue_before = _PERSON_CUE.search(lead) is not None
        has_cue_after = _AFTER_CUE.match(text, end) is not None
        if _INITIALS.fullmatch(kinds) and "." in text[max(0, end - _CONTEXT_CHARS) : end]:
            return 0.6
        if (_PERSONAL_AFTER.match(text, end) or _STRONG_CUE.search(lead)) and kinds.strip(_OTHER + _FAMILY) == "":
            return 0.5
        return 0.5 if _GIVEN in kinds or (has_cue_before and has_cue_after and _MAYBE_GIVEN not in kinds) else 0.0

    def _single_word_score(self, text: str, word: _Word, lead: str, previous: str) -> float:
        """Score a single word."""
        if len(word.folded) < _MIN_LETTERS or text[word.start : word.end].isupper():
            return 0.0
        if word.kind == _GIVEN:
            return 0.0 if previous in cue_words("a place may follow") else 0.6
        has_cue_after = _AFTER_CUE.match(text, word.end) is not None
        if word.kind == _FAMILY:
            if previous in cue_words("a place or thing may follow"):
                return 0.0
            if has_cue_after or _PERSON_CUE.search(lead):
                return 0.5
            return 0.5 if self._is_enumerated(text, word) else 0.0
        return (
            0.4 if word.kind == _OTHER and _PERSONAL_AFTER.match(text, word.end) and lead.strip()[-1:] in _ENDS else 0.0
        )

    def _is_enumerated(self, text: str, word: _Word) -> bool:
        """Return whether a family name is in a list with another name: `Gerste, Johnson and Reed`."""
        beside = [
            match.group(1)
            for match in (
                _NAME_BEFORE.search(text, max(0, word.start - _CONTEXT_CHARS), word.start),
                _NAME_AFTER.match(text, word.end),
            )
            if match is not None
        ]
        return any(self._cached_look_up(name)[1] in {_GIVEN, _FAMILY} for name in beside)

    def _lowercase_name(self, match: re.Match[str]) -> Iterator[Span]:
        """Find a name in lower case after a cue such as `my name is`."""
        first, second = match.group(1), match.group(2)
        if not first.islower():
            return
        kind = self._cached_look_up(first)[1]
        is_sure = _SURE_LOWER_CUE.match(match.group().lower()) is not None or "name" in match.group().lower()[:12]
        if kind != _GIVEN and not (is_sure and (not first.isascii() or kind == _MAYBE_GIVEN) and kind != _NO_NAME):
            return
        end = match.end(1)
        if second and (fold(second) in self._words.family or ends_like_a_family_name(fold(second))):
            end = match.end(2)
        yield Span(start=match.start(1), end=end, kind=EntityType.PERSON, score=0.6)
