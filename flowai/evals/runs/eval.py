"""`flowai eval`: resolve the target, run the trials, write the reports, decide."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flowai.cache.exact import ExactCache
from flowai.errors import InconclusiveError, InterruptedRunError, UsageError
from flowai.evals.reports import STANDARD_NAMES, WRITERS, changes_between, earlier_trials
from flowai.evals.runs.plan import Selection, case_key, plan_trials
from flowai.evals.runs.run_log import PastRun, RunLog, RunStarted, new_run, past_runs
from flowai.evals.runs.run_report import RunFacts, build_report
from flowai.evals.runs.runner import RunAbortedError, finish_cached
from flowai.evals.runs.resolver import TargetResolver, endpoint_models
from flowai.evals.runs.trials import (
    CallOptions,
    TrialPreparer,
    build_forecast,
    plan_digest,
    resolve_endpoints,
    run_trials,
)
from flowai.evals.suites.yaml_reader import LoadContext
from flowai.providers import create_client
from flowai.rendering import formatting
from flowai.rendering.report_files import check_endings, write_reports
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flowai.evals.reports import Changes, EarlierTrial, Report, Trial
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.evals.runs.runner import AnswerSource, PreparedTrial
    from flowai.evals.runs.trials import Observer
    from flowai.providers import Request
    from flowai.workspace.workspace import CommandContext, Workspace

DEFAULT_CONCURRENCY = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalOptions:
    """Options of `flowai eval`."""

    target: str | None = None
    """Prompt id, prompt file or suite file; None for every suite."""
    models: tuple[str, ...] = ()
    """Models to use instead of the suites' own."""
    selection: Selection = field(default_factory=Selection)
    failing_only: bool = False
    """Run only cases that failed or had an error in the last run on this target."""
    concurrency: int = DEFAULT_CONCURRENCY
    """Maximum number of calls in flight, >= 1."""
    cached: bool | None = None
    """Whether to use the exact cache; None for "not in CI"."""
    replay: Path | None = None
    """Recording, or directory of recordings, to use instead of models."""
    record: Path | None = None
    call_on_miss: bool = False
    """Call a model for answers that the replay does not have, and record them there."""
    fail_fast: bool = False
    resume: bool = False
    """Continue the last unfinished run of the same plan."""
    retry_errors: bool = False
    """Run the errors of the last run of the same plan again, keep its other trials."""
    outputs: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalResult:
    """Result of `flowai eval`."""

    report: Report
    directory: Path


def run_eval(context: CommandContext, options: EvalOptions, observer: Observer) -> EvalResult:
    """Run an evaluation; InterruptedRunError means that the user interrupted it and it can be resumed."""
    started_s = context.clock_s()
    context = context.for_suite(options.target)
    _check_options(options)
    workspace, planned = _plan(context, options)
    preparer = TrialPreparer(workspace)
    prepared = preparer.prepare(planned)
    run = _start_or_resume(workspace, options, plan_digest(prepared), observer)
    with closing(run):
        calls_wall_s = _run_trials(workspace, preparer, prepared, run, options)
        run.finish(context.clock_s() - started_s)
    report = _build_report(workspace, planned, run, options, calls_wall_s)
    directory = workspace.project.reports / run.run_id
    write_reports(report, [*(directory / name for name in STANDARD_NAMES), *options.outputs], WRITERS)
    return EvalResult(report=report, directory=directory)


def watched_files(context: CommandContext) -> list[Path]:
    """List the files to watch: registry, prompts, suites and datasets."""
    project = context.project
    folders = (project.prompts, project.evals, project.datasets)
    files = [path for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file()]
    return sorted([project.registry, *files])


def _check_options(options: EvalOptions) -> None:
    check_endings(options.outputs, WRITERS)
    if options.replay is not None and options.record is not None:
        raise UsageError(
            "--replay and --record exclude each other", hint="--on-miss call adds answers that a replay does not have"
        )
    if options.replay is not None and (options.resume or options.retry_errors):
        raise UsageError("a replay always starts over: --resume and --retry-errors do not apply")
    if options.record is not None and (options.resume or options.retry_errors):
        raise UsageError("a recording is always complete: --resume and --retry-errors do not apply to --record")
    if options.resume and options.retry_errors:
        raise UsageError("--resume and --retry-errors exclude each other", hint="--retry-errors resumes too")
    if options.call_on_miss and options.replay is None:
        raise UsageError("--on-miss needs --replay")


def _plan(context: CommandContext, options: EvalOptions) -> tuple[Workspace, list[PlannedTrial]]:
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
    planned = plan_trials(suite_targets, selection)
    if not planned:
        raise InconclusiveError("no case matched", hint="--filter-pattern matches ids and descriptions of cases")
    return workspace, planned


