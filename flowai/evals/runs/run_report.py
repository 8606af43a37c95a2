"""Report of a run: totals, gate decision, and the versions of its prompts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from flowai import __version__
from flowai.evals.execution.derived_metrics import RunMetrics
from flowai.evals.gates import decide
from flowai.evals.reports import PromptVersion, Report, RunTotals
from flowai.prompts import PromptLock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Literal

    from flowai.evals.reports import Changes, EarlierTrial, Gate, Trial
    from flowai.workspace.workspace import Workspace


def prompt_versions(prompts_lock: Path, digests: Mapping[str, str]) -> tuple[tuple[PromptVersion, ...], list[str]]:
    """Compare prompts with their released bytes; return versions, and a warning for each that differs.

    Args:
        prompts_lock: hashes of released prompts.
        digests: hashes of the tried prompts by id.
    """
    lock = PromptLock.read(prompts_lock)
    locked = {name for release in lock.releases.values() for name in release.prompts}
    versions, warnings = [], []
    for name, digest in digests.items():
        changes = lock.changes(prompts={name: digest})
        state: Literal["released", "changed", "unpublished"] = "unpublished"
        if name in locked:
            state = "changed" if changes else "released"
        versions.append(PromptVersion(id=name, hash=digest, state=state))
        warnings += [f"`{name}` differs from the bytes released in `{change.release}`" for change in changes]
    return tuple(versions), warnings


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """Facts about a run that its trials do not contain."""

    kind: Literal["eval", "smoke", "drift"]
    run_id: str
    target: str
    started_at: str
    elapsed_s: float
    """Wall time; of the last part only, if the run was resumed."""
    calls_wall_s: float
    """Wall time while models were called; 0 if none was."""
    in_flight_s: float
    """Sum of the calls' durations during that time."""
    concurrency_limit: int
    changes: Changes | None = None
    against_baseline: tuple[Changes, ...] = ()
    earlier: tuple[EarlierTrial, ...] = ()
    metrics: RunMetrics = field(default_factory=lambda: RunMetrics(()))
    """Derived metrics of the suites."""
    warnings: tuple[str, ...] = ()


def build_report(
    workspace: Workspace, trials: Sequence[Trial], gates: Mapping[str, Gate | None], facts: RunFacts
) -> Report:
    """Build the report of a run, with totals and decision; gates are by suite path."""
    totals = RunTotals(facts.metrics)
    prompts: dict[str, str] = {}
    for trial in trials:
        totals.add(trial)
        prompts.setdefault(trial.prompt, trial.prompt_hash)
    versions, warnings = prompt_versions(workspace.project.prompts_lock, prompts)
    by_suite, all_totals, groups = totals.by_suite(), totals.all(), totals.groups()
    return Report(
        kind=facts.kind,
        run_id=facts.run_id,
        target=facts.target,
        flowai_version=__version__,
        started_at=facts.started_at,
        elapsed_s=facts.elapsed_s,
        concurrency_limit=facts.concurrency_limit,
        concurrency_achieved=facts.in_flight_s / facts.calls_wall_s if facts.calls_wall_s else None,
        prompts=versions,
        suites=tuple(by_suite),
        totals=all_totals,
        groups=groups,
        decision=decide(by_suite, gates),
        changes=facts.changes,
        against_baseline=facts.against_baseline,
        earlier=facts.earlier,
        warnings=(*workspace.warnings, *facts.warnings, *warnings, *facts.metrics.problems),
        trials=cast("tuple[Trial, ...]", trials),  # a large run's are another sequence
    )
