"""Hot reload: reads changed project files next to running calls and swaps the snapshot if they are valid."""

from __future__ import annotations

import asyncio
import math
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import FlowaiError, describe_error
from flowai.gateway.snapshot import load_snapshot
from flowai.prompts.library import PROMPT_SUFFIX
from flowai.redaction import Redactor
from flowai.registry.environment import fingerprint_sources, refresh_secrets
from flowai.registry.keys import key_files
from flowai.storage.files import read_fingerprints
from flowai.storage.worker_thread import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from flowai.gateway.snapshot import Snapshot
    from flowai.gateway.supervisor import Supervisor
    from flowai.project import Project
    from flowai.providers import Endpoint, PriceTable
    from flowai.storage.files import FileFingerprint

RETRY_S = 5.0
"""Time after which files that could not be read are read again although they did not change."""

MIN_RENEW_S = 0.25
"""Shortest time between two readings of files because a model's key was refused."""
RENEW_WAITS_S = (0.0, 0.02, 0.1)
"""Waits before files are read again for a refused key: another process may be writing them."""


class HotReloader:
    """The current snapshot of a project's files."""

    def __init__(
        self,
        project: Project,
        environ: Mapping[str, str],
        *,
        env: str | None,
        prices: PriceTable,
        supervisor: Supervisor,
        clock_s: Callable[[], float],
    ) -> None:
        self._project = project
        self._environ = environ
        self._env = env
        self.prices = prices
        """What models cost; read once for all who ask."""
        self._clock_s = clock_s
        self.supervisor = supervisor
        """Gets unexpected exceptions."""
        self.error: str | None = None
        """What is wrong with the files as they are now; None while they are served."""
        self._retry_at_s = math.inf
        self._renewed_at_s: dict[str, float] = {}
        self._key_files: tuple[str, ...] = ()
        self._lock, self._renew_lock = asyncio.Lock(), asyncio.Lock()
        self._thread = WorkerThread("flowai-reload", owner="the gateway")
        fingerprints = self._fingerprint_files()
        self.snapshot = load_snapshot(project, environ, env=env, prices=prices)
        self._key_files = self._find_key_files(self.snapshot)
        self._fingerprints = {**fingerprints, **read_fingerprints(self._key_files)}

    async def refresh(self) -> bool:
        """Read the files again if one has changed; return whether the snapshot or the error changed.

        Calls in flight keep the snapshot they began with. A wrong version is not served, nor one that was still being
        written while it was read. A failed read is repeated after `RETRY_S` even if no file changes: its cause may be a
        disk, or memory. Of two refreshes at once, the second waits.
        """
        async with self._lock:
            return await self._refresh()

    async def _refresh(self) -> bool:
        error: str | None = None
        try:
            fingerprints = await self._thread.run(self._fingerprint_files)
            if fingerprints == self._fingerprints and self._clock_s() < self._retry_at_s:
                return False
            snapshot, error = await self._read_again()
            key_files = self._find_key_files(snapshot)
            if await self._thread.run(self._fingerprint_files) != fingerprints:
                return False  # written while it was read: the next refresh reads it again
            fingerprints.update(read_fingerprints(key_files))
        except Exception as bug:  # noqa: BLE001 - the last good version serves, whatever happens to the next
            snapshot, error = self.snapshot, self._describe(bug)
            key_files, fingerprints = self._key_files, self._fingerprints
        changed = snapshot is not self.snapshot or error != self.error
        self.snapshot, self.error = snapshot, error
        self._key_files, self._fingerprints = key_files, fingerprints
        self._retry_at_s = math.inf if error is None else self._clock_s() + RETRY_S
        return changed

    async def _read_again(self) -> tuple[Snapshot, str | None]:
        """Read the files; return the last good snapshot and the error if that fails."""
        try:
            return await self._thread.run(self._read), None
        except FlowaiError as failure:
            return self.snapshot, str(failure)
        except Exception as bug:  # noqa: BLE001 - as in `refresh`; its files are not read again until the retry
            return self.snapshot, self._describe(bug)

    def _describe(self, bug: Exception) -> str:
        """Report an unexpected exception; return it in one line."""
        self.supervisor.report("file check", bug)
        return self.snapshot.redactor.text(describe_error(bug))

    async def renew_keys(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint with the keys as the files have them now; unchanged if they have no others.

        Keys are replaced before the old ones are revoked, and a call may be refused before the next file check.
        """
        async with self._renew_lock:  # of calls that are refused together, one reads
            renewed = self.with_current_keys(endpoint)
            last_s = self._renewed_at_s.get(endpoint.name, -math.inf)
            if renewed is not endpoint or self._clock_s() - last_s < MIN_RENEW_S:
                return renewed
            for wait_s in RENEW_WAITS_S:
                await asyncio.sleep(wait_s)
                if not wait_s:
                    await self._thread.run(partial(refresh_secrets, self._project, self._environ))
                await self.refresh()
                renewed = self.with_current_keys(endpoint)
                if renewed is not endpoint:
                    return renewed
            self._renewed_at_s[endpoint.name] = self._clock_s()
            return endpoint

    def with_current_keys(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint with the snapshot's keys; the same one if they are equal, or its model is elsewhere."""
        try:
            current = self.snapshot.endpoint(endpoint.name)
        except FlowaiError:
            return endpoint
        keys = (current.api_key, current.spare_keys)
        is_same_place = (current.model, current.api_base) == (endpoint.model, endpoint.api_base)
        if not is_same_place or keys == (endpoint.api_key, endpoint.spare_keys):
            return endpoint
        return msgspec.structs.replace(endpoint, api_key=current.api_key, spare_keys=current.spare_keys)

    def close(self) -> None:
        """End the thread that reads files; the snapshot stays."""
        self._thread.end()

    def _read(self) -> Snapshot:
        return load_snapshot(self._project, self._environ, env=self._env, prices=self.prices, previous=self.snapshot)

    def _find_key_files(self, snapshot: Snapshot) -> tuple[str, ...]:
        return tuple(map(str, key_files(snapshot.registry, self._project.root)))

    def _fingerprint_files(self) -> dict[str, FileFingerprint]:
        """Fingerprint all files that a snapshot may depend on, including prompts that are wrong or missing."""
        project = self._project
        registries = project.registry.parent.glob(f"*{project.registry.suffix}")  # one may extend another
        files = (
            *map(str, registries),
            str(project.prompts_lock),
            *_files_under(project.prompts),
            *self._key_files,
        )
        return read_fingerprints(files) | fingerprint_sources(project, self._environ)


class CurrentRedactor(Redactor):
    """Redacts by the newest snapshot's keys, for objects that outlive a snapshot."""

    def __init__(self, reloader: HotReloader) -> None:
        super().__init__()
        self._reloader = reloader

    def text(self, text: str) -> str:
        """Redact a text; see `Redactor.text`."""
        return self._reloader.snapshot.redactor.text(text)

    def value(self, value: Any) -> Any:  # noqa: ANN401 - JSON is anything
        """Redact a JSON value; see `Redactor.value`."""
        return self._reloader.snapshot.redactor.value(value)


def _files_under(directory: str | Path) -> Iterator[str]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_under(entry.path)
        elif entry.name.endswith(PROMPT_SUFFIX):
            yield entry.path
