"""`flowai watch`: checks the event log, judges the rollout, sends alerts, rolls back a worse candidate.

Safe to kill at any moment: an incident is stored before its message is queued, and a message, with the incident's id,
is queued before it is sent; the next check does missing steps. Counts are not stored: the log contains them.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, UsageError, describe_error
from flowai.notifications.outbox import Outbox
from flowai.notifications.routing import LABELS
from flowai.rollouts.notify import RolloutNotifier
from flowai.watch import wording
from flowai.watch.attribution import attribute
from flowai.watch.auto_rollback import roll_back
from flowai.watch.causes import find_causes, is_caused_by
from flowai.watch.event_counts import EventCounter, minute_of
from flowai.watch.guardrails import GuardrailMonitor
from flowai.watch.incident_store import IncidentState, IncidentStore
from flowai.watch.incidents import Incident, update_incidents
from flowai.watch.notify import NotificationQueue
from flowai.watch.records import (
    MAX_ROLLBACK_TRIES,
    WatchEnd,
    WatchEvent,
    WatchHead,
    WatchOptions,
    WatchTick,
    failed_tick,
)
from flowai.watch.retirements import NoticeQueue, RetirementCheck, after_queueing
from flowai.watch.session import ActiveRollout, ObservedRelease, WatchSession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from flowai.providers import PriceTable
    from flowai.watch.attribution import Attribution
    from flowai.watch.causes import IncidentCause
    from flowai.watch.error_rates import BurnWindows, CountKey
    from flowai.watch.judgement import RolloutJudgement
    from flowai.watch.records import RolloutView, Status, WatchEventKind
    from flowai.workspace.workspace import CommandContext

MIN_INTERVAL_S = 1.0
_CRITICAL_RATE = 0.5
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


def run_watch(
    context: CommandContext,
    options: WatchOptions,
    *,
    on_head: Callable[[WatchHead], None],
    on_tick: Callable[[WatchTick], None],
    wait: Callable[[float], bool],
) -> WatchEnd:
    """Check the event log repeatedly.

    Args:
        context: directory, user, variables and clocks.
        options: options of the command.
        on_head: called once, before the first check.
        on_tick: called with the result of each check.
        wait: waits for this many seconds; returns whether to stop.

    Raises:
        UsageError: several environments and none named, or the interval is too short.
        ProjectError: the registry is missing or invalid.
        InfrastructureError: the registry is on another machine.
    """
    if options.interval_s < MIN_INTERVAL_S:
        raise UsageError(f"--interval: decision {options.interval_s:g} s, expected at least {MIN_INTERVAL_S:g} s")
    end_s = None if options.for_s is None else context.clock_s() + options.for_s
    has_rolled_back = has_seen_calls = is_stopped = False
    with closing(Watcher(context, options)) as watch:
        on_head(watch.head())
        while True:
            start_s = context.clock_s()
            tick = watch.tick() if options.once else watch.tick_safely()
            on_tick(tick)
            has_rolled_back |= any(event.event == "rolled_back" for event in tick.events)
            has_seen_calls |= tick.since_last_call_s is not None
            pause_s = max(0.0, options.interval_s - (context.clock_s() - start_s))
            if options.once or (end_s is not None and context.clock_s() + pause_s > end_s):
                break
            if is_stopped := wait(pause_s):
                break
    return WatchEnd(
        open_count=len(tick.incidents),
        has_rolled_back=has_rolled_back,
        has_worse_guardrail=tick.judgement is not None and bool(tick.judgement.worse),
        has_seen_calls=has_seen_calls,
        has_errors=tick.has_errors,
        is_stopped=is_stopped,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Observation:
    """Input of a check."""

    observed: ObservedRelease
    windows: BurnWindows
    now: datetime
    judgement: RolloutJudgement | None
    """Latest judgement of the rollout's guardrails."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decision:
    """Result of a check, before actions."""

    rollout: ActiveRollout | None
    attribution: Attribution | None
    """Of the rollout's candidate."""
    judgement: RolloutJudgement | None = None
    """Of its guardrails."""
    state: IncidentState

    @property
    def view(self) -> RolloutView | None:
        """The attribution as a record; None without one."""
        return None if self.rollout is None or self.attribution is None else self.rollout.view(self.attribution)


