"""One version of a project's registry, prompts and keys: a call uses exactly one, so that no call mixes two."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flowai.errors import MissingKeyError, PromptError, RegistryError
from flowai.gateway.routing.attempts import ModelCandidate
from flowai.prompts import PromptLibrary, PromptLock
from flowai.redaction import Redactor
from flowai.registry import (
    Feature,
    arm_binding,
    binding,
    endpoint_as_written,
    endpoint_of,
    environment_of,
    features_of,
    load_registry,
    model_chain,
    resolve_release,
    secret_values,
)
from flowai.registry.records import CachePolicy
from flowai.state import BreakerRule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.project import Project
    from flowai.prompts import Prompt
    from flowai.providers import Endpoint, PriceTable
    from flowai.registry import Binding, Registry
    from flowai.state import Overlay

CACHE_OFF = CachePolicy(kind="none")


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveRelease:
    """Which releases serve."""

    release: str
    """The baseline."""
    candidate: str | None
    """The release being rolled out; None when no rollout is on."""
    warnings: tuple[str, ...]
    """One line per pin that was passed over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedFeature:
    """What calls of a feature use, made ready once."""

    name: str | None
    """The feature; None for a model on its own."""
    feature: Feature
    """Its entry."""
    prompt: Prompt | None
    """Its prompt; None for a model on its own."""
    params: Mapping[str, Any]
    """Sampling parameters of the release and the arm."""
    rungs: tuple[ModelCandidate, ...]
    """The models a call may try, in order."""
    disclaimer: str | None
    """What a degraded answer is given with."""
    rule: BreakerRule
    """When a provider is left alone."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One version of everything that is read from files."""

    project: Project
    """Where they lie."""
    registry: Registry
    """The registry."""
    environ: Mapping[str, str]
    """The variables."""
    prompts: Mapping[str, Prompt | PromptError]
    """Every prompt that a release or an arm names, by id; the error of one that is wrong."""
    prices: PriceTable
    """What models cost, and how much they read."""
    redactor: Redactor
    """Takes known keys and key shapes out of anything written."""
    warnings: tuple[str, ...]
    """What a person should know; one line each."""
    _served: dict[tuple[str, ...], ResolvedFeature] = field(default_factory=dict, init=False, repr=False)
    _serving: dict[Overlay | None, ActiveRelease] = field(default_factory=dict, init=False, repr=False)

    def active_release(self, overlay: Overlay | None) -> ActiveRelease:
        """Say which releases serve under an overlay.

        Raises:
            RegistryError: none is left that is not bad.
        """
        found = self._serving.get(overlay)
        if found is None:
            found = self._serving[overlay] = self._resolve(overlay)
        return found

    def _resolve(self, overlay: Overlay | None) -> ActiveRelease:
        live, bad, ended = (
            (None, (), None) if overlay is None else (overlay.release, overlay.bad, overlay.ends_rollout_of)
        )
        resolved = resolve_release(self.registry, self.environ, live=live, bad=bad)
        rollout = self.registry.rollout
        candidate = None if rollout is None else rollout.candidate
        if candidate in {*self.registry.bad, *bad, ended, resolved.name}:
            candidate = None
        return ActiveRelease(release=resolved.name, candidate=candidate, warnings=resolved.warnings)

    def experiment_of(self, feature: str) -> str | None:
        """Give the experiment that runs in a feature; None when none does."""
        return next((name for name, entry in self.registry.experiments.items() if entry.feature == feature), None)

    def served(self, feature: str, release: str, *, experiment: str | None, arm: str | None) -> ResolvedFeature:
        """Give what a feature uses in a release, and in an arm of an experiment.

        Raises:
            UsageError: there is no such feature, or the release does not bind it.
            PromptError: its prompt is wrong.
        """
        key = (feature, release, arm or "")
        found = self._served.get(key)
        if found is None:
            bound = binding(self.registry, release, feature)
            if experiment is not None and arm is not None:
                bound = arm_binding(self.registry, bound, experiment, arm)
            found = self._served[key] = self._make(bound)
        return found

    def resolve_model(self, model: str) -> ResolvedFeature:
        """Give what calls of a model on its own use: no fallback, no cache, no budget.

        Raises:
            UsageError: there is no such model.
        """
        key = (model,)
        found = self._served.get(key)
        if found is None:
            self.registry.model(model)
            feature = Feature(cache=CACHE_OFF)
            rungs = (self._candidate(model),)
            found = self._served[key] = ResolvedFeature(
                name=None,
                feature=feature,
                prompt=None,
                params={},
                rungs=rungs,
                disclaimer=None,
                rule=self._rule(feature),
            )
        return found

    def endpoint(self, model: str) -> Endpoint:
        """Give a model as it can be called.

        Raises:
            UsageError: there is no such model.
            MissingKeyError: a variable is not set.
            RegistryError: its weights are not there.
        """
        return endpoint_of(self.registry, model, self.environ, root=self.project.root)

    def _make(self, bound: Binding) -> ResolvedFeature:
        prompt = self.prompts[bound.prompt]
        if isinstance(prompt, PromptError):
            raise prompt
        feature = self.registry.feature(bound.feature)
        steps = model_chain(self.registry, bound)
        rungs = [self._candidate(model) for model in steps.models]
        if steps.degrade is not None:
            rungs.append(replace(self._candidate(steps.degrade), is_degraded=True))
        return ResolvedFeature(
            name=bound.feature,
            feature=feature,
            prompt=prompt,
            params=bound.params,
            rungs=tuple(rungs),
            disclaimer=steps.disclaimer,
            rule=self._rule(feature),
        )

    def _candidate(self, model: str) -> ModelCandidate:
        """Give a rung; a model that cannot be reached stays in its place, with the reason."""
        price = self.prices.price(self.registry.model(model).model)
        context_tokens = None if price is None else price.max_input_tokens
        try:
            return ModelCandidate(endpoint=self.endpoint(model), context_tokens=context_tokens)
        except (MissingKeyError, RegistryError) as error:
            nowhere = endpoint_as_written(self.registry, model)
            return ModelCandidate(endpoint=nowhere, context_tokens=context_tokens, unavailable=error)

    def _rule(self, feature: Feature) -> BreakerRule:
        policy = self.registry.policies.breaker
        return BreakerRule(
            failure_count=policy.failures,
            window_s=policy.window_s,
            open_s=policy.open_s,
            lease_s=feature.timeout.total_s + 1.0,
        )


