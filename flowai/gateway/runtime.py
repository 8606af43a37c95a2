"""Puts a gateway together for one project, keeps it current, and takes it apart in good order."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
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
from flowai.gateway.telemetry.event_writer import EventWriter
from flowai.gateway.telemetry.spans import SpanExporter
from flowai.project import find_project
from flowai.providers import EmbedRequest, PriceTable, create_client
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
    from flowai.events import Origin
    from flowai.providers import Client, Embeddings, Endpoint
    from flowai.redaction import Redactor

MAINTENANCE_INTERVAL_S = 0.25
"""How often a running gateway looks for changed files and a new overlay."""
HEARTBEAT_INTERVAL_S = 3.0
"""How often it says that it lives."""
LIFETIME_S = 12.0
"""After this much silence it counts as gone."""
ALERT_REPEAT_S = 3600.0
"""The same trouble is told again after this."""
ALERTS: dict[DegradedReason, AlertCause] = {
    "registry_invalid": "registry",
    "state_alone": "state",
    "events_failing": "events",
    "cache_failing": "cache",
}
"""Troubles that a person is told of."""


def _new_id() -> str:
    return uuid.uuid4().hex


def _connect(redactor: Redactor, *, shared_process: bool) -> Client:
    return create_client(redactor=redactor, shared_process=shared_process)


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeOptions:
    """What a gateway is given from outside; tests hand in their own."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    """The process environment."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    """The time, UTC."""
    clock_s: Callable[[], float] = time.perf_counter
    """A clock that never goes back, seconds."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Waits, seconds."""
    new_id: Callable[[], str] = _new_id
    """Gives ids that never repeat."""
    rng: random.Random = field(default_factory=random.Random)
    """Jitter."""
    connect: Callable[..., Client] = _connect
    """Gives the client that calls models; told the redactor, and whether others may use LiteLLM in this process."""
    on_event: Callable[[Event], None] = lambda _: None
    """Told of every event, before it is written."""
    trace: Callable[[CallEvent], None] | None = None
    """Told of every finished call; None for OpenTelemetry where the extra `otel` is installed, else nobody."""
    switches: FeatureToggles = field(default_factory=FeatureToggles)
    """What is left out."""


