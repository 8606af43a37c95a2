"""Overlays that this project's processes have seen: a store that comes back empty or older ends no rollback.

Kept in memory and in `.flowai/overlays/`, so that a process that restarts meanwhile remembers too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from flowai.errors import FlowaiError, InfrastructureError
from flowai.state.store import Overlay
from flowai.storage.files import write_atomic
from flowai.storage.own_files import check_own_file, make_private_directory

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_NAME = "default"
"""File name of the environment without a name, as in the ledger."""
_RESET_HINT = "remove it from git (`git rm --cached`) and delete it; the shared state still holds the rollback"


class RememberedOverlay(msgspec.Struct, frozen=True, kw_only=True):
    """The decision that holds in an environment."""

    schema_version: int = 1
    """Version of this format: 1."""
    overlay: Overlay | None = None
    clear_count: int = 0
    """How often the overlay had been cleared on purpose."""


NOTHING = RememberedOverlay()


class OverlayMemory:
    """Remembered overlays by environment; files in `directory`, None for this process's memory only."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._remembered: dict[str, RememberedOverlay] = {}
        self.error: str | None = None
        """Why an overlay could not be written to its file; None otherwise."""

    def update(self, environment: str, seen: RememberedOverlay) -> RememberedOverlay:
        """Return the decision that holds after a store was read; remember it."""
        known = self._remembered.get(environment)
        if known is None:
            known = self._remembered[environment] = self._load(environment)
        if known == seen:
            return known
        holds = combine(known, seen)
        if holds != known:
            self._remembered[environment] = holds
            self._save(environment, holds)
        return holds

    def _path(self, environment: str) -> Path | None:
        return None if self._directory is None else self._directory / f"{environment or DEFAULT_NAME}.json"

    def _load(self, environment: str) -> RememberedOverlay:
        """Read a file; a missing, damaged or planted one is nothing."""
        path = self._path(environment)
        try:
            if path is None:
                return NOTHING
            check_own_file(path, _RESET_HINT, is_shared=True)
            return msgspec.json.decode(path.read_bytes(), type=RememberedOverlay)
        except InfrastructureError as error:
            self.error = f"a remembered overlay is not read: {error}"
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            pass
        return NOTHING

    def _save(self, environment: str, holds: RememberedOverlay) -> None:
        path = self._path(environment)
        if path is None:
            return
        try:
            make_private_directory(path.parent)
            write_atomic(path, msgspec.json.encode(combine(self._load(environment), holds)))  # others write it too
            self.error = None
        except (OSError, FlowaiError) as error:
            self.error = f"a rollback's overlay cannot be stored, so that a restart may forget it: {error}"


def combine(known: RememberedOverlay, seen: RememberedOverlay) -> RememberedOverlay:
    """Return the decision that holds: bad releases are forgotten only after the overlay was cleared on purpose."""
    if seen.clear_count > known.clear_count:
        return seen
    if known.overlay is None or seen.overlay is None:
        return replace(known, overlay=known.overlay or seen.overlay)
    return replace(known, overlay=combine_overlays(known.overlay, seen.overlay))


def combine_overlays(known: Overlay, seen: Overlay) -> Overlay:
    """Return the later of two overlays, with the bad releases of both.

    The epoch decides. A lower one comes from a store that lost data; then a decision that was made since is told from
    an old copy by its time.
    """
    is_seen_later = seen.epoch > known.epoch or seen.at > known.at
    later, earlier = (seen, known) if is_seen_later else (known, seen)
    missing = tuple(name for name in earlier.bad if name not in later.bad)
    if missing:
        return replace(later, bad=(*missing, *later.bad), epoch=max(seen.epoch, known.epoch) + 1)
    if later.epoch > earlier.epoch or not is_seen_later:
        return later
    return later if seen == known else replace(later, epoch=known.epoch + 1)
