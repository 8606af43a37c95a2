"""`flowai smoke`: send the standard prompts to a release's models and decide whether it may be deployed.

The prompts go over HTTP through the gateway, as the product's calls do, without anything that could hide a fault: no
cache, fallback, degraded answer, rollout or experiment. Fallback models are tried by their own names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InconclusiveError, InterruptedRunError, Place, PromptError, UsageError
from flowai.evals.execution.limits import CallLimits
from flowai.evals.reports import WRITERS
from flowai.evals.runs.plan import Selection, plan_trials
from flowai.evals.runs.prepared import TrialPreparer
from flowai.evals.runs.resolver import TargetResolver
from flowai.evals.runs.run_report import RunFacts, build_report
from flowai.evals.runs.trials import CallOptions, Forecast, resolve_endpoints, run_trials
from flowai.evals.smoke.fallback_trials import plan_fallback_trials
from flowai.evals.suites.loader import load_suite
from flowai.evals.suites.records import Assertion
from flowai.prompts import PromptLock
from flowai.providers import PriceTable, create_client
from flowai.registry import check_daily_limits, check_retirements, single_provider_warnings
from flowai.releases.integrity import changes_since
from flowai.rendering.report_files import check_endings, write_result
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.evals.reports import Report, Trial
    from flowai.evals.runs.plan import SuiteTarget
    from flowai.evals.runs.records import PreparedTrial
    from flowai.evals.runs.trials import Observer
    from flowai.evals.suites.records import Case
    from flowai.providers import Client
    from flowai.workspace.workspace import CommandContext, Workspace

SMOKE_SUITE = "evals/smoke.yaml"
BACKEND_KEY_VARIABLE = "FLOWAI_API_KEY"
"""Variable with the key of a custom backend (`base_url`); no provider's key is ever sent there."""
MAX_OUTPUT_TOKENS = 96
MAX_LATENCY_MS = 5_000.0
"""Limit for the complete answer."""
FIRST_TOKEN_TIMEOUT_S = 5.0
"""A model without a token by then is unresponsive: the case can no longer pass."""
TOTAL_TIMEOUT_S = 10.0
"""The call is cancelled then; it exceeded `MAX_LATENCY_MS` long before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeOptions:
    """Options of `flowai smoke`."""

    release: str | None = None
    """Release to check; None for a rollout's candidate, else the current release."""
    base_url: str | None = None
    """OpenAI-compatible backend for all calls; None for the release's own models."""
    pattern: str | None = None
    """Regular expression for a case's id or description."""
    fallbacks: bool = False
    """Whether to try every model of the fallback chains once; not with `base_url`."""
    outputs: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeResult:
    """Result of `flowai smoke`."""

    report: Report
    release: str
    current: str
    """The release that serves."""
    junit: Path
    untried: tuple[str, ...] = ()
    """A line per fallback model that was not tried, and why."""
    unwritten: tuple[str, ...] = ()
    """A line per report file that cannot be written."""


