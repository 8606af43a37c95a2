"""`flowai rollback`: stops a bad release at once, then updates ledger, registry and version targets.

The order makes it safe to kill: first the overlay, which holds the decision and which running processes follow, then
the ledger, the registry, and the queued messages. A second run does the missing steps. Without the overlay, the ledger
holds the decision: as started before the registry is changed, as done only if something was.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, InfrastructureError, RegistryError, UsageError, describe_error
from flowai.registry.writer import ManagedKeys, edit_registry
from flowai.releases.diff import known_differences
from flowai.releases.fleet import Confirmation, Fleet
from flowai.releases.registry_source import RegistrySource, open_source
from flowai.releases.rollback_plan import ObservedState, RollbackPlan, plan_rollback
from flowai.rollouts.audit_step import audit_rollback
from flowai.rollouts.notify import RolloutNotifier
from flowai.rollouts.records import (
    RollbackOptions,
    RollbackResult,
    RollbackStep,
    StepStatus,
    changed_keys,
    last_heartbeat_text,
    silent_process_texts,
)
from flowai.rollouts.rollback_entry import RollbackLedger
from flowai.state import Overlay, shown_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.releases.ledger import LedgerEntry, StepProgress
    from flowai.state import Heartbeat
    from flowai.workspace.workspace import CommandContext

MAX_SYNC_ROUNDS = 3
"""As often as others may plausibly come between."""
MAX_RECHECKS = 2
"""How often a store that answered before is asked again; few, so that the whole command stays within seconds."""
RECHECK_PAUSE_S = 0.1


def run_rollback(
    context: CommandContext,
    options: RollbackOptions,
    on_plan: Callable[[RollbackResult], None],
    on_step: Callable[[RollbackStep], None] = lambda _: None,
) -> RollbackResult:
    """Roll back; failed and pending steps are in the result.

    Args:
        context: directory, user, variables and clocks.
        options: options of the command.
        on_plan: called with the plan before the first change.
        on_step: called with each completed step.

    Raises:
        UsageError: no release to return to, several environments, or `to` may not serve; nothing was changed.
        ProjectError: there is neither a registry nor shared state.
        InfrastructureError: the same, with the registry on another machine.
    """
    with (
        open_source(context.directory, named=options.registry, env=options.env, environ=context.environ) as source,
        closing(Fleet(options.state, context.directory, now=context.now, clock_s=context.clock_s)) as fleet,
    ):
        return _Rollback(context, options, source, fleet, on_step).run(on_plan)


@dataclass(kw_only=True)
class _ObservedState:
    """Shared state before the first change."""

    overlay: Overlay | None = None
    heartbeats: Sequence[Heartbeat] = ()


@dataclass(kw_only=True)
class _CompletedSteps:
    """Progress of a rollback."""

    steps: list[RollbackStep] = field(default_factory=list)
    confirmation: Confirmation = field(default_factory=Confirmation)
    warnings: list[str] = field(default_factory=list)


class _Rollback:
    """A running rollback; opens `fleet`."""

    def __init__(
        self,
        context: CommandContext,
        options: RollbackOptions,
        source: RegistrySource,
        fleet: Fleet,
        on_step: Callable[[RollbackStep], None],
    ) -> None:
        self._context = context
        self._on_step = on_step
        reason = None if options.reason is None else source.redactor.text(options.reason)
        self._options = replace(options, reason=reason)
        self._source = source
        self._fleet = fleet
        self._state_error = ""
        self._has_answered = False
        self._written_current: str | None = None
        self._ledger = RollbackLedger(context, source)
        self._seen = _ObservedState()
        self._done = _CompletedSteps()
        self._at = context.now()

    def run(self, on_plan: Callable[[RollbackResult], None]) -> RollbackResult:
        """Do all steps, in order."""
        self._load()
        if self._source.registry is None and not self._fleet.is_open:
            raise self._source.error or InfrastructureError("neither the registry nor the shared state can be read")
        plan = self._plan(self._seen.overlay)
        on_plan(self._result(plan))
        if self._options.dry_run:
            return self._result(plan)
        if not plan.rolled_back:
            self._check_serving(plan)
            return self._result(plan, RolloutNotifier(self._context, self._source, self._on_step).deliver())
        overlay = self._activate_overlay(plan)
        plan, overlay = self._await_confirmation(plan, overlay)
        entry = self._ledger.build_entry(plan, overlay, self._done.confirmation, self._options)
        has_overlay = overlay is not None
        is_written = self._append_to_ledger(entry, "done" if has_overlay else "started")
        plan = self._sync_registry(plan, overlay)
        notifier = RolloutNotifier(self._context, self._source, self._on_step)
        took_place = bool(self._result(plan).changed_places)
        steps = (*notifier.queue(plan, entry, took_place=took_place), *notifier.deliver())
        if not has_overlay:
            is_written = self._end_record(entry, self._result(plan, steps), is_started=is_written)
        self._done.warnings += self._ledger.log_event(entry) if is_written else ()
        audit_warnings = audit_rollback(self._context, self._source, entry, self._done.steps)
        self._done.warnings += (*audit_warnings, *notifier.warnings(plan))
        return self._result(plan, steps, entry=entry)

    # --- before the first change ---

    def _load(self) -> None:
        """Read overlay, heartbeats and ledger; after the registry, since other commands change it last."""
        try:
            self._fleet.open(self._source)
            self._seen.overlay, self._seen.heartbeats = self._fleet.read()
            self._has_answered = True
        except Exception as error:  # noqa: BLE001 - a store that cannot be read is away
            self._mark_state_unreachable(error)
        self._done.warnings += self._ledger.read()

    def _mark_state_unreachable(self, error: Exception) -> None:
        self._fleet.disconnect()
        self._state_error = describe_error(error)

    def _plan(self, overlay: Overlay | None) -> RollbackPlan:
        seen = ObservedState(
            registry=self._source.registry,
            environ=self._source.environ,
            overlay=overlay,
            heartbeats=self._seen.heartbeats,
            last_step=self._ledger.last_step,
        )
        try:
            return plan_rollback(seen, to=self._options.to, force=self._options.force)
        except UsageError as error:
            if self._source.error is None:
                raise
            cause = self._source.error  # with a readable registry there would be a plan
            kind = InfrastructureError if isinstance(cause, InfrastructureError) else RegistryError
            raise kind(f"{cause.what}; {error.what}", place=cause.place, hint=error.hint) from error

    # --- the steps ---

    def _step(self, name: str, status: StepStatus, detail: str, start_s: float | None = None) -> None:
        elapsed_ms = None if start_s is None else (self._context.clock_s() - start_s) * 1000
        step = RollbackStep(name=name, status=status, detail=detail, elapsed_ms=elapsed_ms)
        self._done.steps.append(step)
        self._on_step(step)

    def _activate_overlay(self, plan: RollbackPlan) -> Overlay | None:
        """Write the overlay; return None if the shared state is unreachable."""
        start_s = self._context.clock_s()
        if not self._fleet.is_open:
            self._step("live overlay", "failed", self._state_error, start_s)
            return None
        old = self._seen.overlay
        if old is not None and plan.matches(old):
            since = f"already active since {old.at:%Y-%m-%d %H:%M} UTC"
            self._step("live overlay", "done", f"{shown_address(self._fleet.address)}, {since}", start_s)
            return old
        overlay = Overlay(
            release=plan.release,
            bad=plan.bad,
            ends_rollout_of=plan.ends_rollout_of,
            serving=plan.serving,
            epoch=1 if old is None else old.epoch + 1,
            reason=self._options.reason,
            at=self._at,
        )
        try:
            self._fleet.write_overlay(overlay)
        except Exception as error:  # noqa: BLE001 - the registry can still be changed
            self._step("live overlay", "failed", describe_error(error), start_s)
            self._mark_state_unreachable(error)
            return None
        self._step("live overlay", "done", shown_address(self._fleet.address), start_s)
        return overlay

    def _check_serving(self, plan: RollbackPlan) -> None:
        """Report whether all processes serve the release of the plan."""
        try:
            confirmation = self._fleet.check(plan.is_followed_by, ignored=self._options.ignored_processes)
        except InfrastructureError as error:
            if not self._state_error:
                self._mark_state_unreachable(error)
            self._step("processes", "failed", f"unreachable: {self._state_error}")
        else:
            self._record_confirmation(plan, confirmation, None)

    def _record_confirmation(self, plan: RollbackPlan, confirmation: Confirmation, start_s: float | None) -> None:
        self._done.confirmation = confirmation
        status: StepStatus = "failed" if not confirmation.is_complete else "done" if confirmation.count else "skipped"
        self._step("processes", status, confirmation.describe(plan.serving), start_s)
        unknown = sorted(set(self._options.ignored_processes) - set(confirmation.ignored))
        self._done.warnings += (f"no silent process `{name}` is known: it is not ignored" for name in unknown)

    def _await_confirmation(self, plan: RollbackPlan, overlay: Overlay | None) -> tuple[RollbackPlan, Overlay | None]:
        """Wait until the processes confirm; adopt the decision of a concurrent rollback that won."""
        start_s = self._context.clock_s()
        if overlay is None or not self._fleet.is_open:
            names = ", ".join(beat.process for beat in self._seen.heartbeats)
            self._step("processes", "failed", f"unreachable{f': {names}' if names else ''}")
            return plan, overlay
        try:
            now, _ = self._fleet.read()
            if now is not None and now != overlay and now.epoch >= overlay.epoch:
                plan, overlay = self._adopt(plan, now), now
            confirmation = self._fleet.confirm(overlay, ignored=self._options.ignored_processes)
        except Exception as error:  # noqa: BLE001 - as in `_activate_overlay`
            self._step("processes", "failed", describe_error(error), start_s)
            self._mark_state_unreachable(error)
            return plan, overlay
        self._record_confirmation(plan, confirmation, start_s)
        return plan, overlay

    def _adopt(self, plan: RollbackPlan, overlay: Overlay) -> RollbackPlan:
        """Return the plan with the decision of a concurrent rollback."""
        if overlay.serving is None:
            raise InfrastructureError(
                "a release was published or promoted at the same moment", hint="run the same command again"
            )
        if overlay.serving != plan.serving:
            self._done.warnings.append(f"a concurrent rollback to `{overlay.serving}` won")
        return replace(
            plan,
            serving=overlay.serving,
            release=overlay.release,
            ends_rollout_of=overlay.ends_rollout_of,
            bad=overlay.bad,
            changed=plan.changed and overlay.serving == plan.serving,
        )

    def _append_to_ledger(self, entry: LedgerEntry, progress: StepProgress) -> bool:
        """Append to the ledger; return whether this run did."""
        start_s = self._context.clock_s()
        if self._ledger.contains(entry):
            return False
        try:
            self._ledger.write(entry, progress)
        except FlowaiError as error:
            self._step("ledger", "failed" if progress == "started" else "pending", str(error), start_s)
            return False
        return True

    def _end_record(self, entry: LedgerEntry, result: RollbackResult, *, is_started: bool) -> bool:
        """Record that a started rollback is done; return whether it is recorded.

        If it changed nothing it stays started, and the next rollback finishes it.
        """
        is_done = bool(result.changed_places)
        if not is_started:
            if is_done and any(step.name == "ledger" for step in result.steps):  # the next run cannot know of this one
                retry = f"`flowai rollback --to {entry.serving}`"
                self._done.warnings.append(f"run it again as {retry}, or it rolls back `{entry.serving}` too")
            return False
        return is_done and self._append_to_ledger(entry, "done")

    def _sync_registry(self, plan: RollbackPlan, overlay: Overlay | None) -> RollbackPlan:
        """Write the plan into the registry; repeat if a newer overlay appears meanwhile.

        `overlay` is the active overlay after the plan; None if this run could not write its own.
        """
        for _ in range(MAX_SYNC_ROUNDS):
            self._write_registry(plan)
            try:
                now = self._newest_overlay()
                known = self._seen.overlay if overlay is None else overlay
                if now is None or now == known or now.serving == plan.serving:
                    return plan
                plan, overlay = self._adopt(plan, now), now
            except InfrastructureError as error:
                self._done.warnings.append(str(error))
                return plan
        return plan

    def _newest_overlay(self) -> Overlay | None:
        """Return the active overlay; None if the store was unreachable from the start.

        A store that answered before is read again: another rollback may have won meanwhile, and the registry must not
        contradict it because one read timed out on a busy machine.

        Raises:
            InfrastructureError: the store is unreachable now; the step "overlay check" has failed.
        """
        if not self._has_answered:
            return None
        start_s = self._context.clock_s()
        for left in range(MAX_RECHECKS, -1, -1):
            try:
                self._fleet.open(self._source)
                return self._fleet.read()[0]
            except InfrastructureError as error:
                self._mark_state_unreachable(error)
                if left == 0:
                    self._step("overlay check", "failed", str(error), start_s)
                    raise
                time.sleep(RECHECK_PAUSE_S)
        return None

    def _write_registry(self, plan: RollbackPlan) -> None:
        start_s, source = self._context.clock_s(), self._source
        if source.registry is None:
            self._step(source.own_file, "failed", str(source.error), start_s)
            return
        if not source.is_writable:
            reason = "fetched" if source.is_remote else "read-only"
            self._step(source.own_file, "skipped", f"{reason}, unchanged")
            return
        changes: list[str] = []

        def change(own: ManagedKeys) -> ManagedKeys:
            new = plan.update_keys(own)
            if own.current is not None and own.current == self._written_current:  # not a person's: of a plan that lost
                new = msgspec.structs.replace(new, current=plan.serving)
            if new.current != own.current:
                self._written_current = new.current
            changes.extend(changed_keys(own, new))
            known = source.registry.releases if source.registry else {}
            return ManagedKeys(
                current=new.current,
                history=new.history,
                bad=tuple(name for name in new.bad if name in known),
                rollout=new.rollout,
            )

        try:
            edit_registry(
                source.project, change, env=source.environment, environ=source.environ, clock_s=self._context.clock_s
            )
        except Exception as error:  # noqa: BLE001 - the overlay holds, and the record must say what happened
            self._step(source.own_file, "failed", source.redactor.text(describe_error(error)), start_s)
            return
        self._step(source.own_file, "done", ", ".join(changes) or "already up to date", start_s)

    # --- the result ---

    def _result(
        self, plan: RollbackPlan, steps: Sequence[RollbackStep] = (), *, entry: LedgerEntry | None = None
    ) -> RollbackResult:
        source, confirmation = self._source, self._done.confirmation
        has_failed = any(step.name == source.own_file and step.status == "failed" for step in self._done.steps)
        return RollbackResult(
            environment=source.environment,
            rolled_back=plan.rolled_back,
            serving=plan.serving,
            stage=plan.stage,
            good_since=self._ledger.good_since(plan.serving),
            changed=plan.changed,
            finishes=plan.is_undone,
            is_dry_run=self._options.dry_run,
            reason=self._options.reason,
            differences=known_differences(source.registry, next(reversed(plan.rolled_back), None), plan.serving),
            steps=(*self._done.steps, *steps),
            process_count=confirmation.count if self._done.steps else len(self._seen.heartbeats),
            unconfirmed=tuple(last_heartbeat_text(process) for process in confirmation.unconfirmed),
            silent=silent_process_texts(confirmation.silent, plan),
            unreachable=tuple(beat.process for beat in self._seen.heartbeats) if not self._fleet.is_open else (),
            warnings=tuple(self._done.warnings),
            registry_file=source.own_file,
            is_in_git=not source.is_remote and source.is_writable and not has_failed,
            since=self._ledger.since(plan, entry),
        )
