"""Makes the report of a run: sums its trials up, decides, and says which bytes of which prompts were tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai import __version__
from flowai.evals.gate import decide
from flowai.evals.reports import PromptVersion, Report, groups_of, totals_of
from flowai.prompts import PromptLock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal

    from flowai.evals.reports import Changes, Gate, Trial
    from flowai.workspace.workspace import Workspace


def prompt_versions(workspace: Workspace, prompts: Iterable[str]) -> tuple[tuple[PromptVersion, ...], list[str]]:
    """Compare prompts with the bytes that were released.

    Returns:
        The versions, and a warning for each prompt whose bytes differ from its released ones.
    """
    lock = PromptLock.read(workspace.project.prompts_lock)
    locked = {name for release in lock.releases.values() for name in release.prompts}
    versions, warnings = [], []
    for name in prompts:
        digest = workspace.library.load(name).hash
        changes = lock.changes(prompts={name: digest})
        state: Literal["released", "changed", "unpublished"] = "unpublished"
        if name in locked:
            state = "changed" if changes else "released"
        versions.append(PromptVersion(id=name, hash=digest, state=state))
        warnings += [f"`{name}` differs from the bytes released in `{change.release}`" for change in changes]
    return tuple(versions), warnings


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """What a report says of a run beside its trials."""

    kind: Literal["eval", "smoke"]
    """Which command."""
    run_id: str
    """Number of the run."""
    target: str
    """As typed."""
    started_at: str
    """UTC, RFC 3339."""
    elapsed_s: float
    """Wall time; of the last part only where the run was resumed."""
    asking_s: float
    """Wall time while models were asked; 0 when none was."""
    in_flight_s: float
    """Sum over the calls made meanwhile of the time each was in flight."""
    concurrency_limit: int
    """Most calls in flight."""
    changes: Changes | None = None
    """Against the last run."""
    against_baseline: tuple[Changes, ...] = ()
    """Against baseline prompts."""
    warnings: tuple[str, ...] = ()
    """What a reader should know."""


def make_report(
    workspace: Workspace, trials: Sequence[Trial], gates: Mapping[str, Gate | None], facts: RunFacts
) -> Report:
    """Sum trials up, decide, and make the report.

    Args:
        workspace: the opened project.
        trials: in the plan's order.
        gates: gate by suite path.
        facts: everything else.
    """
    suites = tuple(dict.fromkeys(trial.suite for trial in trials))
    versions, warnings = prompt_versions(workspace, dict.fromkeys(trial.prompt for trial in trials))
    by_suite = {suite: totals_of([trial for trial in trials if trial.suite == suite]) for suite in suites}
    return Report(
        kind=facts.kind,
        run_id=facts.run_id,
        target=facts.target,
        flowai_version=__version__,
        started_at=facts.started_at,
        elapsed_s=facts.elapsed_s,
        concurrency_limit=facts.concurrency_limit,
        concurrency_achieved=facts.in_flight_s / facts.asking_s if facts.asking_s else None,
        prompts=versions,
        suites=suites,
        totals=totals_of(trials),
        groups=groups_of(trials),
        decision=decide(by_suite, gates),
        changes=facts.changes,
        against_baseline=facts.against_baseline,
        warnings=(*workspace.warnings, *facts.warnings, *warnings),
        trials=tuple(trials),
    )
