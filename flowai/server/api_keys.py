"""API keys of callers: creates them, stores only hashes, and compares in constant time."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowai.registry import ServeKey

PREFIX = "sk-flowai-"
"""Redaction and secret scanners know keys that begin with `sk-`."""
_RANDOM_BYTES = 32


def new_key(random_bytes: Callable[[int], bytes]) -> str:
    """Make a key of 32 random bytes.

    Args:
        random_bytes: gives that many bytes nobody can guess (`secrets.token_bytes`).

    Returns:
        The key, 74 characters.
    """
    return PREFIX + random_bytes(_RANDOM_BYTES).hex()


def hash_of(key: str) -> str:
    """Give what the registry keeps of a key: SHA-256, hex. A key is random and long, so that no salt is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def tenant_of(key: str, keys: Mapping[str, ServeKey]) -> str | None:
    """Tell whose a key is; None when it is nobody's.

    Every hash is compared to its end, so that time tells neither how near a guess came nor which key it met.
    """
    digest = hash_of(key)
    tenant = None
    for known in keys.values():
        if hmac.compare_digest(known.sha256, digest):
            tenant = known.tenant
    return tenant