class Watcher:
    """A watch of an environment; each `tick` is a check."""

    def __init__(self, context: CommandContext, options: WatchOptions, *, prices: PriceTable | None = None) -> None:
        self._context = context
        self._options = options
        self._session = WatchSession(context, options)
        self._observed = self._session.refresh()
        project = self._observed.source.project
        self._environment = self._observed.source.environment
        self._counter = EventCounter(self._observed.events)
        self._guardrails = GuardrailMonitor(context)
        outbox = Outbox(project.outbox, now=context.now, clock_s=context.clock_s)
        self._queue = NotificationQueue(outbox)
        self._retirements, self._notices = RetirementCheck(prices), NoticeQueue(outbox)
        self._store = IncidentStore(project.watch / f"{self._environment or 'default'}.json", clock_s=context.clock_s)
        self._dry_run_state = IncidentState()
        self._events: list[WatchEvent] = []
        self._warnings: list[str] = []
        self._has_errors = False

    def close(self) -> None:
        """Close the connection to the shared state."""
        self._session.close()

    def head(self) -> WatchHead:
        """Return rule and recipients."""
        rule, alerts = self._observed.rule, self._observed.registry.alerts
        return WatchHead(
            environment=self._environment,
            error_rate=rule.error_rate,
            window_s=rule.window_minutes * 60.0,
            min_calls=rule.min_calls,
            recipients=tuple(label for name, label in LABELS.items() if getattr(alerts, name) is not None),
        )

    def tick_safely(self) -> WatchTick:
        """Check and act; after an unexpected exception the tick says so: a watch that ends rolls nothing back."""
        try:
            return self.tick()
        except Exception as error:  # noqa: BLE001 - see above
            problem = self._observed.redactor.text(describe_error(error))
            return failed_tick(self._context.now(), self._environment, f"the check failed and is repeated: {problem}")

    def tick(self) -> WatchTick:
        """Check once and act."""
        now = self._context.now()
        self._events, self._warnings, self._has_errors = [], [], False
        self._observed = observed = self._session.refresh()
        self._warnings += observed.warnings
        windows = self._count(observed, now)
        judgement = self._judge(observed)
        observation = _Observation(observed=observed, windows=windows, now=now, judgement=judgement)
        if self._options.dry_run:
            decision = self._dry_run(observation)
        else:
            decision = self._act(observation)
            self._deliver(observed)
        total, newest = observation.windows.of(lambda _: True).window, self._counter.counts.newest_minute
        incidents = decision.state.incidents
        return WatchTick(
            at=now,
            environment=self._environment,
            status=_status(incidents, judgement, total.call_count),
            window_s=observed.rule.window_minutes * 60.0,
            call_count=total.call_count,
            failure_count=total.failure_count,
            since_last_call_s=None if newest is None else max(0, minute_of(now) - newest) * 60.0,
            rollout=decision.view,
            judgement=judgement,
            incidents=incidents,
            events=tuple(self._events),
            warnings=tuple(self._warnings),
            has_errors=self._has_errors,
        )

    def _count(self, observed: ObservedRelease, now: datetime) -> BurnWindows:
        if observed.events != self._counter.directory:
            self._counter = EventCounter(observed.events)
        warnings, is_unreadable = self._counter.read(now, keep_minutes=observed.rule.keep_minutes)
        self._warnings += warnings
        self._has_errors |= is_unreadable
        return self._counter.counts.windows(minute_of(now), observed.rule)

    def _judge(self, observed: ObservedRelease) -> RolloutJudgement | None:
        check = self._guardrails.check(observed)
        rollout = observed.rollout
        if rollout is not None:
            name = f"{rollout.suspect.release} at {rollout.stage} %"
            self._warnings += [f"{name} cannot be judged: {observed.redactor.text(doubt)}" for doubt in check.doubts]
        if check.error is not None:
            self._record_error(f"the rollout's guardrails are not judged: {observed.redactor.text(check.error)}")
        return check.judgement

    # --- decisions ---

    def _dry_run(self, observation: _Observation) -> _Decision:
        """Decide, and record events instead of acting."""
        decision = self._decide(observation, self._dry_run_state)
        state = decision.state
        for incident in state.incidents:
            if _is_due(incident, decision):
                self._record_event(
                    "rolled_back", f"would roll back {incident.name}: {_reason(incident, decision)}", incident.cause
                )
                done = msgspec.structs.replace(incident, rollback_attempts=MAX_ROLLBACK_TRIES)
                state = state.with_incident(done)
        self._dry_run_state = IncidentState(incidents=state.incidents, notices=state.notices)
        return replace(decision, state=self._dry_run_state)

    def _act(self, observation: _Observation) -> _Decision:
        """Decide, store the incidents, and act, if no other watch does."""
        try:
            with self._store.lock() as is_alone:
                if is_alone:
                    return self._act_with_lock(observation)
            self._record_error("another watch holds the lock; this one did not act")
        except FlowaiError as error:
            self._record_error(f"incidents cannot be stored: {error}")
            return self._act_with_lock(observation)
        return _Decision(rollout=None, attribution=None, state=self._store.load()[0])

    def _act_with_lock(self, observation: _Observation) -> _Decision:
        state, load_warning = self._store.load()
        self._warnings += [load_warning] if load_warning else []
        decision = self._decide(observation, state)
        state = decision.state
        self._save(state)
        observed, now = observation.observed, observation.now
        problems = (*self._queue.queue(observed, state, now), *self._notices.queue(observed, state.notices, now))
        for problem in problems:
            self._record_error(problem)
        if not problems:
            state = msgspec.structs.replace(state, resolved=(), notices=after_queueing(state.notices))
        for incident in state.incidents:
            if _is_due(incident, decision):
                state = self._roll_back(incident, state, _reason(incident, decision))
        self._save(state)
        return replace(decision, state=state)

    def _decide(self, observation: _Observation, state: IncidentState) -> _Decision:
        """Find causes and update the incidents; record the changes."""
        observed, windows, now = observation.observed, observation.windows, observation.now
        rollout = None if observed.rollout is None else observed.rollout.without_resolved(state.incidents)
        suspect = None if rollout is None else rollout.suspect
        attribution = None if suspect is None else attribute(suspect, self._counter.users, windows, observed.rule)

        def is_explained(cell: CountKey) -> bool:
            return any(is_caused_by(one.kind, one.name, one.features, cell) for one in state.incidents)

        judgement = observation.judgement
        causes = find_causes(windows.without(is_explained), observed.rule, suspect, attribution, judgement)
        changed = update_incidents(state.incidents, causes, windows, observed.rule, now)
        decision = _Decision(rollout=rollout, attribution=attribution, judgement=judgement, state=state)
        opened = [self._open(cause, number, observation, decision) for number, cause in enumerate(changed.opened)]
        for incident in opened:
            self._record_event("opened", incident.summary, incident.cause)
        for incident in changed.resolved:
            self._record_event("resolved", wording.recovery_text(incident, now), incident.cause)
        incidents, resolved = (*changed.kept, *opened), (*state.resolved, *changed.resolved)
        notices, new = self._retirements.update(state.notices, observed, now)
        for notice in new:
            self._record_event("retiring", notice.text, None)
        return replace(decision, state=IncidentState(incidents=incidents, resolved=resolved, notices=notices))

    def _open(self, cause: IncidentCause, number: int, observation: _Observation, decision: _Decision) -> Incident:
        observed, now = observation.observed, observation.now
        path = "service" if cause.kind == "service" else f"{cause.kind}/{cause.name}"
        name = observed.redactor.text(f"flowai/{self._environment or 'default'}/{path}")
        summary = wording.incident_summary(cause, observed.rule, decision.rollout, decision.attribution)
        details = wording.details(cause, decision.attribution if cause.kind == "release" else None)
        rates = (cause.health.window.rate, *(one.candidate.rate or 0.0 for one in cause.worse))
        return Incident(
            id=f"watch-{_NOT_IN_NAMES.sub('-', name)[:100]}-{now:%Y%m%dT%H%M%S.%fZ}-{number}",
            cause=name,
            kind=cause.kind,
            name=cause.name,
            features=cause.features,
            guardrails=tuple(one.name for one in cause.worse),
            summary=observed.redactor.text(summary),
            details=observed.redactor.value(details),
            severity="critical" if max(rates) > _CRITICAL_RATE else "error",
            opened_at=now,
            last_failing_at=now,
            last_call_at=now,
        )

    # --- actions ---

    def _roll_back(self, incident: Incident, state: IncidentState, reason: str) -> IncidentState:
        """Roll back the release of an incident; store the attempt first."""
        tried = msgspec.structs.replace(incident, rollback_attempts=incident.rollback_attempts + 1)
        state = state.with_incident(tried)
        self._save(state)
        done = roll_back(
            self._context,
            tried,
            environment=self._environment,
            state=self._options.state,
            reason=reason,
        )
        if done.serving is None:
            self._has_errors |= not done.is_moot
            self._record_event("rollback_failed", done.message, incident.cause)
        else:
            self._record_event("rolled_back", done.message, incident.cause)
        tries = MAX_ROLLBACK_TRIES if done.is_moot else tried.rollback_attempts
        return state.with_incident(msgspec.structs.replace(tried, rolled_back_to=done.serving, rollback_attempts=tries))

    def _deliver(self, observed: ObservedRelease) -> None:
        for sent in RolloutNotifier(self._context, observed.source).deliver(only_due=True):
            self._record_event("notified" if sent.status == "done" else "waiting", f"{sent.name}: {sent.detail}", None)

    def _save(self, state: IncidentState) -> None:
        try:
            self._store.save(state)
        except FlowaiError as error:
            self._record_error(f"incidents cannot be stored: {error}")

    def _record_error(self, warning: str) -> None:
        self._has_errors = True
        if warning not in self._warnings:
            self._warnings.append(warning)

    def _record_event(self, event: WatchEventKind, message: str, cause: str | None) -> None:
        self._events.append(WatchEvent(event=event, message=message, cause=cause, is_dry_run=self._options.dry_run))


