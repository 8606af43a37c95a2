"""`flowai eval`: resolve the target, run the trials, write the reports, decide."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import InconclusiveError
from flowai.evals.execution.secrets import with_suite_secrets
from flowai.evals.reports import STANDARD_NAMES, WRITERS
from flowai.evals.runs.answers.recorded_answers import RecordedPlan, RecordedPreparer, open_outputs, open_run
from flowai.evals.runs.answers.run_trials import trials_of
from flowai.evals.runs.earlier_runs import compare_with_earlier
from flowai.evals.runs.eval_options import EvalOptions, check_options, concurrency_of
from flowai.evals.runs.eval_run import last_finished, start_or_resume
from flowai.evals.runs.eval_session import EvalSession
from flowai.evals.runs.gating import RunGate
from flowai.evals.runs.plan import EditedPlan, case_key, plan_trials
from flowai.evals.runs.prepared import PreparedPlan
from flowai.evals.runs.resolver import TargetResolver, endpoint_models
from flowai.evals.runs.run_report import RunFacts, build_report
from flowai.evals.suites.yaml_reader import LoadContext
from flowai.rendering.report_files import write_result
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.evals.gates.baseline_file import BaselineChange
    from flowai.evals.reports import Report
    from flowai.evals.runs.answers.recorded_answers import RecordedAnswers
    from flowai.evals.runs.eval_run import EvalRun
    from flowai.evals.runs.plan import RunPlan, TrialPlan
    from flowai.evals.runs.prepared import Preparer
    from flowai.evals.runs.trials import Observer
    from flowai.evals.suites.records import CodeRef
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
    task = _open_task(context, options, observer)
    workspace, session, gate = task.workspace, task.session, task.gate
    prepared = PreparedPlan(gate.plan, task.preparer)
    run = start_or_resume(workspace, options, prepared.digest, observer, gate.stop_rules)
    with closing(run):
        calls_wall_s = session.run(prepared, run)
        again = None if run.stopped else gate.trials_again(run.trials.values())
        if again is not None:
            calls_wall_s += session.run(PreparedPlan(again, task.preparer), run)
        run.finish(context.clock_s() - started_s)
    plan = gate.plan if again is None else EditedPlan(gate.plan, (*gate.plan, *again))
    report = _build_report(task, plan, run, options, calls_wall_s)
    report = gate.judge(report, run.trials, run.stopped, is_partial=task.is_partial)
    directory = workspace.project.reports / run.run_id
    own_paths, left_out = _own_outputs(workspace, plan)
    report = msgspec.structs.replace(report, warnings=(*report.warnings, *left_out))
    files = [*(directory / name for name in STANDARD_NAMES), *options.outputs, *own_paths]
    unwritten = write_result(report, files, WRITERS)
    return EvalResult(
        report=report, directory=directory, unwritten=unwritten, new_baseline=gate.write_new_baseline(report)
    )


def _own_outputs(workspace: Workspace, plan: RunPlan) -> tuple[list[Path], list[str]]:
    """Return the files that suites ask for (`outputPath`), and a line for each that is not written."""
    paths, unwritten = [], []
    for suite in plan.suites:
        for text in suite.output_paths:
            path = Path(suite.folder) / text
            if path.suffix.lower() not in WRITERS:
                expected = ", ".join(f"`{ending}`" for ending in WRITERS)
                unwritten.append(f"{suite.path}: outputPath `{text}` is not written: expected one of {expected}")
            elif not _may_write(workspace, path.resolve()):
                unwritten.append(f"{suite.path}: outputPath `{text}` is not written: it is outside the project")
            else:
                paths.append(path)
    return paths, unwritten


def _may_write(workspace: Workspace, path: Path) -> bool:
    project = workspace.project
    return path.is_relative_to(project.root) and not project.is_hidden(path)


def watched_files(context: CommandContext) -> list[Path]:
    """List the files to watch: registry, prompts, suites and datasets."""
    project = context.project
    folders = (project.prompts, project.evals, project.datasets)
    files = [path for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file()]
    return sorted([project.registry, *files])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    """Everything that an evaluation needs before its first trial."""

    workspace: Workspace
    session: EvalSession
    gate: RunGate
    preparer: Preparer
    is_partial: bool = False
    """Whether cases have no recorded answer."""


def _open_task(context: CommandContext, options: EvalOptions, observer: Observer) -> _Task:
    workspace = open_workspace(context, models=options.models)
    if options.from_outputs is not None or options.rescore is not None:
        answers = _recorded_answers(workspace, options)
        recorded = RecordedPlan(answers, options.selection)
        if not len(recorded):
            raise InconclusiveError(f"no recorded answer belongs to a case: {'; '.join(recorded.warnings)}")
        session = EvalSession(workspace, options, observer)
        session.steps.warnings.extend(recorded.warnings)
        return _Task(
            workspace=workspace,
            session=session,
            gate=_gate(workspace, recorded, options),
            preparer=RecordedPreparer(session.preparer, answers),
            is_partial=recorded.missing_count > 0,
        )
    workspace, plan = _plan(workspace, options)
    session = EvalSession(workspace, options, observer)
    return _Task(workspace=workspace, session=session, gate=_gate(workspace, plan, options), preparer=session.preparer)


def _gate(workspace: Workspace, plan: RunPlan, options: EvalOptions) -> RunGate:
    return RunGate(workspace, plan, options.gate, target=options.target or "", replays=options.calls_no_model)


def _recorded_answers(workspace: Workspace, options: EvalOptions) -> RecordedAnswers:
    loading = load_context(workspace, options)
    if options.from_outputs is not None:
        return open_outputs(workspace, options.from_outputs, options.target, loading)
    return open_run(workspace, str(options.rescore), options.target, loading)


def load_context(workspace: Workspace, options: EvalOptions) -> LoadContext:
    """Return what suites may use while they are read: variables, the network, code that makes tests."""

    def run_code(code: CodeRef, arguments: Sequence[Any]) -> list[Any]:
        from flowai.evals.code.sources import make_tests  # not needed for tests that are written

        folder = workspace.project.root if code.file is None else Path(code.file).parent
        return make_tests(code, arguments, folder=folder, environ=workspace.environ, redactor=workspace.redactor)

    return LoadContext(
        environ=workspace.environ,
        allows_network=options.allows_net,
        run_code=run_code if options.runs_code else None,
    )


def _plan(workspace: Workspace, options: EvalOptions) -> tuple[Workspace, TrialPlan]:
    resolver = TargetResolver(
        workspace.project,
        workspace.registry,
        workspace.library,
        release=workspace.release,
        models=options.models,
        loading=load_context(workspace, options),
    )
    suite_targets = resolver.resolve(options.target)
    workspace = with_suite_secrets(workspace.with_models(endpoint_models(suite_targets)), suite_targets)
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


def _build_report(task: _Task, plan: RunPlan, run: EvalRun, options: EvalOptions, calls_wall_s: float) -> Report:
    workspace = task.workspace
    trials = trials_of(plan, run.trials)
    comparison = compare_with_earlier(workspace, plan, run, trials, options)
    warnings = [text for suite in plan.suites for text in suite.warnings]
    warnings += [*comparison.warnings, *task.session.warnings]
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
        derived_metrics={suite.path: suite.derived_metrics for suite in plan.suites},
        warnings=tuple(warnings),
    )
    return build_report(workspace, trials, {suite.path: suite.gate for suite in plan.suites}, facts)
