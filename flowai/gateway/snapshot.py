"""Version of a project's registry, prompts and keys. A call uses exactly one, so that no call mixes two."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flowai.errors import MissingKeyError, PromptError, RegistryError, UsageError, expected_one_of
from flowai.gateway.routing.attempts import ModelCandidate
from flowai.prompts import PromptLibrary, PromptLock
from flowai.redaction import Redactor
from flowai.registry import (
    Feature,
    arm_binding,
    binding,
    check_daily_limits,
    endpoint_as_written,
    endpoint_of,
    features_of,
    load_registry,
    model_chain,
    resolve_release,
    secret_values,
    single_provider_warnings,
)
from flowai.registry.environment import merge_sources, variable_sources
from flowai.registry.keys import KEY_FILE
from flowai.registry.records import Budget, CachePolicy
from flowai.state import BreakerRule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from flowai.project import Project
    from flowai.prompts import Prompt
    from flowai.providers import Endpoint, PriceTable
    from flowai.registry import Binding, Registry
    from flowai.state import Overlay

MAX_EARLIER_SECRETS = 1_000
"""Secrets of earlier versions that are still redacted."""
CACHE_OFF = CachePolicy(kind="none")


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveRelease:
    """The releases that serve."""

    release: str
    """The baseline."""
    candidate: str | None
    warnings: tuple[str, ...]
    """One line per pinned release that was skipped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedFeature:
    """Everything that calls of a feature use, resolved once."""

    name: str | None
    """The feature; None for a model without a feature."""
    feature: Feature
    prompt: Prompt | None
    params: Mapping[str, Any]
    """Sampling parameters of the release and the arm."""
    candidates: tuple[ModelCandidate, ...]
    """The fallback chain, in order."""
    disclaimer: str | None
    """Text to show with a degraded answer."""
    breaker_rule: BreakerRule

    @property
    def account(self) -> str:
        """Account of its daily budget: the feature, or `model NAME`; no feature's name has a space."""
        return self.name or f"model {self.candidates[0].endpoint.name}"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Version of everything that is read from files."""

    project: Project
    registry: Registry
    environ: Mapping[str, str]
    """Variables of the process and of the project's `.env`."""
    prompts: Mapping[str, Prompt | PromptError]
    """Prompts that a release or an arm names, by id; the error of a wrong one."""
    prices: PriceTable
    redactor: Redactor
    warnings: tuple[str, ...]
    """Problems for the operator, one line each."""
    known_secrets: tuple[str, ...] = field(default=(), repr=False)
    """Secrets that the redactor knows: those of this version, then earlier ones, which errors may still name."""
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict, repr=False)
    """Endpoints of models whose keys are in files, read with this version; and of those whose key is missing now, with
    the key that was there before."""
    _features: dict[tuple[str, ...], ResolvedFeature] = field(default_factory=dict, init=False, repr=False)
    _active_releases: dict[Overlay | None, ActiveRelease] = field(default_factory=dict, init=False, repr=False)
    _unavailable_models: dict[ActiveRelease, Mapping[str, str]] = field(default_factory=dict, init=False, repr=False)

    def active_release(self, overlay: Overlay | None) -> ActiveRelease:
        """Return the releases that serve under an overlay; raises RegistryError if all are marked bad."""
        active = self._active_releases.get(overlay)
        if active is None:
            active = self._active_releases[overlay] = self._resolve_active_release(overlay)
        return active

    def _resolve_active_release(self, overlay: Overlay | None) -> ActiveRelease:
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
        """Return the active experiment of a feature."""
        return next((name for name, entry in self.registry.experiments.items() if entry.feature == feature), None)

    def resolve_feature(
        self, feature: str, release: str, *, experiment: str | None, arm: str | None
    ) -> ResolvedFeature:
        """Return everything that a feature uses in a release, and in an arm of an experiment.

        Raises UsageError if the feature is unknown or the release does not bind it, PromptError if its prompt is wrong.
        """
        key = (feature, release, arm or "")
        resolved = self._features.get(key)
        if resolved is None:
            bound = binding(self.registry, release, feature)
            if experiment is not None and arm is not None:
                bound = arm_binding(self.registry, bound, experiment, arm)
            resolved = self._features[key] = self._resolve_binding(bound)
        return resolved

    def resolve_juror(self, resolved: ResolvedFeature, juror: str) -> ResolvedFeature:
        """Return a feature with a model of its jury as the only candidate; raises UsageError if it is none of them."""
        jurors = () if resolved.feature.jury is None else resolved.feature.jury.models
        if juror not in jurors:
            hint = expected_one_of(jurors, found=juror) if jurors else "set `jury` of the feature"
            raise UsageError(f"the jury of `{resolved.name}` has no `{juror}`", hint=hint)
        return replace(resolved, candidates=(self._candidate(juror),), disclaimer=None)

    def resolve_model(self, model: str) -> ResolvedFeature:
        """Return everything that calls of a model without a feature use: no fallback, no cache."""
        key = (model,)
        resolved = self._features.get(key)
        if resolved is None:
            entry = self.registry.model(model)
            feature = Feature(cache=CACHE_OFF, budget=Budget(usd_per_day=entry.usd_per_day))
            candidates = (self._candidate(model),)
            resolved = self._features[key] = ResolvedFeature(
                name=None,
                feature=feature,
                prompt=None,
                params={},
                candidates=candidates,
                disclaimer=None,
                breaker_rule=self.breaker_rule(feature),
            )
        return resolved

    def unavailable_models(self, active: ActiveRelease) -> Mapping[str, str]:
        """Return the models that the active releases may call but cannot, and why (key not set, weights missing)."""
        reasons = self._unavailable_models.get(active)
        if reasons is None:
            reasons = self._unavailable_models[active] = {
                candidate.endpoint.name: self.redactor.text(str(candidate.unavailable))
                for release in (active.release, active.candidate)
                for feature in (() if release is None else features_of(self.registry, release))
                for resolved in self._variants(feature, release or "")
                for candidate in resolved.candidates
                if candidate.unavailable is not None
            }
        return reasons

    def _variants(self, feature: str, release: str) -> Iterator[ResolvedFeature]:
        """Yield a feature as the release binds it, and as the arms of its experiment do."""
        experiment = self.experiment_of(feature)
        arms = () if experiment is None else self.registry.experiments[experiment].arms
        for arm in (None, *arms):
            with suppress(PromptError):  # a wrong prompt fails its own calls
                yield self.resolve_feature(feature, release, experiment=experiment, arm=arm)

    def endpoint(self, model: str) -> Endpoint:
        """Return a model's endpoint. Raises MissingKeyError without its key, RegistryError without its weights."""
        return self.endpoints.get(model) or endpoint_of(self.registry, model, self.environ, root=self.project.root)

    def _resolve_binding(self, bound: Binding) -> ResolvedFeature:
        prompt = self.prompts[bound.prompt]
        if isinstance(prompt, PromptError):
            raise prompt
        feature = self.registry.feature(bound.feature)
        chain = model_chain(self.registry, bound)
        candidates = [self._candidate(model) for model in chain.models]
        if chain.degrade is not None:
            candidates.append(replace(self._candidate(chain.degrade), is_degraded=True))
        return ResolvedFeature(
            name=bound.feature,
            feature=feature,
            prompt=prompt,
            params=bound.params,
            candidates=tuple(candidates),
            disclaimer=chain.disclaimer,
            breaker_rule=self.breaker_rule(feature),
        )

    def _candidate(self, model: str) -> ModelCandidate:
        """Build a candidate; one that cannot be called stays in the chain, with the reason."""
        price = self.prices.price(self.registry.model(model).model)
        context_tokens = None if price is None else price.max_input_tokens
        try:
            return ModelCandidate(endpoint=self.endpoint(model), context_tokens=context_tokens)
        except (MissingKeyError, RegistryError) as error:
            endpoint = endpoint_as_written(self.registry, model)
            return ModelCandidate(endpoint=endpoint, context_tokens=context_tokens, unavailable=error)

    def breaker_rule(self, feature: Feature) -> BreakerRule:
        """Return the limits of circuit breakers and retries for a feature's calls."""
        policy, retry = self.registry.policies.breaker, self.registry.policies.retry
        return BreakerRule(
            failure_count=policy.failures,
            window_s=policy.window_s,
            open_s=policy.open_s,
            max_open_s=policy.max_open_s,
            lease_s=feature.timeout.total_s + 1.0,
            failure_rate=policy.failure_rate,
            slow_rate=policy.slow_rate,
            slow_s=policy.slow_s,
            min_calls=policy.min_calls,
            retry_rate=retry.budget,
            min_retries=retry.min_retries,
        )


