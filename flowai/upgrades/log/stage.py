"""The stage of logged requests: sample, answers of both models, assertions, a judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.evals.judges.pairwise import pairwise_model
from flowai.providers import PriceTable
from flowai.providers.endpoint_price import price_of
from flowai.upgrades.evidence import EvidenceNames, as_judged, build_evidence
from flowai.upgrades.feature_upgrade import Findings, make_run, run_plan, stop_notes
from flowai.upgrades.log.preference import (
    PreferenceJudge,
    answer_pairs,
    build_preference,
    compare_answers,
    preference_standing,
)
from flowai.upgrades.log.requests import LoggedPreparer, LoggedTask, plan_logged
from flowai.upgrades.log.sample import RequestSample, sample_requests
from flowai.upgrades.pairs import PairCollector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.evals.reports import Trial
    from flowai.evals.runs.trials import Observer
    from flowai.evals.suites.records import Suite
    from flowai.upgrades.judged_margin import JudgedMargin
    from flowai.upgrades.options import UpgradeOptions
    from flowai.upgrades.records import Evidence, UpgradeModel
    from flowai.upgrades.spending import Spending
    from flowai.upgrades.suite_runs import FeaturePair, TrialRun
    from flowai.workspace.workspace import Workspace

NO_JUDGE = "no judge compares the answers: name one with --judge, or bind a feature `judge`"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedStage:
    """Logged requests of a feature, before any call."""

    sample: RequestSample
    task: LoggedTask
    judge: PreferenceJudge | None
    """Compares answers; None without one."""
    notes: tuple[str, ...] = ()
    blocker: str | None = None
    """Why the new model cannot answer some of the requests; None if it can."""
    new_call_count: int = field(default=0)
    """Calls of both models that are needed."""

    @property
    def judged_count(self) -> int:
        """Return the comparisons of the logged requests that count for the verdict."""
        if not self.sample.requests:
            return 0
        return self.task.has_checks + (self.judge is not None and self.judge.counts is not None)

    @property
    def judge_call_count(self) -> int:
        """Return the most calls of the judge."""
        return 2 * len(self.sample.requests) if self.judge is not None else 0


def open_logged_stage(
    workspace: Workspace,
    pair: FeaturePair,
    suites: Iterable[Suite],
    new: UpgradeModel,
    options: UpgradeOptions,
    *,
    margin: float,
) -> LoggedStage:
    """Sample the logged requests of a feature and plan them; nothing is called.

    Raises:
        UsageError: `--since` is no time.
        ProjectError: a file in `evals/judges` is not a calibration.
        InfrastructureError: the log cannot be read.
    """
    sample = RequestSample((), 0)
    notes: list[str] = []
    feature = workspace.registry.feature(pair.feature)
    if options.from_log:
        sample = sample_requests(workspace, pair.feature, pair.old.model, count=options.from_log, since=options.since)
        if not sample.requests:
            off = "; its `log_content` is off" if feature.log_content == "none" else ""
            notes.append(f"no logged request with content since {options.since}{off}")
        elif len(sample.requests) < options.from_log:
            notes.append(f"only {len(sample.requests):,} logged requests have content since {options.since}")
    task = plan_logged(workspace, pair, sample.requests, suites)
    model = pairwise_model(workspace, options.judge) if sample.requests else None
    models = (pair.old.model, pair.new.model)
    judge = None if model is None else preference_standing(workspace, model, models, margin)
    if sample.requests and judge is None:
        notes.append(NO_JUDGE)
    elif model in models:
        notes.append(f"the judge `{model}` is one of the two models, and models prefer their own answers")
    logged_count = sum(request.old_output is not None for request in sample.requests)
    return LoggedStage(
        sample=sample,
        task=task,
        judge=judge,
        notes=tuple(notes),
        blocker=_context_blocker(sample, new),
        new_call_count=len(task.plan) - logged_count,
    )


def run_logged(  # noqa: PLR0913 - a stage with everything that bounds it
    stage: LoggedStage,
    workspace: Workspace,
    pair: FeaturePair,
    options: UpgradeOptions,
    spending: Spending,
    observer: Observer,
    *,
    judging: JudgedMargin,
    alpha: float,
) -> Findings:
    """Answer the logged requests with both models, check the answers, and let the judge compare them.

    Raises:
        InfrastructureError: a model is unreachable.
        InterruptedRunError: the user interrupted it; answers are kept.
    """
    if not stage.sample.requests:
        return Findings(notes=stage.notes)
    run = make_run(
        workspace,
        f"{pair.feature}-log",
        stage.task.plan,
        options,
        spending,
        observer,
        preparer=lambda own: LoggedPreparer(workspace, pair, stage.task, own),
    )
    done = run_plan(run, None, spending)
    trials = done.finished()
    evidence = [_checked(stage, pair, done, trials, judging=judging, alpha=alpha)] if stage.task.has_checks else []
    notes = [*stage.notes, *done.warnings, *stop_notes(done)]
    if stage.judge is not None:
        judge = stage.judge.model
        endpoint = workspace.with_models((judge,)).endpoint(judge)
        if options.max_cost_usd is not None and price_of(endpoint, PriceTable()) is None:
            notes.append(f"--max-cost: the price of the judge `{judge}` is not known, so it is not called")
        else:
            pairs = answer_pairs(stage.sample.requests, trials, old=pair.old.model, judge=judge)
            found = compare_answers(workspace, judge, pairs, done.directory, spending)
            evidence.append(build_preference(pairs, found, judge=stage.judge, margin=judging.loss, alpha=alpha))
    return Findings(evidence=tuple(evidence), trials=tuple(trials), notes=tuple(notes))


def _checked(
    stage: LoggedStage,
    pair: FeaturePair,
    done: TrialRun,
    trials: Sequence[Trial],
    *,
    judging: JudgedMargin,
    alpha: float,
) -> Evidence:
    counts = {(trial.suite.path, trial.case.id): 2 for trial in done.plan}
    outcomes = PairCollector(counts, old=pair.old.model).add_all(trials)
    evidence = build_evidence(
        EvidenceNames("logged_checks", f"{len(counts):,} of {stage.sample.total_count:,}", pair.old.model),
        outcomes,
        trials,
        planned_count=len(counts),
        margin=judging.margin,
        alpha=alpha,
        is_complete=done.is_complete,
    )
    return as_judged(evidence, judging)


def _context_blocker(sample: RequestSample, new: UpgradeModel) -> str | None:
    """Return that requests do not fit into the new model's context; None if they do, or its context is not known."""
    if new.max_input_tokens is None:
        return None
    needs = [request.input_tokens for request in sample.requests]
    too_long = [need for need in needs if need > new.max_input_tokens]
    if not too_long:
        return None
    return (
        f"{len(too_long):,} of {len(needs):,} logged requests need up to {max(too_long):,} tokens, and the context of"
        f" `{new.name}` is {new.max_input_tokens:,}"
    )
