"""Keeps the newest good version of a project's files: sees a change, reads all again beside the traffic, and swaps."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from flowai.errors import FlowaiError
from flowai.gateway.snapshot import load_snapshot
from flowai.prompts.library import PROMPT_SUFFIX
from flowai.redaction import Redactor
from flowai.storage.files import read_fingerprints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from flowai.gateway.snapshot import Snapshot
    from flowai.project import Project
    from flowai.providers import PriceTable
    from flowai.storage.files import FileFingerprint


class HotReloader:
    """The files of a project as calls use them.

    Args:
        project: whose files.
        environ: the process environment.
        env: the environment asked for; None for FLOWAI_ENV or none.
        prices: what models cost.

    Raises:
        ProjectError: a file is wrong, or no release serves.
    """

    def __init__(self, project: Project, environ: Mapping[str, str], *, env: str | None, prices: PriceTable) -> None:
        self._project = project
        self._environ = environ
        self._env = env
        self.prices = prices
        """What models cost; read once for all who ask."""
        self.error: str | None = None
        """What is wrong with the files as they are now; None while they are served."""
        self._fingerprints = self._fingerprint_files()
        self.snapshot = load_snapshot(project, environ, env=env, prices=prices)

    async def refresh(self) -> bool:
        """Read the files again if one has changed; tell whether new ones, or a new error, came of it.

        Calls under way keep the snapshot they began with. A version that is wrong is not served, nor one that was still
        being written while it was read.
        """
        fingerprints = await asyncio.to_thread(self._fingerprint_files)
        if fingerprints == self._fingerprints:
            return False
        snapshot, error = self.snapshot, None
        try:
            snapshot = await asyncio.to_thread(self._read)
        except FlowaiError as found:
            error = str(found)
        if await asyncio.to_thread(self._fingerprint_files) != fingerprints:
            return False  # the next look reads it whole
        self.snapshot, self.error, self._fingerprints = snapshot, error, fingerprints
        return True

    def _read(self) -> Snapshot:
        return load_snapshot(self._project, self._environ, env=self._env, prices=self.prices, previous=self.snapshot)

    def _fingerprint_files(self) -> dict[str, FileFingerprint]:
        """Look at all files that a snapshot may be made of, those of prompts that are wrong or missing included."""
        project = self._project
        registries = project.registry.parent.glob(f"*{project.registry.suffix}")  # one may extend another
        files = (
            *map(str, registries),
            *map(str, (project.dotenv, project.prompts_lock)),
            *_files_under(project.prompts),
        )
        return read_fingerprints(files)


class CurrentRedactor(Redactor):
    """Redacts by the newest snapshot's keys, for what lives longer than a snapshot.

    Args:
        live: gives the snapshot.
    """

    def __init__(self, live: HotReloader) -> None:
        super().__init__()
        self._live = live

    def text(self, text: str) -> str:
        """Redact a text; see `Redactor.text`."""
        return self._live.snapshot.redactor.text(text)

    def value(self, value: Any) -> Any:  # noqa: ANN401 - JSON is anything
        """Redact a JSON value; see `Redactor.value`."""
        return self._live.snapshot.redactor.value(value)


def _files_under(directory: str | Path) -> Iterator[str]:
    """Give every prompt file below a directory."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_under(entry.path)
        elif entry.name.endswith(PROMPT_SUFFIX):
            yield entry.path
