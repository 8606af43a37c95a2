"""What `flowai watch` does: looks at the calls, tells people what burns, rolls back a release that is to blame.

Killed at any moment it loses nothing and opens nothing twice: an incident is written down before its message is
queued, a message has the incident's id and is queued before it is sent, and what is missing is done at the next look.
Counts are not kept: the log has them.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, UsageError
from flowai.notifications.outbox import Outbox
from flowai.notifications.routing import LABELS
from flowai.rollouts.notify import RolloutNotifier
from flowai.watch import wording as words
from flowai.watch.attribution import attribute
from flowai.watch.auto_rollback import roll_back
from flowai.watch.causes import find_causes, is_caused_by
from flowai.watch.event_counts import EventCounter, minute_of
from flowai.watch.incident_store import IncidentState, IncidentStore
from flowai.watch.incidents import Incident, update
from flowai.watch.notify import NotificationQueue
from flowai.watch.records import (
    MAX_ROLLBACK_TRIES,
    RolloutView,
    WatchEnd,
    WatchEvent,
    WatchHead,
    WatchOptions,
    WatchTick,
)
from flowai.watch.session import ActiveRollout, ObservedRelease, WatchSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from flowai.watch.attribution import Attribution
    from flowai.watch.causes import IncidentCause
    from flowai.watch.error_rates import BurnWindows, CountKey
    from flowai.watch.records import WatchEventKind
    from flowai.workspace.workspace import CommandContext

MIN_INTERVAL_S = 1.0
_MOSTLY = 0.5
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


def run_watch(
    context: CommandContext,
    options: WatchOptions,
    *,
    on_head: Callable[[WatchHead], None],
    on_tick: Callable[[WatchTick], None],
    wait: Callable[[float], bool],
) -> WatchEnd:
    """Look, again and again.

    Args:
        context: the command's context.
        options: what was asked for.
        on_head: told what is watched, once.
        on_tick: told what each look found.
        wait: waits for so many seconds; tells whether to stop.

    Raises:
        UsageError: several environments and none named; looks too close to each other.
        ProjectError: the registry is wrong, or there is none.
        InfrastructureError: it lies on another machine.
    """
    if options.interval_s < MIN_INTERVAL_S:
        raise UsageError(f"`--interval` is {options.interval_s:g} s, expected {MIN_INTERVAL_S:g} s at least")
    end_s = None if options.for_s is None else context.clock_s() + options.for_s
    has_rolled_back = has_seen_calls = is_stopped = False
    with closing(Watcher(context, options)) as watch:
        on_head(watch.head())
        while True:
            began_s = context.clock_s()
            tick = watch.tick()
            on_tick(tick)
            has_rolled_back |= any(one.event == "rolled_back" for one in tick.events)
            has_seen_calls |= tick.since_last_call_s is not None
            pause_s = max(0.0, options.interval_s - (context.clock_s() - began_s))
            if options.once or (end_s is not None and context.clock_s() + pause_s > end_s):
                break
            if is_stopped := wait(pause_s):
                break
    return WatchEnd(
        open_count=len(tick.incidents),
        has_rolled_back=has_rolled_back,
        has_seen_calls=has_seen_calls,
        has_errors=tick.has_errors,
        is_stopped=is_stopped,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Observation:
    """What a look sees."""

    standing: ObservedRelease
    """The registry and the rollout."""
    spans: BurnWindows
    """The calls."""
    now: datetime
    """The time, UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What a look comes to."""

    rolled: ActiveRollout | None
    """The release that is judged; None where none is."""
    blame: Attribution | None
    """What the evidence says of it."""
    memory: IncidentState
    """The incidents."""


class Watcher:
    """A watch; each `tick` is one look.

    Args:
        context: the command's context.
        options: what was asked for.
    """

    def __init__(self, context: CommandContext, options: WatchOptions) -> None:
        self._context = context
        self._options = options
        self._ground = WatchSession(context, options)
        self._standing = self._ground.refresh()
        project = self._standing.source.project
        self._environment = self._standing.source.environment
        self._intake = EventCounter(self._standing.events)
        self._messages = NotificationQueue(Outbox(project.outbox, now=context.now, clock_s=context.clock_s))
        self._memory = IncidentStore(project.watch / f"{self._environment or 'default'}.json", clock_s=context.clock_s)
        self._imagined = IncidentState()
        """What a dry run would remember."""
        self._happened: list[WatchEvent] = []
        self._warnings: list[str] = []
        self._is_hindered = False

    def close(self) -> None:
        """Give everything back."""
        self._ground.close()

    def head(self) -> WatchHead:
        """Say what is watched."""
        rule, alerts = self._standing.rule, self._standing.registry.alerts
        return WatchHead(
            environment=self._environment,
            error_rate=rule.error_rate,
            window_s=rule.window_minutes * 60.0,
            min_calls=rule.min_calls,
            recipients=tuple(label for name, label in LABELS.items() if getattr(alerts, name) is not None),
        )

    def tick(self) -> WatchTick:
        """Look once, and do what follows."""
        now = self._context.now()
        self._happened, self._warnings, self._is_hindered = [], [], False
        self._standing = standing = self._ground.refresh()
        self._warnings += standing.warnings
        look = _Observation(standing=standing, spans=self._count(standing, now), now=now)
        if self._options.dry_run:
            found = self._dry_run(look)
        else:
            found = self._act(look)
            self._deliver(standing)
        whole, newest = look.spans.of(lambda _: True).window, self._intake.counts.newest_minute
        incidents = found.memory.incidents
        return WatchTick(
            at=now,
            environment=self._environment,
            status="alert" if incidents else "ok" if whole.call_count else "no_calls",
            window_s=standing.rule.window_minutes * 60.0,
            call_count=whole.call_count,
            failure_count=whole.failure_count,
            since_last_call_s=None if newest is None else max(0, minute_of(now) - newest) * 60.0,
            rollout=None if found.rolled is None or found.blame is None else _view(found.rolled, found.blame),
            incidents=incidents,
            events=tuple(self._happened),
            warnings=tuple(self._warnings),
            has_errors=self._is_hindered,
        )

    def _count(self, standing: ObservedRelease, now: datetime) -> BurnWindows:
        if standing.events != self._intake.directory:
            self._intake = EventCounter(standing.events)
        warnings, is_unreadable = self._intake.read(now, keep_minutes=standing.rule.keep_minutes)
        self._warnings += warnings
        self._is_hindered |= is_unreadable
        return self._intake.counts.spans(minute_of(now), standing.rule)

    # --- deciding ---

    def _dry_run(self, look: _Observation) -> _Found:
        """Decide, say what would be done, and do nothing."""
        found = self._decide(look, self._imagined)
        memory = found.memory
        for incident in memory.incidents:
            if _is_due(incident, found):
                self._record_event(
                    "rolled_back", f"{incident.name} would be: {_reason(incident, found)}", incident.cause
                )
                said = msgspec.structs.replace(incident, rollback_tries_count=MAX_ROLLBACK_TRIES)
                memory = _replaced(memory, said)
        self._imagined = IncidentState(incidents=memory.incidents)
        return replace(found, memory=self._imagined)

    def _act(self, look: _Observation) -> _Found:
        """Decide, keep what was decided, do it; one watch at a time."""
        try:
            with self._memory.lock() as is_alone:
                if is_alone:
                    return self._act_with_lock(look)
            self._record_error("another watch does not let go of its lock; this one only looked")
        except FlowaiError as error:
            self._record_error(f"incidents cannot be kept: {error}")
            return self._act_with_lock(look)
        return _Found(rolled=None, blame=None, memory=self._memory.load()[0])

    def _act_with_lock(self, look: _Observation) -> _Found:
        memory, damage = self._memory.load()
        self._warnings += [damage] if damage else []
        found = self._decide(look, memory)
        memory = found.memory
        self._save(memory)
        problems = self._messages.queue(look.standing, memory, look.now)
        for problem in problems:
            self._record_error(problem)
        if not problems:
            memory = msgspec.structs.replace(memory, resolved=())
        for incident in memory.incidents:
            if _is_due(incident, found):
                memory = self._roll_back(incident, memory, _reason(incident, found))
        self._save(memory)
        return replace(found, memory=memory)

    def _decide(self, look: _Observation, memory: IncidentState) -> _Found:
        """Find causes, and what they change."""
        standing, spans, now = look.standing, look.spans, look.now
        rolled = _drop_resolved(standing.rolled, memory)
        suspect = None if rolled is None else rolled.suspect
        blame = None if suspect is None else attribute(suspect, self._intake.units, spans, standing.rule)

        def is_explained(cell: CountKey) -> bool:
            return any(is_caused_by(one.kind, one.name, one.features, cell) for one in memory.incidents)

        causes = find_causes(spans.without(is_explained), standing.rule, suspect, blame)
        changed = update(memory.incidents, causes, spans, standing.rule, now)
        found = _Found(rolled=rolled, blame=blame, memory=memory)
        opened = [self._open(cause, number, look, found) for number, cause in enumerate(changed.opened)]
        for incident in opened:
            self._record_event("opened", incident.summary, incident.cause)
        for incident in changed.resolved:
            self._record_event("resolved", words.recovery_text(incident, now), incident.cause)
        incidents, resolved = (*changed.kept, *opened), (*memory.resolved, *changed.resolved)
        return replace(found, memory=IncidentState(incidents=incidents, resolved=resolved))

    def _open(self, cause: IncidentCause, number: int, look: _Observation, found: _Found) -> Incident:
        standing, now = look.standing, look.now
        path = "service" if cause.kind == "service" else f"{cause.kind}/{cause.name}"
        name = standing.redactor.text(f"flowai/{self._environment or 'default'}/{path}")
        summary = words.incident_summary(cause, standing.rule, found.rolled, found.blame)
        details = words.details(cause, found.blame if cause.kind == "release" else None)
        return Incident(
            id=f"watch-{_NOT_IN_NAMES.sub('-', name)[:100]}-{now:%Y%m%dT%H%M%S.%fZ}-{number}",
            cause=name,
            kind=cause.kind,
            name=cause.name,
            features=cause.features,
            summary=standing.redactor.text(summary),
            details=standing.redactor.value(details),
            severity="critical" if cause.health.window.rate > _MOSTLY else "error",
            opened_at=now,
            unwell_at=now,
            called_at=now,
        )

    # --- doing ---

    def _roll_back(self, incident: Incident, memory: IncidentState, reason: str) -> IncidentState:
        """Roll back the release of an incident; that it was tried is written down before."""
        tried = msgspec.structs.replace(incident, rollback_tries_count=incident.rollback_tries_count + 1)
        memory = _replaced(memory, tried)
        self._save(memory)
        done = roll_back(
            self._context,
            tried,
            environment=self._environment,
            state=self._options.state,
            reason=reason,
        )
        if done.serving is None:
            self._is_hindered |= not done.is_moot
            self._record_event("rollback_failed", done.message, incident.cause)
        else:
            self._record_event("rolled_back", done.message, incident.cause)
        tries = MAX_ROLLBACK_TRIES if done.is_moot else tried.rollback_tries_count
        return _replaced(
            memory, msgspec.structs.replace(tried, rolled_back_to=done.serving, rollback_tries_count=tries)
        )

    def _deliver(self, standing: ObservedRelease) -> None:
        for sent in RolloutNotifier(self._context, standing.source).deliver(only_due=True):
            self._record_event("told" if sent.status == "done" else "waits", f"{sent.name}: {sent.detail}", None)

    def _save(self, memory: IncidentState) -> None:
        try:
            self._memory.save(memory)
        except FlowaiError as error:
            self._record_error(f"incidents cannot be kept: {error}")

    def _record_error(self, warning: str) -> None:
        self._is_hindered = True
        if warning not in self._warnings:
            self._warnings.append(warning)

    def _record_event(self, what: WatchEventKind, message: str, cause: str | None) -> None:
        self._happened.append(WatchEvent(event=what, message=message, cause=cause, is_dry_run=self._options.dry_run))


def _is_due(incident: Incident, found: _Found) -> bool:
    """Tell whether an incident's release is to be rolled back: it is to blame, or an earlier try did not do it all."""
    if incident.kind != "release" or incident.rolled_back_to or incident.rollback_tries_count >= MAX_ROLLBACK_TRIES:
        return False
    if incident.rollback_tries_count:
        return True
    is_same = found.rolled is not None and found.rolled.suspect.release == incident.name
    return is_same and found.blame is not None and found.blame.verdict == "to_blame"


