"""Shared by `eval` and `smoke`: prepare trials, call models, judge answers, log call events."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from flowai.cache.exact import cache_key
from flowai.errors import CallError, Place, PromptError
from flowai.evals.assertions import Answer, compile_cases, score_answer
from flowai.evals.runs.plan import case_key
from flowai.evals.runs.runner import PreparedTrial, TrialCallbacks, call_models
from flowai.events import Attempt, CallEvent, Content, EventLog
from flowai.gateway.plan import build_request
from flowai.providers import PriceTable
from flowai.providers.endpoint_price import price_of
from flowai.storage.strict_json import json_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Literal

    from flowai.evals.assertions import AssertionFunction
    from flowai.evals.assertions.scoring import Score
    from flowai.evals.reports import Trial
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.evals.runs.runner import AnswerSource, TrialCache
    from flowai.evals.suites.records import Case
    from flowai.providers import Client, Completion, Request
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


class TrialPreparer:
    """Prepares and judges trials; each prompt, endpoint and case is prepared once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._checks: dict[str, tuple[AssertionFunction, ...]] = {}

    def prepare(self, planned: Iterable[PlannedTrial]) -> list[PreparedTrial]:
        """Render every prompt, compile every assertion: mistakes are reported before any call is paid for."""
        trials = list(planned)
        self._compile(trials)
        return [self._prepare(trial) for trial in trials]

    def judge(self, prepared: PreparedTrial, completion: Completion) -> Score:
        """Apply the case's assertions to an answer; reasons are redacted."""
        case = prepared.planned.case
        answer = Answer(
            text=completion.text,
            latency_ms=completion.latency_ms,
            ttft_ms=completion.ttft_ms,
            cost_usd=completion.cost_usd,
            finish_reason=completion.finish_reason,
        )
        key = case_key(prepared.planned.suite.path, case.id)
        score = score_answer(self._checks[key], answer, case.threshold)
        redact = self._workspace.redactor.text
        redacted = (msgspec.structs.replace(check, reason=redact(check.reason)) for check in score.checks)
        return score._replace(checks=tuple(redacted))

    def callbacks(
        self,
        on_trial: Callable[[Trial], None],
        on_call: Callable[[PreparedTrial, str | None, Completion | CallError, float], None] = lambda *_: None,
    ) -> TrialCallbacks:
        """Return the dependencies of a runner."""
        return TrialCallbacks(
            judge=self.judge,
            redact=self._workspace.redactor.text,
            redact_value=self._workspace.redactor.value,
            new_call_id=self._workspace.context.new_id,
            clock_s=self._workspace.context.clock_s,
            on_call=on_call,
            on_trial=on_trial,
        )

    def _prepare(self, planned: PlannedTrial) -> PreparedTrial:
        workspace, target, case = self._workspace, planned.target, planned.case
        prompt = workspace.library.load(target.prompt)
        feature = workspace.registry.feature(target.feature) if target.feature else None
        endpoint = workspace.endpoint(target.model)
        try:
            request = build_request(prompt, prompt.select(case.vars), endpoint, params=target.params, feature=feature)
        except PromptError as error:
            raise _case_location(error, case) from None
        return PreparedTrial(
            planned=planned,
            request=request,
            cache_key=cache_key(request, feature=target.feature or "-", prompt_hash=prompt.hash, repeat=planned.repeat),
            prompt_hash=prompt.hash,
            promises_json=prompt.promises_json or case.promises_json,
            logs_content=feature is not None and feature.log_content == "redacted",
        )

    def _compile(self, planned: Iterable[PlannedTrial]) -> None:
        """Compile suite by suite, so that shared assertions (`defaultTest`, schemas) are compiled once."""
        suites: dict[str, dict[str, Case]] = {}
        for trial in planned:
            suites.setdefault(trial.suite.path, {})[trial.case.id] = trial.case
        for path, cases in suites.items():
            compiled = compile_cases(tuple(cases.values()))
            self._checks.update({case_key(path, case_id): checks for case_id, checks in compiled.items()})


def _case_location(error: PromptError, case: Case) -> PromptError:
    """Add the case to an error about a prompt's values; the prompt's own line moves into the text."""
    file, _, line = case.place.rpartition(":")
    where = f" ({error.place})" if error.place else ""
    return PromptError(
        f"case `{case.id}`: {error.what}{where}", place=Place(file=file, line=int(line)), hint=error.hint
    )


def plan_digest(prepared: Sequence[PreparedTrial]) -> str:
    """Hash everything that determines the trials and how they are judged; runs with equal digests are comparable."""
    digest = hashlib.sha256()
    for trial in prepared:
        digest.update(
            msgspec.json.encode((trial.planned.key, trial.cache_key, trial.planned.case), order="deterministic")
        )
    return digest.hexdigest()


def build_forecast(waiting: Sequence[PreparedTrial], *, trial_count: int, cached_count: int) -> Forecast:
    """Estimate calls and cost from price tables; nothing is called."""
    prices = PriceTable()
    cost_usd: float | None = 0.0
    for trial in waiting:
        request = trial.request
        price = price_of(request.endpoint, prices)
        chars = sum(len(str(message.get("content", ""))) for message in request.messages)
        output_tokens = request.params.get("max_tokens", ASSUMED_OUTPUT_TOKENS)
        cost = price.cost_usd(chars / CHARS_PER_TOKEN, output_tokens) if price else None
        cost_usd = None if cost is None or cost_usd is None else cost_usd + cost
    models = tuple(dict.fromkeys(trial.request.endpoint.name for trial in waiting))
    return Forecast(
        trial_count=trial_count, cached_count=cached_count, call_count=len(waiting), models=models, cost_usd=cost_usd
    )


def resolve_endpoints(workspace: Workspace, waiting: Sequence[PreparedTrial]) -> list[PreparedTrial]:
    """Resolve keys, addresses and weights of the models to call."""
    names = dict.fromkeys(trial.request.endpoint.name for trial in waiting)
    endpoints = {name: workspace.resolve_endpoint(name) for name in names}
    return [
        replace(trial, request=msgspec.structs.replace(trial.request, endpoint=endpoints[trial.request.endpoint.name]))
        for trial in waiting
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallOptions:
    """Options of the calls to models."""

    origin: Literal["eval", "smoke"]
    concurrency: int
    cache: TrialCache | None
    source_of: Callable[[Request], AnswerSource] = lambda _: "miss"
    """Return the source of the answer to a request, after it came."""
    release: str | None = None
    logs_calls: bool = True
    """False if the called server logs the call events itself."""


def run_trials(
    workspace: Workspace,
    preparer: TrialPreparer,
    waiting: Sequence[PreparedTrial],
    client: Client,
    options: CallOptions,
    on_trial: Callable[[Trial], None],
) -> float:
    """Call models for the answers of trials; return the seconds of wall time.

    A call event is logged for every call, not for replayed answers. After an interrupt, every finished trial is stored.
    """
    import asyncio  # a fully cached run never needs it

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

        callbacks = preparer.callbacks(on_trial, on_call)

        async def session() -> None:
            try:
                await call_models(
                    waiting,
                    client,
                    callbacks,
                    concurrency=options.concurrency,
                    cache=options.cache,
                    source_of=options.source_of,
                )
            finally:
                await client.aclose()

        started_s = context.clock_s()
        try:
            asyncio.run(session())
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
