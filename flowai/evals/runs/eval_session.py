"""Finishes the trials of `flowai eval`: from the cache, then by calling models and programs."""

from __future__ import annotations

from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

from flowai.cache.exact import ExactCache
from flowai.errors import InterruptedRunError, Place, SuiteError
from flowai.evals.assertions.services import CodeError
from flowai.evals.execution.limits import CallLimit, CallLimits, ConnectionErrors, CostLimit, RunStoppedError
from flowai.evals.execution.services import RunServices
from flowai.evals.judges.call_event import judge_call_event
from flowai.evals.runs.answers.comparisons import compare_answers
from flowai.evals.runs.answers.judging import Judge
from flowai.evals.runs.answers.trial_steps import MAX_HOOK_RESULTS, TrialSteps
from flowai.evals.runs.eval_options import concurrency_of
from flowai.evals.runs.prepared import TrialPreparer
from flowai.evals.runs.runner import CachedTrials, finish_cached
from flowai.evals.runs.trials import CallOptions, EndpointResolver, ForecastBuilder, run_trials, trial_callbacks
from flowai.evals.targets.records import TargetCompletion
from flowai.evals.templates import render
from flowai.providers import create_client
from flowai.rendering import formatting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.errors import CallError
    from flowai.evals.runs.eval_options import EvalOptions
    from flowai.evals.runs.eval_run import EvalRun
    from flowai.evals.runs.prepared import PreparedPlan
    from flowai.evals.runs.records import PreparedTrial
    from flowai.evals.runs.runner import AnswerSource
    from flowai.evals.runs.trials import Observer
    from flowai.evals.suites.records import Suite
    from flowai.events import EventLog
    from flowai.providers import Client, Completion, Endpoint, Request
    from flowai.workspace.workspace import Workspace


