"""Removes secrets from text and JSON before it is written, shown or sent."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flowai.redaction.patterns import NAME_OF_SECRET, SECRET_PATTERNS
from flowai.redaction.shape import MIN_KEY_CHARS, SecretPattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MIN_KNOWN_LENGTH = 8  # a shorter "key" (`test`, `none`) would remove ordinary words
SHORT_LENGTH = 64  # results for texts up to this length are cached
CACHE_SIZE = 4096
_HINT_REACH = 80  # characters before a key that its pattern may begin at
_LONG_WORDS = re.compile(f"[!-~]{{{MIN_KEY_CHARS},}}")
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK_COUNT = 6  # characters of a checksum
MAX_DEPTH = 64  # deeper nesting is an attack on the stack


class Redactor:
    """Redacts text and JSON; build it once, use it for everything.

    Redacting twice changes nothing more. A text without secrets is returned unchanged. `known` are literal secrets from
    the environment and the registry; those shorter than 8 characters are ignored.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._rules = tuple(_Rule(pattern) for pattern in SECRET_PATTERNS)
        self._context_rules = tuple(rule for rule in self._rules if not rule.is_key)
        self._known = self._spellings(known)
        # field and model names occur in every event; caching them saves two thirds of an event's redaction
        self._short = lru_cache(maxsize=CACHE_SIZE)(self._search)
        self._is_secret_name = lru_cache(maxsize=CACHE_SIZE)(names_a_secret)

    def text(self, text: str) -> str:
        """Redact one text: each secret is replaced by `[REDACTED:<pattern>]`, its context is kept."""
        if len(text) < MIN_KNOWN_LENGTH:
            return text
        return self._short(text) if len(text) <= SHORT_LENGTH else self._search(text)

    def _search(self, text: str) -> str:
        for value, name in self._known:
            if value in text:
                text = text.replace(value, mark(name))
        for rule in self._rules_for(text):
            text = rule.apply(text)
        return text

    def _rules_for(self, text: str) -> Iterator[_Rule]:
        """Yield the rules that a text may match: those with a hint in it.

        Keys are long words, and their hints are in the word or, where case is ignored, shortly before it; so most of a
        text is not searched for the hints of keys.
        """
        lowered = text.lower()
        words, before = "", ""
        for match in _LONG_WORDS.finditer(text):
            words += f"{match.group()} "
            before += f"{text[max(0, match.start() - _HINT_REACH) : match.end()].lower()} "
        for rule in self._rules if words else self._context_rules:
            near = before if rule.is_folded else words
            far = lowered if rule.is_folded else text
            searched = near if rule.is_key else far
            for character in rule.gate:
                if character in searched:
                    if rule.has_hint(searched):
                        yield rule
                    break

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """Return start, end and pattern name of each secret in a text that was normalised first; they may overlap."""
        spans = [
            (match.start(), match.end(), name)
            for value, name in self._known
            if value in text
            for match in re.finditer(re.escape(value), text)
        ]
        for rule in self._rules_for(text):
            spans += rule.spans(text)
        return spans

    def value(self, value: Any) -> Any:  # noqa: ANN401 - JSON is anything
        """Redact every string of a JSON value, also keys of objects; nesting beyond 64 levels is replaced by a mark.

        A string under a name such as `api_key` or `password` is redacted in any case, unless it is shorter than 8
        characters, already a mark, or the name of a variable (`${OPENAI_API_KEY}`).
        """
        return self._walk(value, MAX_DEPTH)

    def _walk(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - JSON is anything
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict | list | tuple) and depth == 0:
            return mark("nested too deeply")
        if isinstance(value, dict):
            return {
                self._walk(key, depth - 1): mark("field")
                if self._is_secret_field(key, item)
                else self._walk(item, depth - 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._walk(item, depth - 1) for item in value]
        return value

    def _is_secret_field(self, key: Any, item: Any) -> bool:  # noqa: ANN401 - JSON is anything
        return (
            isinstance(key, str)
            and isinstance(item, str)
            and len(item) >= MIN_KNOWN_LENGTH
            and self._is_secret_name(key)
            and not item.startswith(("[REDACTED:", "${", "os.environ/"))
        )

    def _spellings(self, known: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Return all spellings of the known values (plain, URL, JSON) with pattern names, the longest first."""
        spellings: dict[str, str] = {}
        for value in known:
            if len(value) < MIN_KNOWN_LENGTH or value.isspace():
                continue
            name = next((rule.name for rule in self._rules if rule.is_whole(value)), "known")
            for spelling in (value, quote(value, safe=""), json.dumps(value)[1:-1]):
                if spelling not in mark(name):  # a value such as `REDACTED` would remove the marks themselves
                    spellings[spelling] = name
        return tuple(sorted(spellings.items(), key=lambda item: (-len(item[0]), item[0])))


def redact(text: str, known: Iterable[str] = ()) -> str:
    """Redact one text and the literal `known` secrets; for several texts build a `Redactor`."""
    return Redactor(known).text(text)


def names_a_secret(name: str) -> bool:
    """Return whether a variable or field of this name contains a secret (`OPENAI_API_KEY`, `db_password`)."""
    return re.search(rf"{NAME_OF_SECRET}\Z", name) is not None


def mark(name: str) -> str:
    """Return the replacement of a secret."""
    return f"[REDACTED:{name}]"


class _Rule:
    """A compiled pattern with its replacement and its gate.

    The gate is one character per hint, the rarest in prose: a text without them is skipped at the speed of memchr, ten
    times faster than searching for the hints.
    """

    __slots__ = (
        "_checksum",
        "_group",
        "_hints",
        "_min_entropy",
        "_pattern",
        "_replacement",
        "gate",
        "is_folded",
        "is_key",
        "name",
    )

    def __init__(self, pattern: SecretPattern) -> None:
        self._pattern = re.compile(pattern.pattern)
        self._hints = pattern.hints
        self.is_folded = pattern.folded
        self.name = pattern.name
        self.gate = pattern.needs or "".join({min(hint, key=_rarity) for hint in pattern.hints})
        self.is_key = pattern.is_key
        self._min_entropy = pattern.min_entropy
        self._checksum = pattern.checksum
        self._group: str | int = "secret" if "secret" in self._pattern.groupindex else 0
        self._replacement: str | Callable[[re.Match[str]], str] = mark(pattern.name)
        if self._group or self._min_entropy:
            self._replacement = self._keep_context

    def apply(self, text: str) -> str:
        """Replace the matches."""
        return self._pattern.sub(self._replacement, text)

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """Return start, end and name of each match."""
        return [
            (*match.span(self._group), self.name)
            for match in self._pattern.finditer(text)
            if self._is_secret(match.group(self._group))
        ]

    def _is_secret(self, value: str) -> bool:
        """Return whether a match is random enough for a key, or its checksum is right; a placeholder is neither."""
        if not self._min_entropy:
            return True
        return entropy(value) >= self._min_entropy or (self._checksum != "" and has_checksum(value))

    def has_hint(self, text: str) -> bool:
        """Return whether a hint occurs in a text; without one the pattern does not match."""
        for hint in self._hints:  # noqa: SIM110 - `any` takes twice the time here
            if hint in text:
                return True
        return False

    def is_whole(self, value: str) -> bool:
        """Return whether a value is exactly one secret of this pattern."""
        return "secret" not in self._pattern.groupindex and self._pattern.fullmatch(value) is not None

    def _keep_context(self, match: re.Match[str]) -> str:
        whole, start = match.group(), match.start()
        if not self._is_secret(match.group(self._group)):
            return whole
        begin, end = match.span(self._group)
        return f"{whole[: begin - start]}{mark(self.name)}{whole[end - start :]}"


def entropy(text: str) -> float:
    """Return the Shannon entropy of a text's characters, bits per character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def has_checksum(key: str) -> bool:
    """Return whether the last six characters of a key are the CRC-32 of its random part, in base 62.

    Source: GitHub, "Behind GitHub's new authentication token formats"; npm's tokens have the same form.
    """
    body, check = key.rpartition("_")[2][:-_CHECK_COUNT], key[-_CHECK_COUNT:]
    value, digits = zlib.crc32(body.encode()), ""
    while value:
        value, digit = divmod(value, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits.rjust(_CHECK_COUNT, "0") == check


def _rarity(character: str) -> int:
    """Return a character's rank in prose, the rarest first."""
    rank = "~+_=/QJXZKGV98:-zjqxkvwybgp".find(character)
    return rank if rank >= 0 else 99
