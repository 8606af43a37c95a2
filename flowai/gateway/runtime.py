"""Builds the runtime of a gateway for one project, keeps it current and closes it."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flowai.cache.embedder import ClientEmbedder, LocalEmbedder, local_embedder_missing
from flowai.cache.response_cache import open_response_cache
from flowai.errors import FlowaiError, InfrastructureError, RegistryError
from flowai.events import AlertCause, AlertEvent, CallEvent, Event, EventLog
from flowai.gateway.hot_reload import CurrentRedactor, HotReloader
from flowai.gateway.plan import FeatureToggles
from flowai.gateway.records import DegradedReason, GatewayStatus
from flowai.gateway.routing.budget import Budgets
from flowai.gateway.routing.circuit_breaker import CircuitBreakers
from flowai.gateway.routing.fallback import FallbackChain
from flowai.gateway.single_flight import SingleFlight
from flowai.gateway.telemetry.call_lookup import CallLookup
from flowai.gateway.telemetry.event_writer import EventWriter
from flowai.gateway.telemetry.spans import SpanExporter
from flowai.project import find_project
from flowai.providers import PriceTable, create_client
from flowai.providers.tokens import TokenCounter
from flowai.registry import events_directory, features_of
from flowai.registry.environment import fill
from flowai.state import Heartbeat
from flowai.state.factory import open_state
from flowai.state.fallback_store import FallbackStateStore
from flowai.state.memory_store import InMemoryStateStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flowai.cache.embedder import Embedder
    from flowai.cache.response_cache import ResponseCache
    from flowai.errors import AuthError
    from flowai.events import Origin
    from flowai.providers import Client, Endpoint
    from flowai.redaction import Redactor

MAINTENANCE_INTERVAL_S = 0.25
"""How often a running gateway checks for changed files and a new overlay."""
HEARTBEAT_INTERVAL_S = 3.0
HEARTBEAT_LIFETIME_S = 12.0
"""A process counts as gone after this time without a heartbeat."""
ALERT_REPEAT_S = 3600.0
"""Minimum time between two equal alerts."""
ALERT_CAUSES: dict[DegradedReason, AlertCause] = {
    "registry_invalid": "registry",
    "state_unavailable": "state",
    "event_log_unwritable": "events",
    "cache_unavailable": "cache",
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
        self.call_lookup = CallLookup(event_writer.log.directory, now=settings.now)
        self.trace = settings.trace or _ignore_event
        self.clock_s = settings.clock_s
        self.is_warm = False
        self._warm_models: set[str] = set()
        self.single_flight = SingleFlight()
        self.breakers = CircuitBreakers(state, environment=identity.environment, clock_s=settings.clock_s)
        self.budgets = Budgets(state, prices=reloader.prices, tokens=TokenCounter(), now=settings.now)
        self.fallback_chain = FallbackChain(
            client, self.breakers, clock_s=settings.clock_s, sleep=settings.sleep, rng=settings.rng
        )
        self._identity = identity
        self._settings = settings
        self._last_heartbeat: Heartbeat | None = None
        self._alerted_at_s: dict[tuple[object, ...], float] = {}
        self._maintenance: asyncio.Task[None] | None = None
        self._is_closing = False
        self.loop = asyncio.get_running_loop()

    def start(self, *, at_loop_end: Callable[[], Awaitable[None]]) -> None:
        """Start the maintenance task: file checks, overlay checks and heartbeats.

        `at_loop_end` is called when the event loop ends before `aclose`.
        """
        self._maintenance = asyncio.create_task(self._maintain(at_loop_end))

    async def refresh(self) -> None:
        """Check for changed files and a new overlay; send a heartbeat after a change or when one is due."""
        await self.reloader.refresh()
        shared = await self.breakers.refresh()
        active = self.reloader.snapshot.active_release(shared.overlay)
        epoch = 0 if shared.overlay is None else shared.overlay.epoch
        now = self._settings.now()
        heartbeat = msgspec.structs.replace(
            self._identity, release=active.release, candidate=active.candidate, overlay_epoch=epoch, at=now
        )
        # a store that was unreachable may come back without its data
        last = self._last_heartbeat = None if self.state.is_degraded else self._last_heartbeat
        if (
            last is None
            or msgspec.structs.replace(last, at=now) != heartbeat
            or (now - last.at).total_seconds() >= HEARTBEAT_INTERVAL_S
        ):
            try:
                await self.state.heartbeat(heartbeat, lifetime_s=HEARTBEAT_LIFETIME_S)
                self._last_heartbeat = heartbeat
            except InfrastructureError:
                self._last_heartbeat = None  # sent again at the next refresh

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
        if self._maintenance is not None and self._maintenance is not asyncio.current_task():
            self._maintenance.cancel()
            await asyncio.gather(self._maintenance, return_exceptions=True)
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

    async def _maintain(self, at_loop_end: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._maintain_forever()
        finally:
            if not self._is_closing:
                await at_loop_end()

    async def _maintain_forever(self) -> None:
        while True:
            with suppress(FlowaiError):  # no release can serve: each call raises the error
                await self.refresh()
            self.event_writer.flush()
            for part, reason in self._degraded_reasons().items():
                if part in ALERT_CAUSES:
                    self.alert(AlertEvent(at=self._settings.now(), cause=ALERT_CAUSES[part], message=reason))
            await asyncio.sleep(MAINTENANCE_INTERVAL_S)

    def _degraded_reasons(self) -> dict[DegradedReason, str]:
        reasons: dict[DegradedReason, str | None] = {
            "registry_invalid": self.reloader.error,
            "state_unavailable": self.state.unavailable_reason if self.state.is_degraded else None,
            "event_log_unwritable": self.event_writer.error,
            "cache_unavailable": self.cache.error,
            "semantic_cache_disabled": self.cache.semantic_error if _uses_semantic_cache(self.reloader) else None,
        }
        return {part: reason for part, reason in reasons.items() if reason is not None}


async def open_runtime(start: str | Path, env: str | None, origin: Origin, settings: RuntimeOptions) -> GatewayRuntime:
    """Open a project for calls; raises ProjectError if a file is wrong or no release can serve."""
    project = find_project(Path(start), settings.environ)
    reloader = await asyncio.to_thread(partial(HotReloader, project, settings.environ, env=env, prices=PriceTable()))
    snapshot, registry = reloader.snapshot, reloader.snapshot.registry
    redactor = CurrentRedactor(reloader)

    def wall_s() -> float:
        return settings.now().timestamp()

    state_address = fill(registry.state, snapshot.environ, owner="`state`")
    shared_state = open_state(state_address, project.root, clock_s=wall_s)
    state = FallbackStateStore(shared_state, InMemoryStateStore(wall_s), wall_s)
    runtimes: list[GatewayRuntime] = []  # the client comes before its gateway
    client = settings.connect(
        redactor,
        shared_process=origin == "library",
        on_key_refused=lambda error: runtimes[0].alert_refused_key(error),  # noqa: PLW0108 - it is empty until then
    )
    embedder, semantic_error = _embedder(reloader, client)
    cache = open_response_cache(
        state=state_address, directory=project.cache, embedder=embedder, rng=settings.rng, semantic_error=semantic_error
    )
    process = f"{origin}-{settings.new_id()[:12]}"
    now = settings.now()
    runtime = GatewayRuntime(
        reloader=reloader,
        state=state,
        client=client,
        cache=cache,
        event_writer=EventWriter(
            EventLog(events_directory(registry, project), process=process, redactor=redactor, clock=settings.now),
            clock_s=settings.clock_s,
            on_event=settings.on_event,
        ),
        identity=Heartbeat(
            process=process,
            host=socket.gethostname(),
            pid=os.getpid(),
            environment=registry.environment or "",
            origin=origin,
            release=snapshot.active_release(None).release,
            started_at=now,
            at=now,
        ),
        settings=replace(settings, trace=settings.trace or _span_recorder(redactor)),
    )
    runtimes.append(runtime)
    return runtime


def _ignore_event(_: CallEvent) -> None:
    """Do nothing."""


def _span_recorder(redactor: Redactor) -> Callable[[CallEvent], None]:
    return _ignore_event if find_spec("opentelemetry") is None else SpanExporter(redactor).record


def _uses_semantic_cache(reloader: HotReloader) -> bool:
    return any(feature.cache.kind == "semantic" for feature in reloader.snapshot.registry.features.values())


def _embedder(reloader: HotReloader, client: Client) -> tuple[Embedder | None, str | None]:
    """Return the semantic cache's embedder, or why there is none: calls must not fail for it."""
    if not _uses_semantic_cache(reloader):
        return None, None
    model = reloader.snapshot.registry.embeddings
    if model is not None:
        try:
            return ClientEmbedder(client, reloader.snapshot.endpoint(model)), None
        except FlowaiError as error:
            return None, str(error)
    missing = local_embedder_missing()
    return (LocalEmbedder(), None) if missing is None else (None, missing)
