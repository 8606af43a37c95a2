"""Joins characters that a provider splits over two pieces of text, as servers with UTF-16 strings do."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_HIGH_HALF = re.compile("[\ud800-\udbff]$")


class CharacterJoiner:
    """Joins the halves of characters (surrogates) in consecutive pieces of one text."""

    def __init__(self) -> None:
        self.is_broken = False
        """A half came without its other half: the text is not what the model wrote."""
        self._half = ""

    @property
    def has_half(self) -> bool:
        """True while the second half of a character is missing."""
        return bool(self._half)

    def feed(self, text: str) -> str:
        """Return the next piece with whole characters; the first half of one is held back until the next piece."""
        if not self._half and (text.isascii() or _SURROGATE.search(text) is None):
            return text
        text, self._half = self._half + text, ""
        if _HIGH_HALF.search(text):
            text, self._half = text[:-1], text[-1]
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self.is_broken = True
            return ""
