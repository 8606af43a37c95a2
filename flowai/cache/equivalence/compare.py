"""The equivalence gate: two texts may share an answer only if they are one sentence, apart from how it is asked.

Both texts are read token by token, in order. Only a frame of the question (`could you tell me how to`, `how can I`) and
the spelling of numbers, units, dates and contractions may differ. A text that cannot be read so is never equal to
another: more than 60 words, several lines, another language.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from flowai.cache.equivalence.tokens import Token, tokenize

MismatchKind = Literal[
    "number",
    "date",
    "unit",
    "negation",
    "name",
    "literal",
    "symbol",
    "word",
    "question",
    "tense",
    "role",
    "form",
    "unreadable",
]
"""`role`: the same words, in another order or relation (A to B, B to A). `form`: a question and a statement.
`unreadable`: a text that the gate does not compare."""

MAX_WORDS = 60
"""Longer texts are documents: a sentence of them may differ, and their vectors still be equal."""

_MAX_CHARACTERS = 20 * MAX_WORDS
_MIN_WORDS_OF_A_LANGUAGE = 4  # fewer hold no function word, in any language
_MARKS = frozenset("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\N{NO-BREAK SPACE}€£¥") | frozenset(
    "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _frames(lines: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Parse lines of the form `words > replacement`, longest first."""
    pairs = (line.partition(">") for line in lines.strip().splitlines())
    return tuple(
        sorted(((tuple(words.split()), tuple(put.split())) for words, _, put in pairs), key=lambda pair: -len(pair[0]))
    )


_NEGATIONS = _words("not no never none nothing nobody nowhere neither nor without")
_QUESTIONS = _words("what which who whom whose where when why how")
_AUXILIARIES = _words("am is are was were be been do does did has have had will would can could shall should may might")
_PERSONS = _words("i me my mine we us our ours you your yours he him his she her hers they them their it its")
_ENGLISH = _QUESTIONS | _words("the are does did have has can should would could my your this that and with from about")
"""Function words that no other language spells so."""

_ALSO_ENGLISH = _words("an to for be it is")  # two of them are in no other language's sentence

_GREETINGS = (("hi", ","), ("hello", ","), ("hey", ","), ("please",))
_ENDINGS = ((",", "please"), (".", "thanks", "!"), ("?", "thanks", "!"), (",", "thanks"), (".", "thanks"))
_REQUESTS = (("can", "you"), ("could", "you"), ("can", "you", "please"), ("could", "you", "please"))
_REQUESTED = (("tell", "me"), ("explain",), ("summarise",), ("summarize",), ("describe",), ("translate",))
_FRAMES = _frames("""
how can i > how to
how do i > how to
how would i > how to
tell me how to > how to
tell me how i can > how to
show me how to > how to
explain how to > how to
what is the way to > how to
what steps should i take to > how to
what do i need to do to > how to
what do i have to do to > how to
i would like to know how to > how to
i 'd like to know how to > how to
i want to know how to > how to
i do not know how to > how to
i am not sure how to > how to
i need help to > how to
is there a guide that shows how to > how to
how should i go about it if i want to > how to
where can i > where do i
tell me the > what is the
give me a > a
i would like a > a
i 'd like a > a
""")
"""Ways to ask for one thing, at the start of a text."""

_WHICH = {("do", "you"), ("do", "i"), ("should", "i"), ("can", "i")}
_FRONTED = _words("on in at")
_MAX_FRONTED = 4  # `on my tablet ,`


@dataclass(frozen=True, kw_only=True, slots=True)
class Mismatch:
    """The first difference between two texts."""

    kind: MismatchKind
    left: str
    """Spelling in the first text; empty if it has none."""
    right: str
    """Spelling in the second text; empty if it has none."""


def is_document(text: str) -> bool:
    """Return whether a text is too long to be compared, or a list: only an equal text has its answer."""
    return len(text) > _MAX_CHARACTERS or "\n" in text.strip() or len(text.split()) > MAX_WORDS


def find_mismatch(left: str, right: str) -> Mismatch | None:
    """Return the first difference between two texts; None when the same answer serves both."""
    if left == right:
        return None
    if is_document(left) or is_document(right):
        return Mismatch(kind="unreadable", left="", right="")
    first, second = _read(left), _read(right)
    if first.tokens != second.tokens:
        return _find_difference(first.tokens, second.tokens)
    if not (first.is_readable and second.is_readable):
        return Mismatch(kind="unreadable", left="", right="")
    if first.is_question != second.is_question:
        return Mismatch(kind="form", left=first.form, right=second.form)
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    tokens: tuple[Token, ...]
    is_question: bool
    is_readable: bool

    @property
    def form(self) -> str:
        return "question" if self.is_question else "statement"


def _read(text: str) -> _Reading:
    tokens = tokenize(text)
    tokens, is_request = _without_courtesy(tokens)
    end = tokens[-1] if tokens and tokens[-1] in {_QUESTION_MARK, _FULL_STOP} else None
    tokens = tokens if end is None else tokens[:-1]
    framed = _framed(tokens)
    is_framed = framed is not tokens
    is_english = is_framed or _is_english(tokens)
    tokens = _negated_first(_fronted_last(framed))
    begins_question = not tokens or tokens[0].value in _QUESTIONS | _AUXILIARIES
    return _Reading(
        tokens=tuple(tokens),
        is_question=is_framed or (begins_question if end is None else end == _QUESTION_MARK and not is_request),
        is_readable=is_english and all(mark.isascii() or mark in _MARKS for mark in text),
    )


