"""prompts.lock: the hashes of released prompts and of the model entries a release resolved to."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowai.errors import Place, PromptError
from flowai.storage.files import read_text, write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA_VERSION = 1


class LockedRelease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one release was made of."""

    prompts: dict[str, str] = {}
    """Prompt id to SHA-256 of its bytes and its partials', hex."""
    models: dict[str, str] = {}
    """The registry's name of a model to the hash of its entry, hex."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not what a release was made of."""

    release: str
    """The release."""
    kind: Literal["prompt", "model"]
    """What changed."""
    name: str
    """Prompt id or model name."""
    locked: str
    """The hash in the lock, hex."""
    current: str | None
    """The hash now, hex; None when it is gone."""


class PromptLock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lock file."""

    schema_version: int = SCHEMA_VERSION
    """Of the file's format."""
    releases: dict[str, LockedRelease] = {}
    """Release name to what it was made of."""

    @classmethod
    def read(cls, path: Path, *, name: str = "prompts.lock") -> PromptLock:
        """Read the file; one that is not there is an empty lock.

        Args:
            path: the file.
            name: how messages call it.

        Raises:
            PromptError: unreadable, not JSON, or not of this format.
        """
        if not path.exists():
            return cls()
        hint = "restore it from version control; flowai alone writes it"
        try:
            lock = msgspec.json.decode(read_text(path, name=name, kind=PromptError), type=cls)
        except msgspec.DecodeError as error:
            raise PromptError(f"not a lock file: {error}", place=Place(file=name), hint=hint) from None
        if lock.schema_version != SCHEMA_VERSION:
            what = f"found schema version {lock.schema_version}; expected {SCHEMA_VERSION}"
            raise PromptError(what, place=Place(file=name, key="schema_version"), hint="use the flowai that wrote it")
        return lock

    def write(self, path: Path) -> None:
        """Write the file in one step, sorted, so that its differences read well.

        Raises:
            InfrastructureError: the place cannot be written; the old file is untouched.
        """
        write_atomic(path, json.dumps(msgspec.to_builtins(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n")

    def with_release(self, release: str, locked: LockedRelease) -> PromptLock:
        """Give a lock that also holds this release.

        Args:
            release: its name.
            locked: what it is made of.

        Raises:
            PromptError: the release is locked with something else: releases never change.
        """
        if self.releases.get(release, locked) != locked:
            what = f"release `{release}` is locked with other prompts or models"
            hint = "releases never change: publish a new one"
            raise PromptError(what, place=Place(file="prompts.lock", key=f"releases.{release}"), hint=hint)
        return PromptLock(releases={**self.releases, release: locked})

    def changes(
        self, *, prompts: Mapping[str, str | None], models: Mapping[str, str | None] | None = None
    ) -> list[Change]:
        """List what is no longer as it was released; names that are not handed in are not compared.

        Args:
            prompts: prompt id to its hash now; None when it is gone.
            models: model name to the hash of its entry now; None when it is gone.
        """
        found: list[Change] = []
        for release, locked in sorted(self.releases.items()):
            for kind, then, now in (("prompt", locked.prompts, prompts), ("model", locked.models, models or {})):
                found += [
                    Change(
                        release=release,
                        kind="prompt" if kind == "prompt" else "model",
                        name=name,
                        locked=digest,
                        current=now[name],
                    )
                    for name, digest in sorted(then.items())
                    if name in now and now[name] != digest
                ]
        return found


def entry_hash(entry: Mapping[str, Any]) -> str:
    """Hash a model's entry, whatever the order of its keys.

    Args:
        entry: JSON values; the caller leaves the key out.

    Returns:
        SHA-256, hex.
    """
    return hashlib.sha256(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
