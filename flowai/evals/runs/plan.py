"""Spreads suites out into trials: cases x subjects x repeats, after the filters a person asked for."""

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
    """What a case is tried on."""

    prompt: str
    """Prompt id."""
    model: str
    """The registry's name of the model, or LiteLLM's."""
    feature: str | None
    """The registry's feature it is tried for; None when none is known."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters of the release, by LiteLLM's names; they win over the prompt's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteTarget:
    """A suite, or some of its cases, and what they are tried on."""

    suite: Suite
    """The suite."""
    cases: tuple[Case, ...]
    """Which of its cases."""
    subjects: tuple[TrialTarget, ...]
    """What each of them is tried on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedTrial:
    """One case on one subject, once, before it is run."""

    suite: Suite
    """Its suite."""
    case: Case
    """Its case."""
    subject: TrialTarget
    """Prompt, model and parameters."""
    repeat: int
    """From 0."""

    @property
    def key(self) -> str:
        """Identity within a run and across runs; not the prompt's hash, so that versions can be compared."""
        subject = self.subject
        return f"{self.suite.path}::{self.case.id}::{subject.prompt}::{subject.model}::{self.repeat}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which cases to run, and how often."""

    first_n: int | None = None
    """Only the first n cases of each suite, >= 1."""
    pattern: str | None = None
    """Only cases whose id or description matches this regular expression."""
    case_keys: frozenset[str] | None = None
    """Only these cases, by `case_key`."""
    repeats: int | None = None
    """Instead of the suite's own number, >= 1."""


def case_key(suite_path: str, case_id: str) -> str:
    """Identity of a case among all suites."""
    return f"{suite_path}::{case_id}"


def plan_trials(pairings: Iterable[SuiteTarget], selection: Selection) -> list[PlannedTrial]:
    """Spread the pairings out, in the order of the files; repeats of a case stand together.

    Raises:
        UsageError: the pattern is not a regular expression.
    """
    return [
        PlannedTrial(suite=pairing.suite, case=case, subject=subject, repeat=repeat)
        for pairing in pairings
        for subject in pairing.subjects
        for case in _selected(pairing, selection)
        for repeat in range(selection.repeats or pairing.suite.repeats)
    ]


def _selected(pairing: SuiteTarget, selection: Selection) -> Sequence[Case]:
    cases: Sequence[Case] = pairing.cases
    if selection.pattern is not None:
        try:
            wanted = re.compile(selection.pattern)
        except re.error as error:
            raise UsageError(f"--filter-pattern `{selection.pattern}` is not a regular expression: {error}") from None
        cases = [case for case in cases if wanted.search(case.id) or wanted.search(case.description or "")]
    if selection.case_keys is not None:
        cases = [case for case in cases if case_key(pairing.suite.path, case.id) in selection.case_keys]
    return cases if selection.first_n is None else cases[: selection.first_n]
