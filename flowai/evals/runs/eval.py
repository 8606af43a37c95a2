"""`flowai eval`: resolve the target, run the trials, write the reports, decide."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.errors import InconclusiveError
from flowai.evals.execution.services import CaseGenerator
from flowai.evals.reports import STANDARD_NAMES, WRITERS
from flowai.evals.runs.earlier_runs import compare_with_earlier
from flowai.evals.runs.eval_options import EvalOptions, check_options, concurrency_of
from flowai.evals.runs.eval_run import last_finished, start_or_resume
from flowai.evals.runs.eval_session import EvalSession
from flowai.evals.runs.plan import case_key, plan_trials
from flowai.evals.runs.prepared import PreparedPlan
from flowai.evals.runs.recorded_answers import RecordedPlan, RecordedPreparer, open_outputs, open_run
from flowai.evals.runs.resolver import TargetResolver, endpoint_models
from flowai.evals.runs.run_report import RunFacts, build_report
from flowai.evals.runs.run_trials import trials_of
from flowai.evals.suites.yaml_reader import LoadContext
from flowai.rendering.report_files import write_reports
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flowai.evals.execution.limits import StopRule
    from flowai.evals.reports import Report
    from flowai.evals.runs.eval_run import EvalRun
    from flowai.evals.runs.plan import TrialPlan
    from flowai.evals.runs.prepared import Plan
    from flowai.evals.runs.recorded_answers import RecordedAnswers
    from flowai.evals.runs.trials import Observer
    from flowai.workspace.workspace import CommandContext, Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalResult:
    """Result of `flowai eval`."""

    report: Report
    directory: Path


def run_eval(
    context: CommandContext, options: EvalOptions, observer: Observer, *, stop_rules: Sequence[StopRule] = ()
) -> EvalResult:
    """Run an evaluation; InterruptedRunError means that the user interrupted it and it can be resumed."""
    started_s = context.clock_s()
    context = context.for_suite(options.target)
    check_options(options)
    workspace = open_workspace(context, models=options.models)
    plan: Plan
    if options.from_outputs is not None or options.rescore is not None:
        answers = _recorded_answers(workspace, options)
        plan = recorded = RecordedPlan(answers, options.selection)
        if not plan:
            raise InconclusiveError(f"no recorded answer belongs to a case: {'; '.join(recorded.warnings)}")
        session = EvalSession(workspace, options, observer)
        session.steps.warnings.extend(recorded.warnings)
        prepared = PreparedPlan(plan, RecordedPreparer(session.preparer, answers))
    else:
        workspace, plan = _plan(workspace, options)
        session = EvalSession(workspace, options, observer)
        prepared = PreparedPlan(plan, session.preparer)
    run = start_or_resume(workspace, options, prepared.digest, observer, stop_rules)
    with closing(run):
        calls_wall_s = session.run(prepared, run)
        run.finish(context.clock_s() - started_s)
    report = _build_report(workspace, plan, run, options, calls_wall_s, session.warnings)
    directory = workspace.project.reports / run.run_id
    write_reports(report, [*(directory / name for name in STANDARD_NAMES), *options.outputs], WRITERS)
    return EvalResult(report=report, directory=directory)


def watched_files(context: CommandContext) -> list[Path]:
    """List the files to watch: registry, prompts, suites and datasets."""
    project = context.project
    folders = (project.prompts, project.evals, project.datasets)
    files = [path for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file()]
    return sorted([project.registry, *files])


def _recorded_answers(workspace: Workspace, options: EvalOptions) -> RecordedAnswers:
    loading = _load_context(workspace, options)
    if options.from_outputs is not None:
        return open_outputs(workspace, options.from_outputs, options.target, loading)
    return open_run(workspace, str(options.rescore), options.target, loading)


def _load_context(workspace: Workspace, options: EvalOptions) -> LoadContext:
    run_code = CaseGenerator(workspace).run if options.runs_code else None
    return LoadContext(
        environ=workspace.environ,
        allows_network=options.allows_net,
        run_code=run_code,
        replaces_models=bool(options.models),
    )


def _plan(workspace: Workspace, options: EvalOptions) -> tuple[Workspace, TrialPlan]:
    resolver = TargetResolver(
        workspace.project,
        workspace.registry,
        workspace.library,
        release=workspace.release,
        models=options.models,
        loading=_load_context(workspace, options),
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


def _build_report(
    workspace: Workspace,
    plan: Plan,
    run: EvalRun,
    options: EvalOptions,
    calls_wall_s: float,
    run_warnings: Sequence[str],
) -> Report:
    trials = trials_of(plan, run.trials)
    comparison = compare_with_earlier(workspace, plan, run, trials, options)
    warnings = [*(text for suite in plan.suites for text in suite.warnings), *comparison.warnings, *run_warnings]
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
        stopped=run.stopped,
        changes=comparison.changes,
        against_baseline=comparison.against_baseline,
        earlier=comparison.earlier,
        derived_metrics={suite.path: suite.derived_metrics for suite in plan.suites},
        warnings=tuple(warnings),
    )
    return build_report(workspace, trials, {suite.path: suite.gate for suite in plan.suites}, facts)
