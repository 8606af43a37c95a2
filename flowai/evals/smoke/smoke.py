"""What `flowai smoke` does: sends the standard prompts to a release's models and says whether it may be deployed.

The prompts go over HTTP through the gateway, as the product's calls do. Nothing that could hide a fault is in the way:
no cache, no fallback, no degraded model, no rollout, no experiment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InconclusiveError, InterruptedRunError, Place, PromptError
from flowai.evals.reports import WRITERS
from flowai.evals.runs.plan import Selection, plan_trials
from flowai.evals.runs.run_report import RunFacts, make_report
from flowai.evals.runs.targets import Targets
from flowai.evals.runs.trials import AskOptions, Forecast, TrialPreparer, ask, resolve_endpoints
from flowai.evals.smoke.gateway_client import SmokeClient, through_gateway
from flowai.evals.suites.loader import load_suite
from flowai.evals.suites.records import Assertion
from flowai.prompts import PromptLock
from flowai.providers import create_client
from flowai.releases.integrity import changes_since
from flowai.rendering.report_files import check_endings, write_reports
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.evals.reports import Report, Trial
    from flowai.evals.runs.plan import SuiteTarget
    from flowai.evals.runs.runner import PreparedTrial
    from flowai.evals.runs.trials import Observer
    from flowai.evals.suites.records import Case
    from flowai.providers import Client
    from flowai.workspace.workspace import CommandContext, Workspace

SUITE = "evals/smoke.yaml"
BACKEND_KEY_VARIABLE = "FLOWAI_API_KEY"
"""Holds the key of a backend of one's own; no provider's key is ever sent there."""
MAX_OUTPUT_TOKENS = 96
LATENCY_LIMIT_MS = 5_000.0
"""An answer must be whole within this."""
SILENCE_LIMIT_S = 5.0
"""A model that has said nothing after this is unresponsive; no first token within the limit cannot become a pass."""
TOTAL_LIMIT_S = 10.0
"""A model that is still talking after this is cut off; it has failed the latency limit long before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeOptions:
    """What was asked for."""

    release: str | None = None
    """Release to check; None for the candidate of a rollout, else the one that serves."""
    base_url: str | None = None
    """OpenAI-compatible backend to send everything to; None for the release's own models."""
    pattern: str | None = None
    """Only cases whose id or description matches; None for all."""
    outputs: tuple[Path, ...] = ()
    """Further files to write the report to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeResult:
    """What came of it."""

    report: Report
    """The report."""
    release: str
    """The release that was checked."""
    current: str
    """The release that serves."""
    junit: Path
    """Where the JUnit file lies."""


def run_smoke(context: CommandContext, options: SmokeOptions, observer: Observer) -> SmokeResult:
    """Check a release.

    Args:
        context: the command's context.
        options: what was asked for.
        observer: who follows it.

    Raises:
        ProjectError: a file of the project is wrong, or a key is missing.
        UsageError: the release is unknown.
        UndecidedError: no case matched.
        InfrastructureError: a local model did not start.
    """
    check_endings(options.outputs, WRITERS)
    serving = open_workspace(context)
    rollout = serving.registry.rollout
    release = options.release or (rollout.candidate if rollout else serving.release)
    workspace = replace(serving, release=release) if release in serving.registry.releases else serving
    workspace.registry.release(release)
    _check_integrity(workspace)
    started_at, started_s = context.timestamp(), context.clock_s()
    pairings = [_with_limits(pairing, workspace) for pairing in _pairings(workspace)]
    planned = plan_trials(pairings, Selection(pattern=options.pattern))
    if not planned:
        raise InconclusiveError(f"no case of {SUITE} matched", hint="--filter-pattern looks at a case's id")
    bench = TrialPreparer(workspace)
    prepared = [_limited(trial) for trial in bench.prepare(planned)]
    client: Client
    concurrency = len(prepared)
    if options.base_url is None:
        reachable = resolve_endpoints(workspace, prepared)
        if any(trial.request.endpoint.file is not None for trial in reachable):
            concurrency = 1  # a local model works on one request at a time, and waiting for it is no latency of it
        waiting = through_gateway(workspace, reachable)
        client = SmokeClient(workspace, observer.ready)
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
    asking = AskOptions(
        origin="smoke",
        concurrency=concurrency,
        cache=None,
        release=release,
        logs_calls=options.base_url is not None,  # the gateway logs its own
    )
    try:
        asking_s = ask(workspace, bench, waiting, client, asking, add)
    except KeyboardInterrupt:
        raise InterruptedRunError("interrupted; nothing is decided") from None
    facts = RunFacts(
        kind="smoke",
        run_id="smoke",
        target=release,
        started_at=started_at,
        elapsed_s=context.clock_s() - started_s,
        asking_s=asking_s,
        in_flight_s=sum(trial.latency_ms or 0.0 for trial in trials.values()) / 1000,
        concurrency_limit=concurrency,
    )
    report = make_report(workspace, [trials[trial.key] for trial in planned], {}, facts)
    junit = workspace.project.reports / "smoke.xml"
    write_reports(report, [junit, *options.outputs], WRITERS)
    return SmokeResult(report=report, release=release, current=serving.release, junit=junit)


def _check_integrity(workspace: Workspace) -> None:
    """A release that was published must still be what it was; else this would check something that is not deployed.

    Raises:
        PromptError: the bytes of one of its prompts, or the entry of one of its models, have changed.
    """
    lock = PromptLock.read(workspace.project.prompts_lock)
    for change in changes_since(workspace.registry, lock, workspace.library, workspace.release):
        raise PromptError(
            f"{change.kind} `{change.name}` is not what release `{change.release}` was published with",
            place=Place(file=workspace.project.show(workspace.project.prompts_lock)),
            hint="releases never change: undo the change, or give it a new name and a new release",
        )


def _pairings(workspace: Workspace) -> list[SuiteTarget]:
    project = workspace.project
    suite = load_suite(project.inside(SUITE), project)
    targets = Targets(project, workspace.registry, workspace.library, release=workspace.release)
    return targets.by_feature(suite)


def _with_limits(pairing: SuiteTarget, workspace: Workspace) -> SuiteTarget:
    """Add what every smoke case must hold: an answer in time, and JSON where the prompt promises it."""
    promises_json = workspace.library.load(pairing.subjects[0].prompt).promises_json
    return replace(pairing, cases=tuple(_sharpened_case(case, promises_json=promises_json) for case in pairing.cases))


def _sharpened_case(case: Case, *, promises_json: bool) -> Case:
    added = [Assertion(type="latency", threshold=LATENCY_LIMIT_MS, place=case.place)]
    if promises_json and not case.promises_json:
        added.append(Assertion(type="is-json", place=case.place))
    return msgspec.structs.replace(case, assertions=(*case.assertions, *added))


def _limited(trial: PreparedTrial) -> PreparedTrial:
    request = trial.request
    most = min(int(request.params.get("max_tokens", MAX_OUTPUT_TOKENS)), MAX_OUTPUT_TOKENS)
    limited = msgspec.structs.replace(
        request,
        params={**request.params, "max_tokens": most},
        first_token_timeout_s=SILENCE_LIMIT_S,
        total_timeout_s=TOTAL_LIMIT_S,
    )
    return replace(trial, request=limited)


def _via_backend(trials: list[PreparedTrial], base_url: str, *, api_key: str | None) -> list[PreparedTrial]:
    """Send everything to a backend of one's own, under the name its model has there."""
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
