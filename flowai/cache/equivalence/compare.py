"""The second gate of the semantic cache: do two texts ask the same, word for word? Deterministic, no model.

Embeddings put opposites and swapped names close together, so nearness proves little. Here each text becomes clauses:
what links it to the rest (`from`, `to`, `before`), whether it is negated, and its words in order, each in one spelling.
Politeness and the ways to begin a question are dropped, synonyms of a short list are one word. Two texts agree when
their clauses are the same; only clauses with links of their own may move. So a number, a name, a unit, a date, a
negation or any other word that only one of them has keeps them apart, in any language, and so does a word in another
role.

The price is a paraphrase that is not recognised: that is a call paid, not a wrong answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flowai.cache.equivalence import synonyms
from flowai.cache.equivalence.phrases import PHRASES
from flowai.cache.equivalence.tokens import Token, tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterable

MismatchKind = Literal[
    "number", "date", "unit", "negation", "name", "literal", "symbol", "word", "question", "tense", "role"
]
"""`role`: the same words, in another order or relation (A to B, B to A)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mismatch:
    """The first thing in which two texts differ."""

    subject: MismatchKind
    """What kind of thing."""
    one: str
    """What the first text says; empty where it says nothing."""
    other: str
    """What the second text says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Clause:
    """A link, whether negated, and what follows, in order."""

    link: str
    negation_count: int
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Meaning:
    """What a text says, freed of how it says it.

    A sentence's clauses stand in order of their links where each link comes once (`On Linux, how ...?`, `How ... on
    Linux?`), else as they were said: `1/3 to Anna and 1/4 to Bo` is not `1/3 to Bo and 1/4 to Anna`.
    """

    sentences: tuple[tuple[_Clause, ...], ...]
    questions: tuple[str, ...]
    tenses: frozenset[str]
    persons: tuple[str, ...]
    tokens: tuple[Token, ...]


def is_equivalent(one: str, other: str) -> Mismatch | None:
    """Compare two texts.

    Args:
        one: any text.
        other: any text.

    Returns:
        Where they disagree; None when the same answer does for both.
    """
    if one == other:
        return None
    left, right = _meaning(one), _meaning(other)
    if left.sentences != right.sentences:
        return _difference(left, right)
    if left.questions != right.questions:
        return Mismatch(subject="question", one=" ".join(left.questions), other=" ".join(right.questions))
    if left.tenses and right.tenses and not left.tenses & right.tenses:
        return Mismatch(subject="tense", one=_sorted_words(left.tenses), other=_sorted_words(right.tenses))
    return _persons(left, right)


def _persons(left: _Meaning, right: _Meaning) -> Mismatch | None:
    """`Do I owe you?` is not `Do you owe me?`; who is not mentioned may be anyone."""
    ours, theirs = set(left.persons), set(right.persons)
    is_both = len(ours) > 1 or len(theirs) > 1
    if left.persons == right.persons or (not is_both and (not ours or not theirs)):
        return None
    return Mismatch(subject="role", one=" ".join(left.persons), other=" ".join(right.persons))


_KINDS: tuple[MismatchKind, ...] = ("number", "date", "unit", "literal", "symbol", "name", "word")


def _sorted_words(words: Iterable[str]) -> str:
    return " ".join(sorted(words))


def _difference(left: _Meaning, right: _Meaning) -> Mismatch:
    """Name what differs: something that only one text says, or else the roles."""
    ours, theirs = (Counter((token.kind, token.value) for token in side.tokens) for side in (left, right))
    for kind in _KINDS:
        one = [value for (found, value), _ in (ours - theirs).items() if found == kind]
        other = [value for (found, value), _ in (theirs - ours).items() if found == kind]
        if one or other:
            return Mismatch(subject=kind, one=_sorted_words(one), other=_sorted_words(other))
    clauses = [Counter(clause for sentence in side.sentences for clause in sentence) for side in (left, right)]
    negations = [sum(clause.negation_count * count for clause, count in counted.items()) for counted in clauses]
    subject: MismatchKind = "role" if negations[0] == negations[1] else "negation"
    return Mismatch(subject=subject, one=_described(clauses[0] - clauses[1]), other=_described(clauses[1] - clauses[0]))


def _described(clauses: Counter[_Clause]) -> str:
    return " | ".join(" ".join(filter(None, (clause.link, *clause.words))) for clause in clauses)


def _meaning(text: str) -> _Meaning:
    tokens = _replace_phrases(tokens_of(text))
    reading = _SentenceParser()
    for token in tokens:
        reading.feed(token)
    return reading.meaning()


def _replace_phrases(tokens: list[Token]) -> list[Token]:
    """Put the few words that stand for many in place of the many."""
    rephrased: list[Token] = []
    at = 0
    while at < len(tokens):
        phrase = _phrase_at(tokens, at)
        if phrase is None:
            rephrased.append(tokens[at])
            at += 1
        else:
            rephrased.extend(Token(kind="word", value=word, said=word) for word in PHRASES[phrase])
            at += len(phrase)
    return rephrased


def _phrase_at(tokens: list[Token], at: int) -> tuple[str, ...] | None:
    for phrase in _PHRASES_BY_FIRST.get(tokens[at].value, ()):
        found = tokens[at : at + len(phrase)]
        if tuple(token.value for token in found) == phrase and all(token.kind in _WORDS for token in found):
            return phrase
    return None


def _by_first_word() -> dict[str, list[tuple[str, ...]]]:
    by_first: dict[str, list[tuple[str, ...]]] = {}
    for phrase in sorted(PHRASES, key=len, reverse=True):
        by_first.setdefault(phrase[0], []).append(phrase)
    return by_first


_WORDS = frozenset({"word", "name"})
_PHRASES_BY_FIRST = _by_first_word()


class _SentenceParser:
    """Reads tokens into clauses, one by one."""

    def __init__(self) -> None:
        self._sentences: list[tuple[_Clause, ...]] = []
        self._clauses: list[_Clause] = []
        self._tokens: list[Token] = []
        self._questions: list[str] = []
        self._tenses: set[str] = set()
        self._persons: list[str] = []
        self._link = ""
        self._words: list[str] = []
        self._negation_count = 0
        self._has_be = False
        self._passive: list[str] | None = None  # the words of `the request was approved`, while `by ...` is read

    def feed(self, token: Token) -> None:
        """Read one token."""
        word = token.value
        if token.kind not in {"word", "name"}:
            self._other(token)
        elif word in synonyms.NEGATIONS:
            self._negation_count += 1
        elif word in synonyms.QUESTIONS:
            self._end_clause()
            self._questions.append(word)
        elif word in synonyms.CONJUNCTIONS:
            self._linked(synonyms.CONJUNCTIONS[word])
        elif word in synonyms.STOPWORDS:
            self._skip_stopword(word)
        elif word in synonyms.PERSONS:
            if self._persons[-1:] != [synonyms.PERSONS[word]]:
                self._persons.append(synonyms.PERSONS[word])
        else:
            said = _same(word, is_name=token.kind == "name")
            self._words.append(said)
            self._tokens.append(Token(kind="name" if token.kind == "name" else "word", value=said, said=token.said))

    def meaning(self) -> _Meaning:
        """Give what was read."""
        self._end_sentence()
        return _Meaning(
            sentences=tuple(self._sentences),
            questions=tuple(self._questions),
            tenses=frozenset(self._tenses),
            persons=tuple(self._persons),
            tokens=tuple(self._tokens),
        )

    def _other(self, token: Token) -> None:
        if token.kind == "stop":
            self._end_sentence()
        elif token.value == ",":
            if self._link:  # `On Linux, how ...`: what was linked ends here; elsewhere a comma only lists
                self._end_clause()
        else:
            self._words.append(f"{token.kind}:{token.value}")
            self._tokens.append(token)

    def _skip_stopword(self, word: str) -> None:
        self._has_be = self._has_be or word in synonyms.BE
        if word in synonyms.TENSES:
            self._tenses.add(synonyms.TENSES[word])

    def _linked(self, link: str) -> None:
        if link == "by" and self._has_be and not self._link and len(self._words) > 1:
            negation_count, passive = self._negation_count, self._words
            self._words, self._negation_count = [], 0
            self._end_clause()
            self._passive, self._negation_count = passive, negation_count
        elif self._words or self._negation_count or self._passive:
            self._end_clause()
            self._link = link
        else:  # `and on Monday`
            self._link = f"{self._link} {link}".strip()

    def _end_sentence(self) -> None:
        self._end_clause()
        if self._clauses:
            links = {clause.link for clause in self._clauses}
            if len(links) == len(self._clauses):
                self._clauses.sort(key=lambda clause: clause.link)
            self._sentences.append(tuple(self._clauses))
            self._clauses = []

    def _end_clause(self) -> None:
        words = self._words
        if self._passive is not None:
            words = [*words, self._passive[-1], *self._passive[:-1]]
        if self._link == "of" and self._clauses and words:
            before = self._clauses[-1]
            if before.words:  # `the capital of France` as `the France capital`
                self._clauses[-1] = _Clause(
                    link=before.link,
                    negation_count=before.negation_count + self._negation_count,
                    words=(*before.words[:-1], *words, before.words[-1]),
                )
                words = []
                self._negation_count = 0
        if words or self._negation_count:
            self._clauses.append(_Clause(link=self._link, negation_count=self._negation_count, words=tuple(words)))
        self._link, self._words, self._negation_count, self._has_be, self._passive = "", [], 0, False, None


def _same(word: str, *, is_name: bool) -> str:
    """Give the one word that a word and its synonyms and endings count as; a name stands for itself."""
    known = synonyms.SYNONYMS.get(word)
    if known is not None or is_name or word in synonyms.NOT_STEMMED:
        return known or word
    base = _base(word)
    return synonyms.SYNONYMS.get(base, base)


def _base(word: str) -> str:
    """Take off plural, `-ing` and `-ed`. What is unclear stays apart: `pasted` is neither `paste` nor `past`."""
    if word.endswith(("isation", "ization")):
        word = word[:-7] + "ize"
    elif len(word) > 5 and word.endswith("ise"):  # noqa: PLR2004 - `rise` stays
        word = word[:-2] + "ze"
    singular = _singular(word)
    for ending in ("ing", "ed"):
        rest = singular.removesuffix(ending)
        if rest != singular and len(rest) > 2 and any(vowel in rest for vowel in _VOWELS):  # noqa: PLR2004 - `need` stays
            return _infinitive(rest, ending)
    return singular


_VOWELS = "aeiouy"
_UNSTRESSED = (
    "it",
    "en",
    "er",
    "el",
    "et",
    "or",
    "on",
    "om",
    "al",
    "il",
    "op",
)  # `edit`, `open`, `order`: no `e` was cut


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):  # noqa: PLR2004 - `dies` stays
        return word[:-3] + "y"
    if word.endswith(("xes", "ches", "shes", "sses", "zzes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):  # noqa: PLR2004 - `gas` stays
        return word[:-1]
    return word


def _infinitive(rest: str, ending: str) -> str:
    """Give `stop` for `stopp`, `make` for `mak`, `apply` for `appli`."""
    if ending == "ed" and rest.endswith("i"):
        return rest[:-1] + "y"
    if rest[-1] == rest[-2] and rest[-1] not in "lsz":
        return rest[:-1]
    if rest.endswith(("c", "v", "u", "iz", "at", "bl")) or (rest.endswith("g") and not rest.endswith("ng")):
        return rest + "e"
    if rest.endswith(("ang", "arg", "erg", "urg")):
        return rest + "e"  # `change`, `charge`, `merge`
    is_short = rest[-1] not in _VOWELS + "wx" and rest[-2] in _VOWELS and rest[-3] not in _VOWELS
    if is_short and (len(rest) < 4 or not rest.endswith(_UNSTRESSED)):  # noqa: PLR2004 - `mak`, `us`
        return rest + "e"
    return rest
