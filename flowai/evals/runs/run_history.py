"""Earlier runs of a project: a list of them, and the report of one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec

from flowai import __version__
from flowai.errors import ProjectError, UsageError
from flowai.evals.gates import decide
from flowai.evals.reports import Report, groups_of, totals_of
from flowai.evals.runs.run_log import is_in_use, read_run, run_directories, scan_run
from flowai.evals.runs.run_report import prompt_versions
from flowai.rendering.formatting import count

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.evals.reports import Outcome
    from flowai.evals.runs.run_log import PastRun
    from flowai.project import Project

LAST = "last"
_REPLAY = r"replay-[0-9a-f]{8}"
"""Name of a replayed run: it has a report and no log."""
_LIST_HINT = "`flowai runs list` lists the runs"

RunState = Literal["finished", "running", "stopped", "unreadable"]
"""`stopped`: interrupted, killed, or ended at its first failure. `unreadable`: its log has no readable first line."""


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the list of runs."""

    run_id: str
    state: RunState
    target: str = ""
    """As typed; empty for all suites."""
    started_at: str | None = None
    """UTC, RFC 3339; None if unreadable."""
    case_count: int = 0
    pass_count: int = 0
    """Trials, as the next three."""
    fail_count: int = 0
    error_count: int = 0
    unscored_count: int = 0
    pass_rate: float | None = None
    """Passed among passed and failed, 0 to 1; None if there are neither."""
    cost_usd: float = 0.0
    """Of fresh answers with a known price."""
    unreadable_line_count: int = 0
    """Lines torn by a crash or written by another version."""


def list_runs(project: Project, *, max_count: int, target: str | None = None) -> list[RunSummary]:
    """List the newest runs, the newest first; `target` lists only runs on this target, as typed."""
    found: list[RunSummary] = []
    for directory in sorted(run_directories(project.runs), key=lambda path: int(path.name), reverse=True):
        if len(found) == max_count:
            break
        summary = _summary(directory)
        if target is None or summary.target == target:
            found.append(summary)
    return found


def _summary(directory: Path) -> RunSummary:
    log = scan_run(directory)
    if log.started is None:
        return RunSummary(run_id=directory.name, state="unreadable", unreadable_line_count=log.unreadable_line_count)
    outcomes: list[Outcome] = [trial.outcome for trial in log.trials.values()]
    pass_count, fail_count = outcomes.count("pass"), outcomes.count("fail")
    return RunSummary(
        run_id=directory.name,
        state=_state(directory, is_finished=log.is_finished),
        target=log.started.target,
        started_at=log.started.started_at,
        case_count=len({(trial.suite, trial.case) for trial in log.trials.values()}),
        pass_count=pass_count,
        fail_count=fail_count,
        error_count=outcomes.count("error"),
        unscored_count=outcomes.count("unscored"),
        pass_rate=pass_count / (pass_count + fail_count) if pass_count + fail_count else None,
        cost_usd=sum(trial.cost_usd or 0.0 for trial in log.trials.values() if trial.cache != "exact"),
        unreadable_line_count=log.unreadable_line_count,
    )


def _state(directory: Path, *, is_finished: bool) -> RunState:
    if is_finished:
        return "finished"
    return "running" if is_in_use(directory) else "stopped"


def load_report(project: Project, name: str) -> Report:
    """Return the report of a run: its report file if the run is finished, else built from its log.

    Args:
        project: the project.
        name: number of the run, or `last`.

    Raises:
        UsageError: there is no such run.
        ProjectError: neither its report nor its log can be read.
    """
    if re.fullmatch(_REPLAY, name) and (replayed := _written_report(project, name)) is not None:
        return replayed
    run_id = _run_id(project, name)
    past = read_run(project.runs / run_id)
    written = _written_report(project, run_id)
    if written is not None and (past is None or past.finished):
        return written
    if past is None:
        raise ProjectError(
            f"run {run_id} cannot be read: its log has no readable first line, and it has no report.json",
            hint=_LIST_HINT,
        )
    return _report_of_log(project, past)


def _run_id(project: Project, name: str) -> str:
    known = sorted({int(path.name) for path in (*run_directories(project.runs), *run_directories(project.reports))})
    if name == LAST and known:
        return _directory_name(project, known[-1])
    if not known:
        raise UsageError("there is no run yet", hint="`flowai eval` starts one")
    if name.isdecimal() and name.isascii() and len(name) < 20 and int(name) in known:  # noqa: PLR2004 - no number has 20 digits
        return _directory_name(project, int(name))
    raise UsageError(
        f"run `{name}`: found no such run, expected {known[0]} to {known[-1]} or `{LAST}`", hint=_LIST_HINT
    )


def _directory_name(project: Project, number: int) -> str:
    candidates = (*run_directories(project.runs), *run_directories(project.reports))
    return next(path.name for path in candidates if int(path.name) == number)


def _written_report(project: Project, run_id: str) -> Report | None:
    try:
        raw = (project.reports / run_id / "report.json").read_bytes()
        report = msgspec.json.decode(raw, type=Report)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return report if report.run_id == run_id else None


def _report_of_log(project: Project, past: PastRun) -> Report:
    trials = tuple(past.trials.values())
    suites = tuple(dict.fromkeys(trial.suite for trial in trials))
    by_suite = {suite: totals_of([trial for trial in trials if trial.suite == suite]) for suite in suites}
    versions, warnings = prompt_versions(project.prompts_lock, {trial.prompt: trial.prompt_hash for trial in trials})
    return Report(
        kind="eval",
        run_id=past.run_id,
        target=past.started.target,
        flowai_version=__version__,
        started_at=past.started.started_at,
        elapsed_s=past.elapsed_s or 0.0,
        concurrency_limit=0,
        concurrency_achieved=None,
        prompts=versions,
        suites=suites,
        totals=totals_of(trials),
        groups=groups_of(trials),
        decision=decide(by_suite, dict.fromkeys(suites)),
        changes=None,
        warnings=(*_log_warnings(project, past), *warnings),
        trials=trials,
    )


def _log_warnings(project: Project, past: PastRun) -> list[str]:
    warnings = ["read from the run's log, which has no gate: every case is expected to pass"]
    if not past.finished:
        state = _state(project.runs / past.run_id, is_finished=False)
        word = "is in progress" if state == "running" else "did not finish"
        warnings.append(f"run {past.run_id} {word}: {count(len(past.trials), 'trial')} so far")
    if past.unreadable_line_count:
        lines = count(past.unreadable_line_count, "line")
        warnings.append(f"{lines} of the log cannot be read: torn by a crash, or written by another version")
    return warnings