def load_snapshot(
    project: Project,
    environ: Mapping[str, str],
    *,
    env: str | None,
    prices: PriceTable,
    previous: Snapshot | None = None,
) -> Snapshot:
    """Read all files of a project.

    `environ` wins over the project's .env. `previous` still has the released version of a released prompt whose file
    has changed. Raises ProjectError if a file is wrong or no release can serve, UsageError for an unknown environment.
    """
    sources = variable_sources(project, environ)
    variables = merge_sources(sources)
    registry = load_registry(project, env=env, environ=variables)
    check_daily_limits(registry, prices)
    lock = PromptLock.read(project.prompts_lock)
    locked = {prompt: digest for release in lock.releases.values() for prompt, digest in release.prompts.items()}
    library = PromptLibrary(project)
    prompts: dict[str, Prompt | PromptError] = {}
    warnings = [source.problem for source in sources if source.problem is not None]
    for name in _prompt_ids(registry, registry.releases):
        prompts[name] = prompt = _released_prompt(previous, name, locked.get(name)) or _load_prompt(library, name)
        if isinstance(prompt, PromptError):
            warnings.append(f"prompt `{name}` cannot be served: {prompt}")
        elif locked.get(name, prompt.hash) != prompt.hash:
            warnings.append(f"prompt `{name}` differs from its released version; its calls carry the new hash")
    secrets = _known_secrets(previous, secret_values(registry, variables, project.root))
    read = _read_key_files(registry, variables, project.root)
    last_known = {} if previous is None else _last_known(previous, registry, variables)
    warnings += (f"model `{name}`: {reason}; the last known key is used" for name, (_, reason) in last_known.items())
    snapshot = Snapshot(
        project=project,
        registry=registry,
        environ=variables,
        prompts=prompts,
        prices=prices,
        redactor=Redactor(secrets),
        warnings=tuple(warnings),
        known_secrets=secrets,
        endpoints=read | {name: endpoint for name, (endpoint, _) in last_known.items()},
    )
    active = snapshot.active_release(None)
    for name in _prompt_ids(registry, (active.release, active.candidate)):
        used_prompt = prompts[name]
        if isinstance(used_prompt, PromptError):
            raise used_prompt
    shared = single_provider_warnings(registry, variables, (active.release, active.candidate))
    return replace(snapshot, warnings=(*snapshot.warnings, *shared))


