"""The records of a registry: what people write in registry.yaml, entry by entry, as it stands there.

In: nothing. Out: frozen records. Must never know files, environments or keys' values.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime  # noqa: TC003 - msgspec reads annotations when records are built
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from flowai.errors import Place, UsageError, expected_one_of
from flowai.registry.fields import (
    Duration,
    ModelName,
    Name,
    PositiveInt,
    PromptId,
    Rate,
    RegistryRecord,
    Stage,
    Tier,
    TimeToLive,
    VersionTarget,
    time_to_live_s,
)
from flowai.registry.policies import Policies
from flowai.registry.server_policy import Serve
from flowai.timestamps import parse_duration_s

SCHEMA_VERSION = 1


class ModelEntry(RegistryRecord, frozen=True, kw_only=True):
    """A model that can be called.

    Args:
        model: LiteLLM's name (`openai/gpt-4o-mini`), or `local/NAME` for a GGUF file served on this machine.
        api_base: base URL of the endpoint; default the provider's own.
        api_key: the key, as `${NAME}` or `os.environ/NAME`; default the provider's usual variable (`OPENAI_API_KEY`).
        provider: name of who is asked, shared by models that fail together; default LiteLLM's prefix, or the host of
            `api_base`.
        file: weights of a `local/...` model: `package:PACKAGE/FILE`, or a path (from the registry's directory).
        tier: `premium`, `standard` or `bulk`; default the tier that lists it.
    """

    model: ModelName
    api_base: str | None = None
    api_key: str | None = None
    provider: Name | None = None
    file: str | None = None
    tier: Tier | None = None


class Degrade(RegistryRecord, frozen=True, kw_only=True):
    """The last resort of a feature, when its model and all fallbacks have failed.

    Args:
        to: the model that answers then, or the tier whose first model does.
        disclaimer: what the user is told with such an answer.
    """

    to: str
    disclaimer: str = "Generated with limited capacity model"


class Budget(RegistryRecord, frozen=True, kw_only=True):
    """What a feature may spend; a missing limit means none.

    Args:
        prompt_tokens: tokens of one request, >= 1.
        completion_tokens: tokens of one answer, >= 1; sent as `max_tokens` unless the release says otherwise.
        usd_per_day: US dollars per UTC day, > 0.
    """

    prompt_tokens: PositiveInt | None = None
    completion_tokens: PositiveInt | None = None
    usd_per_day: Annotated[float, Meta(gt=0)] | None = None


class CachePolicy(RegistryRecord, frozen=True, kw_only=True):
    """Whether answers of a feature are kept.

    Args:
        kind: `none`, `exact` (the same request) or `semantic` (a request that means the same).
        ttl: how long an answer may be given again: `volatile` (1h), `stable` (30d), or a duration.
        threshold: least similarity for `semantic`, 0 to 1.
        any_temperature: keep answers of a temperature above 0 too, though the model would vary them.
    """

    kind: Literal["none", "exact", "semantic"] = "exact"
    ttl: TimeToLive = "volatile"
    threshold: Rate = 0.95
    any_temperature: bool = False

    @property
    def ttl_s(self) -> float:
        """Seconds an answer is kept."""
        return time_to_live_s(self.ttl)


class Timeout(RegistryRecord, frozen=True, kw_only=True):
    """How long a call may take.

    Args:
        first_token: until the first token; a provider silent for longer is left.
        total: until the answer is whole, over all attempts.
    """

    first_token: Duration = "10s"  # noqa: S105 - a duration
    total: Duration = "60s"

    @property
    def first_token_s(self) -> float:
        """Seconds until the first token."""
        return parse_duration_s(self.first_token)

    @property
    def total_s(self) -> float:
        """Seconds until the answer is whole."""
        return parse_duration_s(self.total)


class Retry(RegistryRecord, frozen=True, kw_only=True):
    """Whether the same provider is tried again before the next one.

    Args:
        same_provider: how many times, 0 to 5.
        max_wait: longest wait before it; a provider that asks for more is left.
    """

    same_provider: Annotated[int, Meta(ge=0, le=5)] = 0
    max_wait: Duration = "3s"

    @property
    def max_wait_s(self) -> float:
        """Seconds of the longest wait."""
        return parse_duration_s(self.max_wait)


class Feature(RegistryRecord, frozen=True, kw_only=True):
    """A product capability that calls a model.

    Args:
        critical: whether it joins a rollout late (`policies.canary.critical_from`).
        fallback: models or tiers to try when the release's model fails, in order.
        degrade: the last resort.
        budget: what it may spend.
        cache: whether answers are kept.
        timeout: how long a call may take.
        retry: whether the same provider is tried again.
        on_filtered: when a provider's content policy rejects a request: `fail` tells the caller, `next` asks the next
            model.
        log_content: `none`, or `redacted`: keep requests and answers in the event log, secrets removed.
    """

    critical: bool = False
    fallback: tuple[str, ...] = ()
    degrade: Degrade | None = None
    budget: Budget = Budget()
    cache: CachePolicy = CachePolicy()
    timeout: Timeout = Timeout()
    retry: Retry = Retry()
    on_filtered: Literal["fail", "next"] = "fail"
    log_content: Literal["none", "redacted"] = "none"


class BindingEntry(RegistryRecord, frozen=True, kw_only=True):
    """What a release, or an arm of an experiment, gives a feature; what is missing is inherited.

    Args:
        prompt: prompt id.
        model: name of the model, or a tier: its first model is asked, the others stand in for it.
        params: sampling parameters by LiteLLM's names (`temperature`, `max_tokens`, ...); merged with
            the inherited ones.
    """

    prompt: PromptId | None = None
    model: str | None = None
    params: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies empty defaults for each record


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable set of bindings.

    Args:
        extends: release whose bindings it starts from; None for none.
        bindings: what it changes, by feature.
    """

    extends: str | None = None
    bindings: Mapping[str, BindingEntry] = {}


class Experiment(RegistryRecord, frozen=True, kw_only=True):
    """An A/B test inside one feature.

    Args:
        feature: where it runs.
        arms: two or more named variants of the feature's binding.
        goal: metric that decides (`save_rate`).
    """

    feature: str
    arms: Annotated[dict[str, BindingEntry], Meta(min_length=2)]
    goal: Name


class Flag(RegistryRecord, frozen=True, kw_only=True):
    """The request header that asks for the candidate.

    Args:
        header: name of the header.
        value: value that switches it on.
    """

    header: str = "X-Feature-Flag"
    value: str = "ai-beta"


class Alerts(RegistryRecord, frozen=True, kw_only=True):
    """Where alerts go.

    Args:
        pagerduty: routing key, as `${NAME}`.
        webhook: URL, as `${NAME}` where it is secret.
    """

    pagerduty: str | None = None
    webhook: str | None = None


class Rollout(RegistryRecord, frozen=True, kw_only=True):
    """A rollout that is on; written by flowai.

    Args:
        candidate: the release being rolled out.
        stage: `dogfood`, or the percentage it has reached.
        started_at: when it was published (RFC 3339, UTC).
    """

    candidate: str
    stage: Stage = "dogfood"
    started_at: datetime | None = None


class RegistryFile(RegistryRecord, frozen=True, kw_only=True):
    """The whole file; an environment's file `extends` another and says only what differs.

    Args:
        schema_version: version of this format: 1.
        extends: only in `registry.<env>.yaml`: the file it starts from. Maps merge; lists and scalars replace.
        models: the models, by the name everything else calls them.
        tiers: models by tier: `premium`, `standard`, `bulk`; the first of each is asked first.
        features: what the product does with models.
        releases: sets of bindings: what each feature uses.
        experiments: A/B tests.
        policies: rules of breakers, alerts and rollouts.
        flag: the header that asks for the candidate.
        embeddings: the model that embeds texts for the semantic cache; without it the one that comes with the extra
            `semantic`, on this machine.
        serve: the HTTP gateway.
        state: where processes share breakers and budgets: a directory, or `redis://...`.
        events: where the event log lies: a directory, or `s3://...`.
        version_targets: what learns of a new AI_MODEL_VERSION.
        alerts: where alerts go.
        current: the release that serves; written by flowai.
        history: releases that completed 100 %, oldest first; written by flowai.
        bad: releases never to be served again; written by flowai.
        rollout: the rollout that is on; written by flowai.
    """

    schema_version: Literal[1]
    extends: str | None = None
    models: Mapping[Name, ModelEntry] = {}
    tiers: Mapping[Tier, tuple[str, ...]] = {}
    features: Mapping[Name, Feature] = {}
    releases: Mapping[Name, Release] = {}
    experiments: Mapping[Name, Experiment] = {}
    policies: Policies = Policies()
    flag: Flag = Flag()
    embeddings: str | None = None
    serve: Serve = Serve()
    state: str = ".flowai"
    events: str = ".flowai/events"
    version_targets: tuple[VersionTarget, ...] = ()
    alerts: Alerts = Alerts()
    current: str | None = None
    history: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    rollout: Rollout | None = None


class Registry(RegistryFile, frozen=True, kw_only=True):
    """A registry that was read and checked: every name in it leads somewhere.

    Args:
        environment: the environment it applies to; None where none was chosen.
        own_file: the file that holds flowai's own keys, as a person would type it.
        places: where each model entry stands, for messages.
    """

    environment: str | None = None
    own_file: str = "registry.yaml"
    places: Mapping[str, Place] = {}

    def model(self, name: str) -> ModelEntry:
        """Give a model's entry.

        Raises:
            UsageError: there is none of this name; says which there are.
        """
        if name not in self.models:
            raise UsageError(f"no model `{name}` in `{self.own_file}`", hint=expected_one_of(self.models, found=name))
        return self.models[name]

    def feature(self, name: str) -> Feature:
        """Give a feature's entry.

        Raises:
            UsageError: there is none of this name; says which there are.
        """
        if name not in self.features:
            raise UsageError(
                f"no feature `{name}` in `{self.own_file}`", hint=expected_one_of(self.features, found=name)
            )
        return self.features[name]

    def release(self, name: str) -> Release:
        """Give a release.

        Raises:
            UsageError: there is none of this name; says which there are.
        """
        if name not in self.releases:
            raise UsageError(
                f"no release `{name}` in `{self.own_file}`", hint=expected_one_of(self.releases, found=name)
            )
        return self.releases[name]
