"""The records of a registry: what people write in registry.yaml, entry by entry, as it stands there."""

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
    """A model that can be called."""

    model: ModelName
    """LiteLLM's name (`openai/gpt-4o-mini`), or `local/NAME` for a GGUF file served on this machine."""
    api_base: str | None = None
    """Base URL of the endpoint; default the provider's own."""
    api_key: str | None = None
    """The key, as `${NAME}` or `os.environ/NAME`; default the provider's usual variable (`OPENAI_API_KEY`)."""
    provider: Name | None = None
    """Name of who is asked, shared by models that fail together; default LiteLLM's prefix, or the host of
    `api_base`."""
    file: str | None = None
    """Weights of a `local/...` model: `package:PACKAGE/FILE`, or a path (from the registry's directory)."""
    tier: Tier | None = None
    """`premium`, `standard` or `bulk`; default the tier that lists it."""


class Degrade(RegistryRecord, frozen=True, kw_only=True):
    """The last resort of a feature, when its model and all fallbacks have failed."""

    to: str
    """The model that answers then, or the tier whose first model does."""
    disclaimer: str = "Generated with limited capacity model"
    """What the user is told with such an answer."""


class Budget(RegistryRecord, frozen=True, kw_only=True):
    """What a feature may spend; a missing limit means none."""

    prompt_tokens: PositiveInt | None = None
    """Tokens of one request, >= 1."""
    completion_tokens: PositiveInt | None = None
    """Tokens of one answer, >= 1; sent as `max_tokens` unless the release says otherwise."""
    usd_per_day: Annotated[float, Meta(gt=0)] | None = None
    """US dollars per UTC day, > 0."""


class CachePolicy(RegistryRecord, frozen=True, kw_only=True):
    """Whether answers of a feature are kept."""

    kind: Literal["none", "exact", "semantic"] = "exact"
    """`none`, `exact` (the same request) or `semantic` (a request that means the same)."""
    ttl: TimeToLive = "volatile"
    """How long an answer may be given again: `volatile` (1h), `stable` (30d), or a duration."""
    threshold: Rate = 0.95
    """Least similarity for `semantic`, 0 to 1."""
    any_temperature: bool = False
    """Keep answers of a temperature above 0 too, though the model would vary them."""

    @property
    def ttl_s(self) -> float:
        """Seconds an answer is kept."""
        return time_to_live_s(self.ttl)


class Timeout(RegistryRecord, frozen=True, kw_only=True):
    """How long a call may take."""

    first_token: Duration = "10s"  # noqa: S105 - a duration
    """Until the first token; a provider silent for longer is left."""
    total: Duration = "60s"
    """Until the answer is whole, over all attempts."""

    @property
    def first_token_s(self) -> float:
        """Seconds until the first token."""
        return parse_duration_s(self.first_token)

    @property
    def total_s(self) -> float:
        """Seconds until the answer is whole."""
        return parse_duration_s(self.total)


class Retry(RegistryRecord, frozen=True, kw_only=True):
    """Whether the same provider is tried again before the next one."""

    same_provider: Annotated[int, Meta(ge=0, le=5)] = 0
    """How many times, 0 to 5."""
    max_wait: Duration = "3s"
    """Longest wait before it; a provider that asks for more is left."""

    @property
    def max_wait_s(self) -> float:
        """Seconds of the longest wait."""
        return parse_duration_s(self.max_wait)


class Feature(RegistryRecord, frozen=True, kw_only=True):
    """A product capability that calls a model."""

    critical: bool = False
    """Whether it joins a rollout late (`policies.canary.critical_from`)."""
    fallback: tuple[str, ...] = ()
    """Models or tiers to try when the release's model fails, in order."""
    degrade: Degrade | None = None
    """The last resort."""
    budget: Budget = Budget()
    """What it may spend."""
    cache: CachePolicy = CachePolicy()
    """Whether answers are kept."""
    timeout: Timeout = Timeout()
    """How long a call may take."""
    retry: Retry = Retry()
    """Whether the same provider is tried again."""
    on_filtered: Literal["fail", "next"] = "fail"
    """When a provider's content policy rejects a request: `fail` tells the caller, `next` asks the next model."""
    log_content: Literal["none", "redacted"] = "none"
    """`none`, or `redacted`: keep requests and answers in the event log, secrets removed."""


