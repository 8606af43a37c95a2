"""Runs plans of trials on both models, call by call beside each other; every answer is kept at once, to be resumed."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.errors import InconclusiveError, InterruptedRunError
from flowai.evals.execution.secrets import with_suite_secrets
from flowai.evals.gates.stopping import early_order
from flowai.evals.runs.eval import load_context
from flowai.evals.runs.eval_options import EvalOptions
from flowai.evals.runs.eval_run import EvalRun
from flowai.evals.runs.eval_session import EvalSession
from flowai.evals.runs.plan import Selection, SuiteTarget, TrialPlan, TrialTarget
from flowai.evals.runs.prepared import PreparedPlan
from flowai.evals.runs.resolver import TargetResolver
from flowai.evals.runs.run_log import RunLog, RunStarted, TemporaryLog, read_run
from flowai.storage.files import writing
from flowai.storage.own_files import make_private_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from flowai.evals.execution.limits import StopReason, StopRule
    from flowai.evals.reports import Trial
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.evals.runs.prepared import Preparer, TrialPreparer
    from flowai.evals.runs.records import PreparedTrial
    from flowai.evals.runs.run_log import LoggedTrials, TrialLog
    from flowai.evals.runs.trials import Observer
    from flowai.registry import Binding
    from flowai.workspace.workspace import Workspace

DIGEST_CHARS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class FeaturePair:
    """A feature with the bindings of both models."""

    feature: str
    old: Binding
    new: Binding

    def target(self, bound: Binding) -> TrialTarget:
        """Return the target of a binding."""
        return TrialTarget(prompt=bound.prompt, model=bound.model, feature=self.feature, params=bound.params)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLimits:
    """Options of an upgrade that concern its calls."""

    concurrency: int | None = None
    max_cost_usd: float | None = None
    """What is left of the limit; None without one."""
    replay: Path | None = None
    """Recording, or directory of recordings, to use instead of models."""
    runs_code: bool = True

    def eval_options(self) -> EvalOptions:
        """Return the options of the session that makes the calls."""
        return EvalOptions(
            concurrency=self.concurrency,
            cached=False,
            max_cost_usd=self.max_cost_usd,
            replay=self.replay,
            runs_code=self.runs_code,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRun:
    """Trials of a plan that are finished."""

    directory: Path
    plan: Sequence[PlannedTrial]
    trials: LoggedTrials
    stopped: StopReason | None
    """Why it ended before all its trials were run; None if none is missing."""
    warnings: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Return whether every planned trial is there."""
        return all(planned.key in self.trials for planned in self.plan)

    def finished(self) -> list[Trial]:
        """Return the finished trials."""
        return [self.trials[key] for key in self.trials]


def find_suites(workspace: Workspace, pair: FeaturePair, *, runs_code: bool) -> tuple[Workspace, list[SuiteTarget]]:
    """Return the suites of a feature's prompt, each with both models as targets; none if no suite uses the prompt.

    The workspace that is returned also redacts the keys that the suites bring along.
    """
    options = EvalOptions(runs_code=runs_code)
    resolver = TargetResolver(
        workspace.project,
        workspace.registry,
        workspace.library,
        release=workspace.release,
        models=(pair.old.model,),
        loading=load_context(workspace, options),
    )
    try:
        found = resolver.resolve(pair.old.prompt)
    except InconclusiveError:
        return workspace, []
    targets = (pair.target(pair.old), pair.target(pair.new))
    own = []
    for item in found:
        if item.suite.feature in {None, pair.feature}:
            source = item.targets[0].source
            own.append(replace(item, targets=tuple(replace(target, source=source) for target in targets)))
    return with_suite_secrets(workspace, own), own


def plan_pairs(
    suites: Sequence[SuiteTarget], pair: FeaturePair, *, first_n: int | None, with_old: bool
) -> list[PlannedTrial]:
    """Plan the trials of both models, in turn the one and the other first, so that drift hits both alike.

    Cases with a target of their own are left out: neither model would answer them.
    """
    planned = [
        trial
        for trial in TrialPlan(suites, Selection(first_n=first_n))
        if trial.target.provider is None and (with_old or trial.target.model != pair.old.model)
    ]
    planned.sort(key=lambda trial: (early_order((trial.suite.path, trial.case.id)), trial.repeat))
    ordered: list[PlannedTrial] = []
    for number, start in enumerate(range(0, len(planned), 2)):
        twins = planned[start : start + 2]
        ordered += twins[::-1] if number % 2 else twins
    return ordered


class PairRun:
    """A plan that is ready to run.

    Args:
        workspace: the project, with the new model and the new release.
        name: beginning of the name of the directory that keeps the answers.
        plan: the trials in their order.
        limits: limits of the calls.
        observer: receives the progress.
        preparer: returns what prepares the trials, from the session's own preparer; None for that one.
    """

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        plan: Sequence[PlannedTrial],
        limits: RunLimits,
        observer: Observer,
        *,
        preparer: Callable[[TrialPreparer], Preparer] | None = None,
    ) -> None:
        self._workspace = workspace
        self._observer = observer
        self._keeps = limits.replay is None
        self._session = EvalSession(workspace, limits.eval_options(), observer)
        self._plan = tuple(plan)
        own = self._session.preparer
        self._prepared = PreparedPlan(_PairPlan(self._plan), own if preparer is None else preparer(own))
        self.directory = workspace.project.upgrades / f"{name}-{self._prepared.digest[:DIGEST_CHARS]}"

    def waiting_for(self, count: Callable[[PreparedTrial], None]) -> Sequence[str]:
        """Pass each trial that is not finished to `count`; return the keys of those that are."""
        done = self.finished()
        keys = () if done is None else tuple(done)
        for prepared in self._prepared.waiting(frozenset(keys).__contains__):
            count(prepared)
        return keys

    def finished(self) -> LoggedTrials | None:
        """Return the answers of an earlier, interrupted run; None without one."""
        past = read_run(self.directory) if self._keeps and self.directory.is_dir() else None
        if past is None:
            return None
        past.trials.drop("error")
        return past.trials

    def run(self, rule: StopRule | None) -> TrialRun:
        """Run the trials that are not finished; `rule` may end the run early.

        Raises:
            InterruptedRunError: the user interrupted it; finished trials are kept.
        """
        log = self._open_log()
        started = RunStarted(
            run_id=self.directory.name,
            target="",
            plan_digest=self._prepared.digest,
            started_at=self._workspace.context.timestamp(),
        )
        run = EvalRun(started, log, self._observer, stop_rules=() if rule is None else (rule,))
        with closing(run):
            try:
                self._session.run(self._prepared, run)
            except InterruptedRunError as error:
                raise InterruptedRunError(error.what, hint="the same command continues") from None
            run.finish(0.0)
        return TrialRun(
            directory=self.directory,
            plan=self._plan,
            trials=run.trials,
            stopped=run.stopped,
            warnings=self._session.warnings,
        )

    def _open_log(self) -> TrialLog:
        """Open the log that keeps the answers; a replay starts over every time."""
        if not self._keeps:
            return TemporaryLog()
        with writing(self.directory):
            make_private_directory(self.directory)
        log = RunLog(self.directory)
        kept = self.finished()
        if kept is not None:
            log.trials = kept
        return log


class _PairPlan:
    """Trials in their order, with their suites."""

    def __init__(self, trials: tuple[PlannedTrial, ...]) -> None:
        self._trials = trials
        self.suites = tuple({trial.suite.path: trial.suite for trial in trials}.values())

    def __iter__(self) -> Iterator[PlannedTrial]:
        return iter(self._trials)

    def __len__(self) -> int:
        return len(self._trials)
