"""`flowai eval`: resolve the target, run the trials, write the reports, decide."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.cache.exact import ExactCache
from flowai.errors import InconclusiveError, InterruptedRunError
from flowai.evals.reports import STANDARD_NAMES, WRITERS
from flowai.evals.runs.earlier_runs import compare_with_earlier
from flowai.evals.runs.eval_options import EvalOptions, check_options, concurrency_of
from flowai.evals.runs.eval_run import last_finished, start_or_resume
from flowai.evals.runs.gating import RunGate
from flowai.evals.runs.plan import EditedPlan, case_key, plan_trials
from flowai.evals.runs.prepared import PreparedPlan, TrialPreparer
from flowai.evals.runs.resolver import TargetResolver, endpoint_models
from flowai.evals.runs.run_limits import CallLimit, CallLimits, ConnectionErrors, CostLimit, RunStoppedError
from flowai.evals.runs.run_report import RunFacts, build_report
from flowai.evals.runs.run_trials import trials_of
from flowai.evals.runs.runner import CachedTrials, finish_cached
from flowai.evals.runs.trials import (
    CallOptions,
    EndpointResolver,
    ForecastBuilder,
    run_trials,
    trial_callbacks,
)
from flowai.evals.suites.yaml_reader import LoadContext
from flowai.providers import create_client
from flowai.rendering import formatting
from flowai.rendering.report_files import write_result
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.evals.gates.baseline_file import BaselineChange
    from flowai.evals.reports import Report
    from flowai.evals.runs.eval_run import EvalRun
    from flowai.evals.runs.plan import Plan
    from flowai.evals.runs.runner import AnswerSource
    from flowai.evals.runs.trials import Observer
    from flowai.providers import Request
    from flowai.workspace.workspace import CommandContext, Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalResult:
    """Result of `flowai eval`."""

    report: Report
    directory: Path
    unwritten: tuple[str, ...] = ()
    """A line per report file that cannot be written."""
    new_baseline: BaselineChange | None = None
    """Changes of the baseline that was written; None if none was."""


def run_eval(context: CommandContext, options: EvalOptions, observer: Observer) -> EvalResult:
    """Run an evaluation; InterruptedRunError means that the user interrupted it and it can be resumed."""
    started_s = context.clock_s()
    context = context.for_suite(options.target)
    check_options(options)
    workspace, plan = _plan(context, options)
    gate = RunGate(workspace, plan, options.gate, target=options.target or "", replays=options.calls_no_model)
    preparer = TrialPreparer(workspace)
    prepared = PreparedPlan(gate.plan, preparer)
    run = start_or_resume(workspace, options, prepared.digest, observer, gate.stop_rules)
    calls = CallLimit(options.gate.max_calls)
    with closing(run):
        calls_wall_s = _Session(workspace, prepared, run, options, calls).run()
        again = None if run.stopped else gate.trials_again(run.trials.values())
        if again is not None:
            calls_wall_s += _Session(workspace, PreparedPlan(again, preparer), run, options, calls).run()
        run.finish(context.clock_s() - started_s)
    plan = gate.plan if again is None else EditedPlan(gate.plan, (*gate.plan, *again))
    report = gate.judge(_build_report(workspace, plan, run, options, calls_wall_s), run.trials, run.stopped)
    directory = workspace.project.reports / run.run_id
    files = [*(directory / name for name in STANDARD_NAMES), *options.outputs]
    unwritten = write_result(report, files, WRITERS)
    return EvalResult(
        report=report, directory=directory, unwritten=unwritten, new_baseline=gate.write_new_baseline(report)
    )


def watched_files(context: CommandContext) -> list[Path]:
    """List the files to watch: registry, prompts, suites and datasets."""
    project = context.project
    folders = (project.prompts, project.evals, project.datasets)
    files = [path for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file()]
    return sorted([project.registry, *files])


def _plan(context: CommandContext, options: EvalOptions) -> tuple[Workspace, Plan]:
    workspace = open_workspace(context, models=options.models)
    resolver = TargetResolver(
        workspace.project,
        workspace.registry,
        workspace.library,
        release=workspace.release,
        models=options.models,
        loading=LoadContext(environ=workspace.environ),
    )
    suite_targets = resolver.resolve(options.target)
    workspace = workspace.with_models(endpoint_models(suite_targets))
    selection = options.selection
    if options.failing_only:
        selection = replace(selection, case_keys=_failing_cases(workspace, options))
    plan = plan_trials(suite_targets, selection)
    if not plan:
        raise InconclusiveError("no case matched", hint="--filter-pattern matches ids and descriptions of cases")
    return workspace, plan


def _failing_cases(workspace: Workspace, options: EvalOptions) -> frozenset[str]:
    last = last_finished(workspace, options)
    if last is None:
        raise InconclusiveError("no earlier run on this target", hint="run it once without --filter-failing")
    failing = [last.trials[key] for key in last.trials if last.trials.outcome(key) in ("fail", "error")]
    if not failing:
        raise InconclusiveError(f"nothing failed in run {last.run_id}")
    return frozenset(case_key(trial.suite, trial.case) for trial in failing)


class _Session:
    """Finishes the trials of a run that are not finished."""

    def __init__(
        self, workspace: Workspace, prepared: PreparedPlan, run: EvalRun, options: EvalOptions, calls: CallLimit
    ) -> None:
        self._workspace = workspace
        self._prepared = prepared
        self._run = run
        self._options = options
        self._calls = calls
        self._forecast = ForecastBuilder()

    def run(self) -> float:
        """Finish the trials; return the seconds during which models were called."""
        run, options = self._run, self._options
        try:
            run.begin()
            with closing(ExactCache(self._workspace.project.cache)) if self._uses_cache() else nullcontext() as cache:
                try:
                    return self._finish(cache)
                finally:
                    if cache is not None:
                        cache.close()
                        run.cache_error = cache.write_error
        except RunStoppedError as stopped:
            run.stopped = stopped.reason
            return 0.0
        except KeyboardInterrupt:
            kept = formatting.count(len(run.trials), "finished trial")
            if options.calls_no_model or options.record is not None:  # these always start over
                raise InterruptedRunError(f"interrupted after {kept}") from None
            raise InterruptedRunError(
                f"interrupted; run {run.run_id} keeps {kept}", hint="continue with the same command and --resume"
            ) from None

    def _uses_cache(self) -> bool:
        options = self._options
        if options.calls_no_model or options.record is not None:
            return False
        if options.cached is not None:
            return options.cached
        suites = self._prepared.plan.suites
        return not self._workspace.context.is_ci and all(suite.evaluate.uses_cache is not False for suite in suites)

    def _finish(self, cache: ExactCache | None) -> float:
        run = self._run
        total_count, kept_count = len(self._prepared), len(run.trials)
        waiting = self._prepared.waiting(run.trials.__contains__)
        cached = CachedTrials(0, 0)
        if cache is not None:
            callbacks = trial_callbacks(self._workspace, run.add)
            cached = finish_cached(waiting, cache, callbacks, self._forecast.add)
        elif not self._options.calls_no_model:
            for trial in waiting:
                self._forecast.add(trial)
        cached_count = cached.finished_count + cached.waiting_count
        run.observer.forecast(self._forecast.build(trial_count=total_count, cached_count=cached_count))
        if kept_count + cached.finished_count == total_count:
            return 0.0
        return self._call(cache)

    def _call(self, cache: ExactCache | None) -> float:
        workspace, run, options = self._workspace, self._run, self._options
        replaying = options.replay is not None
        called: set[int] = set()  # requests that the replay did not have, by identity: of equal ones it may have some
        client = create_client(
            redactor=workspace.redactor,
            replay=options.replay,
            record=options.record,
            call_on_miss=options.call_on_miss,
            on_called=lambda request: called.add(id(request)),
            on_ready=run.observer.ready,
        )

        def source_of(request: Request) -> AnswerSource:
            if replaying and id(request) not in called:
                return "replay"
            called.discard(id(request))  # a later request may get its identity
            return "miss"

        resolver = EndpointResolver(workspace)
        if not replaying or options.call_on_miss:
            resolver.resolve_names(self._forecast.models)
        call_options = CallOptions(
            origin="eval",
            limits=self._limits(),
            cache=cache,
            resolve=resolver.resolve if not replaying or options.call_on_miss else lambda request: request,
            source_of=source_of,
        )
        waiting = self._calls.take(self._prepared.waiting(run.trials.__contains__))
        calls_wall_s = run_trials(workspace, waiting, client, call_options, run.add)
        run.stopped = self._calls.reached
        return calls_wall_s

    def _limits(self) -> CallLimits:
        options, suites = self._options, self._prepared.plan.suites
        concurrency = concurrency_of(options, suites)
        cost = None if options.max_cost_usd is None else self._cost_limit(options.max_cost_usd)
        durations = [suite.evaluate.max_duration_s for suite in suites if suite.evaluate.max_duration_s is not None]
        timeouts = [suite.evaluate.timeout_s for suite in suites if suite.evaluate.timeout_s is not None]
        return CallLimits(
            # recorded answers need no waiting; one at a time keeps their order, and so the report's bytes
            concurrency=1 if options.calls_no_model else concurrency,
            cost=cost,
            connection_errors=ConnectionErrors(concurrency),
            max_duration_s=options.max_duration_s or max(durations, default=None),
            case_timeout_s=options.case_timeout_s or max(timeouts, default=None),
        )

    def _cost_limit(self, max_usd: float) -> CostLimit:
        return CostLimit(max_usd, self._forecast.checked_estimate("--max-cost"))


def _build_report(workspace: Workspace, plan: Plan, run: EvalRun, options: EvalOptions, calls_wall_s: float) -> Report:
    trials = trials_of(plan, run.trials)
    comparison = compare_with_earlier(workspace, plan, run, trials, options)
    warnings = list(comparison.warnings)
    if run.stopped is not None:
        warnings.append(f"stopped {run.stopped.what}: {len(trials):,} of {len(plan):,} trials were run")
    if run.cache_error is not None:
        warnings.append(f"answers were not cached: {run.cache_error}")
    facts = RunFacts(
        kind="eval",
        run_id=run.run_id,
        target=options.target or "",
        started_at=run.started_at,
        elapsed_s=run.elapsed_s,
        calls_wall_s=calls_wall_s,
        in_flight_s=run.in_flight_s,
        concurrency_limit=concurrency_of(options, plan.suites),
        changes=comparison.changes,
        against_baseline=comparison.against_baseline,
        earlier=comparison.earlier,
        warnings=tuple(warnings),
    )
    return build_report(workspace, trials, {suite.path: suite.gate for suite in plan.suites}, facts)
