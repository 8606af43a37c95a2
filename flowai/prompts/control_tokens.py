"""Policy for chat control tokens in values: allow, neutralise or reject.

A control token (`<|im_start|>`, `[INST]`) is text that some servers tokenise as the boundary of a turn. Typed messages
keep their structure anyway; this policy is for servers that paste message text into a chat template. Variants that
careless servers normalise are recognised too: any case, fullwidth letters, invisible characters inside. The tokens of
each model family are in `control_tokens.json`, with their source.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


Policy = Literal["allow", "neutralise", "reject"]
"""`allow`: values are unchanged. `neutralise`: a visible mark breaks the token, reversibly. `reject`: an error."""

MARK = "\N{MIDDLE DOT}"
"""Inserted after a token's first character: visible to people, meaningless to tokenisers."""

# soft hyphen, zero-width characters and joiners, direction marks, variation selectors, and the mark of `neutralise`
_INVISIBLE = f"[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff{MARK}]*+"
_FULLWIDTH_OFFSET = 0xFEE0
_MAX_NAME_CHARS = 64


def _letter(character: str) -> str:
    """Return a pattern for an ASCII character and its fullwidth form; for `_` also SentencePiece's block character."""
    twins = character + chr(ord(character) + _FULLWIDTH_OFFSET) + ("\u2581" if character == "_" else "")
    return "[" + "".join(re.escape(twin) for twin in twins) + "]"


def _spelled(token: str) -> str:
    return _INVISIBLE.join(map(_letter, token))


class TokenFamily(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Control tokens of a model family."""

    name: str
    source: str
    """Tokenizer or documentation that defines them."""
    tokens: tuple[str, ...]
    """Recognised in any case."""
    exact: tuple[str, ...]
    """Recognised in this case only, because plain texts hold them in others."""


class _TokenFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    note: str
    families: tuple[TokenFamily, ...]


@cache
def token_families() -> tuple[TokenFamily, ...]:
    """Return the control tokens of all known model families."""
    data = resources.files("flowai.prompts").joinpath("control_tokens.json").read_bytes()
    return msgspec.json.decode(data, type=_TokenFile).families


@cache  # compiled at first need: it takes longer than all other patterns of a start together
def _token() -> re.Pattern[str]:
    """Return a pattern for any control token; `<|name|>` by its shape, because new model families have new names."""
    name = "[0-9A-Za-z_\u2581\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff3f-]"
    named = f"(?:{name}{_INVISIBLE}){{1,{_MAX_NAME_CHARS}}}+"
    shaped = _INVISIBLE.join((_letter("<"), _letter("|"), named + _letter("|"), _letter(">")))
    whole = re.compile(shaped)
    tokens = {token: None for family in token_families() for token in family.tokens if not whole.fullmatch(token)}
    exact = {token: None for family in token_families() for token in family.exact}
    patterns = (shaped, *map(_spelled, tokens), *(f"(?-i:{_spelled(token)})" for token in exact))
    return re.compile("|".join(patterns), re.IGNORECASE)


_BEGIN = re.compile("|".join(map(_letter, "<[")))
_MARKED = re.compile(f"^(.){MARK}", re.DOTALL)

Owner = TypeVar("Owner")


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueSpan(Generic[Owner]):
    """The part of a text that comes from one value."""

    start: int
    end: int
    """Exclusive, > start."""
    owner: Owner
    """Source of the value, for errors."""


def find_tokens(text: str, spans: Sequence[ValueSpan[Owner]]) -> list[tuple[re.Match[str], Owner]]:
    """Return the control tokens that overlap a value, each with the owner of the last value it overlaps.

    Tokens that the template itself contains are its author's intent. A token may be split over two values, or begin in
    the template: the search is in the joined text of one part. `spans` are in order and do not overlap.
    """
    if not _BEGIN.search(text):
        return []
    starts = [stretch.start for stretch in spans]
    overlapping: list[tuple[re.Match[str], Owner]] = []
    for token in _token().finditer(text):
        index = bisect_right(starts, token.end() - 1) - 1
        if index >= 0 and spans[index].end > token.start():
            overlapping.append((token, spans[index].owner))
    return overlapping


def neutralise(text: str, spans: Sequence[ValueSpan[Owner]]) -> str:
    """Break each control token that overlaps a value with a visible mark; `restore` undoes it. Arguments as above."""
    pieces: list[str] = []
    done = 0
    for token, _ in find_tokens(text, spans):
        pieces += (text[done : token.start() + 1], MARK)
        done = token.start() + 1
    return "".join((*pieces, text[done:]))


def restore(text: str) -> str:
    """Remove the mark from each neutralised token; this returns the original bytes of the value."""
    if not _BEGIN.search(text):
        return text
    return _token().sub(lambda token: _MARKED.sub(r"\1", token.group(), count=1), text)


def control_tokens(text: str) -> tuple[str, ...]:
    """Return the control tokens in a text, each once, in order of appearance."""
    if not text:
        return ()
    found = find_tokens(text, [ValueSpan(start=0, end=len(text), owner=None)])
    return tuple(dict.fromkeys(token.group() for token, _ in found))
