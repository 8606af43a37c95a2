"""What a capitalised word is, in Latin, Greek and Cyrillic letters.

In: nothing. Out: pieces of patterns. Must never know names or addresses.
"""

from __future__ import annotations

_LETTERS = "".join(chr(code) for code in (*range(0x41, 0x5B), *range(0xC0, 0x250), *range(0x370, 0x530)))
UPPER = "".join(letter for letter in _LETTERS if letter.isupper())
"""Capital letters, for a character class."""

WORD_REST = r"(?:[^\W\d_]|['\u2019\u2018-](?=[^\W\d_]))"
"""What follows the first letter of a word: letters, and apostrophes or hyphens between them."""

REST = rf"{WORD_REST}*+"
"""The rest of a capitalised word."""

CAPITALISED = rf"[{UPPER}]{WORD_REST}*+"
"""A word that begins with a capital letter."""
