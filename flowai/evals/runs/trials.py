"""Shared by `eval` and `smoke`: forecast, call models, log call events."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from flowai.errors import CallError, UsageError
from flowai.evals.execution.endpoints import resolve_endpoint
from flowai.evals.runs.answers.judging import Judge
from flowai.evals.runs.runner import TrialCallbacks
from flowai.evals.targets.records import TargetRequest
from flowai.events import Attempt, CallEvent, Content, EventLog
from flowai.providers import PriceTable
from flowai.providers.endpoint_price import price_of
from flowai.storage.strict_json import json_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Literal

    from flowai.evals.execution.limits import CallLimits
    from flowai.evals.reports import Trial
    from flowai.evals.runs.answers.trial_steps import TrialSteps
    from flowai.evals.runs.records import PreparedTrial
    from flowai.evals.runs.runner import AnswerSource, TrialCache
    from flowai.providers import Client, Completion, Endpoint, Request
    from flowai.workspace.workspace import Workspace

ASSUMED_OUTPUT_TOKENS = 200
"""Output tokens assumed for a forecast if the request has no limit."""
CHARS_PER_TOKEN = 4.0
"""Assumed for a forecast; about right for English prose."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Calls and cost that a run is about to have."""

    trial_count: int
    cached_count: int
    call_count: int
    models: tuple[str, ...]
    cost_usd: float | None
    """Rough estimate; None if a price is not known."""


class Observer(Protocol):
    """Receives the progress of a run."""

    def forecast(self, forecast: Forecast) -> None:
        """Called once, before models are called."""
        ...

    def ready(self, model: str, load_s: float) -> None:
        """Called when a local model is loaded."""
        ...

    def trial(self, trial: Trial) -> None:
        """Called for each finished trial, after it is stored."""
        ...


class ForecastBuilder:
    """Estimates calls and cost from price tables; nothing is called."""

    def __init__(self) -> None:
        self._prices = PriceTable()
        self._unpriced: dict[str, None] = {}
        self.samples: dict[str, Request] = {}
        """A request to each model or program that is to be called, by name."""
        self._call_count = 0
        self._cost_usd: float | None = 0.0

    def add(self, trial: PreparedTrial) -> None:
        """Count a trial whose answer needs a call."""
        if trial.planned.case.recorded_output is not None:
            return
        request, name = trial.request, trial.request.endpoint.name
        self._call_count += 1
        if self._cost_usd is not None or name not in self.samples:
            cost_usd = self.estimate_usd(request)
            if cost_usd is None and _program_kind(request) is None:
                self._unpriced[name] = None
            self._cost_usd = None if cost_usd is None or self._cost_usd is None else self._cost_usd + cost_usd
        self.samples.setdefault(name, request)

    def estimate_usd(self, request: Request) -> float | None:
        """Estimate the cost of a call; None if its price is not known."""
        kind = _program_kind(request)
        if kind is not None:
            return 0.0 if kind == "echo" else None
        price = price_of(request.endpoint, self._prices)
        if price is None:
            return None
        chars = sum(len(str(message.get("content", ""))) for message in request.messages)
        output_tokens = request.params.get("max_tokens", ASSUMED_OUTPUT_TOKENS)
        return price.cost_usd(chars / CHARS_PER_TOKEN, output_tokens)

    def checked_estimate(self, option: str) -> Callable[[Request], float | None]:
        """Return the estimate of a call's cost for an option that limits it.

        Raises:
            UsageError: the price of a model is not known.
        """
        if self._unpriced:
            raise UsageError(
                f"{option} needs the price of every model: that of {', '.join(f'`{n}`' for n in self._unpriced)} is "
                "not known",
                hint="set `price: {input: ..., output: ...}` of the model in the registry",
            )
        return self.estimate_usd

    def build(self, *, trial_count: int, cached_count: int) -> Forecast:
        """Return the forecast."""
        return Forecast(
            trial_count=trial_count,
            cached_count=cached_count,
            call_count=self._call_count,
            models=tuple(self.samples),
            cost_usd=self._cost_usd,
        )


def _program_kind(request: Request) -> str | None:
    """Return the kind of a target that is no model; None for a model."""
    provider = request.provider if isinstance(request, TargetRequest) else None
    return None if provider is None or provider.kind == "model" else provider.kind


class EndpointResolver:
    """Adds key, address and weights of its model to a request; each model is resolved once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._endpoints: dict[str, Endpoint] = {}
        self._targets: dict[str, Endpoint] = {}
        """Endpoints of the suites' own targets."""

    def resolve(self, request: Request) -> Request:
        """Return the request to send.

        Raises:
            MissingKeyError: a variable is not set.
            RegistryError: the weights are missing.
        """
        name = request.endpoint.name
        provider = request.provider if isinstance(request, TargetRequest) else None
        known = self._endpoints if provider is None else self._targets
        if name not in known:
            workspace = self._workspace
            known[name] = (
                workspace.resolve_endpoint(name) if provider is None else resolve_endpoint(workspace, provider)
            )
        return msgspec.structs.replace(request, endpoint=known[name])


