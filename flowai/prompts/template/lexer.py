r"""Splits a template into text and tags, and trims the whitespace between them as Handlebars does.

`{{~` and `~}}` remove all whitespace on their side. A block tag, a comment or a partial that is alone on its line
removes the line. `\{{` is a literal `{{`.

Source: Handlebars 4, language guide, "whitespace control", and the Mustache specification, "standalone lines".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, cast

from flowai.errors import Place, PromptError

TagKind = Literal["output", "open", "else", "close", "partial", "comment"]
WordKind = Literal["path", "string", "number", "equals"]

_SEGMENT = r"(?:\[[^\]\r\n]*\]|[^\s!\"#%-,./;->@\[-^`{-~]+)"
_WORD = re.compile(
    rf"""\s*(?:
      (?P<string>"(?:\\"|[^"])*"|'(?:\\'|[^'])*')
    | (?P<number>-?\d+(?:\.\d+)?(?=[\s~}}=]))
    | (?P<equals>=)
    | (?P<path>@?(?:\.\.?/)*(?:{_SEGMENT}|\.\.?)(?:[./]{_SEGMENT})*)
    )""",
    re.VERBOSE,
)
_OPEN = re.compile(r"\{\{(?P<left>~?)(?P<sigil>[{#/^>&!]?)")
_CLOSE = {True: re.compile(r"\s*\}(?P<right>~?)\}\}"), False: re.compile(r"\s*(?P<right>~?)\}\}")}
_COMMENT_END = {True: re.compile(r"--(?P<right>~?)\}\}"), False: re.compile(r"(?P<right>~?)\}\}")}
_LINE_BEFORE = re.compile(r"(?:^|\n)([ \t]*)\Z")
_LINE_AFTER = re.compile(r"[ \t]*(?:\r?\n|\Z)")
_UNSUPPORTED = {"(": "subexpressions", "|": "block parameters", "*": "decorators", ">": "block partials"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TagWord:
    """A word inside a tag."""

    kind: WordKind
    text: str
    """As written; for a string, without its quotes."""


@dataclass(kw_only=True, slots=True)
class TextToken:
    """Text between tags."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """A `{{...}}`."""

    kind: TagKind
    words: tuple[TagWord, ...]
    """Its content, without that character."""
    place: Place
    trim_before: bool = False
    """Whether it begins with `{{~`."""
    trim_after: bool = False
    """Whether it ends with `~}}`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenStream:
    """A template as text and tags."""

    items: list[TextToken | Tag]
    """Text and tags alternate; the first and last are text."""
    indents: dict[int, str] = field(default_factory=dict)
    """By position in `items`, the blanks before a partial that is alone on its line."""


def lex(text: str, *, file: str, first_line: int = 1) -> TokenStream:
    """Split a template into text and tags, whitespace trimmed; `first_line` is its first line in the file."""
    items: list[TextToken | Tag] = []
    parts: list[str] = []
    position = 0
    line = first_line
    while (start := text.find("{{", position)) >= 0:
        before = text[position:start]
        line += before.count("\n")
        if before.endswith("\\") and not before.endswith("\\\\"):
            parts += (before[:-1], "{{")
            position = start + 2
            continue
        parts.append(before.removesuffix("\\"))
        items.append(TextToken(text="".join(parts)))
        parts = []
        tag, position = _tag(text, start, Place(file=file, line=line))
        line += text.count("\n", start, position)
        items.append(tag)
    parts.append(text[position:])
    items.append(TextToken(text="".join(parts)))
    tokens = TokenStream(items=items)
    _trim_whitespace(tokens)
    return tokens


def _tag(text: str, start: int, place: Place) -> tuple[Tag, int]:
    if text.startswith("{{{{", start):
        raise PromptError("raw blocks (`{{{{`) are not part of the dialect", place=place, hint=r"write `\{{`")
    opened = _OPEN.match(text, start)
    assert opened is not None  # noqa: S101 - the caller found `{{`
    sigil, trim_before = opened["sigil"], opened["left"] == "~"
    if sigil == "!":
        end = _COMMENT_END[text.startswith("--", opened.end())].search(text, opened.end())
        if end is None:
            raise PromptError("a comment is never closed", place=place, hint="end it with `}}` or `--}}`")
        after = end["right"] == "~"
        return Tag(kind="comment", words=(), place=place, trim_before=trim_before, trim_after=after), end.end()
    words, end = _words(text, opened.end(), _CLOSE[sigil == "{"], place)
    kind = _kind(sigil, words, place)
    if kind == "else":
        words = words[1:]
    after = end["right"] == "~"
    return Tag(kind=kind, words=words, place=place, trim_before=trim_before, trim_after=after), end.end()


