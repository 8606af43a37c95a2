"""Finds names in scripts without capitals, and judges Cyrillic and Greek words.

A name in these scripts is a family or given name of the lists, or any word after a cue; what is beside it must end it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from flowai.privacy.scripts.east_asian_names import chinese_names, japanese_names, korean_names
from flowai.privacy.spans import person_span
from flowai.privacy.vocabulary import names_by_script

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from flowai.privacy.spans import Span

_FIRST_CYRILLIC_OR_GREEK, _LAST_CYRILLIC_OR_GREEK = "\u0370", "\u052f"
_FAMILY_ENDING = re.compile(
    r".{2,}(?:[оеё]в(?:а|у|ым|ой|е|ых|ыми)?|[иы]н(?:а|у|ым|ой)?|[сц]к(?:ий|ая|ого|ому|им|ую|ой|их|ом)|енко|чук|щук|юк"
    r"|[цдш]зе|швили|[ая]ян(?:а|у)?|[оеё]вич(?:а|у|ем)?|[оеё]вн(?:а|ы|е|у|ой)|ичн(?:а|ы|е|у|ой)|ович|ић|івна|ович|ук"
    r"|όπουλος|οπούλου|όπουλο|ίδης|ίδη|ίδου|άκης|άκη|άδης|άδου|ιάδης|έας|ίου|άκου|ούδης|ίτης|ίνης)"
)
_CASE_ENDING = re.compile("(?:ом|ем|ой|ей|ою|ёй|ия|ию|ии|ией|ием|а|у|е|ю|я|и|ы)\\Z")
_BASE_ENDINGS = ("", "й", "ь", "а", "я", "ий", "ия")
_MIN_LETTERS = 3


def is_cyrillic_or_greek(word: str) -> bool:
    """Return whether a word begins with a Cyrillic or Greek letter."""
    return _FIRST_CYRILLIC_OR_GREEK <= word[0] <= _LAST_CYRILLIC_OR_GREEK


def cyrillic_or_greek_kind(word: str) -> str:
    """Return the kind of a word, as `NameFinder` writes it: `G` given, `F` family name, `-` no name, `?` unknown."""
    lower = word.lower()
    if lower in names_by_script("Cyrillic and Greek no names"):
        return "-"
    given = names_by_script("Cyrillic given names") | names_by_script("Greek given names")
    if lower in given:
        return "G"
    if word.isupper() and len(word) <= _MIN_LETTERS:
        return "-"
    stem = _CASE_ENDING.sub("", lower)
    if len(stem) >= _MIN_LETTERS and stem != lower and any(stem + ending in given for ending in _BASE_ENDINGS):
        return "G"
    return "F" if _FAMILY_ENDING.fullmatch(lower) else "?"


_KANA_LETTER = re.compile("[\u3041-\u309f\u30a1-\u30fa\u30fc]")
_JAPANESE = re.compile("[\u3041-\u309f\u30a1-\u30fa\u30fc]|丁目|番地|[都県府][^\\s]{1,6}[市区]|氏名|敬具|株式会社|様")
_HAN_LETTER = re.compile("[\u4e00-\u9fff]")
_HANGUL_LETTER = re.compile("[\uac00-\ud7a3]")
_ARABIC_LETTER = re.compile("[\u0621-\u064a]")
_DEVANAGARI_LETTER = re.compile("[\u0904-\u0939]")
_ANY_SCRIPT = re.compile("[\u0621-\u064a\u0904-\u0939\u3041-\u30fe\u4e00-\u9fff\uac00-\ud7a3]")


class ScriptNameFinder:
    """Finds names in scripts without capitals; `languages` limits them (`zh`, `ja`, `ko`, `ar`, `hi`), None: all."""

    def __init__(self, languages: Collection[str] | None = None) -> None:
        self._finders = tuple(
            (letter, find)
            for language, (letter, find) in _FINDERS.items()
            if languages is None or language in languages
        )
        self._has_japanese = languages is None or "ja" in languages

    def find(self, text: str) -> Iterator[Span]:
        """Find names of people; a text with Japanese syllables is read as Japanese, else its characters as Chinese."""
        if text.isascii() or not _ANY_SCRIPT.search(text):
            return
        is_japanese = self._has_japanese and _JAPANESE.search(text) is not None
        for letter, find in self._finders:
            if letter.search(text) and not (find is chinese_names and is_japanese):
                yield from find(text)


# Arabic
_AR_WORD = re.compile("[\u0621-\u0652]{2,}")
_AR_PREFIX = re.compile(r"\A[وفبلك](?=[\u0621-\u064a]{3})")
_AR_MARKS = re.compile("[\u064b-\u0652]")
_AR_MAX = 4


def _arabic(text: str) -> Iterator[Span]:
    words = [(match.start(), match.end(), _AR_MARKS.sub("", match.group())) for match in _AR_WORD.finditer(text)]
    given, titles, no_names = (
        names_by_script("Arabic given names"),
        names_by_script("Arabic titles and cues"),
        names_by_script("Arabic no names"),
    )
    index = named = 0  # words before `named` belong to names
    while index < len(words):
        start, _, word = words[index]
        bare = word if word in given else _AR_PREFIX.sub("", word, count=1)
        cued = (
            (named != index or not index)
            and index > 0
            and words[index - 1][2] in titles
            and _is_near(text, words[index - 1][1], start)
        )
        if word in titles or (
            bare not in given and bare not in {"عبد", "أبو", "أم", "ابو"} and not (cued and word not in no_names)
        ):
            index += 1
            continue
        last = _arabic_last(text, words, index, cued=cued)
        if last > index or cued or (bare in given and bare not in names_by_script("Arabic given names that are words")):
            if bare in {"عبد", "أبو", "أم", "ابو"} and last == index:
                index += 1
                continue
            named = last + 1
            yield person_span(start + (len(word) - len(bare) if bare != word else 0), words[last][1], 0.7)
        index = last + 1


def _is_near(text: str, end: int, start: int) -> bool:
    """Return whether only spaces, a colon or a full stop separate two words."""
    return text[end:start].strip(" :.") == "" and start - end < _MIN_LETTERS + 1


def _arabic_last(text: str, words: list[tuple[int, int, str]], index: int, *, cued: bool) -> int:
    """Return the index of the last word of a name that begins at `index`."""
    last = index
    joins = {"بن", "ابن", "بنت", "عبد", "أبو", "ابو", "آل", "أم"}
    while last + 1 < len(words) and last - index < _AR_MAX and text[words[last][1] : words[last + 1][0]] == " ":
        word = words[last + 1][2]
        if word in names_by_script("Arabic no names"):
            break
        if word in joins and last + 2 < len(words):
            last += 2
            continue
        is_after_servant = words[last][2] == "عبد"
        is_family = (
            word in names_by_script("Arabic given names")
            or word in names_by_script("Arabic family names")
            or (word.startswith("ال") and (word.endswith("ي") or (cued and last == index)))
            or f"ال{word}" in names_by_script("Arabic family names")
            or (cued and last == index)
        )
        if not (is_family or is_after_servant):
            break
        last += 1
    return last


# Hindi
_HI_WORD = re.compile("[\u0901-\u0963\u0970-\u097f]{2,}")
_HI_NUKTA = str.maketrans(
    {
        "\u0958": "क\u093c",
        "\u0959": "ख\u093c",
        "\u095a": "ग\u093c",
        "\u095b": "ज\u093c",
        "\u095c": "ड\u093c",
        "\u095d": "ढ\u093c",
        "\u095e": "फ\u093c",
        "\u095f": "य\u093c",
    }
)


def _hindi(text: str) -> Iterator[Span]:
    words = [(match.start(), match.end(), match.group().translate(_HI_NUKTA)) for match in _HI_WORD.finditer(text)]
    kinds = [_hindi_kind(word) for _, _, word in words]
    index = 0
    while index < len(words):
        if kinds[index] in "-T":
            index += 1
            continue
        last = index
        while (
            last + 1 < len(words) and text[words[last][1] : words[last + 1][0]] == " " and kinds[last + 1] not in "-T"
        ):
            last += 1
        cued = index > 0 and kinds[index - 1] == "T" and text[words[index - 1][1] : words[index][0]].strip(" :.") == ""
        found = _hindi_name(
            "".join(kinds[index : last + 1]), is_cued=cued, is_honored=text[words[last][1] :].startswith(" जी")
        )
        if found is not None:
            yield person_span(words[index + found[0]][0], words[index + found[1]][1], 0.7)
        index = last + 1


def _hindi_kind(word: str) -> str:
    """Return `G` given name, `M` given name or word, `F` family name, `T` title or cue, `-` no name, `?` unknown."""
    if word in names_by_script("Hindi titles and cues"):
        return "T"
    for kind, title in (
        ("-", "Hindi no names"),
        ("M", "Hindi given names that are words"),
        ("G", "Hindi given names"),
        ("F", "Hindi surnames"),
    ):
        if word in _hindi_words(title):
            return kind
    return "?"


@cache
def _hindi_words(title: str) -> frozenset[str]:
    return frozenset(word.translate(_HI_NUKTA) for word in names_by_script(title))


_HI_NAME = re.compile("[GM][GMF]*F|G[GM]*|M[GMF]+")


def _hindi_name(kinds: str, *, is_cued: bool, is_honored: bool) -> tuple[int, int] | None:
    """Return the first and the last index of a name in a run of words by their kinds; None without one."""
    match = _HI_NAME.search(kinds)
    if match is not None:
        is_followed = match.end() == len(kinds) - 1 and kinds[-1] == "?" and kinds[match.end() - 1] != "F"
        return match.start(), match.end() - (0 if is_followed else 1)
    if is_cued:
        return 0, min(len(kinds), 2) - 1
    family = kinds.find("F")
    if family > 0:
        return family - 1, family
    return (len(kinds) - 1, len(kinds) - 1) if is_honored and kinds[-1] in "MF" else None


_FINDERS: dict[str, tuple[re.Pattern[str], Callable[[str], Iterator[Span]]]] = {
    "zh": (_HAN_LETTER, chinese_names),
    "ja": (_JAPANESE, japanese_names),
    "ko": (_HANGUL_LETTER, korean_names),
    "ar": (_ARABIC_LETTER, _arabic),
    "hi": (_DEVANAGARI_LETTER, _hindi),
}
