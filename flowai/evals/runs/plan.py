"""Trials of a run: cases x targets x repeats, after the selection."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowai.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flowai.evals.suites.records import Case, Suite


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTarget:
    """Prompt, model and parameters that a case is tried on."""

    prompt: str
    model: str
    """Name in the registry, or LiteLLM's."""
    feature: str | None
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters of the release, by LiteLLM's names; they override the prompt's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteTarget:
    """A suite, or some of its cases, and the targets to try them on."""

    suite: Suite
    cases: tuple[Case, ...]
    targets: tuple[TrialTarget, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedTrial:
    """A case on one target, once, before it is run."""

    suite: Suite
    case: Case
    target: TrialTarget
    repeat: int

    @property
    def key(self) -> str:
        """Identity within a run and across runs; without the prompt's hash, so that versions can be compared."""
        target = self.target
        return f"{self.suite.path}::{self.case.id}::{target.prompt}::{target.model}::{self.repeat}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Filter of cases, and number of repeats."""

    first_n: int | None = None
    """Only the first n cases of each suite, >= 1."""
    pattern: str | None = None
    """Regular expression for a case's id or description."""
    case_keys: frozenset[str] | None = None
    """Only these cases, by `case_key`."""
    repeats: int | None = None
    """Overrides the suite's own number, >= 1."""


def case_key(suite_path: str, case_id: str) -> str:
    """Return the identity of a case among all suites."""
    return f"{suite_path}::{case_id}"


def plan_trials(suite_targets: Iterable[SuiteTarget], selection: Selection) -> list[PlannedTrial]:
    """List the trials in the order of the files; repeats of a case are adjacent."""
    return [
        PlannedTrial(suite=item.suite, case=case, target=target, repeat=repeat)
        for item in suite_targets
        for target in item.targets
        for case in _selected(item, selection)
        for repeat in range(selection.repeats or item.suite.repeats)
    ]


def _selected(suite_target: SuiteTarget, selection: Selection) -> Sequence[Case]:
    cases: Sequence[Case] = suite_target.cases
    if selection.pattern is not None:
        try:
            pattern = re.compile(selection.pattern)
        except re.error as error:
            raise UsageError(f"--filter-pattern `{selection.pattern}` is not a regular expression: {error}") from None
        cases = [case for case in cases if pattern.search(case.id) or pattern.search(case.description or "")]
    if selection.case_keys is not None:
        cases = [case for case in cases if case_key(suite_target.suite.path, case.id) in selection.case_keys]
    return cases if selection.first_n is None else cases[: selection.first_n]
