"""The runtime of a gateway: what its calls share, the background tasks that keep it current, and its end."""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, InfrastructureError, RegistryError
from flowai.events import AlertCause, AlertEvent, CallEvent, Event
from flowai.gateway.embedding import EmbeddingService
from flowai.gateway.heartbeats import HeartbeatSender
from flowai.gateway.plan import FeatureToggles
from flowai.gateway.records import DegradedReason, GatewayStatus
from flowai.gateway.routing.budget import Budgets
from flowai.gateway.routing.circuit_breaker import CircuitBreakers
from flowai.gateway.routing.fallback import FallbackChain
from flowai.gateway.single_flight import SingleFlight
from flowai.gateway.supervisor import report_to_loop
from flowai.gateway.telemetry.call_lookup import CallLookup
from flowai.providers import create_client
from flowai.providers.tokens import TokenCounter
from flowai.registry import features_of
from flowai.state.machine import machine_clock_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flowai.cache.response_cache import ResponseCache
    from flowai.errors import AuthError
    from flowai.gateway.hot_reload import HotReloader
    from flowai.gateway.telemetry.event_writer import EventWriter
    from flowai.providers import Client, Endpoint
    from flowai.state import Heartbeat
    from flowai.state.fallback_store import FallbackStateStore

MAINTENANCE_INTERVAL_S = 0.25
"""How often a running gateway checks for changed files and a new overlay."""
STATE_WARNINGS_INTERVAL_S = 60.0
"""How often the settings of the shared state are checked."""
ALERT_REPEAT_S = 3600.0
"""Minimum time between two equal alerts."""
ALERT_CAUSES: dict[DegradedReason, AlertCause] = {
    "registry_invalid": "registry",
    "state_unavailable": "state",
    "event_log_unwritable": "events",
    "cache_unavailable": "cache",
    "background_task_failing": "internal",
}
"""Degraded parts that raise an alert."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeOptions:
    """Dependencies of a gateway that tests and other callers inject."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    """The process environment."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    """Current time, UTC."""
    clock_s: Callable[[], float] = time.perf_counter
    """Monotonic clock, seconds."""
    machine_clock_s: Callable[[], float] = machine_clock_s
    """Clock that the processes of this machine share and that cannot be set, seconds."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex
    """Returns unique ids."""
    rng: random.Random = field(default_factory=random.Random)
    """Source of jitter."""
    connect: Callable[..., Client] = lambda redactor, **options: create_client(redactor=redactor, **options)
    """Creates the client that calls models, from the redactor and whether LiteLLM is shared with other code of this
    process."""
    on_event: Callable[[Event], None] = lambda _: None
    """Called with every event, before it is written."""
    on_bug: Callable[[BaseException], None] = report_to_loop
    """Called with unexpected exceptions that fail no call, once an hour per place and class."""
    trace: Callable[[CallEvent], None] | None = None
    """Called with every finished call; None for OpenTelemetry if the extra `otel` is installed."""
    toggles: FeatureToggles = field(default_factory=FeatureToggles)
    """Parts that are switched off."""


