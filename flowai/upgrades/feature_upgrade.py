"""Tries the new model in one feature: suites, logged requests, verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError, UsageError
from flowai.evals.runs.baselines import resolve_baseline
from flowai.upgrades.evidence import EvidenceNames, as_judged, build_evidence, worse_slices
from flowai.upgrades.judged_margin import JudgedMargin, judged_margin
from flowai.upgrades.pairs import PairCollector
from flowai.upgrades.records import FeatureUpgrade
from flowai.upgrades.speed import speed_findings, speed_of
from flowai.upgrades.suite_runs import FeaturePair, PairRun, RunLimits, find_suites, plan_pairs
from flowai.upgrades.verdict import DEFAULT_MARGIN, RunningVerdict, deciding_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from flowai.evals.gates.records import CaseKey, CaseResult
    from flowai.evals.reports import Trial
    from flowai.evals.runs.plan import PlannedTrial, SuiteTarget
    from flowai.evals.runs.prepared import Preparer, TrialPreparer
    from flowai.evals.runs.trials import Observer
    from flowai.evals.suites.records import Suite
    from flowai.upgrades.options import UpgradeOptions
    from flowai.upgrades.records import Evidence, ParameterChange, Verdict, WorseSlice
    from flowai.upgrades.spending import Spending
    from flowai.upgrades.suite_runs import TrialRun
    from flowai.workspace.workspace import Workspace

MAX_LOST_SHARE = 0.02
"""Largest share of calls that the new model may lose beyond the old one before its verdict is undecided."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteTask:
    """The suites of one feature, planned."""

    workspace: Workspace
    pair: FeaturePair
    plan: tuple[PlannedTrial, ...]
    judging: JudgedMargin
    before: Mapping[CaseKey, CaseResult] | None = None
    """Results of the old model from a baseline; None to call it."""

    @property
    def case_counts(self) -> dict[CaseKey, int]:
        """Return the number of planned trials by case."""
        counts: dict[CaseKey, int] = {}
        for trial in self.plan:
            key = (trial.suite.path, trial.case.id)
            counts[key] = counts.get(key, 0) + 1
        return counts

    @property
    def suites(self) -> tuple[Suite, ...]:
        """Return the suites, each once."""
        return tuple({trial.suite.path: trial.suite for trial in self.plan}.values())

    @property
    def source(self) -> str:
        """Return the suites' names."""
        return ", ".join(dict.fromkeys(trial.suite.path for trial in self.plan))


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Evidence of one stage, and the answers that it is made of."""

    evidence: tuple[Evidence, ...] = ()
    slices: tuple[WorseSlice, ...] = ()
    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()
    blocker: str | None = None
    """Why the new model cannot serve the feature; None if it can."""


def plan_suites(workspace: Workspace, pair: FeaturePair, options: UpgradeOptions) -> SuiteTask:
    """Plan the suites of a feature; without a suite the plan is empty.

    Raises:
        UsageError: the baseline has no result of the old model.
    """
    workspace, suites = find_suites(workspace, pair, runs_code=options.runs_code)
    plan = plan_pairs(suites, pair, first_n=options.first_n, with_old=options.baseline is None)
    before = None
    if options.baseline is not None and plan:
        before = _baseline_results(workspace, pair, options.baseline, plan)
    judging = judged_margin(workspace, [item.suite for item in suites], _margin(suites, options))
    return SuiteTask(workspace=workspace, pair=pair, plan=tuple(plan), judging=judging, before=before)


def run_suites(
    task: SuiteTask,
    options: UpgradeOptions,
    spending: Spending,
    observer: Observer,
    *,
    alpha: float,
    name: str | None = None,
) -> Findings:
    """Run the suites of a feature until the verdict is certain; `name` is added to the evidence's source.

    Raises:
        InfrastructureError: a model is unreachable.
        InterruptedRunError: the user interrupted it; answers are kept.
    """
    if not task.plan:
        return Findings(notes=(f"no suite uses `{task.pair.old.prompt}`",))
    old = task.pair.old.model
    counts = task.case_counts
    has_gated_slices = any(trial.suite.gate is not None and trial.suite.gate.slices for trial in task.plan)
    running = None if has_gated_slices else RunningVerdict(task.judging.margin, alpha)
    rule = PairCollector(counts, old=old, before=task.before, running=running)
    run = make_run(
        task.workspace,
        f"{task.pair.feature}-suites" if name is None else f"{task.pair.feature}-held-out",
        task.plan,
        options,
        spending,
        observer,
    )
    done = run_plan(run, rule, spending)
    trials = done.finished()
    outcomes = PairCollector(counts, old=old, before=task.before).add_all(trials)
    evidence = build_evidence(
        EvidenceNames("suites", task.source if name is None else f"{task.source}, {name}", old),
        outcomes,
        trials,
        planned_count=len(counts),
        margin=task.judging.margin,
        alpha=alpha,
        is_complete=done.is_complete,
    )
    return Findings(
        evidence=(as_judged(evidence, task.judging),),
        slices=worse_slices(task.plan, outcomes, alpha=alpha) if task.judging.is_judged else (),
        trials=tuple(trials),
        notes=(*done.warnings, *stop_notes(done)),
    )


def make_run(
    workspace: Workspace,
    name: str,
    plan: Sequence[PlannedTrial],
    options: UpgradeOptions,
    spending: Spending,
    observer: Observer,
    *,
    preparer: Callable[[TrialPreparer], Preparer] | None = None,
) -> PairRun:
    """Prepare a plan; the limit of cost is what is left."""
    limits = RunLimits(
        concurrency=options.concurrency,
        max_cost_usd=spending.left_usd,
        replay=options.replay,
        runs_code=options.runs_code,
    )
    return PairRun(workspace, name, plan, limits, observer, preparer=preparer)


def run_plan(run: PairRun, rule: PairCollector | None, spending: Spending) -> TrialRun:
    """Run a plan and add what it cost, with the answers that it had already."""
    spending.kept_count += sum(trial.cache == "miss" for trial in (run.finished() or {}).values())
    done = run.run(rule)
    spending.add(trial.cost_usd for trial in done.finished() if trial.cache == "miss")
    if done.stopped is not None and done.stopped.kind == "unreachable":
        raise InfrastructureError(
            f"stopped {done.stopped.what}", hint="the same command continues; `--baseline NAME` replaces a dead OLD"
        )
    return done


def stop_notes(done: TrialRun) -> tuple[str, ...]:
    """Return why a run is incomplete, unless its verdict is certain."""
    stopped = done.stopped
    return () if stopped is None or stopped.is_complete else (f"stopped {stopped.what}; the same command continues",)


def feature_report(
    pair: FeaturePair, stages: Sequence[Findings], parameters: tuple[ParameterChange, ...], spending: Spending
) -> FeatureUpgrade:
    """Combine the stages of a feature."""
    evidence = tuple(item for stage in stages for item in stage.evidence)
    slices = tuple(item for stage in stages for item in stage.slices)
    trials = [trial for stage in stages for trial in stage.trials]
    old = {trial.key: trial for trial in trials if trial.model == pair.old.model}
    new = {trial.key: trial for trial in trials if trial.model == pair.new.model}
    judged = [item for item in evidence if item.judged]
    deciding = deciding_evidence(judged)
    verdict: Verdict = deciding.verdict if deciding is not None else "undecided"
    gated = [item for item in slices if item.is_gated]
    lost = _lost_share(old.values(), new.values())
    notes = [note for stage in stages for note in stage.notes]
    blocker = next((stage.blocker for stage in stages if stage.blocker is not None), None)
    if blocker is not None:
        verdict, reason = "worse", blocker
    elif gated:
        verdict, reason = "worse", f"slice `{gated[0].name}` of {gated[0].suite} is worse"
    elif lost > MAX_LOST_SHARE and verdict != "worse":
        verdict, reason = "undecided", f"{lost:.0%} more calls of `{pair.new.model}` had no answer or no judgement"
    else:
        reason = _reason(deciding, notes)
    needed = None
    if verdict == "undecided" and deciding is not None and deciding.needed_count is not None:
        needed = deciding.needed_count - deciding.pair_count
    return FeatureUpgrade(
        feature=pair.feature,
        prompt=pair.new.prompt,
        verdict=verdict,
        reason=reason,
        needed_count=needed,
        parameters=parameters,
        evidence=evidence,
        slices=slices,
        old_speed=speed_of(old.values()),
        new_speed=speed_of(new.values()),
        findings=(*speed_findings(_by_request(old, pair.old.model), _by_request(new, pair.new.model)), *notes),
        call_count=spending.call_count,
        cost_usd=None if spending.unpriced_count else spending.cost_usd,
    )


def _by_request(trials: Mapping[str, Trial], model: str) -> dict[str, Trial]:
    """Return fresh answers by what both models were asked."""
    return {
        f"{trial.suite}::{trial.case}::{trial.repeat}": trial
        for trial in trials.values()
        if trial.model == model and trial.output is not None and trial.latency_ms
    }


def _lost_share(old: Iterable[Trial], new: Iterable[Trial]) -> float:
    """Return by how much the new model's share of calls without a result is larger."""

    def share(trials: Sequence[Trial]) -> float:
        return sum(trial.outcome == "error" for trial in trials) / len(trials) if trials else 0.0

    return share(list(new)) - share(list(old))


