"""`flowai drift`: run a baseline again on the same models, without the cache, and decide whether they changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.drift.baseline_plan import plan_drift
from flowai.evals.drift.gate import DriftGate
from flowai.evals.drift.options import find_baseline
from flowai.evals.execution.derived_metrics import RunMetrics
from flowai.evals.runs.eval import EvalTask, load_context, run_task
from flowai.evals.runs.eval_options import EvalOptions, check_options
from flowai.evals.runs.eval_session import EvalSession
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from flowai.evals.drift.options import DriftOptions
    from flowai.evals.runs.eval import EvalResult
    from flowai.evals.runs.prepared import Preparer
    from flowai.evals.runs.trials import Observer
    from flowai.workspace.workspace import CommandContext, Workspace


def run_drift(context: CommandContext, options: DriftOptions, observer: Observer) -> EvalResult:
    """Run a baseline again; the verdict of the report is `fail` if a model drifted.

    Raises:
        ProjectError: there is no such baseline, or it is of another suite, prompt or model.
        InterruptedRunError: the user interrupted it.
    """
    started_s = context.clock_s()
    workspace = open_workspace(context.for_suite(None))
    name, baseline = find_baseline(workspace.project, options.baseline)
    eval_options = EvalOptions(
        target=f"drift {name}",
        concurrency=options.concurrency,
        cached=False,
        max_cost_usd=options.max_cost_usd,
        outputs=options.outputs,
    )
    check_options(eval_options)
    sessions: list[EvalSession] = []

    def preparer_of(workspace: Workspace) -> Preparer:
        sessions.append(EvalSession(workspace, eval_options, observer))
        return sessions[0].preparer

    plan = plan_drift(
        workspace,
        name,
        baseline,
        repeats=options.repeats,
        load_context=lambda opened: load_context(opened, eval_options),
        preparer_of=preparer_of,
    )
    gate = DriftGate(plan, name, baseline, margin=options.margin, max_error_rate=options.max_error_rate)
    task = EvalTask(
        workspace=plan.workspace,
        session=sessions[0],
        gate=gate,
        preparer=sessions[0].preparer,
        metrics=RunMetrics(()),
        kind="drift",
    )
    return run_task(task, eval_options, observer, started_s=started_s)
