"""The Porter stemmer for English words.

Source: M. F. Porter, An algorithm for suffix stripping (1980), with the author's later rules for `bli` and `logi`.
"""

from __future__ import annotations

import re

_STEP_2 = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"),
    ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"),
    ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"),
    ("iviti", "ive"), ("biliti", "ble"), ("logi", "log"),
)  # fmt: skip
_STEP_3 = (("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""))
_STEP_4 = re.compile(
    r"(.+?)(?:al|ance|ence|er|ic|able|ible|ant|ement|ment|ent|ou|ism|ate|iti|ous|ive|ize|(?<=[st])ion)", re.DOTALL
)
_VOWEL_GROUPS = re.compile(r"V+")
_DOUBLE = re.compile(r"([^aeiou])\1$")
_MIN_CHARS = 3


def stem(word: str) -> str:
    """Return the stem of a word in lower case; words of one or two letters are unchanged."""
    if len(word) < _MIN_CHARS:
        return word
    word = _step_1c(_step_1b(_step_1a(word)))
    word = _replace_suffix(_replace_suffix(word, _STEP_2), _STEP_3)
    match = _STEP_4.fullmatch(word)
    if match and _measure(match[1]) > 1:
        word = match[1]
    return _step_5(word)


def _shape(word: str) -> str:
    """Return C for each consonant and V for each vowel; `y` is a vowel after a consonant."""
    shape: list[str] = []
    for letter in word:
        is_vowel = letter in "aeiou" or (letter == "y" and bool(shape) and shape[-1] == "C")
        shape.append("V" if is_vowel else "C")
    return "".join(shape)


def _measure(word: str) -> int:
    """Count the consonant groups that follow a vowel group."""
    return len(_VOWEL_GROUPS.findall(_shape(word).rstrip("V")))


def _ends_in_short_syllable(word: str) -> bool:
    return _shape(word).endswith("CVC") and word[-1] not in "wxy"


def _step_1a(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _step_1b(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        if word.endswith(suffix):
            base = word.removesuffix(suffix)
            return _complete(base) if "V" in _shape(base) else word
    return word


def _complete(base: str) -> str:
    if base.endswith(("at", "bl", "iz")):
        return f"{base}e"
    if _DOUBLE.search(base) and base[-1] not in "lsz":
        return base[:-1]
    return f"{base}e" if _measure(base) == 1 and _ends_in_short_syllable(base) else base


def _step_1c(word: str) -> str:
    return f"{word[:-1]}i" if word.endswith("y") and "V" in _shape(word[:-1]) else word


def _replace_suffix(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    for suffix, replacement in rules:
        if word.endswith(suffix):
            base = word.removesuffix(suffix)
            return base + replacement if _measure(base) > 0 else word
    return word


def _step_5(word: str) -> str:
    if word.endswith("e"):
        base = word[:-1]
        measure = _measure(base)
        if measure > 1 or (measure == 1 and not _ends_in_short_syllable(base)):
            word = base
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
