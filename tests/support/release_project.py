"""A project with four releases, and what a rollback leaves behind in it; no model is ever called.

In: what the registry says. Out: files on disk, the overlay, the ledger, the outbox. Must never know what is right.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml

from flowai.notifications.outbox import Outbox, Pending
from flowai.project import Project
from flowai.prompts import PromptLibrary, PromptLock
from flowai.registry import load_registry
from flowai.releases.integrity import locked_release
from flowai.releases.ledger import LedgerEntry, read_ledger
from flowai.state import Heartbeat, open_state

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flowai.state import Overlay, StateStore

NOON = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)

BASE = """\
schema_version: 1
models:
  m: {model: openai/gpt-4o-mini}
  n: {model: openai/gpt-4o}
features:
  chat: {timeout: {first_token: 2s, total: 5s}}
  plan: {critical: true}
releases:
  v0: {chat: {prompt: prompts/a_v1, model: m}, plan: {prompt: prompts/a_v1, model: m}}
  v1: {extends: v0, chat: {prompt: prompts/a_v2}}
  v2: {extends: v1, chat: {prompt: prompts/a_v3, params: {temperature: 0}}}
  v3: {extends: v1, chat: {model: n}}
"""
GOOD_V1 = "current: v1\nhistory: [v0, v1]\n"
STEADY = "current: v2\nhistory: [v0, v1, v2]  # oldest first\n"
ROLLING = "current: v1\nhistory: [v0, v1]\nrollout: {candidate: v2, stage: 5, started_at: 2026-05-02T09:30:00Z}\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseProject:
    """The project.

    Args:
        root: where it lies.
        shared: where its processes share what they know, as the registry names it.
    """

    root: Path
    shared: str = ".flowai"

    @property
    def project(self) -> Project:
        """Its paths."""
        return Project(root=self.root, registry=self.root / "registry.yaml")

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def keys(self, name: str = "registry.yaml") -> dict[str, Any]:
        """Give flowai's own keys as the file has them."""
        value = yaml.safe_load((self.root / name).read_text(encoding="utf-8"))
        return {key: value[key] for key in ("current", "history", "bad", "rollout") if value.get(key)}

    def entries(self, env: str | None = None) -> tuple[LedgerEntry, ...]:
        """Give the ledger's steps."""
        return read_ledger(self.project, env).entries

    def pending(self) -> tuple[Pending, ...]:
        """Give what waits in the outbox."""
        return Outbox(self.project.outbox, now=lambda: NOON).pending()

    def state(self) -> StateStore:
        """Give the store that its processes share."""
        return open_state(self.shared, self.root, clock_s=time.time)

    def overlay(self, env: str = "") -> Overlay | None:
        """Give the overlay in force."""
        return asyncio.run(self._overlay(env))

    async def _overlay(self, env: str) -> Overlay | None:
        state = self.state()
        found = (await state.shared(env)).overlay
        await state.aclose()
        return found

    def put_overlay(self, overlay: Overlay | None, env: str = "") -> None:
        """Put an overlay in force, as another command would."""
        assert overlay is not None

        async def put() -> None:
            state = self.state()
            await state.write_overlay(env, overlay)
            await state.aclose()

        asyncio.run(put())

    def lock(self, release: str) -> None:
        """Lock a release, as publishing it does."""
        registry = load_registry(self.project, env=None, environ={})
        lock = PromptLock.read(self.project.prompts_lock)
        locked = locked_release(registry, release, PromptLibrary(self.project))
        lock.with_release(release, locked).write(self.project.prompts_lock)

    def beat(self, process: str = "library-1", env: str = "", lifetime_s: float = 60.0, **changes: Any) -> None:
        """Say that a process lives; with a lifetime of 0, that it has been silent since."""
        now = datetime.now(UTC)
        facts: dict[str, Any] = {"host": "h1", "pid": 7, "release": "v2", "overlay_epoch": 0, "at": now, **changes}
        said = Heartbeat(process=process, environment=env, origin="library", started_at=now, **facts)

        async def beat() -> None:
            state = self.state()
            await state.heartbeat(said, lifetime_s=lifetime_s)
            await state.aclose()

        asyncio.run(beat())


def release_project(root: Path, own: str = STEADY, more: Iterable[str] = (), shared: str = ".flowai") -> ReleaseProject:
    """Write the project.

    Args:
        root: where.
        own: flowai's own keys.
        more: further lines of the registry.
        shared: where its processes share what they know.
    """
    made = ReleaseProject(root=root.resolve(), shared=shared)
    lines = more if shared == ".flowai" else (*more, f"state: {shared}")
    made.write("registry.yaml", BASE + "".join(f"{line}\n" for line in lines) + own)
    for version in (1, 2, 3):
        made.write(f"prompts/a_v{version}.prompt", f'{{{{role "user"}}}}Version {version}.\n')
    if own == ROLLING:
        made.lock("v2")
    return made
