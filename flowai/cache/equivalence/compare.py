"""Equivalence gate, the second gate of the semantic cache: do two texts ask the same? Deterministic, no model.

Embeddings place opposites and swapped names close together, so similarity proves little. Each text becomes clauses: the
word that links a clause to the rest (`from`, `to`, `before`), negations, and its words in order, each in one spelling.
Politeness and introductions of questions are dropped; synonyms of a short list are one word. Two texts are equivalent
when their clauses are equal; only clauses with different links may move. So a number, name, unit, date, negation or
other word in only one of them separates the texts, in any language, and so does a word in another role.

The price is a paraphrase that is not recognised: a paid call, not a wrong answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flowai.cache.equivalence import synonyms
from flowai.cache.equivalence.phrases import PHRASES
from flowai.cache.equivalence.tokens import Token, tokenize

if TYPE_CHECKING:
    from collections.abc import Iterable

MismatchKind = Literal[
    "number", "date", "unit", "negation", "name", "literal", "symbol", "word", "question", "tense", "role"
]
"""`role`: the same words, in another order or relation (A to B, B to A)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mismatch:
    """The first difference between two texts."""

    kind: MismatchKind
    left: str
    """Spelling in the first text; empty if it has none."""
    right: str
    """Spelling in the second text; empty if it has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Clause:
    """A link, negations, and the words that follow, in order."""

    link: str
    negation_count: int
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Meaning:
    """A text's meaning, independent of its spelling.

    A sentence's clauses are sorted by their links if each link is unique (`On Linux, how ...?`, `How ... on Linux?`),
    otherwise in the text's order: `1/3 to Anna and 1/4 to Bo` is not `1/3 to Bo and 1/4 to Anna`.
    """

    sentences: tuple[tuple[_Clause, ...], ...]
    questions: tuple[str, ...]
    tenses: frozenset[str]
    persons: tuple[str, ...]
    tokens: tuple[Token, ...]


def find_mismatch(left: str, right: str) -> Mismatch | None:
    """Return the first difference between two texts; None when the same answer serves both."""
    if left == right:
        return None
    first, second = _parse(left), _parse(right)
    if first.sentences != second.sentences:
        return _find_difference(first, second)
    if first.questions != second.questions:
        return Mismatch(kind="question", left=" ".join(first.questions), right=" ".join(second.questions))
    if first.tenses and second.tenses and not first.tenses & second.tenses:
        return Mismatch(kind="tense", left=_sorted_words(first.tenses), right=_sorted_words(second.tenses))
    return _person_mismatch(first, second)


def _person_mismatch(left: _Meaning, right: _Meaning) -> Mismatch | None:
    """Compare persons: `Do I owe you?` is not `Do you owe me?`; a text without persons agrees with any."""
    ours, theirs = set(left.persons), set(right.persons)
    is_both = len(ours) > 1 or len(theirs) > 1
    if left.persons == right.persons or (not is_both and (not ours or not theirs)):
        return None
    return Mismatch(kind="role", left=" ".join(left.persons), right=" ".join(right.persons))


_KINDS: tuple[MismatchKind, ...] = ("number", "date", "unit", "literal", "symbol", "name", "word")


def _sorted_words(words: Iterable[str]) -> str:
    return " ".join(sorted(words))


def _find_difference(left: _Meaning, right: _Meaning) -> Mismatch:
    """Return a word that only one text has, or else the roles."""
    ours, theirs = (Counter((token.kind, token.value) for token in side.tokens) for side in (left, right))
    for kind in _KINDS:
        ours_only = [value for (found_kind, value), _ in (ours - theirs).items() if found_kind == kind]
        theirs_only = [value for (found_kind, value), _ in (theirs - ours).items() if found_kind == kind]
        if ours_only or theirs_only:
            return Mismatch(kind=kind, left=_sorted_words(ours_only), right=_sorted_words(theirs_only))
    clauses = [Counter(clause for sentence in side.sentences for clause in sentence) for side in (left, right)]
    negations = [sum(clause.negation_count * count for clause, count in counted.items()) for counted in clauses]
    subject: MismatchKind = "role" if negations[0] == negations[1] else "negation"
    return Mismatch(
        kind=subject, left=_clauses_text(clauses[0] - clauses[1]), right=_clauses_text(clauses[1] - clauses[0])
    )


def _clauses_text(clauses: Counter[_Clause]) -> str:
    return " | ".join(" ".join(filter(None, (clause.link, *clause.words))) for clause in clauses)


def _parse(text: str) -> _Meaning:
    tokens = _replace_phrases(tokenize(text))
    parser = _SentenceParser()
    for token in tokens:
        parser.feed(token)
    return parser.meaning()


def _replace_phrases(tokens: list[Token]) -> list[Token]:
    """Replace phrases by the words that they stand for."""
    rephrased: list[Token] = []
    at = 0
    while at < len(tokens):
        phrase = _phrase_at(tokens, at)
        if phrase is None:
            rephrased.append(tokens[at])
            at += 1
        else:
            rephrased.extend(Token(kind="word", value=word, text=word) for word in PHRASES[phrase])
            at += len(phrase)
    return rephrased


def _phrase_at(tokens: list[Token], at: int) -> tuple[str, ...] | None:
    for phrase in _PHRASES_BY_FIRST.get(tokens[at].value, ()):
        window = tokens[at : at + len(phrase)]
        if tuple(token.value for token in window) == phrase and all(token.kind in _WORDS for token in window):
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
    """Parses tokens into clauses."""

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
        self._passive: list[str] | None = None  # the words of `the request was approved`, while `by ...` is parsed

    def feed(self, token: Token) -> None:
        """Add a token."""
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
            canonical = _canonical_word(word, is_name=token.kind == "name")
            self._words.append(canonical)
            self._tokens.append(
                Token(kind="name" if token.kind == "name" else "word", value=canonical, text=token.text)
            )

    def meaning(self) -> _Meaning:
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
            if self._link:  # `On Linux, how ...`: the linked clause ends here; elsewhere a comma only separates items
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


def _canonical_word(word: str, *, is_name: bool) -> str:
    """Return the word that stands for a word, its synonyms and endings; a name stands for itself."""
    known = synonyms.SYNONYMS.get(word)
    if known is not None or is_name or word in synonyms.NOT_STEMMED:
        return known or word
    base = _stem(word)
    return synonyms.SYNONYMS.get(base, base)


def _stem(word: str) -> str:
    """Remove plural, `-ing` and `-ed`. Ambiguous words stay: `pasted` is neither `paste` nor `past`."""
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
    """Return `stop` for `stopp`, `make` for `mak`, `apply` for `appli`."""
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
