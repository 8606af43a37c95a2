"""Checks that every name in a registry is defined, and that its parts are consistent."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from flowai.errors import RegistryError, expected_one_of
from flowai.providers.client import Endpoint
from flowai.redaction import redact
from flowai.registry.bindings import OWN_PARAMS
from flowai.registry.fields import LOCAL_PREFIX, TIERS
from flowai.registry.keys import KEY_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.registry.overlay import LayeredSource
    from flowai.registry.records import BindingEntry, JuryPolicy, ModelEntry, RegistryFile

FULL_PERCENT = 100
MIN_JURORS = 2


def validate(registry: RegistryFile, sources: LayeredSource) -> None:
    """Check a registry.

    Raises:
        RegistryError: an undefined name, a loop, a binding without prompt or model, parts that contradict each other.
    """
    validator = _Validator(registry, sources)
    validator.check_models()
    validator.check_embeddings()
    validator.check_tiers()
    validator.check_features()
    validator.check_releases()
    validator.check_experiments()
    validator.check_breaker()
    validator.check_stages()
    validator.check_watch()
    validator.check_own_keys()
    validator.check_serve()


class _Validator:
    def __init__(self, registry: RegistryFile, sources: LayeredSource) -> None:
        self._registry = registry
        self._sources = sources

    def _error(self, what: str, *keys: str | int, hint: str | None = None) -> RegistryError:
        return RegistryError(what, place=self._sources.place(*keys), hint=hint)

    def _expect(self, kind: str, name: str, known: Iterable[str], *keys: str | int) -> None:
        names = list(known)
        if name not in names:
            raise self._error(f"no {kind} `{name}`", *keys, hint=expected_one_of(names, found=name))

    def _expect_models(self, name: str, *keys: str | int) -> None:
        """Check that a name is a model, or a tier with models."""
        if name not in TIERS:
            self._expect("model", name, self._registry.models, *keys)
        elif not self._registry.tiers.get(name):
            hint = f"list its models in the order in which to try them: `tiers: {{{name}: [...]}}`"
            raise self._error(f"tier `{name}` has no models", *keys, hint=hint)

    def check_models(self) -> None:
        for name, model in self._registry.models.items():
            self._check_model(name, model)

    def _check_model(self, name: str, model: ModelEntry) -> None:
        if name in TIERS:
            raise self._error(f"`{name}` cannot name a model: it is a tier", "models", name)
        is_local = model.model.startswith(LOCAL_PREFIX)
        if is_local and model.file is None and model.api_base is None:
            hint = "set its weights: `file: package:PACKAGE/FILE.gguf`, or a path to a GGUF file"
            raise self._error("missing key `file`, expected the weights of a local model", "models", name, hint=hint)
        if model.file is not None and not is_local:
            hint = f"write `model: local/{name}`, or remove `file`"
            raise self._error(f"`{model.model}` has no `file`: it is not local", "models", name, "file", hint=hint)
        if model.api_base is not None and not model.api_base.startswith(("http://", "https://", "${", "os.environ/")):
            expected = "expected a URL that begins with `http://` or `https://`"
            raise self._error(f"found `{redact(model.api_base)}`, {expected}", "models", name, "api_base")
        if model.transport == "direct" and not is_local and not _is_direct(name, model):
            what = f"`transport: direct`, but `{model.model}` has another protocol than OpenAI's"
            raise self._error(what, "models", name, "transport", hint="remove it: LiteLLM calls every other provider")
        if model.api_key == ():
            raise self._error("found an empty list, expected one key or more", "models", name, "api_key")
        for key in model.key_texts:
            if not key.startswith(("os.environ/", KEY_FILE)) and "${" not in key and redact(key) != key:
                hint = "set the key in `.env` or the environment, and write its name here: `${OPENAI_API_KEY}`"
                raise self._error(
                    "found a key itself, expected the name of a variable", "models", name, "api_key", hint=hint
                )

    def check_embeddings(self) -> None:
        if self._registry.embeddings is not None:
            self._expect("model", self._registry.embeddings, self._registry.models, "embeddings")

    def check_tiers(self) -> None:
        for tier, names in self._registry.tiers.items():
            for index, name in enumerate(names):
                self._expect("model", name, self._registry.models, "tiers", tier, index)
                if name in names[:index]:
                    raise self._error(f"`{name}` is listed twice", "tiers", tier, index)
                own = self._registry.models[name].tier
                if own not in (None, tier):
                    what = f"`{name}` is listed as `{tier}`, but its entry has `tier: {own}`"
                    raise self._error(what, "tiers", tier, index)

    def check_features(self) -> None:
        for name, feature in self._registry.features.items():
            if name == "extends":
                raise self._error("`extends` cannot name a feature: it is a key of releases", "features", name)
            for index, model in enumerate(feature.fallback):
                self._expect_models(model, "features", name, "fallback", index)
                if model in feature.fallback[:index]:
                    raise self._error(f"`{model}` is listed twice", "features", name, "fallback", index)
            if feature.degrade is not None:
                self._expect_models(feature.degrade.to, "features", name, "degrade", "to")
            if feature.jury is not None:
                self._check_jury(feature.jury, "features", name, "jury")

    def _check_jury(self, jury: JuryPolicy, *keys: str) -> None:
        for index, model in enumerate(jury.models):
            self._expect("model", model, self._registry.models, *keys, "models", index)
            if model in jury.models[:index]:
                raise self._error(f"`{model}` is listed twice", *keys, "models", index)
        if len(jury.models) < MIN_JURORS:
            what = f"found {len(jury.models)} models, expected at least {MIN_JURORS}"
            raise self._error(what, *keys, "models", hint="the release's `model` judges alone without a jury")
        if jury.combine == "majority" and len(jury.models) % 2 == 0:
            hint = "add or remove a model, or write `combine: mean`"
            what = f"found {len(jury.models)} models, expected an odd number: an even jury may be split"
            raise self._error(what, *keys, "models", hint=hint)

    def check_releases(self) -> None:
        for name, release in self._registry.releases.items():
            for feature, binding in release.bindings.items():
                self._expect("feature", feature, self._registry.features, "releases", name, feature)
                self._check_binding(binding, "releases", name, feature)
            if release.extends is not None:
                self._expect("release", release.extends, self._registry.releases, "releases", name, "extends")
        for name in self._registry.releases:
            self._check_chain(name)

    def _check_chain(self, name: str) -> None:
        """Check that a release does not extend itself, and that each of its features has a prompt and a model."""
        chain: list[str] = []
        link: str | None = name
        while link is not None:
            if link in chain:
                loop = " -> ".join((*chain[chain.index(link) :], link))
                raise self._error(f"releases extend each other in a loop: {loop}", "releases", name, "extends")
            chain.append(link)
            link = self._registry.releases[link].extends
        for feature in self._registry.releases[name].bindings:
            bindings = [self._registry.releases[link].bindings.get(feature) for link in chain]
            for part in ("prompt", "model"):
                if not any(binding is not None and getattr(binding, part) for binding in bindings):
                    raise self._error(
                        f"missing key `{part}`, and no release it extends has one", "releases", name, feature
                    )

    def _check_binding(self, binding: BindingEntry, *keys: str | int) -> None:
        if binding.model is not None:
            self._expect_models(binding.model, *keys, "model")
        for param in binding.params:
            if param in OWN_PARAMS:
                hint = "it is set by the prompt, the model entry or the feature"
                raise self._error(f"`{param}` is not a sampling parameter", *keys, "params", param, hint=hint)

    def check_experiments(self) -> None:
        for name, experiment in self._registry.experiments.items():
            self._expect("feature", experiment.feature, self._registry.features, "experiments", name, "feature")
            for arm, binding in experiment.arms.items():
                self._check_binding(binding, "experiments", name, "arms", arm)

    def check_breaker(self) -> None:
        policy = self._registry.policies.breaker
        is_range = ".." in policy.open
        if is_range and not 0 < policy.open_s <= policy.max_open_s:
            expected = "expected a range that begins with the shorter time, above 0s, such as `15s..5m`"
            raise self._error(f"found `{policy.open}`, {expected}", "policies", "breaker", "open")

    def check_stages(self) -> None:
        stages = self._registry.policies.canary.stages
        shares = [stage for stage in stages if isinstance(stage, int)]
        is_rising = all(low < high for low, high in pairwise(shares))
        if not is_rising or not shares or shares[-1] != FULL_PERCENT or "dogfood" in stages[1:]:
            found = ", ".join(map(str, stages))
            expected = "expected rising percentages up to 100, `dogfood` only as the first"
            raise self._error(f"found {found}; {expected}", "policies", "canary", "stages")

    def check_watch(self) -> None:
        policies = self._registry.policies
        for index, name in enumerate(policies.watch.guardrails or ()):
            if name not in policies.canary.guardrails:
                expected = f"expected one of `policies.canary.guardrails`: {', '.join(policies.canary.guardrails)}"
                raise self._error(f"found `{name}`, {expected}", "policies", "watch", "guardrails", index)

    def check_own_keys(self) -> None:
        registry = self._registry
        if registry.current is not None:
            self._expect("release", registry.current, registry.releases, "current")
        for key, names in (("history", registry.history), ("bad", registry.bad)):
            for index, name in enumerate(names):
                self._expect("release", name, registry.releases, key, index)
        if registry.rollout is not None:
            self._expect("release", registry.rollout.candidate, registry.releases, "rollout", "candidate")

    def check_serve(self) -> None:
        owners: dict[str, str] = {}
        for name, key in self._registry.serve.keys.items():
            other = owners.setdefault(key.sha256, name)
            if other != name:
                what = f"has the same hash as `{other}`, expected one key for each name"
                raise self._error(what, "serve", "keys", name, "sha256")
            for index, feature in enumerate(key.features or ()):
                self._expect("feature", feature, self._registry.features, "serve", "keys", name, "features", index)
            for index, model in enumerate(key.models or ()):
                self._expect("model", model, self._registry.models, "serve", "keys", name, "models", index)


def _is_direct(name: str, model: ModelEntry) -> bool:
    from flowai.providers.catalog import ProviderCatalog  # late: it reads a file

    endpoint = Endpoint(name=name, model=model.model, provider=model.provider or "", api_base=model.api_base)
    return ProviderCatalog().direct(endpoint) is not None