class EvalSession:
    """Services, client and limits of one `flowai eval`; it may run several plans, one after the other."""

    def __init__(self, workspace: Workspace, options: EvalOptions, observer: Observer) -> None:
        self._workspace = workspace
        self._options = options
        self._observer = observer
        self._client: Client | None = None
        self._called: set[int] = set()
        """Requests that the replay did not have, by identity: of equal ones it may have some."""
        self._log: EventLog | None = None
        self._services = RunServices(
            workspace,
            self._open_client,
            runs_code=options.runs_code,
            worker_count=2,
            needs_keys=options.replay is None or options.call_on_miss,
            on_grader_call=self._log_grader_call,
        )
        self.preparer = TrialPreparer(workspace, self._services)
        redact = workspace.redactor.text
        self.steps = TrialSteps(self.preparer, self._services, Judge(redact), redact)
        self._calls = CallLimit(options.gate.max_calls)
        self._plan: PreparedPlan | None = None
        self._run: EvalRun | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Failures that did not change a trial."""
        return tuple(dict.fromkeys(self.steps.warnings))

    def run(self, prepared: PreparedPlan, run: EvalRun) -> float:
        """Finish the trials of a plan that are not finished; return the seconds during which models were called."""
        options = self._options
        self._plan, self._run = prepared, run
        try:
            run.begin()
            cache_file = self._workspace.project.cache
            with (
                closing(ExactCache(cache_file, completion_type=TargetCompletion))
                if self._uses_cache(prepared)
                else nullcontext() as cache
            ):
                self._services.grader_cache = cache
                try:
                    return self._finish(prepared, run, cache)
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

    def log_to(self, log: EventLog) -> None:
        """Receive the log of call events, for calls of graders."""
        self._log = log

    async def begin(self) -> None:
        """Run the hooks before all cases; keep the answers of a resumed run for later cases."""
        assert self._plan is not None  # noqa: S101 - set by `run`
        assert self._run is not None  # noqa: S101 - as above
        plan, trials = self._plan.plan, self._run.trials
        try:
            await self.steps.before_all(plan.suites)
        except CodeError as error:
            raise SuiteError(f"hook `beforeAll` failed: {error}", place=Place(file=plan.suites[0].path)) from None
        if self._plan.has_serial and len(trials):
            for planned in plan:
                if planned.key in trials:
                    self.steps.restore(planned, trials[planned.key])

    async def end(self) -> None:
        """Compare the answers of cases; run the hooks after all cases."""
        assert self._plan is not None  # noqa: S101 - set by `run`
        if self._plan.has_comparisons:
            assert self._run is not None  # noqa: S101 - as above
            redact = self._workspace.redactor.text
            run, services = self._run, self._services.checks_of
            await compare_answers(self._plan.plan, run.trials, run.update, services, redact)
        await self.steps.after_all(self._plan.plan.suites, self._results)

    async def aclose(self) -> None:
        """Close what checks and code opened."""
        await self._services.aclose()
        self._client = None

    def _uses_cache(self, prepared: PreparedPlan) -> bool:
        options = self._options
        if options.calls_no_model or options.record is not None:
            return False
        if options.cached is not None:
            return options.cached
        is_off = any(suite.evaluate.uses_cache is False for suite in prepared.plan.suites)
        return not self._workspace.context.is_ci and not is_off

    def _finish(self, prepared: PreparedPlan, run: EvalRun, cache: ExactCache | None) -> float:
        forecast = ForecastBuilder()
        total_count, kept_count = len(prepared), 0
        if len(run.trials):
            kept_count = sum(planned.key in run.trials for planned in prepared.plan)
        waiting = prepared.waiting(run.trials.__contains__)
        cached = CachedTrials(0, 0)
        if cache is not None:
            callbacks = trial_callbacks(self._workspace, run.add)
            cached = finish_cached(waiting, cache, callbacks, forecast.add)
        elif not self._options.calls_no_model:
            for trial in waiting:
                forecast.add(trial)
        cached_count = cached.finished_count + cached.waiting_count
        self._observer.forecast(forecast.build(trial_count=total_count, cached_count=cached_count))
        if kept_count + cached.finished_count == total_count and not prepared.has_comparisons:
            return 0.0
        return self._call(prepared, run, cache, forecast)

    def _call(self, prepared: PreparedPlan, run: EvalRun, cache: ExactCache | None, forecast: ForecastBuilder) -> float:
        options = self._options
        resolver = EndpointResolver(self._workspace)
        resolves = not options.calls_no_model or options.call_on_miss
        if resolves:  # a missing key is reported before any model is called
            for request in forecast.samples.values():
                resolver.resolve(request)
        call_options = CallOptions(
            origin="eval",
            limits=self._limits(prepared, forecast),
            cache=cache,
            resolve=resolver.resolve if resolves else lambda request: request,
            source_of=self._source_of,
        )
        is_done = run.trials.__contains__
        waiting = prepared.waiting(is_done)
        serial: Iterable[PreparedTrial] = ()
        if prepared.has_serial:
            serial = (trial for trial in prepared.waiting(is_done) if trial.is_serial)
            waiting = (trial for trial in waiting if not trial.is_serial)
        calls_wall_s = run_trials(
            self._workspace,
            self._calls.take(waiting),
            self._open_client(),
            call_options,
            run.add,
            serial=self._calls.take(serial),
            session=self,
        )
        run.stopped = self._calls.reached
        return calls_wall_s

    def _open_client(self) -> Client:
        """Return the client of targets and graders."""
        if self._client is None:
            options = self._options
            self._client = create_client(
                redactor=self._workspace.redactor,
                replay=options.replay,
                record=options.record,
                call_on_miss=options.call_on_miss,
                on_called=lambda request: self._called.add(id(request)),
                on_ready=self._observer.ready,
                around=self._with_targets,
                completion_type=TargetCompletion,
            )
        return self._client

    def _with_targets(self, models: Client) -> Client:
        """Return the client of the suites' own targets around the client of models."""
        from flowai.evals.targets.client import TargetsClient  # late: it opens connections, a replay needs none

        return TargetsClient(models, render=render, redactor=self._workspace.redactor)

    def _source_of(self, request: Request) -> AnswerSource:
        if not self._options.calls_no_model:
            return "miss"
        if id(request) not in self._called:
            return "replay"
        self._called.discard(id(request))  # a later request may get its identity
        return "miss"

    def _limits(self, prepared: PreparedPlan, forecast: ForecastBuilder) -> CallLimits:
        options, suites = self._options, prepared.plan.suites
        concurrency = concurrency_of(options, suites)
        cost = None
        if options.max_cost_usd is not None:
            cost = CostLimit(options.max_cost_usd, forecast.checked_estimate("--max-cost"))
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

    def _log_grader_call(self, endpoint: Endpoint, result: Completion | CallError) -> None:
        if self._log is None or (self._options.calls_no_model and not self._options.call_on_miss):
            return
        self._log.append(judge_call_event(self._workspace.context, endpoint, result))

    def _results(self, suite: Suite) -> list[dict[str, Any]]:
        """Return the results that the hooks after all cases get; none of a large run."""
        assert self._run is not None  # noqa: S101 - set by `run`
        trials = self._run.trials
        if len(trials) > MAX_HOOK_RESULTS:
            self.steps.warnings.append(f"hook `afterAll` got no results: there are more than {MAX_HOOK_RESULTS:,}")
            return []
        found = (trials[key] for key in trials)
        return [
            {
                "success": trial.outcome == "pass",
                "score": trial.score,
                "vars": trial.vars,
                "response": {"output": trial.output},
                "error": trial.failure.message if trial.failure is not None else None,
                "provider": {"id": trial.model},
                "prompt": {"label": trial.prompt, "raw": trial.prompt_text},
            }
            for trial in found
            if trial.suite == suite.path
        ]