def _failing_cases(workspace: Workspace, options: EvalOptions) -> frozenset[str]:
    last = _last_finished(workspace, options)
    if last is None:
        raise InconclusiveError("no earlier run on this target", hint="run it once without --filter-failing")
    failing = [trial for trial in last.trials.values() if trial.outcome in ("fail", "error")]
    if not failing:
        raise InconclusiveError(f"nothing failed in run {last.run_id}")
    return frozenset(case_key(trial.suite, trial.case) for trial in failing)


def _last_finished(workspace: Workspace, options: EvalOptions, *, before: str | None = None) -> PastRun | None:
    target = options.target or ""
    runs = past_runs(workspace.project.runs, lambda started: started.target == target and started.run_id != before)
    return next((run for run in runs if run.finished), None)


class _EvalRun:
    """A run in progress: its log, its finished trials, and whether it was stopped early."""

    def __init__(
        self, started: RunStarted, log: RunLog | None, kept: dict[str, Trial], observer: Observer, *, fail_fast: bool
    ) -> None:
        self.run_id, self.started_at = started.run_id, started.started_at
        self.trials = kept
        self.stopped = False
        self.in_flight_s = 0.0
        self.elapsed_s = 0.0
        self.cache_error: str | None = None
        """Why answers of this run are missing in the cache."""
        self.observer = observer
        self._log = log
        self._fail_fast = fail_fast
        if log is not None:
            log.start(started)

    def add(self, trial: Trial) -> None:
        if self._log is not None:
            self._log.add(trial)
        self.trials[trial.key] = trial
        if trial.cache == "miss":
            self.in_flight_s += (trial.latency_ms or 0.0) / 1000
        self.observer.trial(trial)
        if self._fail_fast and trial.outcome in ("fail", "error"):
            self.stopped = True
            raise RunAbortedError

    def finish(self, elapsed_s: float) -> None:
        self.elapsed_s = elapsed_s
        if self._log is not None and not self.stopped:
            self._log.finish(self.elapsed_s)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def _start_or_resume(workspace: Workspace, options: EvalOptions, digest: str, observer: Observer) -> _EvalRun:
    """Open a new run, or the one to resume. A replay has no log: it can be repeated at any time."""
    log: RunLog | None = None
    kept: dict[str, Trial] = {}
    if options.replay is not None:
        run_id = f"replay-{digest[:8]}"
    elif options.resume or options.retry_errors:
        past = _resumable(workspace, digest, errors=options.retry_errors)
        run_id = past.run_id
        kept = {key: trial for key, trial in past.trials.items() if trial.outcome != "error"}
        log = RunLog(workspace.project.runs / run_id)
    else:
        log = new_run(workspace.project.runs)
        run_id = log.run_id
    target, started_at = options.target or "", workspace.context.timestamp()
    started = RunStarted(run_id=run_id, target=target, plan_digest=digest, started_at=started_at)
    return _EvalRun(started, log, kept, observer, fail_fast=options.fail_fast)


def _resumable(workspace: Workspace, digest: str, *, errors: bool) -> PastRun:
    past = next(past_runs(workspace.project.runs, lambda started: started.plan_digest == digest), None)
    if past is None:
        raise InconclusiveError(
            "no earlier run of the same plan",
            hint="prompts, suites, models, parameters and filters must be the same; start over without --resume",
        )
    if errors and not any(trial.outcome == "error" for trial in past.trials.values()) and past.finished:
        raise InconclusiveError(f"run {past.run_id} has no errors")
    if not errors and past.finished:
        raise InconclusiveError(f"run {past.run_id} is finished", hint="start over without --resume")
    return past


def _run_trials(
    workspace: Workspace,
    preparer: TrialPreparer,
    prepared: Sequence[PreparedTrial],
    run: _EvalRun,
    options: EvalOptions,
) -> float:
    """Finish the trials that are not finished; return the seconds during which models were called."""
    waiting = [trial for trial in prepared if trial.planned.key not in run.trials]
    is_cached = not workspace.context.is_ci if options.cached is None else options.cached
    uses_cache = is_cached and options.replay is None and options.record is None
    try:
        with closing(ExactCache(workspace.project.cache)) if uses_cache else nullcontext() as cache:
            callbacks = preparer.callbacks(run.add)
            missed = finish_cached(waiting, cache, callbacks) if cache is not None else waiting
            run.observer.forecast(
                build_forecast(
                    missed if options.replay is None else [],
                    trial_count=len(prepared),
                    cached_count=len(waiting) - len(missed),
                )
            )
            if not missed:
                return 0.0
            try:
                return _call_models(workspace, preparer, missed, run, options, cache)
            finally:
                if cache is not None:
                    cache.close()
                    run.cache_error = cache.write_error
    except RunAbortedError:
        return 0.0
    except KeyboardInterrupt:
        kept = formatting.count(len(run.trials), "finished trial")
        if options.replay is not None or options.record is not None:  # these always start over
            raise InterruptedRunError(f"interrupted after {kept}") from None
        raise InterruptedRunError(
            f"interrupted; run {run.run_id} keeps {kept}", hint="continue with the same command and --resume"
        ) from None


