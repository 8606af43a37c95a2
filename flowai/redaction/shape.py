r"""The record of a secret pattern, and the parts that patterns share.

Three rules keep patterns fast and safe on hostile text:

- Each pattern has `hints`: without one of them a text cannot match, so that patterns never run on ordinary text.
- A pattern begins with a literal and looks back over it (`sk-(?<!\wsk-)`) instead of beginning with `\b`: the regex
  engine then jumps from literal to literal.
- Repetitions are greedy over one character class, or bounded: no pattern can backtrack for more than a few steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Checksum = Literal["", "crc32-base62"]
"""How the last characters of a key check the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretPattern:
    """The pattern of one kind of secret."""

    name: str
    """Short name, in the mark that replaces the secret (`[REDACTED:openai]`)."""
    provider: str
    pattern: str
    """Regular expression; the secret is its group `secret`, else the whole match."""
    hints: tuple[str, ...]
    """Literals; every match contains one of them."""
    example: str
    """Invented secret for docs and tests; `…` and `¤` are filled in by `spell_out`."""
    folded: bool = False
    """Whether the hints are lower case and searched in the lower-case text."""
    needs: str = ""
    """Characters; every match contains one of them. Empty if the hints suffice."""
    is_key: bool = False
    """Whether every match contains a word of `MIN_KEY_CHARS` or more ASCII characters, without a space."""
    min_entropy: float = 0.0
    """Minimum Shannon entropy of the secret, bits per character: `xxxx` and `your-key-here` have less."""
    checksum: Checksum = ""
    """Check of the last characters; a key that passes it counts whatever its entropy is."""
    source: str = ""
    """Where prefix, length and alphabet are documented."""


MIN_KEY_CHARS = 14
"""Length of the shortest key with a prefix."""

WORD = "[A-Za-z0-9_-]"
"""A character of base64url."""

TAIL = "[A-Za-z0-9_]*+"
"""The rest of the word belongs to the key: left over, it could begin like another one in a second pass."""

START = r"(?:(?<![A-Za-z0-9_])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))"
r"""Start of a word, or of text after an escape: `\n`, `%3D`."""


def word_start(prefix: str) -> str:
    r"""Return a pattern for a prefix at the start of a word, or after an escape: `\n`, `%3D`."""
    return rf"{prefix}(?:(?<![A-Za-z0-9_]{prefix})|(?<=\\[nrt]{prefix})|(?<=%[0-9A-Fa-f]{{2}}{prefix}))"


def prefixed(  # noqa: PLR0913 - one parameter for each column of the table
    name: str,
    provider: str,
    prefix: str,
    rest: str,
    *,
    example: str,
    source: str = "",
    min_entropy: float = 0.0,
    checksum: Checksum = "",
) -> SecretPattern:
    """Build the pattern of a key that begins with a literal prefix."""
    return SecretPattern(
        name=name,
        provider=provider,
        pattern=f"{word_start(prefix)}{rest}{TAIL}",
        hints=(prefix.replace("\\", ""),),
        example=example,
        is_key=True,
        min_entropy=min_entropy,
        checksum=checksum,
        source=source,
    )