def _is_english(tokens: list[Token]) -> bool:
    words = {token.value for token in tokens if token.kind == "word"}
    has_function_words = not _ENGLISH.isdisjoint(words) or len(words & _ALSO_ENGLISH) > 1
    return has_function_words or len(words) < _MIN_WORDS_OF_A_LANGUAGE


_QUESTION_MARK = Token(kind="stop", value="?")
_FULL_STOP = Token(kind="stop", value=".")


def _values(tokens: list[Token]) -> tuple[str, ...]:
    return tuple(token.value for token in tokens)


def _starts_with(tokens: list[Token], words: tuple[str, ...]) -> bool:
    return len(tokens) > len(words) and _values(tokens[: len(words)]) == words


def _without_courtesy(tokens: list[Token]) -> tuple[list[Token], bool]:
    """Remove greetings, thanks and `could you` before a verb that asks for a text; True for such a request."""
    is_request = False
    for greeting in _GREETINGS:
        if _starts_with(tokens, greeting):
            tokens = tokens[len(greeting) :]
    for request in _REQUESTS:
        if any(_starts_with(tokens, (*request, *requested)) for requested in _REQUESTED):
            tokens, is_request = tokens[len(request) :], True
    mark = tokens[-1:] if tokens[-1:] == [_QUESTION_MARK] else []
    plain = tokens[: len(tokens) - len(mark)]
    for ending in _ENDINGS:
        if len(plain) > len(ending) and tuple(token.value.lower() for token in plain[-len(ending) :]) == ending:
            kept = [_QUESTION_MARK] if ending[0] == "?" else mark
            return [*plain[: -len(ending)], *kept], is_request
    return tokens, is_request


def _framed(tokens: list[Token]) -> list[Token]:
    """Replace the frame of a question."""
    for words, replacement in _FRAMES:
        if _starts_with(tokens, words):
            return [*(Token(kind="word", value=word) for word in replacement), *tokens[len(words) :]]
    for at in (2, 3):  # `which plan do you`, `which payment methods do you`
        if _values(tokens[:1]) == ("which",) and _values(tokens[at : at + 2]) in _WHICH:
            return [Token(kind="word", value="what"), *tokens[1:]]
    return tokens


def _fronted_last(tokens: list[Token]) -> list[Token]:
    """Move `On Linux, ...` behind the question `how do I ...` or `can I ...`."""
    comma = next((at for at, token in enumerate(tokens[: _MAX_FRONTED + 1]) if token.value == ","), 0)
    if comma and tokens[0].value in _FRONTED:
        rest = _framed(tokens[comma + 1 :])
        if _values(rest[:2]) in {("how", "to"), ("can", "i")} and all(token.kind != "stop" for token in rest):
            return [*rest, *tokens[:comma]]
    return tokens


def _negated_first(tokens: list[Token]) -> list[Token]:
    """Order `why is it not` and `why is my phone not` as `why isn't it` and `why isn't my phone`."""
    subject = 1 if _values(tokens[2:3]) == ("it",) else 2
    is_short = subject == 1 or _values(tokens[2:3]) in {("my",), ("the",)}
    if is_short and _values(tokens[:1]) == ("why",) and _values(tokens[2 + subject : 3 + subject]) == ("not",):
        return [*tokens[:2], tokens[2 + subject], *tokens[2 : 2 + subject], *tokens[3 + subject :]]
    return tokens


_KINDS: tuple[MismatchKind, ...] = ("number", "date", "unit", "literal", "symbol", "name")
_KINDS_OF_WORDS: tuple[tuple[MismatchKind, frozenset[str]], ...] = (
    ("negation", _NEGATIONS),
    ("question", _QUESTIONS),
    ("word", frozenset()),
    ("tense", _AUXILIARIES),
    ("role", _PERSONS),
)
_KNOWN_WORDS = frozenset().union(*(words for _, words in _KINDS_OF_WORDS))


def _find_difference(left: tuple[Token, ...], right: tuple[Token, ...]) -> Mismatch:
    """Return what only one text has, or else the roles."""
    ours, theirs = Counter(left) - Counter(right), Counter(right) - Counter(left)
    for kind in _KINDS:
        sides = [[token.value for token in side if token.kind == kind] for side in (ours, theirs)]
        if sides[0] or sides[1]:
            return _mismatch(kind, *sides)
    for kind, words in _KINDS_OF_WORDS:
        sides = [
            [value for value in _word_values(side) if (value in words if words else value not in _KNOWN_WORDS)]
            for side in (ours, theirs)
        ]
        if sides[0] or sides[1]:
            return _mismatch(kind, *sides)
    if ours or theirs:
        return _mismatch("symbol", [token.value for token in ours], [token.value for token in theirs])
    return _mismatch("role", [token.value for token in left], [token.value for token in right])


def _word_values(side: Counter[Token]) -> list[str]:
    return [token.value for token in side if token.kind == "word"]


def _mismatch(kind: MismatchKind, left: list[str], right: list[str]) -> Mismatch:
    return Mismatch(kind=kind, left=" ".join(left), right=" ".join(right))