def _reason(item: Evidence | None, notes: Sequence[str]) -> str:
    if item is None or item.difference is None:
        return notes[0] if notes else "no answer of both models could be judged"
    found = f"{100 * item.difference:+.1f} [{100 * item.low:+.1f}, {100 * item.high:+.1f}] points of {item.source}"
    return f"{found}, n = {item.pair_count:,}"


def _margin(suites: Sequence[SuiteTarget], options: UpgradeOptions) -> float:
    """Return the accepted loss: the option, else the smallest of the suites' gates."""
    if options.margin is not None:
        return options.margin
    own = [item.suite.gate.margin for item in suites if item.suite.gate is not None and item.suite.gate.margin]
    return min(own, default=DEFAULT_MARGIN)


def _baseline_results(
    workspace: Workspace, pair: FeaturePair, name: str, plan: Sequence[PlannedTrial]
) -> dict[CaseKey, CaseResult]:
    source = resolve_baseline(workspace, name, plan, "")
    if source.targets:
        raise UsageError(f"--baseline: `{name}` has no results", hint="name a run, or a file in evals/baselines/")
    found = {}
    for path, prompt in dict.fromkeys((trial.suite.path, trial.target.prompt) for trial in plan):
        for case, result in source.baseline.find(path, prompt, pair.old.model).items():
            if result.model == pair.old.model and result.values:
                found[path, case] = replace(result, first=result.first or result.again)
    if not found:
        raise UsageError(
            f"{source.baseline.name} has no result of `{pair.old.model}` on {pair.old.prompt}",
            hint="without --baseline the old model is called beside the new one",
        )
    return found