def run_smoke(context: CommandContext, options: SmokeOptions, observer: Observer) -> SmokeResult:
    """Check a release."""
    if options.fallbacks and options.base_url is not None:
        raise UsageError("--fallbacks and --base-url exclude each other", hint="a backend has no fallback models")
    check_endings(options.outputs, WRITERS)
    serving = open_workspace(context)
    rollout = serving.registry.rollout
    release = options.release or (rollout.candidate if rollout else serving.release)
    workspace = replace(serving, release=release) if release in serving.registry.releases else serving
    workspace.registry.release(release)
    _check_integrity(workspace)
    retired = _check_models(workspace, release)
    started_at, started_s = context.timestamp(), context.clock_s()
    suite = load_suite(workspace.project.inside(SMOKE_SUITE), workspace.project)
    resolver = TargetResolver(workspace.project, workspace.registry, workspace.library, release=workspace.release)
    suite_targets = [_with_limits(suite_target, workspace) for suite_target in resolver.resolve_by_feature(suite)]
    planned = plan_trials(suite_targets, Selection(pattern=options.pattern))
    spares, untried = (
        plan_fallback_trials(workspace, suite_targets, pattern=options.pattern, max_latency_ms=MAX_LATENCY_MS)
        if options.fallbacks and suite_targets
        else ([], ())
    )
    if not planned and not spares:
        raise InconclusiveError(
            f"no case of {SMOKE_SUITE} matched", hint="--filter-pattern matches ids and descriptions of cases"
        )
    preparer = TrialPreparer(workspace)
    prepared = [_limited(trial) for trial in preparer.prepare(planned)]
    prepared_spares = [_limited(trial) for trial in preparer.prepare(spares)]
    client: Client
    concurrency = len(prepared) + len(prepared_spares)
    if options.base_url is None:
        reachable = [*resolve_endpoints(workspace, prepared), *prepared_spares]
        if any(trial.request.endpoint.file is not None for trial in reachable):
            concurrency = 1  # a local model runs one request at a time; waiting for it would count as latency
        from flowai.evals.smoke.gateway_client import SmokeClient, build_gateway_requests  # late: a server takes 0.2 s

        waiting = build_gateway_requests(workspace, reachable)
        client = SmokeClient(workspace, observer.ready, fallbacks=options.fallbacks)
    else:
        waiting = _via_backend(prepared, options.base_url, api_key=workspace.environ.get(BACKEND_KEY_VARIABLE))
        client = create_client(redactor=workspace.redactor, on_ready=observer.ready)
    trials: dict[str, Trial] = {}

    def add(trial: Trial) -> None:
        trials[trial.key] = trial
        observer.trial(trial)

    models = tuple(dict.fromkeys(trial.request.endpoint.name for trial in waiting))
    observer.forecast(
        Forecast(trial_count=len(waiting), cached_count=0, call_count=len(waiting), models=models, cost_usd=None)
    )
    call_options = CallOptions(
        origin="smoke",
        limits=CallLimits(concurrency=concurrency, retries_rate_limits=False),
        cache=None,
        release=release,
        logs_calls=options.base_url is not None,  # the gateway logs its own calls
    )
    try:
        calls_wall_s = run_trials(workspace, waiting, client, call_options, add)
    except KeyboardInterrupt:
        raise InterruptedRunError("interrupted without a decision") from None
    facts = RunFacts(
        kind="smoke",
        run_id="smoke",
        target=release,
        started_at=started_at,
        elapsed_s=context.clock_s() - started_s,
        calls_wall_s=calls_wall_s,
        in_flight_s=sum(trial.latency_ms or 0.0 for trial in trials.values()) / 1000,
        concurrency_limit=concurrency,
        warnings=(*single_provider_warnings(workspace.registry, workspace.environ, (release,)), *retired, *untried),
    )
    report = build_report(workspace, [trials[trial.key] for trial in (*planned, *spares)], {}, facts)
    junit = workspace.project.reports / "smoke.xml"
    unwritten = write_result(report, [junit, *options.outputs], WRITERS)
    return SmokeResult(
        report=report,
        release=release,
        current=serving.release,
        junit=junit,
        untried=untried,
        unwritten=unwritten,
    )


def _check_models(workspace: Workspace, release: str) -> tuple[str, ...]:
    """Check limits that need prices, and end dates of models; return a warning for each model that is retired soon."""
    prices = PriceTable()
    check_daily_limits(workspace.registry, prices)
    today = workspace.context.now().date()
    return check_retirements(workspace.registry, (release,), today=today, prices=prices)


def _check_integrity(workspace: Workspace) -> None:
    """Refuse a published release that has changed: the check would be of something that is not deployed."""
    lock = PromptLock.read(workspace.project.prompts_lock)
    for change in changes_since(workspace.registry, lock, workspace.library, workspace.release):
        raise PromptError(
            f"{change.kind} `{change.name}` differs from the published release `{change.release}`",
            place=Place(file=workspace.project.show(workspace.project.prompts_lock)),
            hint="a release never changes: undo the change, or publish it with a new name in a new release",
        )


def _with_limits(suite_target: SuiteTarget, workspace: Workspace) -> SuiteTarget:
    """Add the checks of every smoke case: latency, and JSON if the prompt promises it."""
    promises_json = workspace.library.load(suite_target.targets[0].prompt).promises_json
    return replace(
        suite_target, cases=tuple(_case_with_limits(case, promises_json=promises_json) for case in suite_target.cases)
    )


def _case_with_limits(case: Case, *, promises_json: bool) -> Case:
    added = [Assertion(type="latency", threshold=MAX_LATENCY_MS, place=case.place)]
    if promises_json and not case.promises_json:
        added.append(Assertion(type="is-json", place=case.place))
    return msgspec.structs.replace(case, assertions=(*case.assertions, *added))


def _limited(trial: PreparedTrial) -> PreparedTrial:
    request = trial.request
    max_tokens = min(int(request.params.get("max_tokens", MAX_OUTPUT_TOKENS)), MAX_OUTPUT_TOKENS)
    limited = msgspec.structs.replace(
        request,
        params={**request.params, "max_tokens": max_tokens},
        first_token_timeout_s=FIRST_TOKEN_TIMEOUT_S,
        total_timeout_s=TOTAL_TIMEOUT_S,
    )
    return replace(trial, request=limited)


def _via_backend(trials: list[PreparedTrial], base_url: str, *, api_key: str | None) -> list[PreparedTrial]:
    redirected = []
    for trial in trials:
        endpoint = trial.request.endpoint
        own = msgspec.structs.replace(
            endpoint,
            model=f"openai/{endpoint.model.partition('/')[2]}",
            provider=base_url,
            api_base=base_url,
            api_key=api_key,
            file=None,
        )
        redirected.append(replace(trial, request=msgspec.structs.replace(trial.request, endpoint=own)))
    return redirected