def _known_secrets(previous: Snapshot | None, secrets: set[str]) -> tuple[str, ...]:
    """Return this version's secrets, then earlier ones: answers of calls that began with them may still arrive."""
    earlier = () if previous is None else previous.known_secrets
    return tuple(dict.fromkeys((*sorted(secrets), *earlier)))[: len(secrets) + MAX_EARLIER_SECRETS]


def _read_key_files(registry: Registry, variables: Mapping[str, str], root: Path) -> dict[str, Endpoint]:
    """Return the endpoints of models with keys in files; those that cannot be read are left out."""
    found: dict[str, Endpoint] = {}
    for name, entry in registry.models.items():
        if any(text.startswith(KEY_FILE) for text in entry.key_texts):
            with suppress(MissingKeyError, RegistryError):
                found[name] = endpoint_of(registry, name, variables, root=root)
    return found


def _last_known(
    previous: Snapshot, registry: Registry, variables: Mapping[str, str]
) -> dict[str, tuple[Endpoint, str]]:
    """Return endpoints with earlier keys, and why: a file of keys that is gone or half written must not stop calls."""
    found: dict[str, tuple[Endpoint, str]] = {}
    for name, entry in registry.models.items():
        if previous.registry.models.get(name) != entry:
            continue
        try:
            endpoint_of(registry, name, variables, root=previous.project.root)
        except MissingKeyError as error:
            with suppress(MissingKeyError, RegistryError):
                found[name] = (previous.endpoint(name), error.what)
        except RegistryError:
            continue
    return found


def _load_prompt(library: PromptLibrary, name: str) -> Prompt | PromptError:
    """Load a prompt or return its error: a wrong prompt of an old release must not stop the others."""
    try:
        return library.load(name)
    except PromptError as error:
        return error


def _released_prompt(previous: Snapshot | None, name: str, digest: str | None) -> Prompt | None:
    prompt = None if previous is None or digest is None else previous.prompts.get(name)
    return prompt if prompt is not None and not isinstance(prompt, PromptError) and prompt.hash == digest else None


def _prompt_ids(registry: Registry, releases: Iterable[str | None]) -> set[str]:
    """Return all prompts that these releases and the experiments use."""
    bound = {
        binding(registry, release, feature).prompt
        for release in releases
        if release is not None
        for feature in features_of(registry, release)
    }
    arms = {arm.prompt for entry in registry.experiments.values() for arm in entry.arms.values() if arm.prompt}
    return bound | arms
