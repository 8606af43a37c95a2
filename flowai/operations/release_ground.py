"""What publishing and promoting stand on: an opened registry that may be changed, its ledger, what processes share.

In: where a command stands. Out: a Ground. Must never know which step is taken.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError, Place, UsageError
from flowai.operations.workspace import Surroundings
from flowai.registry import secret_values
from flowai.registry.edit import edit_registry
from flowai.releases.fleet import look, within
from flowai.releases.ledger import Entry, Ledger, read_ledger, write_entry
from flowai.releases.source import Source, open_source, state_address
from flowai.secrets import Redactor
from flowai.state import Overlay, open_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from flowai.operations.rollback_model import Here
    from flowai.registry import Registry, Rollout
    from flowai.registry.edit import OwnKeys


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """An environment whose releases are to be changed.

    Args:
        here: where the command stands.
        source: the registry's place.
        registry: the registry.
        ledger: its ledger.
    """

    here: Here
    source: Source
    registry: Registry
    ledger: Ledger

    @property
    def around(self) -> Surroundings:
        """The surroundings for commands that open the project themselves."""
        return Surroundings(
            project=self.source.project,
            environ=self.source.environ,
            env=self.source.environment,
            now=self.here.now,
            clock_s=self.here.clock_s,
        )

    def clean(self, text: str | None) -> str | None:
        """Take secrets out of what a person wrote."""
        known = secret_values(self.registry, self.source.environ)
        return None if text is None else Redactor(known).text(text)

    def note(self, entry: Entry) -> None:
        """Add a step to the ledger.

        Raises:
            InfrastructureError: the ledger cannot be written.
        """
        write_entry(self.source.project, self.source.environment, entry)

    def move(self, rollout: Rollout | None, change: Callable[[OwnKeys], OwnKeys]) -> None:
        """Change the registry, unless its rollout is no longer the one that was looked at.

        Raises:
            UsageError: somebody moved it meanwhile.
            InfrastructureError: the file cannot be written.
        """

        def checked(own: OwnKeys) -> OwnKeys:
            if own.rollout != rollout:
                raise UsageError("the rollout was changed meanwhile", hint="look again: `flowai release list`")
            return change(own)

        edit_registry(self.source.project, checked, env=self.source.environment, environ=self.source.environ)

    def overlay(self) -> Overlay | None:
        """Give the live overlay.

        Raises:
            InfrastructureError: what processes share is away.
        """
        return asyncio.run(self._overlay(None))

    def take_back_overlay(self, at: datetime, bad: tuple[str, ...]) -> None:
        """Let the registry decide again what serves, after a rollback's overlay did; what is bad stays bad.

        Raises:
            InfrastructureError: what processes share is away.
        """
        asyncio.run(self._overlay(lambda old: Overlay(epoch=old.epoch + 1, bad=bad, at=at)))

    async def _overlay(self, after: Callable[[Overlay], Overlay] | None) -> Overlay | None:
        named, directory = state_address(self.source, None, self.here.start)
        state = open_state(named, directory, clock_s=lambda: self.here.now().timestamp())
        environment = self.source.environment or ""
        try:
            overlay, _ = await look(state, environment)
            if overlay is not None and after is not None and overlay.serves is not None:
                await within(state.write_overlay(environment, after(overlay)))
            return overlay
        finally:
            await state.aclose()


@contextmanager
def open_ground(here: Here, *, env: str | None, writes: bool = True) -> Iterator[Ground]:
    """Open an environment.

    Args:
        here: where the command stands.
        env: the environment; None for FLOWAI_ENV or the only one.
        writes: whether its registry is to be changed.

    Yields:
        The ground.

    Raises:
        ProjectError: the registry is wrong.
        UsageError: several environments and none named.
        InfrastructureError: it cannot be changed from here.
    """
    with open_source(here.start, named=None, env=env, environ=here.environ) as source:
        if source.registry is None:
            raise source.error or InfrastructureError("the registry cannot be read")
        if writes and not source.is_writable:
            raise InfrastructureError(
                "the registry cannot be changed here",
                place=Place(file=source.own_file),
                hint="work in a checkout whose files may be written",
            )
        ledger = read_ledger(source.project, source.environment)
        yield Ground(here=here, source=source, registry=source.registry, ledger=ledger)
