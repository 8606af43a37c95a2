"""What `flowai rollback` does: takes a bad release out of service at once, then puts files and others in line with it.

The order is what makes it safe to kill: the overlay says what was decided, and running processes follow it; the ledger
says it where the overlay cannot; the registry follows; then messages are queued before the first is sent. Whatever of
it is missing, the same command finds it missing and does it.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, InfrastructureError, RegistryError, UsageError
from flowai.registry.writer import ManagedKeys, edit_registry
from flowai.releases.diff import Difference, differences
from flowai.releases.fleet import Confirmation, Fleet
from flowai.releases.registry_source import RegistrySource, open_source
from flowai.releases.rollback_plan import ObservedState, RollbackPlan, plan_rollback
from flowai.rollouts.notify import RolloutNotifier
from flowai.rollouts.records import (
    RollbackOptions,
    RollbackResult,
    RollbackStep,
    StepStatus,
    changed_keys,
    last_heartbeat_text,
)
from flowai.rollouts.rollback_entry import RollbackLedger
from flowai.state import Overlay, shown_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.releases.ledger import LedgerEntry
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
    """Roll back.

    Args:
        context: the command's context.
        options: what was asked for.
        on_plan: called with the plan before anything is changed.
        on_step: called with each step when it is done.

    Returns:
        What was done, what could not be, and what is pending.

    Raises:
        UsageError: nothing to go back to, several environments, or a release that may not serve; nothing was changed.
        ProjectError: there is no registry, and nothing else to act on.
        InfrastructureError: as before, where the registry is on another machine.
    """
    with (
        open_source(context.directory, named=options.registry, env=options.env, environ=context.environ) as source,
        closing(Fleet(options.state, context.directory, now=context.now)) as fleet,
    ):
        return _Rollback(context, options, source, fleet, on_step).run(on_plan)


@dataclass(kw_only=True)
class _ObservedState:
    """What was found out before anything is changed."""

    overlay: Overlay | None = None
    heartbeats: Sequence[Heartbeat] = ()


@dataclass(kw_only=True)
class _CompletedSteps:
    """What was done so far."""

    steps: list[RollbackStep] = field(default_factory=list)
    confirmation: Confirmation = field(default_factory=Confirmation)
    warnings: list[str] = field(default_factory=list)


class _Rollback:
    """One rollback under way.

    Args:
        context: the command's context.
        options: what was asked for.
        source: the registry.
        fleet: the running processes; opened here.
        on_step: called with each step when it is done.
    """

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
        self._state_error: FlowaiError | None = None
        self._has_answered = False
        self._written_current: str | None = None
        self._record = RollbackLedger(context, source)
        self._seen = _ObservedState()
        self._done = _CompletedSteps()
        self._at = context.now()

    def run(self, on_plan: Callable[[RollbackResult], None]) -> RollbackResult:
        """Do it all, in order."""
        self._load()
        if self._source.registry is None and not self._fleet.is_open:
            raise self._source.error or InfrastructureError("there is neither a registry nor a state to act on")
        plan = self._plan(self._seen.overlay)
        on_plan(self._result(plan))
        if self._options.dry_run:
            return self._result(plan)
        if not plan.rolled_back:
            self._check_who_serves(plan)
            return self._result(plan, RolloutNotifier(self._context, self._source, self._on_step).deliver())
        overlay = self._activate_overlay(plan)
        plan, overlay = self._await_confirmation(plan, overlay)
        entry = self._record.entry(plan, overlay, self._done.confirmation, self._options)
        is_written = self._write_down(entry, is_in_force=overlay is not None)
        plan = self._sync_registry(plan, overlay)
        after = RolloutNotifier(self._context, self._source, self._on_step)
        steps = (*after.queue(plan, entry), *after.deliver())
        self._done.warnings += self._record.log(entry) if is_written else ()
        self._done.warnings += (*self._warn_current_overridden(plan), *after.warnings(plan))
        return self._result(plan, steps, entry=entry)

    # --- before anything is changed ---

    def _load(self) -> None:
        """Find out how things stand; the registry was read before, so whoever changed it has changed the overlay."""
        try:
            self._fleet.open(self._source)
            self._seen.overlay, self._seen.heartbeats = self._fleet.look()
            self._has_answered = True
        except FlowaiError as error:
            self._mark_state_unreachable(error)
        self._done.warnings += self._record.read()

    def _mark_state_unreachable(self, error: FlowaiError) -> None:
        self._fleet.disconnect()
        self._state_error = error

    def _plan(self, overlay: Overlay | None) -> RollbackPlan:
        seen = ObservedState(
            registry=self._source.registry,
            environ=self._source.environ,
            overlay=overlay,
            heartbeats=self._seen.heartbeats,
            last=self._record.last,
        )
        try:
            return plan_rollback(seen, to=self._options.to, force=self._options.force)
        except UsageError as error:
            if self._source.error is None:
                raise
            why = self._source.error  # without which nobody would have to be asked
            kind = InfrastructureError if isinstance(why, InfrastructureError) else RegistryError
            raise kind(f"{why.what}; {error.what}", place=why.place, hint=error.hint) from error

    # --- the steps ---

    def _step(self, name: str, status: StepStatus, detail: str, began_s: float | None = None) -> None:
        elapsed_ms = None if began_s is None else (self._context.clock_s() - began_s) * 1000
        step = RollbackStep(name=name, status=status, detail=detail, elapsed_ms=elapsed_ms)
        self._done.steps.append(step)
        self._on_step(step)

    def _activate_overlay(self, plan: RollbackPlan) -> Overlay | None:
        """Write the overlay; None where what processes share is away."""
        began_s = self._context.clock_s()
        if not self._fleet.is_open:
            self._step("live overlay", "failed", str(self._state_error), began_s)
            return None
        old = self._seen.overlay
        if old is not None and plan.holds(old):
            self._step("live overlay", "done", f"{shown_address(self._fleet.address)}, in force already", began_s)
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
        except InfrastructureError as error:
            self._step("live overlay", "failed", str(error), began_s)
            self._mark_state_unreachable(error)
            return None
        self._step("live overlay", "done", shown_address(self._fleet.address), began_s)
        return overlay

    def _check_who_serves(self, plan: RollbackPlan) -> None:
        """Where nothing is to be decided, say whether the processes serve what they should."""
        beats = self._seen.heartbeats
        if not self._fleet.is_open:
            self._step("processes", "failed", f"cannot be asked: {self._state_error}")
            return
        found = Confirmation(
            confirmed=tuple(beat for beat in beats if beat.release == plan.serving and beat.candidate not in plan.bad),
            unconfirmed=tuple(beat for beat in beats if beat.release != plan.serving or beat.candidate in plan.bad),
        )
        self._tell_confirmed(plan, found, None)

    def _tell_confirmed(self, plan: RollbackPlan, found: Confirmation, began_s: float | None) -> None:
        self._done.confirmation = found
        count, confirmed = found.count, len(found.confirmed)
        status: StepStatus = "skipped" if count == 0 else "failed" if found.unconfirmed else "done"
        detail = f"{confirmed} of {count} confirm {plan.serving}" if count else "no live process seen"
        self._step("processes", status, detail, began_s)

    def _await_confirmation(self, plan: RollbackPlan, overlay: Overlay | None) -> tuple[RollbackPlan, Overlay | None]:
        """Wait until the processes confirm; a rollback that came at the same time and won is joined."""
        began_s = self._context.clock_s()
        if overlay is None or not self._fleet.is_open:
            names = ", ".join(beat.process for beat in self._seen.heartbeats)
            self._step("processes", "failed", f"cannot be told{f': {names}' if names else ''}")
            return plan, overlay
        try:
            now, _ = self._fleet.look()
            if now is not None and now != overlay and now.epoch >= overlay.epoch:
                plan, overlay = self._joined(plan, now), now
            found = self._fleet.confirm(overlay, clock_s=self._context.clock_s)
        except InfrastructureError as error:
            self._step("processes", "failed", str(error), began_s)
            self._mark_state_unreachable(error)
            return plan, overlay
        self._tell_confirmed(plan, found, began_s)
        return plan, overlay

    def _joined(self, plan: RollbackPlan, overlay: Overlay) -> RollbackPlan:
        """Take over what a rollback at the same time decided."""
        if overlay.serving is None:
            raise InfrastructureError(
                "a release was published or promoted at the same moment", hint="run the same command again"
            )
        if overlay.serving != plan.serving:
            self._done.warnings.append(f"another rollback, to `{overlay.serving}`, came at the same moment and holds")
        return replace(
            plan,
            serving=overlay.serving,
            release=overlay.release,
            ends_rollout_of=overlay.ends_rollout_of,
            bad=overlay.bad,
            changed=plan.changed and overlay.serving == plan.serving,
        )

    def _write_down(self, entry: LedgerEntry, *, is_in_force: bool) -> bool:
        """Add the ledger's line; tell whether this run did."""
        began_s = self._context.clock_s()
        if self._record.knows(entry):
            return False
        try:
            self._record.write(entry)
        except FlowaiError as error:
            self._step("ledger", "pending" if is_in_force else "failed", str(error), began_s)
            if not is_in_force:  # nothing is left that would tell the next run of this one
                again = f"run it again as `flowai rollback --to {entry.serving}`, or it leaves `{entry.serving}` too"
                self._done.warnings.append(again)
            return False
        return True

    def _sync_registry(self, plan: RollbackPlan, overlay: Overlay | None) -> RollbackPlan:
        """Bring the registry in line with the overlay, and with a newer one that comes meanwhile.

        Args:
            plan: the plan of this rollback, or of the one it joined.
            overlay: the overlay in force after that plan; None where this run could not write its own.
        """
        for _ in range(MAX_SYNC_ROUNDS):
            self._write_registry(plan)
            try:
                now = self._newest_overlay()
                known = self._seen.overlay if overlay is None else overlay
                if now is None or now == known or now.serving == plan.serving:
                    return plan
                plan, overlay = self._joined(plan, now), now
            except InfrastructureError as error:
                self._done.warnings.append(str(error))
                return plan
        return plan

    def _newest_overlay(self) -> Overlay | None:
        """Return the overlay in force; None where the shared state was away from the start.

        A store that answered before is asked again: another rollback may have won meanwhile, and the registry must not
        contradict it because one question timed out on a busy machine.

        Raises:
            InfrastructureError: the store is away by now, which is a failed step too.
        """
        if not self._has_answered:
            return None
        began_s = self._context.clock_s()
        for left in range(MAX_RECHECKS, -1, -1):
            try:
                self._fleet.open(self._source)
                return self._fleet.look()[0]
            except InfrastructureError as error:
                self._mark_state_unreachable(error)
                if left == 0:
                    self._step("overlay check", "failed", str(error), began_s)
                    raise
                time.sleep(RECHECK_PAUSE_S)
        return None

    def _write_registry(self, plan: RollbackPlan) -> None:
        began_s, source = self._context.clock_s(), self._source
        if source.registry is None:
            self._step(source.own_file, "failed", str(source.error), began_s)
            return
        if not source.is_writable:
            where = "came from the network" if source.is_remote else "is read-only"
            self._step(source.own_file, "skipped", f"{where}, unchanged")
            return
        told: list[str] = []

        def change(own: ManagedKeys) -> ManagedKeys:
            wanted = plan.own_keys(own)
            if own.current is not None and own.current == self._written_current:  # not a person's: of a plan that lost
                wanted = msgspec.structs.replace(wanted, current=plan.serving)
            if wanted.current != own.current:
                self._written_current = wanted.current
            told.extend(changed_keys(own, wanted))
            known = source.registry.releases if source.registry else {}
            return ManagedKeys(
                current=wanted.current,
                history=wanted.history,
                bad=tuple(name for name in wanted.bad if name in known),
                rollout=wanted.rollout,
            )

        try:
            edit_registry(
                source.project, change, env=source.environment, environ=source.environ, clock_s=self._context.clock_s
            )
        except FlowaiError as error:
            self._step(source.own_file, "failed", str(error), began_s)
            return
        self._step(source.own_file, "done", ", ".join(told) or "says so already", began_s)

    # --- what came of it ---

    def _warn_current_overridden(self, plan: RollbackPlan) -> tuple[str, ...]:
        """Say when `current` was changed after a rollback whose overlay still stands before it."""
        registry = self._source.registry
        current = None if registry is None or plan.changed else registry.current
        if current is None or current == plan.serving or current in plan.bad:
            return ()
        holds = f"the rollback to `{plan.serving}` holds until the next `release promote`"
        return (f"`current` says `{current}`, but {holds}",)

    def _result(
        self, plan: RollbackPlan, steps: Sequence[RollbackStep] = (), *, entry: LedgerEntry | None = None
    ) -> RollbackResult:
        source, found = self._source, self._done.confirmation
        has_failed = any(step.name == source.own_file and step.status == "failed" for step in self._done.steps)
        return RollbackResult(
            environment=source.environment,
            rolled_back=plan.rolled_back,
            serving=plan.serving,
            stage=plan.stage,
            good_since=self._record.good_since(plan.serving),
            changed=plan.changed,
            is_dry_run=self._options.dry_run,
            reason=self._options.reason,
            differences=self._differences(plan),
            steps=(*self._done.steps, *steps),
            process_count=found.count if self._done.steps else len(self._seen.heartbeats),
            unconfirmed=tuple(last_heartbeat_text(beat, self._context.now()) for beat in found.unconfirmed),
            unreachable=tuple(beat.process for beat in self._seen.heartbeats) if not self._fleet.is_open else (),
            warnings=tuple(self._done.warnings),
            registry_file=source.own_file,
            is_in_git=not source.is_remote and source.is_writable and not has_failed,
            since=self._record.since(plan, entry),
        )

    def _differences(self, plan: RollbackPlan) -> tuple[Difference, ...]:
        registry = self._source.registry
        if registry is None or not plan.rolled_back or plan.rolled_back[-1] not in registry.releases:
            return ()
        return differences(registry, plan.rolled_back[-1], plan.serving) if plan.serving in registry.releases else ()