def _kind(sigil: str, words: tuple[TagWord, ...], place: Place) -> TagKind:
    if sigil == "^" and words:
        hint = f"write `{{{{#unless {words[0].text}}}}}`"
        raise PromptError("inverted sections (`{{^name}}`) are not part of the dialect", place=place, hint=hint)
    if sigil in {"", "&", "{"}:
        if not words:
            raise PromptError("a tag is empty", place=place, hint=r"for a literal `{{` write `\{{`")
        return "else" if not sigil and words[0] == TagWord(kind="path", text="else") else "output"
    kinds: dict[str, TagKind] = {"#": "open", "/": "close", ">": "partial", "^": "else"}
    return kinds[sigil]


def _words(text: str, position: int, close: re.Pattern[str], place: Place) -> tuple[tuple[TagWord, ...], re.Match[str]]:
    words: list[TagWord] = []
    while (end := close.match(text, position)) is None:
        match = _WORD.match(text, position)
        if match is None:
            raise _syntax_error(text, position, place)
        position = match.end()
        kind = cast("WordKind", match.lastgroup)
        text_of_word = match[kind]
        if kind == "string":
            quote = text_of_word[0]
            text_of_word = text_of_word[1:-1].replace("\\" + quote, quote)
        words.append(TagWord(kind=kind, text=text_of_word))
    return tuple(words), end


def _syntax_error(text: str, position: int, place: Place) -> PromptError:
    rest = text[position:].lstrip()
    hint = r"end it with `}}`; for a literal `{{` write `\{{`"
    if text.find("}}", position) < 0:
        return PromptError("a tag is never closed", place=place, hint=hint)
    if rest.startswith("}}"):
        return PromptError("`{{{` is closed by `}}`; expected `}}}`", place=place)
    if rest[0] in _UNSUPPORTED:
        what = _UNSUPPORTED[rest[0]]
        return PromptError(f"{what} (`{rest[0]}`) are not part of the dialect", place=place)
    return PromptError(f"`{rest[0]}` is not allowed inside a tag", place=place, hint=hint)


def _trim_whitespace(tokens: TokenStream) -> None:
    items = tokens.items
    original = [item.text if isinstance(item, TextToken) else "" for item in items]
    for index, tag in enumerate(items):
        if not isinstance(tag, Tag):
            continue
        before, after = items[index - 1], items[index + 1]
        assert isinstance(before, TextToken)  # noqa: S101 - `lex` puts text on both sides of a tag
        assert isinstance(after, TextToken)  # noqa: S101 - as above
        if tag.kind != "output":
            indent = _standalone_indent(original, index)
            if indent is not None:
                before.text = before.text.removesuffix(indent)
                after.text = after.text[_blank_line_length(after.text) :]
                if tag.kind == "partial" and indent:
                    tokens.indents[index] = indent
        if tag.trim_before:
            before.text = before.text.rstrip()
        if tag.trim_after:
            after.text = after.text.lstrip()


def _standalone_indent(original: list[str], index: int) -> str | None:
    """Return the blanks before a tag that is alone on its line; None if it is not alone."""
    is_first, is_last = index == 1, index == len(original) - 2
    before = _LINE_BEFORE.search(original[index - 1])
    after = _LINE_AFTER.match(original[index + 1])
    if before is None or (before.start() == 0 and not original[index - 1].startswith("\n") and not is_first):
        return None
    if after is None or (not after.group().endswith("\n") and not is_last):
        return None
    return before[1]


def _blank_line_length(text: str) -> int:
    """Return the length of a line's rest if it is blank, else 0."""
    after = _LINE_AFTER.match(text)
    return after.end() if after else 0
