"""Options of `flowai drift`, and the search for its baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import ProjectError, UsageError, expected_one_of
from flowai.evals.drift.evidence import DEFAULT_MARGIN
from flowai.evals.gates.baseline_file import DIRECTORY, read_baseline

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.evals.gates.records import Baseline
    from flowai.project import Project

DEFAULT_MAX_ERROR_RATE = 0.05
MIN_REPEATS = 3
"""Trials of each case without `--repeat`, or as many as the baseline has."""
MAX_REPEATS = 100
SUFFIX = ".jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftOptions:
    """Options of `flowai drift`."""

    baseline: str | None = None
    """Name or file; None for the only one of the project."""
    margin: float = DEFAULT_MARGIN
    """Shift of the pass rate that must be excluded for "not drifted", 0 to 1."""
    repeats: int | None = None
    """Trials of each case; None for `MIN_REPEATS`, or as many as the baseline has."""
    max_cost_usd: float | None = None
    """Limit of what the calls cost; None for no limit."""
    max_error_rate: float = DEFAULT_MAX_ERROR_RATE
    """Share of trials that may have no answer or no judgement, 0 to 1."""
    concurrency: int | None = None
    outputs: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges of the numbers."""
        if not 0 < self.margin < 1:
            raise UsageError(
                f"--margin: found {self.margin:g}, expected a share above 0 and below 1", hint="0.1 is 10 points"
            )
        if not 0 <= self.max_error_rate < 1:
            raise UsageError(f"--max-errors: found {self.max_error_rate:g}, expected a share of 0 or more, below 1")
        if self.repeats is not None and not 1 <= self.repeats <= MAX_REPEATS:
            raise UsageError(f"--repeat: found {self.repeats}, expected 1 to {MAX_REPEATS}")


def find_baseline(project: Project, name: str | None) -> tuple[str, Baseline]:
    """Return the name and the results of a baseline.

    Raises:
        ProjectError: there is none of this name, or it is empty or damaged; or several, and none is named.
    """
    directory = project.evals / DIRECTORY
    names = sorted(path.stem for path in directory.glob(f"*{SUFFIX}"))
    if name is None:
        if len(names) != 1:
            what = f"several baselines in {project.show(directory)}/" if names else "no baseline to compare with"
            raise ProjectError(
                what, hint=f"name one: {', '.join(names[:12])}" if names else writing_hint("TARGET", "NAME")
            )
        name = names[0]
    path = project.inside(name) if "/" in name else directory / f"{name.removesuffix(SUFFIX)}{SUFFIX}"
    if not path.is_file():
        hint = expected_one_of(names, found=name) if names else writing_hint("TARGET", "NAME")
        raise ProjectError(f"no baseline `{name}` in {project.show(directory)}/", hint=hint)
    return path.stem, read_baseline(path, name=project.show(path))


def writing_hint(target: str, name: str) -> str:
    """Return the command that writes a baseline."""
    return f"`flowai eval {target} --no-cache --repeat 5 --write-baseline {name}` writes it"
