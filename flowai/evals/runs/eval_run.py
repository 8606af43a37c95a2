"""A run of `flowai eval` in progress: its log, its finished trials, and the reason why it stopped early."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import InconclusiveError
from flowai.evals.execution.limits import RunStoppedError, StopReason
from flowai.evals.runs.run_log import RunLog, RunStarted, TemporaryLog, new_run, past_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.evals.execution.limits import StopRule
    from flowai.evals.reports import Trial
    from flowai.evals.runs.eval_options import EvalOptions
    from flowai.evals.runs.run_log import LoggedTrials, PastRun, TrialLog
    from flowai.evals.runs.trials import Observer
    from flowai.workspace.workspace import Workspace


class EvalRun:
    """A run in progress.

    Args:
        started: first line of its log.
        log: store of its trials.
        observer: receives each finished trial.
        fail_fast: whether to stop at the first trial that does not pass.
        stop_rules: rules that end the run early.
    """

    def __init__(
        self,
        started: RunStarted,
        log: TrialLog,
        observer: Observer,
        *,
        fail_fast: bool = False,
        stop_rules: Sequence[StopRule] = (),
    ) -> None:
        self.run_id, self.started_at = started.run_id, started.started_at
        self.stopped: StopReason | None = None
        self.in_flight_s = 0.0
        self.elapsed_s = 0.0
        self.cache_error: str | None = None
        """Why answers of this run are missing in the cache."""
        self.observer = observer
        self._log = log
        self._fail_fast = fail_fast
        self._stop_rules = tuple(stop_rules)
        log.start(started)

    @property
    def trials(self) -> LoggedTrials:
        """The finished trials."""
        return self._log.trials

    def begin(self) -> None:
        """Show the stop rules the trials that a resumed run keeps.

        Raises:
            RunStoppedError: they are enough.
        """
        if self._stop_rules:
            for key in self.trials:
                self._check_rules(self.trials[key])

    def add(self, trial: Trial) -> None:
        """Store a finished trial.

        Raises:
            RunStoppedError: no further trial is needed.
        """
        self._log.add(trial)
        if trial.cache == "miss":
            self.in_flight_s += (trial.latency_ms or 0.0) / 1000
        self.observer.trial(trial)
        if self._fail_fast and trial.outcome in ("fail", "error"):
            raise RunStoppedError(StopReason(kind="fail_fast", what="at the first failure"))
        self._check_rules(trial)

    def update(self, trial: Trial) -> None:
        """Replace a finished trial."""
        self._log.add(trial)

    def finish(self, elapsed_s: float) -> None:
        """Mark the run as finished, unless trials are missing."""
        self.elapsed_s = elapsed_s
        if self.stopped is None or self.stopped.is_complete:
            self._log.finish(elapsed_s)

    def close(self) -> None:
        """Close the log; its trials can still be read."""
        self._log.close()

    def _check_rules(self, trial: Trial) -> None:
        for rule in self._stop_rules:
            what = rule.stop_reason(trial)
            if what is not None:
                raise RunStoppedError(StopReason(kind="decided", what=what))


def start_or_resume(
    workspace: Workspace, options: EvalOptions, digest: str, observer: Observer, stop_rules: Sequence[StopRule] = ()
) -> EvalRun:
    """Open a new run, or the one to resume. A run without calls has no log: it can be repeated at any time.

    Raises:
        InconclusiveError: there is no run to resume.
    """
    log: RunLog | TemporaryLog
    if options.calls_no_model:
        log = TemporaryLog()
        kind = "replay" if options.replay else "outputs" if options.from_outputs else "rescore"
        run_id = f"{kind}-{digest[:8]}"
    elif options.resume or options.retry_errors:
        past = _resumable(workspace, digest, errors=options.retry_errors)
        run_id = past.run_id
        log = RunLog(workspace.project.runs / run_id)
        log.trials = past.trials
        log.trials.drop("error")
    else:
        log = new_run(workspace.project.runs)
        run_id = log.run_id
    target, started_at = options.target or "", workspace.context.timestamp()
    started = RunStarted(run_id=run_id, target=target, plan_digest=digest, started_at=started_at)
    return EvalRun(started, log, observer, fail_fast=options.fail_fast, stop_rules=stop_rules)


def last_finished(workspace: Workspace, options: EvalOptions, *, before: str | None = None) -> PastRun | None:
    """Return the newest finished run on the same target; `before` is left out."""
    target = options.target or ""
    runs = past_runs(workspace.project.runs, lambda started: started.target == target and started.run_id != before)
    return next((run for run in runs if run.finished), None)


def _resumable(workspace: Workspace, digest: str, *, errors: bool) -> PastRun:
    past = next(past_runs(workspace.project.runs, lambda started: started.plan_digest == digest), None)
    if past is None:
        raise InconclusiveError(
            "no earlier run of the same plan",
            hint="prompts, suites, models, parameters and filters must be the same; start over without --resume",
        )
    if errors and not past.trials.count("error") and past.finished:
        raise InconclusiveError(f"run {past.run_id} has no errors")
    if not errors and past.finished:
        raise InconclusiveError(f"run {past.run_id} is finished", hint="start over without --resume")
    return past