class GatewayRuntime:
    """Parts that the calls of one gateway share."""

    def __init__(
        self,
        *,
        reloader: HotReloader,
        state: FallbackStateStore,
        client: Client,
        cache: ResponseCache,
        event_writer: EventWriter,
        identity: Heartbeat,
        settings: RuntimeOptions,
    ) -> None:
        self.reloader = reloader
        self.state = state
        self.client = client
        self.cache = cache
        self.event_writer = event_writer
        self.supervisor = reloader.supervisor
        self.call_lookup = CallLookup(event_writer.log.directory, now=settings.now)
        self.trace = settings.trace or _ignore_event
        self.clock_s = settings.clock_s
        self.is_warm = False
        self._warm_models: set[str] = set()
        self.single_flight = SingleFlight()
        self.breakers = CircuitBreakers(
            state,
            environment=identity.environment,
            clock_s=settings.clock_s,
            on_bug=partial(self.supervisor.report, "shared state"),
        )
        self.budgets = Budgets(state, prices=reloader.prices, tokens=TokenCounter())
        self.fallback_chain = FallbackChain(
            client,
            self.breakers,
            clock_s=settings.clock_s,
            sleep=settings.sleep,
            rng=settings.rng,
            prices=reloader.prices,
        )
        self.embeddings = EmbeddingService(
            reloader=reloader,
            budgets=self.budgets,
            fallback_chain=self.fallback_chain,
            event_writer=event_writer,
            alert=self.alert,
            clock_s=settings.clock_s,
            now=settings.now,
        )
        self._identity = identity
        self._settings = settings
        self._heartbeats = HeartbeatSender(state, clock_s=settings.clock_s)
        self._state_warnings: tuple[str, ...] = ()
        self._state_warnings_at_s: float | None = None
        self._alerted_at_s: dict[tuple[object, ...], float] = {}
        self._closer: asyncio.Task[None] | None = None
        self._is_closing = False
        self.loop = asyncio.get_running_loop()

    def start(self, *, at_loop_end: Callable[[], Awaitable[None]]) -> None:
        """Start the background tasks: file checks, overlay checks and heartbeats, buffered events, alerts.

        `at_loop_end` is called when the event loop ends before `aclose`.
        """
        self._closer = asyncio.create_task(self._close_at_loop_end(at_loop_end))
        ticks = {
            "file check": self._check_files,
            "heartbeat": self._announce,
            "call counts": self.breakers.report_answers,
            "event log": self._flush_events,
            "state settings": self._check_state_settings,
            "alerts": self._raise_alerts,
        }
        for name, tick in ticks.items():
            self.supervisor.start(name, tick, interval_s=MAINTENANCE_INTERVAL_S)

    async def refresh(self) -> None:
        """Check for changed files and a new overlay; report answered calls; send a heartbeat if one is due."""
        await self.breakers.report_answers()
        await self.reloader.refresh()
        await self._send_heartbeat()

    async def _send_heartbeat(self) -> None:
        """Read the overlay; send a heartbeat after a change or when one is due.

        Raises:
            RegistryError: no release can serve.
        """
        shared = await self.breakers.refresh()
        active = self.reloader.snapshot.active_release(shared.overlay)
        epoch = 0 if shared.overlay is None else shared.overlay.epoch
        await self._heartbeats.send(
            msgspec.structs.replace(
                self._identity,
                release=active.release,
                candidate=active.candidate,
                overlay_epoch=epoch,
                drill=shared.drill,
                at=self._settings.now(),
            ),
            processes_id=shared.processes_id,
        )

    async def _check_state_settings(self) -> None:
        now_s, last_s = self._settings.clock_s(), self._state_warnings_at_s
        if last_s is None or now_s - last_s >= STATE_WARNINGS_INTERVAL_S:
            self._state_warnings_at_s = now_s
            self._state_warnings = tuple(await self.state.warnings())

    def alert(self, event: AlertEvent) -> None:
        """Write an alert, at most once an hour per cause, provider, model and feature."""
        key = (event.cause, event.provider, event.model, event.feature)
        now_s = self._settings.clock_s()
        if now_s - self._alerted_at_s.get(key, -ALERT_REPEAT_S) >= ALERT_REPEAT_S:
            self._alerted_at_s[key] = now_s
            self.event_writer.add(event)

    def alert_refused_key(self, error: AuthError) -> None:
        """Write the alert of a key that was refused while another key of its model takes over."""
        message = f"{error}; another key of the model is used"
        self.alert(
            AlertEvent(
                at=self._settings.now(), cause="auth", message=message, provider=error.provider, model=error.model
            )
        )

    def status(self) -> GatewayStatus:
        """Return the gateway's current status."""
        snapshot, shared = self.reloader.snapshot, self.breakers.shared
        release = candidate = None
        warnings = snapshot.warnings
        unavailable_models: Mapping[str, str] = {}
        try:
            active = snapshot.active_release(shared.overlay)
            release, candidate, warnings = active.release, active.candidate, (*active.warnings, *warnings)
            unavailable_models = snapshot.unavailable_models(active)
        except RegistryError as error:
            warnings = (str(error), *warnings)
        warnings = (*warnings, *self._state_warnings, *filter(None, (self.state.memory_error,)))
        return GatewayStatus(
            features=frozenset(snapshot.registry.features),
            models=frozenset(snapshot.registry.models),
            serve=snapshot.registry.serve,
            release=release,
            candidate=candidate,
            warnings=warnings,
            degraded=self._degraded_reasons(),
            unavailable_models=unavailable_models,
            open_breakers=tuple(sorted(name for name, view in shared.breakers.items() if view.status != "closed")),
            held_event_count=self.event_writer.held_count,
            dropped_event_count=self.event_writer.dropped_count,
            is_warm=self.is_warm,
        )

    def is_warm_for(self, endpoint: Endpoint) -> bool:
        """Return whether `warm_up` was called for a model."""
        return endpoint.name in self._warm_models

    async def warm_up(self, endpoint: Endpoint) -> None:
        """Import what calls of a model need: aiohttp, or LiteLLM. A local model's server starts with its first call."""
        await self.client.warm_up(() if endpoint.file is not None else (endpoint,))
        self._warm_models.add(endpoint.name)
        self.is_warm = True

    async def warm_up_models(self) -> None:
        """Open the caches and load the local models that the active release may call.

        A model that cannot be loaded fails its own calls.
        """
        await self._check_state_settings()  # a server shows the warnings when it is ready
        await self.cache.warm_up()
        await self.client.warm_up()
        snapshot, toggles = self.reloader.snapshot, self._settings.toggles
        release = toggles.release or snapshot.active_release(self.breakers.shared.overlay).release
        max_count = None if toggles.warms_fallbacks else 1
        candidates = [
            candidate
            for feature in features_of(snapshot.registry, release)
            for candidate in snapshot.resolve_feature(feature, release, experiment=None, arm=None).candidates[
                :max_count
            ]
        ]
        for endpoint in {
            candidate.endpoint.name: candidate.endpoint for candidate in candidates if candidate.unavailable is None
        }.values():
            with suppress(InfrastructureError, RegistryError):
                await self.client.warm_up((endpoint,))
                self._warm_models.add(endpoint.name)
        self.is_warm = True

    async def aclose(self) -> None:
        """Write buffered events, deregister this process and close everything."""
        self._is_closing = True
        if self._closer is not None and self._closer is not asyncio.current_task():
            self._closer.cancel()
            await asyncio.gather(self._closer, return_exceptions=True)
        await self.supervisor.stop()
        try:
            await self.cache.aclose()  # first: answers that are still being stored may need the client for a vector
            await self.client.aclose()
            await self.state.deregister(self._identity.environment, self._identity.process)
        finally:
            await self.state.aclose()
            self.reloader.close()
            self.call_lookup.close()
            self.event_writer.flush()
            self.event_writer.log.close()

    async def _close_at_loop_end(self, at_loop_end: Callable[[], Awaitable[None]]) -> None:
        try:
            await asyncio.Event().wait()  # until the loop cancels its tasks
        finally:
            if not self._is_closing:
                await at_loop_end()

    # --- background tasks ---

    async def _check_files(self) -> None:
        if await self.reloader.refresh():
            await self._announce()

    async def _announce(self) -> None:
        with suppress(FlowaiError):  # no release can serve: each call raises the error
            await self._send_heartbeat()

    async def _flush_events(self) -> None:
        self.event_writer.flush()

    async def _raise_alerts(self) -> None:
        for part, reason in self._degraded_reasons().items():
            if part in ALERT_CAUSES:
                self.alert(AlertEvent(at=self._settings.now(), cause=ALERT_CAUSES[part], message=reason))

    def _degraded_reasons(self) -> dict[DegradedReason, str]:
        reasons: dict[DegradedReason, str | None] = {
            "registry_invalid": self.reloader.error,
            "state_unavailable": self.state.unavailable_reason if self.state.is_degraded else None,
            "event_log_unwritable": self.event_writer.error,
            "cache_unavailable": self.cache.error,
            "semantic_cache_disabled": self.cache.semantic_error if uses_semantic_cache(self.reloader) else None,
            "background_task_failing": self._task_errors(),
        }
        return {part: reason for part, reason in reasons.items() if reason is not None}

    def _task_errors(self) -> str | None:
        errors = [f"{name}: {error}" for name, error in self.supervisor.errors.items()]
        return self.reloader.snapshot.redactor.text("; ".join(errors)) or None


def _ignore_event(_: CallEvent) -> None:
    """Do nothing."""


def uses_semantic_cache(reloader: HotReloader) -> bool:
    """Return whether a feature of the current registry has the semantic cache."""
    return any(feature.cache.kind == "semantic" for feature in reloader.snapshot.registry.features.values())
