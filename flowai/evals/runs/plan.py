"""Trials of a run: cases x targets x repeats, after the selection."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from flowai.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from flowai.evals.suites.records import Case, Suite, SuitePrompt, SuiteProvider


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTarget:
    """Prompt, model and parameters that a case is tried on."""

    prompt: str
    model: str
    """Name in the registry, or LiteLLM's."""
    feature: str | None
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters of the release, by LiteLLM's names; they override the prompt's own."""
    source: SuitePrompt | None = None
    """The suite's own prompt; None for a prompt of the project's library."""
    provider: SuiteProvider | None = None
    """The suite's own target; None for a model of the registry."""

    @property
    def endpoint_model(self) -> str | None:
        """Name of the model in the registry, or LiteLLM's; None if the target is a program or an address."""
        return self.model if self.provider is None else self.provider.model


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteTarget:
    """A suite, or some of its cases, and the targets to try them on."""

    suite: Suite
    cases: Sequence[Case]
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


class RunPlan(Protocol):
    """Trials of a run, which can be read any number of times."""

    def __iter__(self) -> Iterator[PlannedTrial]:
        """Yield the trials in order."""
        ...

    def __len__(self) -> int:
        """Return the number of trials."""
        ...

    @property
    def suites(self) -> tuple[Suite, ...]:
        """The suites, each once."""
        ...


class TrialPlan:
    """The trials of a run in the order of the files, built anew each time they are read; repeats are adjacent."""

    def __init__(self, suite_targets: Iterable[SuiteTarget], selection: Selection) -> None:
        self._suite_targets = tuple(suite_targets)
        self._selection = selection
        self._is_selected = case_filter(selection)
        self._count: int | None = None

    def __iter__(self) -> Iterator[PlannedTrial]:
        for item in self._suite_targets:
            for target in item.targets:
                for case in self._cases(item):
                    own = _target_of(case, target, item)
                    if own is None:
                        continue
                    for repeat in range(self._selection.repeats or case.options.repeats or self.repeats(item.suite)):
                        yield PlannedTrial(suite=item.suite, case=case, target=own, repeat=repeat)

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(1 for _ in self)
        return self._count

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    @property
    def suites(self) -> tuple[Suite, ...]:
        """The suites, each once."""
        return tuple({item.suite.path: item.suite for item in self._suite_targets}.values())

    def repeats(self, suite: Suite) -> int:
        """Return the number of trials per case and target."""
        return self._selection.repeats or suite.evaluate.repeats or suite.repeats

    def _cases(self, item: SuiteTarget) -> Iterator[Case]:
        path = item.suite.path
        cases = (case for case in item.cases if self._is_selected(path, case))
        return islice(cases, self._selection.first_n)


class EditedPlan:
    """Trials in an order of their own, held in memory: a plan to which the gate has added or moved trials."""

    def __init__(self, plan: RunPlan, trials: Iterable[PlannedTrial]) -> None:
        self._plan = plan
        self._trials = tuple(trials)

    def __iter__(self) -> Iterator[PlannedTrial]:
        return iter(self._trials)

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def suites(self) -> tuple[Suite, ...]:
        """The suites, each once."""
        return self._plan.suites


def plan_trials(suite_targets: Iterable[SuiteTarget], selection: Selection) -> TrialPlan:
    """Plan the trials.

    Raises:
        UsageError: the selection's pattern is not a regular expression.
    """
    return TrialPlan(suite_targets, selection)


def case_filter(selection: Selection) -> Callable[[str, Case], bool]:
    """Return whether a case of a suite's path is selected; `first_n` is not considered."""
    keys = selection.case_keys
    pattern: re.Pattern[str] | None = None
    if selection.pattern is not None:
        try:
            pattern = re.compile(selection.pattern)
        except re.error as error:
            raise UsageError(f"--filter-pattern `{selection.pattern}` is not a regular expression: {error}") from None

    def is_selected(path: str, case: Case) -> bool:
        if pattern is not None and not (pattern.search(case.id) or pattern.search(case.description or "")):
            return False
        return keys is None or case_key(path, case.id) in keys

    return is_selected


def _target_of(case: Case, target: TrialTarget, item: SuiteTarget) -> TrialTarget | None:
    """Return the target to try a case on, which may be the case's own; None if the case does not use this one."""
    if case.prompts is not None and case.prompts and not names_prompt(case.prompts, target):
        return None
    if case.provider is not None:  # instead of the suite's: once per prompt
        first = next(other for other in item.targets if other.prompt == target.prompt)
        return replace(target, model=case.provider.name, provider=case.provider) if target is first else None
    if case.providers is not None:
        provider = target.provider
        names = {target.model} if provider is None else {target.model, provider.id, provider.name}
        return target if _is_named(case.providers, names) else None
    return target


def names_prompt(names: Sequence[str], target: TrialTarget) -> bool:
    """Return whether a name is a target's prompt: its id, label, text or file, `GROUP*`, or `GROUP` of `GROUP:...`."""
    own = {target.prompt}
    if target.source is not None:
        own |= {target.source.id, target.source.label, target.source.template, target.source.file or target.prompt}
    return _is_named(names, own)


def _is_named(names: Sequence[str], own: set[str]) -> bool:
    prefixes = tuple(name[:-1] if name.endswith("*") else f"{name}:" for name in names)
    return not own.isdisjoint(names) or any(item.startswith(prefixes) for item in own)


def planned_repeats(planned: Iterable[PlannedTrial]) -> dict[str, int]:
    """Return the number of planned trials per case by suite path."""
    repeats: dict[str, int] = {}
    for trial in planned:
        repeats[trial.suite.path] = max(repeats.get(trial.suite.path, 0), trial.repeat + 1)
    return repeats


def first_of_targets(trials: Iterable[PlannedTrial]) -> list[PlannedTrial]:
    """Return the first trial of each prompt and model."""
    found: dict[tuple[str, str], PlannedTrial] = {}
    for trial in trials:
        found.setdefault((trial.target.prompt, trial.target.model), trial)
    return list(found.values())
