"""Remembers when each key was first seen, by a salted fingerprint that does not lead back to the key."""

from __future__ import annotations

import hashlib
import os
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, Place
from flowai.storage.files import write_atomic
from flowai.storage.own_files import TRACKED_HINT, check_own_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE_NAME = "key_ages.json"
SCHEMA_VERSION = 1
SALT_BYTES = 32
_FINGERPRINT_BYTES = 32
_COST = 2**14
"""Of scrypt: 16 MiB and about 50 ms for a guess, for each project anew."""


class _Ages(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    schema_version: int = SCHEMA_VERSION
    salt: str
    first_seen: dict[str, date]
    """By fingerprint."""


class KeyAges:
    """First days of a project's keys, in a private file of its own directory.

    Args:
        path: the file.
        today: day that new keys are stored with.

    Raises:
        InfrastructureError: the file cannot be read, is no such file, or is committed.
    """

    def __init__(self, path: Path, *, today: date) -> None:
        self._path = path
        self._today = today
        self._ages = _read(path)

    def first_seen(self, keys: Iterable[str]) -> dict[str, date]:
        """Return the first day of each key, and store those of new keys.

        Raises:
            InfrastructureError: the file cannot be written.
        """
        fingerprints = {key: self._fingerprint(key) for key in dict.fromkeys(keys)}
        known = self._ages.first_seen
        new = {fingerprint: self._today for fingerprint in fingerprints.values() if fingerprint not in known}
        if new:
            known |= new
            write_atomic(self._path, msgspec.json.format(msgspec.json.encode(self._ages)), is_private=True)
        return {key: known[fingerprint] for key, fingerprint in fingerprints.items()}

    def _fingerprint(self, key: str) -> str:
        salt = bytes.fromhex(self._ages.salt)
        return hashlib.scrypt(key.encode(), salt=salt, n=_COST, r=8, p=1, dklen=_FINGERPRINT_BYTES).hex()


def _read(path: Path) -> _Ages:
    check_own_file(path, TRACKED_HINT)
    try:
        ages = msgspec.json.decode(path.read_bytes(), type=_Ages)
        bytes.fromhex(ages.salt)
    except FileNotFoundError:
        return _Ages(salt=os.urandom(SALT_BYTES).hex(), first_seen={})
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else "it is no record of keys' ages"
        raise InfrastructureError(
            f"cannot be read: {reason}", place=Place(file=str(path)), hint="delete it: ages begin again today"
        ) from None
    return ages