def _reason(incident: Incident, found: _Found) -> str:
    """Say why a release is rolled back; a later try is made for what the first one was."""
    if found.rolled is None or found.blame is None:
        return incident.summary
    return words.blame_text(found.rolled, found.blame)


def _drop_resolved(rolled: ActiveRollout | None, memory: IncidentState) -> ActiveRollout | None:
    """Leave out features that failed before the release served everybody: they are not its fault."""
    if rolled is None or not rolled.suspect.is_whole:
        return rolled
    suspect = rolled.suspect
    old = {
        one.name
        for one in memory.incidents
        if one.kind == "feature" and minute_of(one.opened_at) < suspect.since_minute
    }
    return replace(rolled, suspect=replace(suspect, changed=suspect.changed - old))


def _replaced(memory: IncidentState, incident: Incident) -> IncidentState:
    incidents = tuple(incident if one.id == incident.id else one for one in memory.incidents)
    return msgspec.structs.replace(memory, incidents=incidents)


def _view(rolled: ActiveRollout, blame: Attribution) -> RolloutView:
    return RolloutView(
        release=rolled.suspect.release,
        stage=rolled.stage,
        baseline=rolled.baseline,
        verdict=blame.verdict,
        user_count=blame.accused.call_count,
        failed_user_count=blame.accused.failure_count,
        witness_count=blame.witness.call_count,
        failed_witness_count=blame.witness.failure_count,
        log_e=blame.log_e,
    )
