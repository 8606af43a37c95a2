r"""Translates JavaScript's regular expressions to the syntax of the `regex` package.

Suites and JSON Schemas are written for JavaScript: `\d` is ASCII, `$` is the very end, `\/` is a slash, a reference to
a group that did not match is empty. Two things differ from a JavaScript pattern without flags, as its `u` flag has it:
a character is a code point, and `\p{L}` is a property. A pattern may begin with flags (`(?i)`), as Python's.

Source: ECMA-262, 16th edition, sections 22.2.1 and B.1.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_PATTERN_CHARS = 100_000

_LINE_ENDS = r"\n\r\u2028\u2029"
_MAX_CODE_POINT = 0x10FFFF
_SPACES = (
    (0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F),
    (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
)  # fmt: skip
_CLASSES = {
    "d": ((0x30, 0x39),),
    "w": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    "s": _SPACES,
}
_CONTROLS = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D}
_FOREIGN_ANCHORS = {"A": "^", "Z": "$", "z": "$"}
"""Anchors of other languages; JavaScript takes them for the letters themselves."""
_GROUP = re.compile(r"\((?:\?(?:(?P<plain>[:=!]|<=|<!)|<(?P<name>[^>=!][^>]*)>|(?P<flags>[ims]*(?:-[ims]+)?):))?")
_LEADING_FLAGS = re.compile(r"\(\?([imsx]+)\)")
_BEYOND_ASCII = re.compile(r"\\[pP]\{|\(\?[ms]*i")
_COMMENT = re.compile(r"(\\.|\[(?:\\.|[^\]\\])*+\])|\s+|#[^\n]*", re.DOTALL)
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(\d+)(?:,(\d*))?\})\??")
_HEX = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]+)\}")
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_OCTAL = re.compile(r"[0-3][0-7]{0,2}|[4-7][0-7]?")
_PROPERTY = re.compile(r"[pP]\{([A-Za-z0-9_=]+)\}")
_SKIPPED = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]", re.DOTALL)
_NAMED = re.compile(r"\(\?<([^>=!][^>]*)>|\((?!\?)")


def _ranges(pairs: tuple[tuple[int, int], ...]) -> str:
    return "".join(_char(low) if low == high else f"{_char(low)}-{_char(high)}" for low, high in pairs)


def _complement(pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    gaps, start = [], 0
    for low, high in pairs:
        if start < low:
            gaps.append((start, low - 1))
        start = high + 1
    return (*gaps, (start, _MAX_CODE_POINT))


def _char(code: int) -> str:
    character = chr(code)
    if character.isascii() and not character.isalnum() and character != "_":
        return f"\\x{code:02x}"
    return character


_WORD = f"[{_ranges(_CLASSES['w'])}]"
_BOUNDARY = f"(?:(?<={_WORD})(?!{_WORD})|(?<!{_WORD})(?={_WORD}))"
_NO_BOUNDARY = f"(?:(?<={_WORD})(?={_WORD})|(?<!{_WORD})(?!{_WORD}))"


def translate(pattern: str) -> tuple[str, str]:
    """Return the pattern in the syntax of `regex`, and its flags (`i`, `a`); a wrong pattern is a ValueError."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"longer than {MAX_PATTERN_CHARS:,} characters")
    leading = _LEADING_FLAGS.match(pattern)
    flags = leading[1] if leading else ""
    body = pattern[leading.end() :] if leading else pattern
    if "x" in flags:
        body = _COMMENT.sub(lambda match: match[1] or "", body)
    is_ascii = "i" not in flags and _BEYOND_ASCII.search(body) is None
    translator = _Translator(
        body, _group_names(body), is_multiline="m" in flags, is_dotall="s" in flags, is_ascii=is_ascii
    )
    return translator.run(), "a" if is_ascii else "i" if "i" in flags else ""


def _group_names(pattern: str) -> list[str | None]:
    """Return the names of the capturing groups, in order."""
    names: list[str | None] = []
    position = 0
    while position < len(pattern):
        if skipped := _SKIPPED.match(pattern, position):
            position = skipped.end()
            continue
        if pattern[position] == "[":
            raise ValueError("missing ]")
        if group := _NAMED.match(pattern, position):
            names.append(group[1])
        position += 1
    return names


