"""Takes secrets out of text and JSON before anything is written, shown or sent on."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flowai.redaction.patterns import NAME_OF_SECRET, SECRET_PATTERNS, SecretPattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MIN_KNOWN_LENGTH = 8  # a shorter "key" (`test`, `none`) would blot out ordinary words
SHORT_LENGTH = 64  # texts up to this length are remembered ...
REMEMBERED_COUNT = 4096  # ... this many of them
DEEPEST_JSON = 64  # nesting beyond this is an attack on the stack, not an answer


class Redactor:
    """Redacts text and JSON; build it once, use it for everything.

    Redacting twice changes nothing more. Text that holds no secret comes back as it is.

    Args:
        known: literal key values from the environment and the registry; those shorter than 8 characters are ignored.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._rules = tuple(_Rule(shape) for shape in SECRET_PATTERNS)
        self._known = self._spellings(known)
        # field and model names come again with every event; remembering them takes two thirds off an event's redaction
        self._short = lru_cache(maxsize=REMEMBERED_COUNT)(self._search)
        self._is_secret_name = lru_cache(maxsize=REMEMBERED_COUNT)(names_a_secret)

    def text(self, text: str) -> str:
        """Redact one text.

        Args:
            text: any length, any content.

        Returns:
            The text with each secret replaced by `[REDACTED:<shape>]`; words around it stay.
        """
        if len(text) < MIN_KNOWN_LENGTH:
            return text
        return self._short(text) if len(text) <= SHORT_LENGTH else self._search(text)

    def _search(self, text: str) -> str:
        for value, name in self._known:
            if value in text:
                text = text.replace(value, mark(name))
        for rule in self._rules:
            for character in rule.gate:
                if character in text:
                    text = rule.apply(text)
                    break
        return text

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """Find the secrets of a text without changing it, for who replaces them in a text of another spelling.

        Args:
            text: any length, any content.

        Returns:
            Start, end and shape of each secret: those known literally, then in the table's order; they may overlap.
        """
        found = [
            (match.start(), match.end(), name)
            for value, name in self._known
            if value in text
            for match in re.finditer(re.escape(value), text)
        ]
        for rule in self._rules:
            for character in rule.gate:
                if character in text:
                    found += rule.stretches(text)
                    break
        return found

    def value(self, value: Any) -> Any:  # noqa: ANN401 - JSON is anything
        """Redact a JSON value: every string in it, the keys of objects too.

        A string under a name such as `api_key` or `password` is redacted whatever it looks like, unless it is shorter
        than 8 characters, already a mark, or the name of a variable (`${OPENAI_API_KEY}`).

        Args:
            value: dict, list, tuple, str, int, float, bool or None, nested.

        Returns:
            A new value of the same shape; what is nested deeper than 64 levels is replaced by a mark.
        """
        return self._walk(value, DEEPEST_JSON)

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
        """Give every spelling of the known values (plain, in a URL, in JSON), the longest first, with its shape."""
        found: dict[str, str] = {}
        for value in known:
            if len(value) < MIN_KNOWN_LENGTH or value.isspace():
                continue
            name = next((rule.name for rule in self._rules if rule.is_whole(value)), "known")
            for spelling in (value, quote(value, safe=""), json.dumps(value)[1:-1]):
                if spelling not in mark(name):  # a value such as `REDACTED` would eat the marks themselves
                    found[spelling] = name
        return tuple(sorted(found.items(), key=lambda item: (-len(item[0]), item[0])))


def redact(text: str, known: Iterable[str] = ()) -> str:
    """Redact one text; where there is more than one, build a `Redactor`.

    Args:
        text: any length, any content.
        known: literal key values, each redacted wherever it stands.

    Returns:
        The text with `[REDACTED:<shape>]` in place of each secret.
    """
    return Redactor(known).text(text)


def names_a_secret(name: str) -> bool:
    """Tell whether a variable or field of this name holds a secret (`OPENAI_API_KEY`, `db_password`)."""
    return re.search(rf"{NAME_OF_SECRET}\Z", name) is not None


def mark(name: str) -> str:
    """Give what stands in place of a secret."""
    return f"[REDACTED:{name}]"


class _Rule:
    """A key shape made ready: its pattern compiled, its replacement and its gate chosen.

    The gate is one character per hint, the rarest in prose: a text that holds none of them is passed at the speed of
    memchr, ten times faster than looking for the hints themselves.

    Args:
        shape: the row of the table.
    """

    __slots__ = ("_folded", "_hints", "_pattern", "_replacement", "gate", "name")

    def __init__(self, shape: SecretPattern) -> None:
        self._pattern = re.compile(shape.pattern)
        self._hints = shape.hints
        self._folded = shape.folded
        self.name = shape.name
        self.gate = shape.needs or "".join({min(hint, key=_specificity) for hint in shape.hints})
        self._replacement: str | Callable[[re.Match[str]], str] = mark(shape.name)
        if "secret" in self._pattern.groupindex:
            self._replacement = self._keep_context

    def apply(self, text: str) -> str:
        """Replace what the pattern finds; the pattern runs only where a hint stands."""
        return self._pattern.sub(self._replacement, text) if self._may_match(text) else text

    def stretches(self, text: str) -> list[tuple[int, int, str]]:
        """Give start, end and name of each secret the pattern finds."""
        if not self._may_match(text):
            return []
        group = "secret" if "secret" in self._pattern.groupindex else 0
        return [(*match.span(group), self.name) for match in self._pattern.finditer(text)]

    def _may_match(self, text: str) -> bool:
        sought = text.lower() if self._folded else text
        for hint in self._hints:  # noqa: SIM110 - `any` costs twice the time here
            if hint in sought:
                return True
        return False

    def is_whole(self, value: str) -> bool:
        """Tell whether a value is nothing but a secret of this shape."""
        return "secret" not in self._pattern.groupindex and self._pattern.fullmatch(value) is not None

    def _keep_context(self, match: re.Match[str]) -> str:
        whole, start = match.group(), match.start()
        return f"{whole[: match.start('secret') - start]}{mark(self.name)}{whole[match.end('secret') - start :]}"


def _specificity(character: str) -> int:
    """Rank a character by how rare it is in prose, the rarest first."""
    place = "~+_=/QJXZKGV98:-zjqxkvwybgp".find(character)
    return place if place >= 0 else 99