def _call_models(
    workspace: Workspace,
    preparer: TrialPreparer,
    missed: Sequence[PreparedTrial],
    run: _EvalRun,
    options: EvalOptions,
    cache: ExactCache | None,
) -> float:
    replaying = options.replay is not None
    waiting = missed if replaying and not options.call_on_miss else resolve_endpoints(workspace, missed)
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
        return "miss" if not replaying or id(request) in called else "replay"

    call_options = CallOptions(
        origin="eval",
        # recorded answers need no waiting; one at a time keeps their order, and so the report's bytes
        concurrency=1 if replaying else options.concurrency,
        cache=cache,
        source_of=source_of,
    )
    return run_trials(workspace, preparer, waiting, client, call_options, run.add)


def _build_report(
    workspace: Workspace, planned: Sequence[PlannedTrial], run: _EvalRun, options: EvalOptions, calls_wall_s: float
) -> Report:
    trials = [run.trials[trial.key] for trial in planned if trial.key in run.trials]
    against_baseline, earlier, warnings = _against_baseline(workspace, planned, run)
    if run.stopped:
        warnings.append(f"stopped at the first failure: {len(trials)} of {len(planned)} trials were run")
    if run.cache_error is not None:
        warnings.append(f"answers were not cached: {run.cache_error}")
    changes: Changes | None = None
    if options.replay is None:
        last = _last_finished(workspace, options, before=run.run_id)
        if last is not None:
            changes = changes_between(last.run_id, last.trials, trials)
            rest = [trial for trial in trials if trial.key not in earlier]
            earlier |= {item.key: item for item in earlier_trials(last.run_id, last.trials, rest)}
    facts = RunFacts(
        kind="eval",
        run_id=run.run_id,
        target=options.target or "",
        started_at=run.started_at,
        elapsed_s=run.elapsed_s,
        calls_wall_s=calls_wall_s,
        in_flight_s=run.in_flight_s,
        concurrency_limit=options.concurrency,
        changes=changes,
        against_baseline=against_baseline,
        earlier=tuple(earlier.values()),
        warnings=tuple(warnings),
    )
    gates = {trial.suite.path: trial.suite.gate for trial in planned}
    return build_report(workspace, trials, gates, facts)


def _against_baseline(
    workspace: Workspace, planned: Sequence[PlannedTrial], run: _EvalRun
) -> tuple[tuple[Changes, ...], dict[str, EarlierTrial], list[str]]:
    """Compare with the suites' baseline prompts, as tried in this run, else in the newest run that tried them."""
    changes: list[Changes] = []
    earlier: dict[str, EarlierTrial] = {}
    warnings: list[str] = []
    for baseline in dict.fromkeys(trial.suite.baseline for trial in planned if trial.suite.baseline):
        baseline_keys = {
            trial.key: replace(trial, target=replace(trial.target, prompt=baseline)).key
            for trial in planned
            if trial.suite.baseline == baseline and trial.target.prompt != baseline
        }
        if not baseline_keys:
            continue
        source = _last_run_with(workspace, run, frozenset(baseline_keys.values()))
        if source is None:
            warnings.append(f"the baseline `{baseline}` was never run; `flowai eval {baseline}` runs it")
            continue
        run_id, tried = source
        before = {key: tried[baseline_key] for key, baseline_key in baseline_keys.items() if baseline_key in tried}
        compared = changes_between(run_id, before, run.trials.values(), baseline=baseline)
        if compared is not None:
            changes.append(compared)
        found = earlier_trials(run_id, before, run.trials.values(), baseline=baseline)
        earlier |= {item.key: item for item in found}
    return tuple(changes), earlier, warnings


def _last_run_with(workspace: Workspace, run: _EvalRun, keys: frozenset[str]) -> tuple[str, dict[str, Trial]] | None:
    if not keys.isdisjoint(run.trials):
        return run.run_id, run.trials
    for past in past_runs(workspace.project.runs, lambda _: True):
        if not keys.isdisjoint(past.trials):
            return past.run_id, past.trials
    return None