@dataclass(slots=True)
class _Translator:
    pattern: str
    groups: list[str | None]
    is_multiline: bool
    is_dotall: bool
    is_ascii: bool
    """Whether the library may know only ASCII, so that its own word boundary is JavaScript's, which is faster."""
    position: int = 0
    parts: list[str] = field(default_factory=list)
    scopes: list[tuple[bool, bool, bool]] = field(default_factory=list)
    """For each open group: the flags outside it, and whether it may be repeated."""
    is_repeatable: bool = False

    def run(self) -> str:
        while self.position < len(self.pattern):
            self._next()
        if self.scopes:
            raise ValueError("missing )")
        return "".join(self.parts)

    def _next(self) -> None:
        char = self.pattern[self.position]
        if quantifier := _QUANTIFIER.match(self.pattern, self.position):
            self._repeat(quantifier)
        elif char == "(":
            self._open()
        elif char == ")":
            self._close()
        elif char == "[":
            self.parts.append(self._read_class())
            self.is_repeatable = True
        elif char == "\\":
            self._escape()
        else:
            self._plain(char)

    def _plain(self, char: str) -> None:
        self.position += 1
        self.is_repeatable = char not in "^$|"
        if char == "^":
            self.parts.append(f"(?<![^{_LINE_ENDS}])" if self.is_multiline else r"\A")
        elif char == "$":
            self.parts.append(f"(?![^{_LINE_ENDS}])" if self.is_multiline else r"\Z")
        elif char == ".":
            self.parts.append("(?s:.)" if self.is_dotall else f"[^{_LINE_ENDS}]")
        elif char == "|":
            self.parts.append("|")
        else:
            self.parts.append(_char(ord(char)))

    def _repeat(self, quantifier: re.Match[str]) -> None:
        if not self.is_repeatable:
            raise ValueError(f"nothing to repeat at position {self.position}")
        if quantifier[2] and int(quantifier[1]) > int(quantifier[2]):
            raise ValueError(f"the numbers of {quantifier[0]} are out of order")
        self.parts.append(quantifier[0])
        self.position = quantifier.end()
        self.is_repeatable = False

    def _open(self) -> None:
        group = _GROUP.match(self.pattern, self.position)
        if group is None or (group.end() == self.position + 1 and self.pattern.startswith("(?", self.position)):
            raise ValueError(f"JavaScript has no group {self.pattern[self.position : self.position + 4]!r}")
        plain, flags = group["plain"], group["flags"]
        self.scopes.append((self.is_multiline, self.is_dotall, plain not in {"<=", "<!"}))
        if flags is not None:
            on, _, off = flags.partition("-")
            self.is_multiline = (self.is_multiline or "m" in on) and "m" not in off
            self.is_dotall = (self.is_dotall or "s" in on) and "s" not in off
            case = ("i" if "i" in on else "") + ("-i" if "i" in off else "")
            self.parts.append(f"(?{case}:")
        else:
            self.parts.append(f"(?{plain}" if plain else "(")
        self.position = group.end()
        self.is_repeatable = False

    def _close(self) -> None:
        if not self.scopes:
            raise ValueError("unmatched )")
        self.is_multiline, self.is_dotall, self.is_repeatable = self.scopes.pop()
        self.parts.append(")")
        self.position += 1

    def _escape(self) -> None:
        char = self.pattern[self.position + 1 : self.position + 2]
        self.is_repeatable = char not in {"b", "B"}
        if char in {"b", "B"}:
            self.position += 2
            boundary = _BOUNDARY if char == "b" else _NO_BOUNDARY
            self.parts.append(f"\\{char}" if self.is_ascii else boundary)
        elif (group := self._read_reference(char)) is not None:
            self.parts.append(f"(?({group})\\{group})" if group else "(?:)")
        else:
            value = self._read_escape()
            self.parts.append(_char(value) if isinstance(value, int) else f"[{value}]")

    def _read_reference(self, char: str) -> int | None:
        """Return the number of the group that a backreference names, and skip it; None if it is none."""
        if char == "k" and any(self.groups):
            match = re.compile(r"\\k<([^>]+)>").match(self.pattern, self.position)
            if match is None or match[1] not in self.groups:
                raise ValueError("a reference to a group that is not there")
            self.position = match.end()
            return self.groups.index(match[1]) + 1
        digits = re.compile(r"\\([1-9][0-9]{0,3})").match(self.pattern, self.position)
        if digits is None or int(digits[1]) > len(self.groups):
            return None
        self.position = digits.end()
        return int(digits[1])

    def _read_escape(self) -> int | str:
        """Read an escape: a character, or the content of a class."""
        start = self.position + 1
        char = self.pattern[start : start + 1]
        if not char:
            raise ValueError("a backslash at the end")
        if char in _FOREIGN_ANCHORS:
            raise ValueError(f"`\\{char}` is Python's; JavaScript has `{_FOREIGN_ANCHORS[char]}`")
        if match := _HEX.match(self.pattern, start):
            return self._read_hex(match)
        if match := _PROPERTY.match(self.pattern, start):
            self.position = match.end()
            return f"\\{match[0]}"
        if match := _OCTAL.match(self.pattern, start):
            self.position = match.end()
            return int(match[0], 8)
        self.position = start + 1
        if char.lower() in _CLASSES:
            pairs = _CLASSES[char.lower()]
            return _ranges(pairs if char.islower() else _complement(pairs))
        if char == "c":
            return self._read_control()
        return _CONTROLS.get(char, ord(char))

    def _read_control(self) -> int:
        letter = self.pattern[self.position : self.position + 1]
        if letter.isascii() and letter.isalpha():
            self.position += 1
            return ord(letter) % 32
        self.position -= 1  # the backslash is a character, `c` the next one
        return ord("\\")

    def _read_hex(self, match: re.Match[str]) -> int:
        self.position = match.end()
        code = int(match[1] or match[2] or match[3], 16)
        if code > _MAX_CODE_POINT:
            raise ValueError(f"{match[0]} is no character")
        low = _LOW_SURROGATE.match(self.pattern, self.position)
        if match[2] and low and 0xD800 <= code <= 0xDBFF:  # noqa: PLR2004 - high surrogates
            self.position = low.end()
            return 0x10000 + ((code - 0xD800) << 10) + (int(low[1], 16) - 0xDC00)
        return code

    def _read_class(self) -> str:
        self.position += 1
        is_negated = self.pattern.startswith("^", self.position)
        self.position += is_negated
        items: list[int | str] = []
        while not self.pattern.startswith("]", self.position):
            if self.position >= len(self.pattern):
                raise ValueError("missing ]")
            items.append(self._read_class_item())
            if self._is_range(items):
                items[-3:] = [self._range(items[-3], items[-1])]
        self.position += 1
        if not items:
            return "(?s:.)" if is_negated else "(?!)"
        content = "".join(_char(item) if isinstance(item, int) else "\\x2d" if item == "-" else item for item in items)
        return f"[{'^' if is_negated else ''}{content}]"

    def _read_class_item(self) -> int | str:
        """Read a character or class; `-` between two items is returned as such."""
        char = self.pattern[self.position]
        if char != "\\":
            self.position += 1
            return "-" if char == "-" else ord(char)
        if self.pattern.startswith(r"\b", self.position):
            self.position += 2
            return 0x08
        return self._read_escape()

    def _is_range(self, items: list[int | str]) -> bool:
        if len(items) < 3 or items[-2] != "-":  # noqa: PLR2004 - two ends and a hyphen
            return False
        return all(isinstance(end, int) or end == "-" for end in (items[-3], items[-1]))

    def _range(self, low: int | str, high: int | str) -> str:
        first, last = (0x2D if isinstance(end, str) else end for end in (low, high))
        if first > last:
            raise ValueError("a range of characters is out of order")
        return f"{_char(first)}-{_char(last)}"
