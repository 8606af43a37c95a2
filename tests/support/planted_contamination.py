"""Copies of evaluation cases as they turn up in logs: as they are, laid out otherwise, inside a message, edited."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_OTHER_WORDS = ("banana", "the", "quickly", "seven", "under", "mountains")
_EDITED_SHARE = 0.05
_FULL_WIDTH = 0xFEE0

KINDS = ("exact", "normalised", "substring", "letters", "words", "letters inside", "words inside", "in JSON")
"""What `planted` makes; the first three and the last are copies, the rest is edited."""


def planted(kind: str, case: str, random: Random, around: str) -> str:
    """Copy a case.

    Args:
        kind: one of KINDS.
        case: the text of the case.
        random: chance.
        around: an unrelated text, for what stands inside a message.
    """
    changed = {
        "exact": lambda: case,
        "normalised": lambda: _laid_out_otherwise(case, random),
        "substring": lambda: case,
        "letters": lambda: edit_letters(case, random),
        "words": lambda: edit_words(case, random),
        "letters inside": lambda: edit_letters(case, random),
        "words inside": lambda: edit_words(case, random),
        "in JSON": lambda: json.dumps({"question": case, "n": 3}),
    }[kind]()
    if kind == "substring" or kind.endswith("inside"):
        cut = random.randrange(len(around))
        return f"{around[:cut]}\n{changed} {around[cut:]}"
    return changed


def edit_letters(text: str, random: Random) -> str:
    """Change one letter in twenty: replaced, left out, added, or swapped with the next."""
    return "".join(_edited(list(text), _LETTERS, random))


def edit_words(text: str, random: Random) -> str:
    """Change one word in twenty, at least one: replaced, left out, added, or swapped with the next."""
    return " ".join(_edited(text.split(), _OTHER_WORDS, random))


def _edited(parts: list[str], others: Sequence[str], random: Random) -> list[str]:
    for _ in range(max(1, round(_EDITED_SHARE * len(parts)))):
        at = random.randrange(len(parts))
        change = random.choice(("replace", "leave out", "add", "swap"))
        if change == "replace":
            parts[at] = random.choice(others)
        elif change == "leave out":
            del parts[at]
        elif change == "add":
            parts.insert(at, random.choice(others))
        else:
            parts[at : at + 2] = parts[at : at + 2][::-1]
    return parts


def _laid_out_otherwise(text: str, random: Random) -> str:
    changed = random.choice((str.upper, str.lower, str.title))(text)
    changed = changed.replace(" ", random.choice(("  ", "\n", "\u00a0", "\t"))).replace(
        ".", random.choice(("", "!", " ."))
    )
    way = random.choice(("plain", "zero width", "full width"))
    if way == "zero width":
        return "\u200b".join(changed)
    if way == "full width":
        return "".join(chr(ord(letter) + _FULL_WIDTH) if "!" <= letter <= "~" else letter for letter in changed)
    return changed