def load_snapshot(
    project: Project,
    environ: Mapping[str, str],
    *,
    env: str | None,
    prices: PriceTable,
    previous: Snapshot | None = None,
) -> Snapshot:
    """Read everything there is to read.

    Args:
        project: where it lies.
        environ: the process environment; the project's .env is put under it.
        env: the environment asked for; None for FLOWAI_ENV or none.
        prices: what models cost.
        previous: the snapshot before this one: of a released prompt whose bytes have changed since, it still holds the
            version that was released.

    Raises:
        ProjectError: a file is wrong, or no release serves.
        UsageError: there is no such environment.
    """
    variables = environment_of(project, environ)
    registry = load_registry(project, env=env, environ=variables)
    lock = PromptLock.read(project.prompts_lock)
    locked = {prompt: digest for release in lock.releases.values() for prompt, digest in release.prompts.items()}
    library = PromptLibrary(project)
    prompts: dict[str, Prompt | PromptError] = {}
    warnings: list[str] = []
    for name in _prompt_ids(registry, registry.releases):
        prompts[name] = prompt = _released(previous, name, locked.get(name)) or _load(library, name)
        if isinstance(prompt, PromptError):
            warnings.append(f"prompt `{name}` cannot be served: {prompt}")
        elif locked.get(name, prompt.hash) != prompt.hash:
            warnings.append(f"prompt `{name}` is not what was released under this name; its calls carry its new hash")
    snapshot = Snapshot(
        project=project,
        registry=registry,
        environ=variables,
        prompts=prompts,
        prices=prices,
        redactor=Redactor(secret_values(registry, variables)),
        warnings=tuple(warnings),
    )
    serving = snapshot.active_release(None)
    for name in _prompt_ids(registry, (serving.release, serving.candidate)):
        found = prompts[name]
        if isinstance(found, PromptError):
            raise found
    return snapshot


def _load(library: PromptLibrary, name: str) -> Prompt | PromptError:
    """Give a prompt or what is wrong with it: one that only an old release names must not stop the others."""
    try:
        return library.load(name)
    except PromptError as error:
        return error


def _released(previous: Snapshot | None, name: str, digest: str | None) -> Prompt | None:
    kept = None if previous is None or digest is None else previous.prompts.get(name)
    return kept if kept is not None and not isinstance(kept, PromptError) and kept.hash == digest else None


def _prompt_ids(registry: Registry, releases: Iterable[str | None]) -> set[str]:
    """Give every prompt that these releases, and the experiments, may ask for."""
    bound = {
        binding(registry, release, feature).prompt
        for release in releases
        if release is not None
        for feature in features_of(registry, release)
    }
    arms = {arm.prompt for entry in registry.experiments.values() for arm in entry.arms.values() if arm.prompt}
    return bound | arms
