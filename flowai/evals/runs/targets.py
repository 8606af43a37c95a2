"""Resolution of a target: the suites it names, and the prompts, models and parameters to try each on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import InconclusiveError, Place, SuiteError, UsageError, expected_one_of
from flowai.evals.runs.plan import SuiteTarget, TrialTarget
from flowai.evals.suites.loader import load_suite, load_suites
from flowai.registry import binding, features_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.evals.suites.records import Suite
    from flowai.project import Project
    from flowai.prompts import PromptLibrary
    from flowai.registry import Binding, Registry


class TargetResolver:
    """Resolves a target into suites with their trial targets.

    `models` override the suites' own; the bindings of `release` apply where a suite names no model.
    """

    def __init__(
        self, project: Project, registry: Registry, library: PromptLibrary, *, release: str, models: Sequence[str] = ()
    ) -> None:
        self._project = project
        self._registry = registry
        self._library = library
        self._release = release
        self._models = tuple(models)

    def resolve(self, target: str | None) -> list[SuiteTarget]:
        """Return the suites that a target (a prompt id, a file, None for all suites) names, ordered by path."""
        if target is None:
            suites = self._suites()
            if not suites:
                raise InconclusiveError(
                    "no suite in `evals/`",
                    hint="write one: `prompts: [prompts/NAME_v1]`, and `tests:` with `vars` and `assert`",
                )
            return [item for suite in suites for item in self._pair(suite, None)]
        if target.endswith((".yaml", ".yml")):
            suite = load_suite(self._project.inside(target), self._project)
            return list(self._pair(suite, None)) if _is_bound(suite) else self.resolve_by_feature(suite)
        prompt = self._prompt_id(target)
        suite_targets = [item for suite in self._suites() for item in self._pair(suite, prompt)]
        if not suite_targets:
            raise InconclusiveError(
                f"no suite in `evals/` uses `{prompt}`", hint=f"name it in a suite: `prompts: [{prompt}]`"
            )
        return suite_targets

    def resolve_by_feature(self, suite: Suite) -> list[SuiteTarget]:
        """Try each case of a suite on the release's binding of the feature that the case names in its metadata."""
        suite_targets = []
        for case in suite.cases:
            feature = case.metadata.get("feature")
            known = features_of(self._registry, self._release)
            if feature not in known:
                file, _, line = case.place.rpartition(":")
                raise SuiteError(
                    f"case `{case.id}`: found feature `{feature}`, expected one that release `{self._release}` binds",
                    place=Place(file=file, line=int(line), key="metadata.feature"),
                    hint=expected_one_of(known, found=str(feature)),
                )
            bound = binding(self._registry, self._release, feature)
            targets = tuple(_target(bound, model=model) for model in self._models or (bound.model,))
            suite_targets.append(SuiteTarget(suite=suite, cases=(case,), targets=targets))
        return suite_targets

    def _suites(self) -> list[Suite]:
        """Load every suite except those whose cases each name a feature: they belong to `flowai smoke`."""
        return [suite for suite in load_suites(self._project) if _is_bound(suite)]

    def _prompt_id(self, target: str) -> str:
        path = self._project.inside(target)
        if path.suffix == ".prompt":
            return self._library.id_of(path)
        known = self._library.ids()
        name = self._project.show(path)
        if name not in known:
            raise UsageError(
                f"`{target}` is neither a prompt nor a suite of this project",
                hint=f"a suite's name ends in `.yaml`; of prompts, {expected_one_of(known, found=name)}",
            )
        return name

    def _pair(self, suite: Suite, prompt: str | None) -> Iterable[SuiteTarget]:
        """Pair a suite with its trial targets; none if it does not use the prompt."""
        prompts = suite.prompts or tuple(self._prompts_of(str(suite.feature)))
        chosen = [name for name in prompts if prompt is None or name == prompt]
        targets = tuple(target for name in chosen for target in self._targets(suite, name))
        return [SuiteTarget(suite=suite, cases=suite.cases, targets=targets)] if targets else []

    def _prompts_of(self, feature: str) -> list[str]:
        """Return the prompts that releases bind to a feature, the current release first, each once."""
        releases = dict.fromkeys([self._release, *reversed(tuple(self._registry.releases))])
        bound = [binding(self._registry, name, feature) for name in releases if feature in self._bound(name)]
        return list(dict.fromkeys(item.prompt for item in bound))

    def _bound(self, release: str) -> tuple[str, ...]:
        return features_of(self._registry, release)

    def _targets(self, suite: Suite, prompt: str) -> list[TrialTarget]:
        bound = self._binding_for(suite.feature, prompt)
        own_model = self._library.load(prompt).model
        models = self._models or suite.models or ((bound.model,) if bound else (own_model,) if own_model else ())
        if not models:
            raise SuiteError(
                f"no model to try `{prompt}` on",
                place=Place(file=suite.path, key="providers"),
                hint="set `providers`, or a feature of the registry under `flowai: {feature: ...}`, or pass --model",
            )
        if bound is None:
            return [TrialTarget(prompt=prompt, model=model, feature=suite.feature) for model in models]
        return [_target(bound, model=model, prompt=prompt) for model in models]

    def _binding_for(self, feature: str | None, prompt: str) -> Binding | None:
        """Return the binding whose model and parameters apply to a prompt.

        The current release's if it binds the prompt, else the newest that does; for a prompt that no release binds, the
        feature's current binding.
        """
        releases = dict.fromkeys([self._release, *reversed(tuple(self._registry.releases))])
        if feature is not None:
            self._registry.feature(feature)
        for release in releases:
            for name in self._bound(release) if feature is None else (feature,):
                if name in self._bound(release):
                    candidate = binding(self._registry, release, name)
                    if candidate.prompt == prompt:
                        return candidate
        if feature is not None and feature in self._bound(self._release):
            return binding(self._registry, self._release, feature)
        return None


def _is_bound(suite: Suite) -> bool:
    return bool(suite.prompts) or suite.feature is not None


def _target(bound: Binding, *, model: str, prompt: str | None = None) -> TrialTarget:
    return TrialTarget(prompt=prompt or bound.prompt, model=model, feature=bound.feature, params=bound.params)
