"""Registry, live overlay and active rollout of a watch, refreshed at each check.

If the registry becomes invalid or the shared state unreachable, the last good one is used, with a warning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError, InfrastructureError, describe_error
from flowai.redaction import Redactor
from flowai.registry import events_directory
from flowai.registry.resolve import resolve_release
from flowai.releases.diff import changed_features
from flowai.releases.fleet import Fleet
from flowai.releases.ledger import ledger_file, read_ledger
from flowai.releases.registry_source import DEFAULT_ENVIRONMENT, RegistrySource, open_source
from flowai.releases.stages import FULL_ROLLOUT, stage_started_at
from flowai.state import Overlay
from flowai.storage.files import read_fingerprints
from flowai.watch.attribution import CandidateRelease
from flowai.watch.error_rates import AlertRule
from flowai.watch.event_counts import minute_of
from flowai.watch.records import RolloutView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flowai.redaction import Redactor
    from flowai.registry import Registry
    from flowai.state import Overlay
    from flowai.storage.files import FileFingerprint
    from flowai.watch.attribution import Attribution
    from flowai.watch.incidents import Incident
    from flowai.watch.records import WatchOptions
    from flowai.workspace.workspace import CommandContext

GRACE_PERIOD = timedelta(minutes=1)
"""Time after a rollout step in which calls of the previous stage may still end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveRollout:
    """A rollout that has reached a percentage."""

    suspect: CandidateRelease
    stage: int
    """Percentage."""
    baseline: str

    def without_resolved(self, incidents: Sequence[Incident]) -> ActiveRollout:
        """Return it without features that failed before the release reached 100 %: it did not cause that."""
        suspect = self.suspect
        if not suspect.is_full:
            return self
        failed_before = {
            one.name for one in incidents if one.kind == "feature" and minute_of(one.opened_at) < suspect.since_minute
        }
        return replace(self, suspect=replace(suspect, changed=suspect.changed - failed_before))

    def view(self, attribution: Attribution) -> RolloutView:
        """Build the record of an attribution."""
        return RolloutView(
            release=self.suspect.release,
            stage=self.stage,
            baseline=self.baseline,
            verdict=attribution.verdict,
            user_count=attribution.candidate.call_count,
            failed_user_count=attribution.candidate.failure_count,
            control_user_count=attribution.control.call_count,
            failed_control_user_count=attribution.control.failure_count,
            log_e=attribution.log_e,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedRelease:
    """State of an environment at a check; the last valid one."""

    source: RegistrySource
    registry: Registry
    events: Path
    """Directory of the event log."""
    rule: AlertRule
    redactor: Redactor
    rollout: ActiveRollout | None = None
    """None without a rollout, and in the dogfood stage."""
    releases: tuple[str, ...] = ()
    """The serving release, and the candidate of the rollout."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _RegistryRead:
    """Content of the files."""

    source: RegistrySource
    registry: Registry
    events: Path
    warnings: tuple[str, ...]
    stage_at: datetime | None


class WatchSession:
    """Reads files and shared state; files again only if they changed.

    Raises:
        UsageError: several environments and none named.
        ProjectError: the registry is missing or invalid.
        InfrastructureError: the registry is on another machine.
    """

    def __init__(self, context: CommandContext, options: WatchOptions) -> None:
        self._context = context
        self._env = options.env
        self._fleet = Fleet(options.state, context.directory, now=context.now)
        self._overlay: Overlay | None = None
        self._error: str | None = None
        self._first_seen: tuple[str, int, datetime] | None = None
        self._read = self._read_files()
        self._env = self._read.source.environment or DEFAULT_ENVIRONMENT
        self._fingerprints = self._fingerprint_files()

    def close(self) -> None:
        """Close the connection to the shared state."""
        self._fleet.close()

    def refresh(self) -> ObservedRelease:
        """Read changed files and the overlay."""
        self._refresh()
        state_error = self._read_overlay()
        read = self._read
        policy = read.registry.policies.alert
        rule = AlertRule(
            error_rate=policy.error_rate,
            window_minutes=max(1, math.ceil(policy.window_s / 60)),
            min_calls=policy.min_calls,
        )
        warnings = [*read.warnings]
        if self._error is not None:
            warnings.append(f"the registry is invalid, the last valid one is used: {self._error}")
        if state_error is not None:
            warnings.append(f"the shared state is unreachable: {state_error}")
        rollout = None
        try:
            rollout = self._active_rollout(read)
        except FlowaiError as error:
            warnings.append(f"the rollout is not checked: {error}")
        return ObservedRelease(
            source=read.source,
            registry=read.registry,
            events=read.events,
            rule=rule,
            redactor=read.source.redactor,
            rollout=rollout,
            releases=self._releases(read),
            warnings=tuple(warnings),
        )

    # --- files ---

    def _refresh(self) -> None:
        fingerprints = self._fingerprint_files()
        if fingerprints == self._fingerprints:
            return
        try:
            self._read, self._error = self._read_files(), None
        except FlowaiError as error:
            self._error = str(error)
        except Exception as error:  # noqa: BLE001 - the last valid version is used, whatever the next one does
            self._error = self._read.source.redactor.text(describe_error(error))
        self._fingerprints = fingerprints

    def _read_files(self) -> _RegistryRead:
        context = self._context
        with open_source(context.directory, named=None, env=self._env, environ=context.environ) as source:
            if source.is_remote:
                raise InfrastructureError(
                    "the registry is on another machine, and so is its event log",
                    hint="run `flowai watch` in the checkout whose processes write the log",
                )
            registry = source.require_registry()
            warnings: tuple[str, ...] = ()
            stage_at = None
            if registry.rollout is not None:
                ledger = read_ledger(source.project, source.environment)
                warnings = ledger.warnings
                stage_at = stage_started_at(
                    ledger, registry.rollout.candidate, registry.rollout.stage, registry.rollout.started_at
                )
            return _RegistryRead(
                source=source,
                registry=registry,
                events=events_directory(registry, source.project),
                warnings=warnings,
                stage_at=stage_at,
            )

    def _fingerprint_files(self) -> dict[str, FileFingerprint]:
        """Read the fingerprints of the files that the registry may depend on."""
        project = self._read.source.project
        files = [*project.registry.parent.glob(f"*{project.registry.suffix}"), project.dotenv]
        files.append(ledger_file(project, self._read.source.environment))
        return read_fingerprints(files)

    # --- shared state ---

    def _read_overlay(self) -> str | None:
        """Read the overlay; return the error, if any."""
        try:
            self._fleet.open(self._read.source)
            self._overlay, _ = self._fleet.read()
        except FlowaiError as error:
            return str(error)
        return None

    # --- the rollout ---

    def _releases(self, read: _RegistryRead) -> tuple[str, ...]:
        """Return the releases whose models are in use; none if no release serves."""
        registry, overlay = read.registry, self._overlay
        bad = {*registry.bad, *(overlay.bad if overlay else ())}
        live = overlay.release if overlay else None
        try:
            serving = resolve_release(registry, read.source.environ, live=live, bad=bad).name
        except FlowaiError:
            return ()
        candidate = registry.rollout.candidate if registry.rollout is not None else None
        return (serving,) if candidate is None or candidate in {serving, *bad} else (serving, candidate)

    def _active_rollout(self, read: _RegistryRead) -> ActiveRollout | None:
        """Return the active rollout.

        Raises:
            RegistryError: no other release can serve.
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
        if self._first_seen is None or self._first_seen[:2] != (rollout.candidate, stage):
            self._first_seen = (rollout.candidate, stage, self._context.now())
        started_at = (read.stage_at or self._first_seen[2]) + GRACE_PERIOD
        suspect = CandidateRelease(
            release=rollout.candidate,
            changed=frozenset(changed_features(registry, baseline, rollout.candidate)),
            is_full=stage >= FULL_ROLLOUT,
            since_minute=math.ceil(started_at.timestamp() / 60),
        )
        return ActiveRollout(suspect=suspect, stage=stage, baseline=baseline)
