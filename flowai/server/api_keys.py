"""API keys of callers: created here, stored only as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowai.registry import ServeKey

PREFIX = "sk-flowai-"
"""Redaction and secret scanners recognise keys that begin with `sk-`."""
_RANDOM_BYTES = 32


def new_key(random_bytes: Callable[[int], bytes]) -> str:
    """Build a key of 74 characters from 32 bytes of a secure source (`secrets.token_bytes`)."""
    return PREFIX + random_bytes(_RANDOM_BYTES).hex()


def hash_of(key: str) -> str:
    """Return the hash that the registry stores: SHA-256, hex. A key is long and random, so that no salt is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def find_key(key: str, keys: Mapping[str, ServeKey]) -> str | None:
    """Return the name of a key in the registry; None for an unknown key.

    Every hash is compared in full, so that the time reveals neither how close a guess is nor which key matches.
    """
    digest = hash_of(key)
    found = None
    for name, known in keys.items():
        if hmac.compare_digest(known.sha256, digest):
            found = name
    return found
