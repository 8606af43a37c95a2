"""What publishing and promoting stand on: an opened registry that may be changed, its ledger, what processes share."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError, InfrastructureError, Place, UsageError
from flowai.registry import resolve_release
from flowai.registry.writer import edit_registry
from flowai.releases.fleet import Fleet
from flowai.releases.ledger import Ledger, LedgerEntry, open_ledger, read_ledger
from flowai.releases.registry_source import RegistrySource, open_source
from flowai.rollouts.release_event import log_step
from flowai.state import Overlay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from flowai.registry import Registry, Rollout, ServingRelease
    from flowai.registry.writer import ManagedKeys
    from flowai.workspace.workspace import CommandContext


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseStatus:
    """How an environment's releases stand, by its files and by what its processes are told."""

    live: str | None
    """The release that a rollback put in front of `current`; None when none did."""
    bad: frozenset[str]
    """Releases that are never to be served again, whoever says so."""
    warnings: tuple[str, ...]
    """What a person should know; one line each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutSession:
    """An environment whose releases are to be changed."""

    context: CommandContext
    """The command's context, with the project, environment and variables that were found."""
    source: RegistrySource
    """The registry's place."""
    registry: Registry
    """The registry."""
    ledger: Ledger
    """Its ledger."""

    def clean(self, text: str | None) -> str | None:
        """Take secrets out of what a person wrote."""
        return None if text is None else self.source.redactor.text(text)

    def apply_step(
        self, entry: LedgerEntry, rollout: Rollout | None, change: Callable[[ManagedKeys], ManagedKeys]
    ) -> tuple[str, ...]:
        """Take a step: change the registry, then say so in the ledger and the event log.

        The ledger is opened first: one that cannot be written stops the step before anything is changed.

        Args:
            entry: the step.
            rollout: the rollout that was looked at when it was decided.
            change: of flowai's own keys.

        Returns:
            What a person should know; one line each.

        Raises:
            UsageError: somebody moved the rollout meanwhile.
            InfrastructureError: a file cannot be written.
        """

        def checked(own: ManagedKeys) -> ManagedKeys:
            if own.rollout != rollout:
                raise UsageError("the rollout was changed meanwhile", hint="look again: `flowai release list`")
            return change(own)

        source = self.source
        with open_ledger(source.project, source.environment) as ledger:
            edit_registry(
                source.project, checked, env=source.environment, environ=source.environ, clock_s=self.context.clock_s
            )
            ledger.append(entry)
        return log_step(source, entry)

    def record_missed_step(self, entry: LedgerEntry) -> tuple[str, ...]:
        """Add a step that was taken, but never written down, to the ledger and the event log.

        Returns:
            What a person should know; one line each.

        Raises:
            InfrastructureError: the ledger cannot be written.
        """
        with open_ledger(self.source.project, self.source.environment) as ledger:
            ledger.append(entry)
        return log_step(self.source, entry)

    def status_of(self) -> ReleaseStatus:
        """Say how its releases stand; the live overlay counts, where it can be reached."""
        overlay, warnings = None, self.ledger.warnings
        try:
            overlay = self.overlay()
        except FlowaiError as error:
            warnings = (*warnings, f"the live overlay is not known: {error}")
        if overlay is None:
            return ReleaseStatus(live=None, bad=frozenset(self.registry.bad), warnings=warnings)
        return ReleaseStatus(live=overlay.release, bad=frozenset({*self.registry.bad, *overlay.bad}), warnings=warnings)

    def serving(self, standing: ReleaseStatus) -> ServingRelease:
        """Say which release serves all who take part in no rollout.

        Raises:
            RegistryError: none may.
        """
        return resolve_release(self.registry, self.source.environ, live=standing.live, bad=standing.bad)

    def overlay(self) -> Overlay | None:
        """Return the live overlay.

        Raises:
            InfrastructureError: what processes share is away.
        """
        with self._fleet() as fleet:
            return fleet.look()[0]

    def take_back_overlay(self, at: datetime) -> None:
        """Let the registry decide again what serves, after a rollback's overlay did; what is bad stays bad.

        Raises:
            InfrastructureError: what processes share is away.
        """
        with self._fleet() as fleet:
            old, _ = fleet.look()
            if old is not None and old.serving is not None:
                bad = tuple(dict.fromkeys((*self.registry.bad, *old.bad)))
                fleet.write_overlay(Overlay(epoch=old.epoch + 1, bad=bad, at=at))

    @contextmanager
    def _fleet(self) -> Iterator[Fleet]:
        with closing(Fleet(None, self.context.directory, now=self.context.now)) as fleet:
            fleet.open(self.source)
            yield fleet


@contextmanager
def open_ground(context: CommandContext, *, env: str | None, writes: bool = True) -> Iterator[RolloutSession]:
    """Open an environment.

    Args:
        context: the command's context.
        env: the environment; None for FLOWAI_ENV or the only one.
        writes: whether its registry is to be changed.

    Yields:
        The ground.

    Raises:
        ProjectError: the registry is wrong.
        UsageError: several environments and none named.
        InfrastructureError: it cannot be changed from here.
    """
    with open_source(context.directory, named=None, env=env, environ=context.environ) as source:
        registry = source.require_registry()
        if writes and not source.is_writable:
            raise InfrastructureError(
                "the registry cannot be changed here",
                place=Place(file=source.own_file),
                hint="work in a checkout whose files may be written",
            )
        ledger = read_ledger(source.project, source.environment)
        opened = replace(context, found_project=source.project, environ=source.environ, env=source.environment)
        yield RolloutSession(context=opened, source=source, registry=registry, ledger=ledger)