def _is_due(incident: Incident, decision: _Decision) -> bool:
    """Return whether to roll back an incident's release: it is proven worse, or an earlier attempt is incomplete."""
    if incident.kind != "release" or incident.rolled_back_to or incident.rollback_attempts >= MAX_ROLLBACK_TRIES:
        return False
    if incident.rollback_attempts:
        return True
    is_candidate = decision.rollout is not None and decision.rollout.suspect.release == incident.name
    return is_candidate and (_fails_more(decision) or _is_worse(decision))


def _fails_more(decision: _Decision) -> bool:
    return decision.attribution is not None and decision.attribution.verdict == "candidate_worse"


def _is_worse(decision: _Decision) -> bool:
    return decision.judgement is not None and decision.judgement.demands_rollback


def _reason(incident: Incident, decision: _Decision) -> str:
    """Return the reason of a rollback; a retry without attribution and judgement uses the incident's summary."""
    if decision.judgement is not None and _is_worse(decision) and not _fails_more(decision):
        return wording.judgement_text(decision.judgement)
    if decision.rollout is None or decision.attribution is None or (incident.guardrails and not _fails_more(decision)):
        return incident.summary
    return wording.attribution_text(decision.rollout, decision.attribution)


def _status(incidents: Sequence[Incident], judgement: RolloutJudgement | None, call_count: int) -> Status:
    if incidents:
        return "alert"
    if judgement is not None and judgement.worse:
        return "worse"
    return "ok" if call_count else "no_calls"
