"""Placeholders for private values: equal values have equal placeholders in a data set.

Consistent placeholders keep the persons of a text apart for a model; the keyed hash prevents a lookup in a table of all
phone numbers by anyone without the key.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.privacy.spans import EntityType

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_KEY_BYTES = 16
_HASH_COUNT = 8  # hex digits: of 10,000 values of a kind, two share a placeholder with probability 1/86
_NO_DIGIT = re.compile("[^0-9]+")
_TRUNK_ZERO = re.compile(r"((?:\+|\b00)\s?[1-9]\d{0,2}[\s./-]*)\(0\)")
_INTERNATIONAL = re.compile(r"\A00(?=[1-9]\d{7})")
_NO_WORD = re.compile(r"[\W_]+")


def _digits(value: str) -> str:
    return _NO_DIGIT.sub("", value)


def _phone(value: str) -> str:
    """Return the digits of a phone number: `0049` is `+49`, and the `(0)` after a country code is not dialled."""
    digits = _NO_DIGIT.sub("", _TRUNK_ZERO.sub(r"\1", value))
    return _INTERNATIONAL.sub("", digits)


def _letters(value: str) -> str:
    return _NO_WORD.sub("", value).upper()


def _words(value: str) -> str:
    return _NO_WORD.sub(" ", value).strip().casefold()


_SPELLING: dict[EntityType, Callable[[str], str]] = {
    EntityType.CARD: _digits,
    EntityType.PHONE: _phone,
    EntityType.SSN: _digits,
    EntityType.IBAN: _letters,
    EntityType.PERSON: _words,
    EntityType.ADDRESS: _words,
}
"""Normal form of a kind's values, for comparison; default lower case."""


class Pseudonyms:
    """Builds placeholders. `key` is the secret of the data set; raises UsageError below 16 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise UsageError(
                f"the key for pseudonyms has {len(key)} bytes, expected at least {MIN_KEY_BYTES}",
                hint="use a random key per data set, and store it apart from the files: `openssl rand -hex 32`",
            )
        self._key = key

    def placeholder(self, kind: EntityType, value: str) -> str:
        """Return the placeholder of a normalised value: the same for every spelling (`4111-1111 …`, `41111111…`)."""
        spelt = _SPELLING.get(kind, str.lower)(value)
        digest = hmac.digest(self._key, f"{kind}\0{spelt}".encode("utf-8", "surrogatepass"), "sha256")
        return f"<{kind}_{digest.hex()[:_HASH_COUNT]}>"
