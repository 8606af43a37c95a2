"""Resolution of a target: the suites it names, and the prompts, models and parameters to try each on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowai.errors import InconclusiveError, Place, SuiteError, UsageError, expected_one_of
from flowai.evals.runs.plan import SuiteTarget, TrialTarget, names_prompt
from flowai.evals.suites.loader import SUITE_SUFFIXES, load_suite, load_suites
from flowai.evals.suites.yaml_reader import LoadContext
from flowai.project import find_standalone_suite
from flowai.registry import binding, features_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.evals.suites.records import Suite, SuitePrompt
    from flowai.project import Project
    from flowai.prompts import PromptLibrary
    from flowai.registry import Binding, Registry


class TargetResolver:
    """Resolves a target into suites with their trial targets.

    `models` override the suites' own; the bindings of `release` apply where a suite names no model. `loading` has the
    variables of the suites' files, and runs the code that makes tests.
    """

    def __init__(
        self,
        project: Project,
        registry: Registry,
        library: PromptLibrary,
        *,
        release: str,
        models: Sequence[str] = (),
        loading: LoadContext | None = None,
    ) -> None:
        self._project = project
        self._registry = registry
        self._library = library
        self._release = release
        self._models = tuple(models)
        self._loading = loading or LoadContext()

    def resolve(self, target: str | None) -> list[SuiteTarget]:
        """Return the suites that a target (a prompt id, a file, None for all suites) names, ordered by path."""
        if target is None and self._project.is_standalone:
            target = self._standalone_name()
        if target is None:
            suites = self._suites()
            if not suites:
                raise InconclusiveError(
                    "no suite in `evals/`",
                    hint="write one: `prompts: [prompts/NAME_v1]`, and `tests:` with `vars` and `assert`",
                )
            return [item for suite in suites for item in self._pair(suite, None)]
        if target.endswith(SUITE_SUFFIXES):
            suite = load_suite(self._project.inside(target), self._project, self._loading)
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
        return [suite for suite in load_suites(self._project, self._loading) if _is_bound(suite)]

    def _standalone_name(self) -> str | None:
        suite = find_standalone_suite(self._project.root)
        return None if suite is None else suite.name

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
        """Return the features of a release; none without a registry."""
        return () if self._project.is_standalone else features_of(self._registry, release)

    def _targets(self, suite: Suite, prompt: str) -> list[TrialTarget]:
        source = next((item for item in suite.prompt_sources if item.id == prompt), None)
        if source is not None and source.kind != "library":
            return self._own_targets(suite, source)
        bound = self._binding_for(suite.feature, prompt)
        own_model = self._library.load(prompt).model
        models = self._models or suite.models or ((bound.model,) if bound else (own_model,) if own_model else ())
        if not models:
            raise SuiteError(
                f"no model to try `{prompt}` on",
                place=Place(file=suite.path, key="providers"),
                hint="set `providers`, or a feature of the registry under `flowai: {feature: ...}`, or pass --model",
            )
        found = [
            TrialTarget(prompt=prompt, model=model, feature=suite.feature)
            if bound is None
            else _target(bound, model=model, prompt=prompt)
            for model in models
        ]
        return self._with_providers(suite, found, source)

    def _own_targets(self, suite: Suite, source: SuitePrompt) -> list[TrialTarget]:
        """Return the targets of a prompt that the suite brings along."""
        bound = None
        if suite.feature is not None and suite.feature in self._bound(self._release):
            bound = binding(self._registry, self._release, suite.feature)
        models = self._models or suite.models or ((bound.model,) if bound else ())
        if not models and not any(case.provider is not None for case in suite.cases):
            raise SuiteError(
                f"no model to try `{source.id}` on",
                place=Place(file=suite.path, key="providers"),
                hint="set `providers`, such as `[openai:gpt-4o-mini]`, or pass --model",
            )
        found = [TrialTarget(prompt=source.id, model=model, feature=suite.feature) for model in models or ("-",)]
        return self._with_providers(suite, found, source)

    def _with_providers(
        self, suite: Suite, targets: Iterable[TrialTarget], source: SuitePrompt | None
    ) -> list[TrialTarget]:
        """Add the suite's own prompt and targets; without those targets that are not for this prompt."""
        own = {} if self._models else {provider.name: provider for provider in suite.targets}
        found = []
        for target in targets:
            provider = own.get(target.model)
            added = replace(target, source=source, provider=provider)
            if provider is None:
                found.append(added)
            elif provider.prompts is None or names_prompt(provider.prompts, added):
                found.append(replace(added, params={**target.params, **provider.params}))
        return found

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


def endpoint_models(suite_targets: Iterable[SuiteTarget]) -> set[str]:
    """Return the models that are called: those of the targets, and of cases with a target of their own."""
    models: set[str] = set()
    for item in suite_targets:
        models.update(name for target in item.targets if (name := target.endpoint_model) is not None)
        models.update(
            case.provider.model for case in item.cases if case.provider is not None and case.provider.model is not None
        )
    return models - {"-"}
