"""`prompts.lock`: hashes of released prompts and of their releases' model entries."""

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
    """Content of one release."""

    prompts: dict[str, str] = {}
    """SHA-256 of a prompt's bytes and its partials', hex, by prompt id."""
    models: dict[str, str] = {}
    """Hash of a model's entry, hex, by the model's name in the registry."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A difference from the content of a release."""

    release: str
    kind: Literal["prompt", "model"]
    name: str
    """Prompt id or model name."""
    locked: str
    current: str | None
    """Hash now, hex; None if it no longer exists."""


class PromptLock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content of the lock file."""

    schema_version: int = SCHEMA_VERSION
    releases: dict[str, LockedRelease] = {}

    @classmethod
    def read(cls, path: Path, *, name: str = "prompts.lock") -> PromptLock:
        """Read the file; a missing file is an empty lock. `name` is for errors."""
        if not path.exists():
            return cls()
        hint = "restore it from version control; only flowai writes it"
        try:
            lock = msgspec.json.decode(read_text(path, name=name, kind=PromptError), type=cls)
        except (msgspec.DecodeError, RecursionError) as error:
            raise PromptError(f"not a lock file: {error}", place=Place(file=name), hint=hint) from None
        if lock.schema_version != SCHEMA_VERSION:
            what = f"found schema version {lock.schema_version}; expected {SCHEMA_VERSION}"
            raise PromptError(
                what, place=Place(file=name, key="schema_version"), hint="use the version of flowai that wrote it"
            )
        return lock

    def write(self, path: Path) -> None:
        """Write the file atomically, sorted, so that diffs are readable."""
        write_atomic(path, json.dumps(msgspec.to_builtins(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n")

    def with_release(self, release: str, locked: LockedRelease) -> PromptLock:
        """Return a lock that also contains this release; raise PromptError if it is locked with other content."""
        if self.releases.get(release, locked) != locked:
            what = f"release `{release}` is locked with different prompts or models"
            hint = "releases never change: publish a new one"
            raise PromptError(what, place=Place(file="prompts.lock", key=f"releases.{release}"), hint=hint)
        return PromptLock(releases={**self.releases, release: locked})

    def changes(
        self, *, prompts: Mapping[str, str | None], models: Mapping[str, str | None] | None = None
    ) -> list[Change]:
        """List what differs from the locked content.

        `prompts` and `models` are current hashes by name, None if removed; those not passed are not compared.
        """
        changes: list[Change] = []
        for release, locked in sorted(self.releases.items()):
            kinds: tuple[tuple[Literal["prompt", "model"], dict[str, str], Mapping[str, str | None]], ...] = (
                ("prompt", locked.prompts, prompts),
                ("model", locked.models, models or {}),
            )
            changes += [
                Change(release=release, kind=kind, name=name, locked=digest, current=current[name])
                for kind, locked_hashes, current in kinds
                for name, digest in sorted(locked_hashes.items())
                if name in current and current[name] != digest
            ]
        return changes


def entry_hash(entry: Mapping[str, Any]) -> str:
    """Hash a model's entry, independent of the order of its keys: SHA-256, hex. The caller removes the API key."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