class BindingEntry(RegistryRecord, frozen=True, kw_only=True):
    """What a release, or an arm of an experiment, gives a feature; what is missing is inherited."""

    prompt: PromptId | None = None
    """Prompt id."""
    model: str | None = None
    """Name of the model, or a tier: its first model is asked, the others stand in for it."""
    params: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies empty defaults for each record
    """Sampling parameters by LiteLLM's names (`temperature`, `max_tokens`, ...); merged with the inherited ones."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable set of bindings."""

    extends: str | None = None
    """Release whose bindings it starts from; None for none."""
    bindings: Mapping[str, BindingEntry] = {}
    """What it changes, by feature."""


class Experiment(RegistryRecord, frozen=True, kw_only=True):
    """An A/B test inside one feature."""

    feature: str
    """Where it runs."""
    arms: Annotated[dict[str, BindingEntry], Meta(min_length=2)]
    """Two or more named variants of the feature's binding."""
    goal: Name
    """Metric that decides (`save_rate`)."""


class Flag(RegistryRecord, frozen=True, kw_only=True):
    """The request header that asks for the candidate."""

    header: str = "X-Feature-Flag"
    """Name of the header."""
    value: str = "ai-beta"
    """Value that switches it on."""


class Alerts(RegistryRecord, frozen=True, kw_only=True):
    """Where alerts go."""

    pagerduty: str | None = None
    """Routing key, as `${NAME}`."""
    webhook: str | None = None
    """URL, as `${NAME}` where it is secret."""


class Rollout(RegistryRecord, frozen=True, kw_only=True):
    """A rollout that is on; written by flowai."""

    candidate: str
    """The release being rolled out."""
    stage: Stage = "dogfood"
    """`dogfood`, or the percentage it has reached."""
    started_at: datetime | None = None
    """When it was published (RFC 3339, UTC)."""


class RegistryFile(RegistryRecord, frozen=True, kw_only=True):
    """The whole file; an environment's file `extends` another and says only what differs."""

    schema_version: Literal[1]
    """Version of this format: 1."""
    extends: str | None = None
    """Only in `registry.<env>.yaml`: the file it starts from. Maps merge; lists and scalars replace."""
    models: Mapping[Name, ModelEntry] = {}
    """The models, by the name everything else calls them."""
    tiers: Mapping[Tier, tuple[str, ...]] = {}
    """Models by tier: `premium`, `standard`, `bulk`; the first of each is asked first."""
    features: Mapping[Name, Feature] = {}
    """What the product does with models."""
    releases: Mapping[Name, Release] = {}
    """Sets of bindings: what each feature uses."""
    experiments: Mapping[Name, Experiment] = {}
    """A/B tests."""
    policies: Policies = Policies()
    """Rules of breakers, alerts and rollouts."""
    flag: Flag = Flag()
    """The header that asks for the candidate."""
    embeddings: str | None = None
    """The model that embeds texts for the semantic cache; without it the one that comes with the extra `semantic`, on
    this machine."""
    serve: Serve = Serve()
    """The HTTP gateway."""
    state: str = ".flowai"
    """Where processes share breakers and budgets: a directory, or `redis://...`."""
    events: str = ".flowai/events"
    """Where the event log lies: a directory, or `s3://...`."""
    version_targets: tuple[VersionTarget, ...] = ()
    """What learns of a new AI_MODEL_VERSION."""
    alerts: Alerts = Alerts()
    """Where alerts go."""
    current: str | None = None
    """The release that serves; written by flowai."""
    history: tuple[str, ...] = ()
    """Releases that completed 100 %, oldest first; written by flowai."""
    bad: tuple[str, ...] = ()
    """Releases never to be served again; written by flowai."""
    rollout: Rollout | None = None
    """The rollout that is on; written by flowai."""


class Registry(RegistryFile, frozen=True, kw_only=True):
    """A registry that was read and checked: every name in it leads somewhere."""

    environment: str | None = None
    """The environment it applies to; None where none was chosen."""
    own_file: str = "registry.yaml"
    """The file that holds flowai's own keys, as a person would type it."""
    places: Mapping[str, Place] = {}
    """Where each model entry stands, for messages."""

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
