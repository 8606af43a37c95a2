"""An open environment for release commands: registry, ledger, and shared state."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError, InfrastructureError, Place, UsageError
from flowai.registry import resolve_release
from flowai.registry.writer import edit_registry
from flowai.releases.fleet import Fleet
from flowai.releases.ledger import Ledger, LedgerEntry, open_ledger, read_ledger
from flowai.releases.ledger_steps import find_unrecorded, recorded_step
from flowai.releases.registry_source import RegistrySource, open_source
from flowai.rollouts.audit_step import audit_step
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
    """Release state of an environment, from its files and the live overlay."""

    live: str | None
    """Release of a rollback's overlay, which overrides `current`; None without one."""
    bad: frozenset[str]
    """Bad releases of registry and overlay."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutSession:
    """An open environment."""

    context: CommandContext
    """With the resolved project, environment and variables."""
    source: RegistrySource
    registry: Registry
    ledger: Ledger
    finished: tuple[LedgerEntry, ...] = ()
    """Steps of killed commands that took place, and that this command recorded as done."""
    warnings: tuple[str, ...] = ()
    """Warnings about the ledger."""

    def redact(self, text: str | None) -> str | None:
        """Replace secrets in a text of the user."""
        return None if text is None else self.source.redactor.text(text)

    def apply_step(
        self, entry: LedgerEntry, rollout: Rollout | None, change: Callable[[ManagedKeys], ManagedKeys]
    ) -> tuple[str, ...]:
        """Apply a step: start it in the ledger, edit the registry, then record it as done; return warnings.

        If the ledger cannot be written, nothing changes.

        Args:
            entry: the step.
            rollout: rollout on which the decision is based.
            change: edit of flowai's own keys.

        Raises:
            UsageError: the rollout changed meanwhile.
            InfrastructureError: a file cannot be written.
        """

        def checked(own: ManagedKeys) -> ManagedKeys:
            if own.rollout != rollout:
                raise UsageError("the rollout changed meanwhile", hint="check it with `flowai release list`")
            return change(own)

        source, context = self.source, self.context
        try:
            with open_ledger(source.project, source.environment) as ledger, recorded_step(ledger, entry) as warnings:
                edit_registry(
                    source.project, checked, env=source.environment, environ=source.environ, clock_s=context.clock_s
                )
        except FlowaiError as error:
            audit_step(source, entry, failure=error.what)
            raise
        return (*warnings, *log_step(source, entry), *audit_step(source, entry))

    def record_missed_step(self, entry: LedgerEntry) -> tuple[str, ...]:
        """Append a step that was done but not recorded to ledger and event log; return warnings.

        Raises:
            InfrastructureError: the ledger cannot be written.
        """
        with open_ledger(self.source.project, self.source.environment) as ledger:
            ledger.append(entry)
        return (*log_step(self.source, entry), *audit_step(self.source, entry))

    def release_status(self) -> ReleaseStatus:
        """Return the release state, with the live overlay if it is reachable."""
        overlay, warnings = None, self.warnings
        try:
            overlay = self.overlay()
        except FlowaiError as error:
            warnings = (*warnings, f"the live overlay cannot be read: {error}")
        if overlay is None:
            return ReleaseStatus(live=None, bad=frozenset(self.registry.bad), warnings=warnings)
        return ReleaseStatus(live=overlay.release, bad=frozenset({*self.registry.bad, *overlay.bad}), warnings=warnings)

    def serving(self, status: ReleaseStatus) -> ServingRelease:
        """Return the release that serves outside of rollouts.

        Raises:
            RegistryError: no release may serve.
        """
        return resolve_release(self.registry, self.source.environ, live=status.live, bad=status.bad)

    def overlay(self) -> Overlay | None:
        """Return the live overlay.

        Raises:
            InfrastructureError: the shared state is unreachable.
        """
        with self._fleet() as fleet:
            return fleet.read()[0]

    def clear_overlay(self, at: datetime) -> None:
        """Clear the release of a rollback's overlay, so that the registry decides again; keep its bad releases.

        Raises:
            InfrastructureError: the shared state is unreachable.
        """
        with self._fleet() as fleet:
            old, _ = fleet.read()
            if old is not None and old.serving is not None:
                bad = tuple(dict.fromkeys((*self.registry.bad, *old.bad)))
                fleet.write_overlay(Overlay(epoch=old.epoch + 1, bad=bad, at=at))

    @contextmanager
    def _fleet(self) -> Iterator[Fleet]:
        with closing(Fleet(None, self.context.directory, now=self.context.now)) as fleet:
            fleet.open(self.source)
            yield fleet


@contextmanager
def open_rollout_session(context: CommandContext, *, env: str | None, writes: bool = True) -> Iterator[RolloutSession]:
    """Open an environment.

    Args:
        context: directory, user, variables and clocks.
        env: environment; None for FLOWAI_ENV or the only one.
        writes: whether the registry must be writable.

    Raises:
        ProjectError: the registry is invalid.
        UsageError: several environments and none named.
        InfrastructureError: the registry must be writable and is not.
    """
    with open_source(context.directory, named=None, env=env, environ=context.environ) as source:
        registry = source.require_registry()
        if writes and not source.is_writable:
            raise InfrastructureError(
                "the registry cannot be changed here",
                place=Place(file=source.own_file),
                hint="run the command in a checkout with writable files",
            )
        ledger = read_ledger(source.project, source.environment)
        opened = replace(context, found_project=source.project, environ=source.environ, env=source.environment)
        session = RolloutSession(
            context=opened, source=source, registry=registry, ledger=ledger, warnings=ledger.warnings
        )
        yield _finish_records(session) if writes else session


def _finish_records(session: RolloutSession) -> RolloutSession:
    """Record the steps of killed commands that took place."""
    finished: list[LedgerEntry] = []
    warnings = list(session.warnings)
    for step in find_unrecorded(session.registry, session.ledger):
        try:
            warnings += session.record_missed_step(step)
        except InfrastructureError as error:
            warnings.append(f"a step of a command that was killed is not recorded: {error}")
            continue
        finished.append(step)
        name = step.experiment or step.release
        warnings.append(f"the step `{step.action}` of `{name}` by {step.actor}, whose command was killed, is recorded")
    if not finished:
        return replace(session, warnings=tuple(warnings))
    ledger = read_ledger(session.source.project, session.source.environment)
    return replace(session, ledger=ledger, finished=tuple(finished), warnings=tuple(warnings))
