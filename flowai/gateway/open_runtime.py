"""Opens the runtime of a gateway for one project."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flowai.cache.embedder import ClientEmbedder, LocalEmbedder, local_embedder_missing
from flowai.cache.response_cache import open_response_cache
from flowai.errors import FlowaiError
from flowai.events import EventLog
from flowai.gateway.heartbeats import process_identity
from flowai.gateway.hot_reload import CurrentRedactor, HotReloader
from flowai.gateway.runtime import GatewayRuntime, uses_semantic_cache
from flowai.gateway.supervisor import Supervisor
from flowai.gateway.telemetry.event_writer import EventWriter
from flowai.gateway.telemetry.spans import SpanExporter
from flowai.project import find_project
from flowai.providers import PriceTable
from flowai.registry import cache_address, events_directory
from flowai.registry.environment import fill
from flowai.state.factory import open_state
from flowai.state.fallback_store import FallbackStateStore
from flowai.state.memory_store import InMemoryStateStore
from flowai.state.overlay_memory import OverlayMemory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowai.cache.embedder import Embedder
    from flowai.events import CallEvent, Origin
    from flowai.gateway.runtime import RuntimeOptions
    from flowai.providers import Embeddings, EmbedRequest
    from flowai.redaction import Redactor


async def open_runtime(start: str | Path, env: str | None, origin: Origin, settings: RuntimeOptions) -> GatewayRuntime:
    """Open a project for calls; raises ProjectError if a file is wrong or no release can serve."""
    project = find_project(Path(start), settings.environ)
    supervisor = Supervisor(settings.on_bug, clock_s=settings.clock_s)
    reloader = await asyncio.to_thread(
        partial(
            HotReloader,
            project,
            settings.environ,
            env=env,
            prices=PriceTable(),
            supervisor=supervisor,
            clock_s=settings.clock_s,
        )
    )
    snapshot, registry = reloader.snapshot, reloader.snapshot.registry
    redactor = CurrentRedactor(reloader)

    def wall_s() -> float:
        return settings.now().timestamp()

    state_address = fill(registry.state, snapshot.environ, owner="`state`")
    shared_state = open_state(state_address, project.root, clock_s=wall_s, interval_clock_s=settings.machine_clock_s)
    state = FallbackStateStore(
        shared_state,
        InMemoryStateStore(settings.machine_clock_s, wall_s=wall_s),
        settings.machine_clock_s,
        memory=OverlayMemory(project.overlays),
    )
    runtimes: list[GatewayRuntime] = []  # the client comes before its gateway
    client = settings.connect(
        redactor,
        shared_process=origin == "library",
        on_key_refused=lambda error: runtimes[0].alert_refused_key(error),  # noqa: PLW0108 - it is empty until then
        renew=reloader.renew_keys,
    )

    async def embed(request: EmbedRequest) -> Embeddings:
        current = msgspec.structs.replace(request, endpoint=reloader.with_current_keys(request.endpoint))
        return await runtimes[0].embeddings.run(current, origin=origin, purpose="cache")

    embedder, semantic_error = _embedder(reloader, embed)
    cache = open_response_cache(
        state=cache_address(registry, snapshot.environ),
        directory=project.cache,
        embedder=embedder,
        rng=settings.rng,
        semantic_error=semantic_error,
    )
    process = f"{origin}-{settings.new_id()[:12]}"
    runtime = GatewayRuntime(
        reloader=reloader,
        state=state,
        client=client,
        cache=cache,
        event_writer=EventWriter(
            EventLog(events_directory(registry, project), process=process, redactor=redactor, clock=settings.now),
            clock_s=settings.clock_s,
            on_event=settings.on_event,
            on_bug=partial(supervisor.report, "event log"),
        ),
        identity=process_identity(
            process=process,
            environment=registry.environment or "",
            origin=origin,
            release=snapshot.active_release(None).release,
            started_at=settings.now(),
        ),
        settings=replace(settings, trace=settings.trace or _span_recorder(redactor)),
    )
    runtimes.append(runtime)
    return runtime


def _span_recorder(redactor: Redactor) -> Callable[[CallEvent], None] | None:
    return None if find_spec("opentelemetry") is None else SpanExporter(redactor).record


def _embedder(
    reloader: HotReloader, embed: Callable[[EmbedRequest], Awaitable[Embeddings]]
) -> tuple[Embedder | None, str | None]:
    """Return the semantic cache's embedder, or why there is none: calls must not fail for it."""
    if not uses_semantic_cache(reloader):
        return None, None
    model = reloader.snapshot.registry.embeddings
    if model is not None:
        try:
            return ClientEmbedder(embed, reloader.snapshot.endpoint(model)), None
        except FlowaiError as error:
            return None, str(error)
    missing = local_embedder_missing()
    return (LocalEmbedder(), None) if missing is None else (None, missing)
