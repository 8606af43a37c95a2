"""Tells what kind of edit a user made: one worth learning from, one that says nothing, or one that says it all anew.

In: an answer and what its user made of it. Out: the kind, and how alike the two are. Must never know what follows.
"""

from __future__ import annotations

import json
import re
from typing import Literal

EditKind = Literal["real", "trivial", "rewrite"]
"""`trivial`: the same words, up to case, spacing and punctuation. `rewrite`: hardly a word is left where it was."""

REWRITE_BELOW = 0.2
"""Likeness of two texts, word by word, below which one is no edit of the other."""

_WORD = re.compile(r"\w+")
_WORD_OR_SIGN = re.compile(r"\w+|[^\w\s]")


def likeness(answer: str, edit: str) -> float:
    """Give the share of words and signs that two texts have in common, in order: 0 for none, 1 for equal.

    Twice the length of the longest common subsequence over both lengths.

    Source: rapidfuzz's normalised Indel similarity.
    """
    from rapidfuzz.distance import Indel  # only exports compare texts

    return Indel.normalized_similarity(_WORD_OR_SIGN.findall(answer), _WORD_OR_SIGN.findall(edit))


def kind_of_edit(answer: str, edit: str) -> EditKind:
    """Tell what kind of edit it is.

    What changes a value of JSON, or makes JSON of what was none, is real, be it one sign: there signs carry meaning.
    """
    before, after = _json(answer), _json(edit)
    if before == after and (before is not None or _WORD.findall(answer.casefold()) == _WORD.findall(edit.casefold())):
        return "trivial"
    return "rewrite" if likeness(answer, edit) < REWRITE_BELOW else "real"


def _json(text: str) -> str | None:
    """Give a JSON object or list in one spelling; None where the text is none."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return None