class GatewayRuntime:
    """What calls of one gateway share.

    Args:
        live: the project's files.
        state: what processes share.
        client: calls models.
        cache: where answers are kept.
        sink: takes events.
        identity: how this process calls itself.
        settings: what was handed in.
    """

    def __init__(
        self,
        *,
        live: HotReloader,
        state: FallbackStateStore,
        client: Client,
        cache: ResponseCache,
        sink: EventWriter,
        identity: Heartbeat,
        settings: RuntimeOptions,
    ) -> None:
        self.live = live
        self.state = state
        self.client = client
        self.cache = cache
        self.sink = sink
        self.trace = settings.trace or _ignore_alert
        self.clock_s = settings.clock_s
        self.is_warm = False
        self.flights = SingleFlight()
        self.breakers = CircuitBreakers(state, environment=identity.environment, clock_s=settings.clock_s)
        self.budgets = Budgets(state, prices=live.prices, tokens=TokenCounter(), now=settings.now)
        self.ladder = FallbackChain(
            client, self.breakers, clock_s=settings.clock_s, sleep=settings.sleep, rng=settings.rng
        )
        self._identity = identity
        self._settings = settings
        self._said: Heartbeat | None = None
        self._told: dict[tuple[object, ...], float] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._is_closing = False
        self.loop = asyncio.get_running_loop()

    def start(self, *, at_loop_end: Callable[[], Awaitable[None]]) -> None:
        """Begin to watch files and overlay, and to say that this process lives.

        Args:
            at_loop_end: called when the event loop ends and nobody has closed us.
        """
        self._ticking = asyncio.create_task(self._tick(at_loop_end))

    async def refresh(self) -> None:
        """Look for changed files and a new overlay; say so where something changed, or it is time."""
        await self.live.refresh()
        shared = await self.breakers.refresh()
        serving = self.live.snapshot.active_release(shared.overlay)
        epoch = 0 if shared.overlay is None else shared.overlay.epoch
        now = self._settings.now()
        beat = msgspec.structs.replace(
            self._identity, release=serving.release, candidate=serving.candidate, overlay_epoch=epoch, at=now
        )
        # a store that was away may have come back without its data
        said = self._said = None if self.state.is_degraded else self._said
        if (
            said is None
            or msgspec.structs.replace(said, at=now) != beat
            or (now - said.at).total_seconds() >= HEARTBEAT_INTERVAL_S
        ):
            try:
                await self.state.heartbeat(beat, lifetime_s=LIFETIME_S)
                self._said = beat
            except InfrastructureError:
                self._said = None  # what nobody heard is said again at the next look

    async def embed(self, endpoint: Endpoint, texts: tuple[str, ...]) -> Embeddings:
        """Give one vector per text."""
        return await self.client.embed(EmbedRequest(endpoint=endpoint, texts=texts))

    def alert(self, event: AlertEvent) -> None:
        """Put trouble into the log, once an hour for each kind, provider and model."""
        key = (event.cause, event.provider, event.model, event.feature)
        now_s = self._settings.clock_s()
        if now_s - self._told.get(key, -ALERT_REPEAT_S) >= ALERT_REPEAT_S:
            self._told[key] = now_s
            self.sink.add(event)

    def status(self) -> GatewayStatus:
        """Say how things stand."""
        snapshot, shared = self.live.snapshot, self.breakers.shared
        release = candidate = None
        warnings = snapshot.warnings
        try:
            serving = snapshot.active_release(shared.overlay)
            release, candidate, warnings = serving.release, serving.candidate, (*serving.warnings, *warnings)
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
            open_breakers=tuple(sorted(name for name, view in shared.breakers.items() if view.status != "closed")),
            held_event_count=self.sink.held_count,
            dropped_event_count=self.sink.dropped_count,
            is_warm=self.is_warm,
        )

    def find_call(self, call_id: str) -> CallEvent | None:
        """Look a call up in the log of today and yesterday."""
        wanted = call_id.encode()
        today = self._settings.now().astimezone(UTC).date()
        for day in (today, today - timedelta(days=1)):
            for path in sorted((self.sink.log.directory / f"dt={day.isoformat()}").glob("*.jsonl")):
                with path.open("rb") as stream:
                    for line in stream:
                        if wanted in line and (event := _call_event(line, call_id)) is not None:
                            return event
        return None

    async def warm_up(self) -> None:
        """Do what the first call of a model would wait for, once."""
        if not self.is_warm:
            await self.client.warm_up()
            self.is_warm = True

    async def warm_up_models(self) -> None:
        """Load the local models that the serving release may ask; one that cannot be loaded is told by its calls."""
        await self.warm_up()
        snapshot, switches = self.live.snapshot, self._settings.switches
        release = switches.release or snapshot.active_release(self.breakers.shared.overlay).release
        most_count = None if switches.falls_back else 1
        rungs = [
            rung
            for feature in features_of(snapshot.registry, release)
            for rung in snapshot.served(feature, release, experiment=None, arm=None).rungs[:most_count]
        ]
        for endpoint in {rung.endpoint.name: rung.endpoint for rung in rungs if rung.unavailable is None}.values():
            with suppress(InfrastructureError, RegistryError):
                await self.client.warm_up((endpoint,))

    async def aclose(self) -> None:
        """Write what is held, say that this process ends, give everything back."""
        self._is_closing = True
        if self._ticking is not None and self._ticking is not asyncio.current_task():
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        try:
            await self.cache.aclose()  # first: what it still keeps may need the client for a vector
            await self.client.aclose()
            await self.state.deregister(self._identity.environment, self._identity.process)
        finally:
            await self.state.aclose()
            self.sink.flush()
            self.sink.log.close()

    async def _tick(self, at_loop_end: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._reload_if_changed()
        finally:
            if not self._is_closing:
                await at_loop_end()

    async def _reload_if_changed(self) -> None:
        while True:
            with suppress(FlowaiError):  # no release is left that may serve: each call says so
                await self.refresh()
            self.sink.flush()
            for trouble, reason in self._degraded_reasons().items():
                if trouble in ALERTS:
                    self.alert(AlertEvent(at=self._settings.now(), cause=ALERTS[trouble], message=reason))
            await asyncio.sleep(MAINTENANCE_INTERVAL_S)

    def _degraded_reasons(self) -> dict[DegradedReason, str]:
        found: dict[DegradedReason, str | None] = {
            "registry_invalid": self.live.error,
            "state_alone": self.state.away_reason if self.state.is_degraded else None,
            "events_failing": self.sink.error,
            "cache_failing": self.cache.error,
            "semantic_off": self.cache.semantic_error if _wants_semantic(self.live) else None,
        }
        return {trouble: reason for trouble, reason in found.items() if reason is not None}


async def open_parts(start: str | Path, env: str | None, origin: Origin, settings: RuntimeOptions) -> GatewayRuntime:
    """Open a project for calls.

    Raises:
        ProjectError: a file is wrong, or no release serves.
        InfrastructureError: a directory of it cannot be written.
    """
    project = find_project(Path(start), settings.environ)
    live = await asyncio.to_thread(partial(HotReloader, project, settings.environ, env=env, prices=PriceTable()))
    snapshot, registry = live.snapshot, live.snapshot.registry
    redactor = CurrentRedactor(live)
    named_state = fill(registry.state, snapshot.environ, owner="`state`")
    wall_s = partial(_wall_s, settings)
    state = FallbackStateStore(
        open_state(named_state, project.root, clock_s=wall_s), InMemoryStateStore(wall_s), wall_s
    )
    client = settings.connect(redactor, shared_process=origin == "library")
    embedder, semantic_error = _embedder(live, client)
    cache = open_response_cache(
        named_state=named_state,
        directory=project.cache,
        embed=embedder,
        rng=settings.rng,
        semantic_error=semantic_error,
    )
    process = f"{origin}-{settings.new_id()[:12]}"
    now = settings.now()
    return GatewayRuntime(
        live=live,
        state=state,
        client=client,
        cache=cache,
        sink=EventWriter(
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
        settings=replace(settings, trace=settings.trace or _spans(redactor)),
    )


def _ignore_alert(_: CallEvent) -> None:
    """Tell nobody."""


def _spans(redactor: Redactor) -> Callable[[CallEvent], None]:
    """Give spans to whatever the process has set up for them; without OpenTelemetry to nobody."""
    if find_spec("opentelemetry") is None:
        return _ignore_alert
    return SpanExporter(redactor).record


def _wants_semantic(live: HotReloader) -> bool:
    return any(feature.cache.kind == "semantic" for feature in live.snapshot.registry.features.values())


def _embedder(live: HotReloader, client: Client) -> tuple[Embedder | None, str | None]:
    """Give what embeds texts for the semantic cache, or why there is nothing: calls do not fail for it."""
    if not _wants_semantic(live):
        return None, None
    named = live.snapshot.registry.embeddings
    if named is not None:
        try:
            return ClientEmbedder(client, live.snapshot.endpoint(named)), None
        except FlowaiError as error:
            return None, str(error)
    missing = local_embedder_missing()
    return (LocalEmbedder(), None) if missing is None else (None, missing)


def _wall_s(settings: RuntimeOptions) -> float:
    return settings.now().timestamp()


def _call_event(line: bytes, call_id: str) -> CallEvent | None:
    try:
        event = msgspec.json.decode(line, type=Event)
    except msgspec.DecodeError:
        return None
    return event if isinstance(event, CallEvent) and event.call_id == call_id else None
