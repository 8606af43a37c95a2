"""What a watch stands on: the registry as it is now, the live overlay, and the release that is being rolled out.

A registry that was edited into something wrong is not used: the last good one stays, and the watch says so. What
processes share may be away: then the last overlay that was seen stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError, InfrastructureError
from flowai.redaction import Redactor
from flowai.registry import events_directory
from flowai.registry.resolve import resolve_release
from flowai.releases.diff import changed_features
from flowai.releases.fleet import Fleet
from flowai.releases.ledger import ledger_file, read_ledger
from flowai.releases.registry_source import DEFAULT_ENVIRONMENT, RegistrySource, open_source
from flowai.releases.stages import FULL_ROLLOUT, began_at
from flowai.state import Overlay
from flowai.storage.files import read_fingerprints
from flowai.watch.attribution import CandidateRelease
from flowai.watch.error_rates import AlertRule

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.redaction import Redactor
    from flowai.registry import Registry
    from flowai.state import Overlay
    from flowai.storage.files import FileFingerprint
    from flowai.watch.records import WatchOptions
    from flowai.workspace.workspace import CommandContext

GRACE_PERIOD = timedelta(minutes=1)
"""So long after a step of a rollout calls of the stage before may still end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveRollout:
    """A release that is being rolled out."""

    suspect: CandidateRelease
    """The release."""
    stage: int
    """The percentage it has reached."""
    baseline: str
    """What serves otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedRelease:
    """How things stand at a look."""

    source: RegistrySource
    """The registry's place; the last good one."""
    registry: Registry
    """The registry."""
    events: Path
    """The event log's directory."""
    rule: AlertRule
    """When failures are too many."""
    redactor: Redactor
    """Takes secrets out."""
    rolled: ActiveRollout | None = None
    """The release that is being rolled out; None where none is, or only to ourselves."""
    warnings: tuple[str, ...] = ()
    """What a person should know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _RegistryRead:
    """What was read from files."""

    source: RegistrySource
    registry: Registry
    events: Path
    warnings: tuple[str, ...]
    stage_at: datetime | None


class WatchSession:
    """Looks at files and at what processes share.

    Args:
        context: the command's context.
        options: environment and state, as asked for.

    Raises:
        UsageError: several environments and none named.
        ProjectError: the registry is wrong, or there is none.
        InfrastructureError: it lies on another machine.
    """

    def __init__(self, context: CommandContext, options: WatchOptions) -> None:
        self._context = context
        self._env = options.env
        self._fleet = Fleet(options.state, context.directory, now=context.now)
        self._overlay: Overlay | None = None
        self._error: str | None = None
        self._seen: tuple[str, int, datetime] | None = None
        self._read = self._read_files()
        self._env = self._read.source.environment or DEFAULT_ENVIRONMENT
        self._fingerprints = self._look_at_files()

    def close(self) -> None:
        """Close the connection to the processes."""
        self._fleet.close()

    def refresh(self) -> ObservedRelease:
        """Read what changed."""
        self._refresh()
        state_error = self._look_at_state()
        read = self._read
        policy = read.registry.policies.alert
        rule = AlertRule(
            error_rate=policy.error_rate,
            window_minutes=max(1, math.ceil(policy.window_s / 60)),
            min_calls=policy.min_calls,
        )
        warnings = [*read.warnings]
        if self._error is not None:
            warnings.append(f"the registry is wrong, the last good one is used: {self._error}")
        if state_error is not None:
            warnings.append(f"what processes share is away: {state_error}")
        rolled = None
        try:
            rolled = self._rolled(read)
        except FlowaiError as error:
            warnings.append(f"the rollout is not judged: {error}")
        return ObservedRelease(
            source=read.source,
            registry=read.registry,
            events=read.events,
            rule=rule,
            redactor=read.source.redactor,
            rolled=rolled,
            warnings=tuple(warnings),
        )

    # --- files ---

    def _refresh(self) -> None:
        fingerprints = self._look_at_files()
        if fingerprints == self._fingerprints:
            return
        try:
            self._read, self._error = self._read_files(), None
        except FlowaiError as error:
            self._error = str(error)
        self._fingerprints = fingerprints

    def _read_files(self) -> _RegistryRead:
        context = self._context
        with open_source(context.directory, named=None, env=self._env, environ=context.environ) as source:
            if source.is_remote:
                raise InfrastructureError(
                    "the registry lies on another machine, and so does its event log",
                    hint="run `flowai watch` in the checkout whose processes write the log",
                )
            registry = source.require_registry()
            warnings: tuple[str, ...] = ()
            stage_at = None
            if registry.rollout is not None:
                ledger = read_ledger(source.project, source.environment)
                warnings = ledger.warnings
                stage_at = began_at(
                    ledger, registry.rollout.candidate, registry.rollout.stage, registry.rollout.started_at
                )
            return _RegistryRead(
                source=source,
                registry=registry,
                events=events_directory(registry, source.project),
                warnings=warnings,
                stage_at=stage_at,
            )

    def _look_at_files(self) -> dict[str, FileFingerprint]:
        """Read the fingerprints of the files that a registry may be made of."""
        project = self._read.source.project
        files = [*project.registry.parent.glob(f"*{project.registry.suffix}"), project.dotenv]
        files.append(ledger_file(project, self._read.source.environment))
        return read_fingerprints(files)

    # --- what processes share ---

    def _look_at_state(self) -> str | None:
        """Read the overlay; return why it could not be."""
        try:
            self._fleet.open(self._read.source)
            self._overlay, _ = self._fleet.look()
        except FlowaiError as error:
            return str(error)
        return None

    # --- the rollout ---

    def _rolled(self, read: _RegistryRead) -> ActiveRollout | None:
        """Find the release that is being rolled out.

        Raises:
            RegistryError: nothing else could serve.
        """
        registry, overlay, rollout = read.registry, self._overlay, read.registry.rollout
        bad = {*registry.bad, *(overlay.bad if overlay else ())}
        if rollout is None or rollout.stage == "dogfood" or rollout.candidate in bad:
            return None
        if overlay is not None and overlay.ends_rollout_of == rollout.candidate:
            return None
        baseline = resolve_release(
            registry, read.source.environ, live=overlay.release if overlay else None, bad={*bad, rollout.candidate}
        ).name
        stage = int(rollout.stage)
        if self._seen is None or self._seen[:2] != (rollout.candidate, stage):
            self._seen = (rollout.candidate, stage, self._context.now())
        began = (read.stage_at or self._seen[2]) + GRACE_PERIOD
        suspect = CandidateRelease(
            release=rollout.candidate,
            changed=frozenset(changed_features(registry, baseline, rollout.candidate)),
            is_whole=stage >= FULL_ROLLOUT,
            since_minute=math.ceil(began.timestamp() / 60),
        )
        return ActiveRollout(suspect=suspect, stage=stage, baseline=baseline)