def resolve_endpoints(workspace: Workspace, waiting: Sequence[PreparedTrial]) -> list[PreparedTrial]:
    """Resolve keys, addresses and weights of the models to call."""
    resolver = EndpointResolver(workspace)
    return [replace(trial, request=resolver.resolve(trial.request)) for trial in waiting]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallOptions:
    """Options of the calls to models."""

    origin: Literal["eval", "smoke"]
    limits: CallLimits
    cache: TrialCache | None
    resolve: Callable[[Request], Request] = lambda request: request
    """Return the request to send, with key and address."""
    source_of: Callable[[Request], AnswerSource] = lambda _: "miss"
    """Return the source of the answer to a request, after it came."""
    release: str | None = None
    logs_calls: bool = True
    """False if the called server logs the call events itself."""


class CallSession(Protocol):
    """Work of a run in the event loop of its calls, before, between and after them."""

    steps: TrialSteps
    """Steps before and after each call."""

    def log_to(self, log: EventLog) -> None:
        """Receive the log of call events, for calls of graders."""
        ...

    async def begin(self) -> None:
        """Run before the first trial."""
        ...

    async def end(self) -> None:
        """Run after the last trial; not if the calls were ended early."""
        ...

    async def aclose(self) -> None:
        """Close programs and connections."""
        ...


def trial_callbacks(
    workspace: Workspace,
    on_trial: Callable[[Trial], None],
    on_call: Callable[[PreparedTrial, str | None, Completion | CallError, float], None] = lambda *_: None,
) -> TrialCallbacks:
    """Return the dependencies of a runner."""
    return TrialCallbacks(
        judge=Judge(workspace.redactor.text),
        redact=workspace.redactor.text,
        redact_value=workspace.redactor.value,
        new_call_id=workspace.context.new_id,
        clock_s=workspace.context.clock_s,
        on_call=on_call,
        on_trial=on_trial,
    )


def run_trials(
    workspace: Workspace,
    waiting: Iterable[PreparedTrial],
    client: Client,
    options: CallOptions,
    on_trial: Callable[[Trial], None],
    *,
    serial: Iterable[PreparedTrial] = (),
    session: CallSession | None = None,
) -> float:
    """Call models for the answers of trials, first of the serial ones in their order; return the seconds of wall time.

    A call event is logged for every call, not for replayed answers. After an interrupt, every finished trial is stored.
    """
    import asyncio  # a fully cached run never needs it

    from flowai.evals.runs.trial_calls import TrialCalls

    context = workspace.context
    with closing(
        EventLog(
            workspace.events,
            process=f"{options.origin}-{context.new_id()[:12]}",
            redactor=workspace.redactor,
            clock=context.now,
        )
    ) as log:

        def on_call(
            prepared: PreparedTrial, call_id: str | None, result: Completion | CallError, latency_ms: float
        ) -> None:
            if call_id is not None and options.logs_calls:
                fields = _call_fields(prepared, result, latency_ms)
                log.append(
                    CallEvent(
                        call_id=call_id, at=context.now(), origin=options.origin, release=options.release, **fields
                    )
                )

        async def run() -> None:
            calls = TrialCalls(
                client,
                trial_callbacks(workspace, on_trial, on_call),
                options.limits,
                cache=options.cache,
                resolve=options.resolve,
                source_of=options.source_of,
                steps=None if session is None else session.steps,
            )
            try:
                if session is None:
                    await calls.run(waiting, serial=serial)
                    return
                session.log_to(log)
                await session.begin()
                await calls.run(waiting, serial=serial)
                await session.end()
            finally:
                if session is not None:
                    await session.aclose()
                await client.aclose()

        started_s = context.clock_s()
        try:
            asyncio.run(run())
        finally:
            elapsed_s = context.clock_s() - started_s
    return elapsed_s


def _call_fields(prepared: PreparedTrial, result: Completion | CallError, latency_ms: float) -> dict[str, Any]:
    planned, endpoint = prepared.planned, prepared.request.endpoint
    fields: dict[str, Any] = {
        "feature": planned.target.feature,
        "prompt_id": planned.target.prompt,
        "prompt_hash": prepared.prompt_hash,
        "requested_model": endpoint.name,
        "provider": endpoint.provider,
        "latency_ms": latency_ms,
    }
    if prepared.logs_content:  # the log redacts secrets
        output = None if isinstance(result, CallError) else result.text
        fields["content"] = Content(messages=prepared.request.messages, output=output)
    attempt = Attempt(model=endpoint.name, provider=endpoint.provider, status="ok", latency_ms=latency_ms)
    if isinstance(result, CallError):
        kind = type(result).__name__
        failed = msgspec.structs.replace(attempt, status="error", http_status=result.status, error_class=kind)
        return {**fields, "attempts": (failed,), "error_class": kind, "error_message": str(result)}
    return {
        **fields,
        "attempts": (attempt,),
        "served_model": result.served_model,
        "input_tokens": result.input_tokens,
        "output_tokens": result.output_tokens,
        "cost_usd": result.cost_usd,
        "ttft_ms": result.ttft_ms,
        "finish_reason": result.finish_reason,
        "json_valid": json_problem(result.text) is None if prepared.promises_json else None,
    }
