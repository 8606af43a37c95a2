"""Records of registry.yaml; their docstrings are the key descriptions in the JSON Schema and the docs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime  # noqa: TC003 - msgspec reads annotations when records are built
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from flowai.errors import Place, UsageError, expected_one_of
from flowai.providers.client import Transport  # noqa: TC001 - as above
from flowai.registry.fields import (
    Duration,
    ModelName,
    Name,
    Percentage,
    PositiveInt,
    PromptId,
    Rate,
    RegistryRecord,
    Stage,
    Tier,
    TimeToLive,
    UsdPerMillionTokens,
    VersionTarget,
    parse_percentage,
    time_to_live_s,
)
from flowai.registry.policies import Policies
from flowai.registry.server_policy import Serve
from flowai.timestamps import parse_duration_s

SCHEMA_VERSION = 1


class ModelPrice(RegistryRecord, frozen=True, kw_only=True):
    """Price of a model, in place of LiteLLM's price table; US dollars per 1 million tokens."""

    input: UsdPerMillionTokens
    """Price of requests, US dollars per 1 million tokens, 0 to 1,000,000."""
    output: UsdPerMillionTokens
    """Price of answers, US dollars per 1 million tokens, 0 to 1,000,000; 0 for embedding models."""


class ModelEntry(RegistryRecord, frozen=True, kw_only=True):
    """A model and how to call it."""

    model: ModelName
    """LiteLLM's name (`openai/gpt-4o-mini`), or `local/NAME` for a GGUF file served on this machine."""
    api_base: str | None = None
    """Base URL of the endpoint; default the provider's own."""
    api_key: str | tuple[str, ...] | None = None
    """The key, as `${NAME}`, `os.environ/NAME` or `file:PATH`, or a list of them: when one is refused, the next is
    used, and those that are not there are left out. A file is read again when it changes. Default the provider's usual
    variable (`OPENAI_API_KEY`)."""
    provider: Name | None = None
    """Name of the provider; models with the same provider share a circuit breaker. Default LiteLLM's prefix, or the
    host of `api_base`."""
    file: str | None = None
    """Weights of a `local/...` model: `package:PACKAGE/FILE`, or a path (relative to the registry's directory)."""
    tier: Tier | None = None
    """`premium`, `standard` or `bulk`; default the tier that lists the model."""
    price: ModelPrice | Literal["unknown_is_free"] | None = None
    """US dollars per 1 million tokens: `{input: 0.15, output: 0.6}`; or `unknown_is_free`: calls cost nothing if
    LiteLLM lists no price. Default LiteLLM's price table; local models are free."""
    usd_per_day: Annotated[float, Meta(gt=0)] | None = None
    """Maximum cost per UTC day of embeddings, and of calls that name the model instead of a feature, US dollars, > 0;
    the model needs a known price. Calls of features count against their `budget`."""
    transport: Transport = "auto"
    """How the model is called: `direct` over flowai's own connections, in OpenAI's protocol, with the parameters as
    written; `litellm`; or `auto`: directly where flowai knows that LiteLLM would send the same, else through it."""

    @property
    def key_texts(self) -> tuple[str, ...]:
        """The texts of `api_key`, in order."""
        if self.api_key is None:
            return ()
        return (self.api_key,) if isinstance(self.api_key, str) else self.api_key


class Degrade(RegistryRecord, frozen=True, kw_only=True):
    """The last resort of a feature, after its model and all fallbacks have failed."""

    to: str
    """Name of a model, or of a tier (its first model answers)."""
    disclaimer: str = "Generated with limited capacity model"
    """Text for the user, returned with such an answer."""


class Budget(RegistryRecord, frozen=True, kw_only=True):
    """Spending limits of a feature; a missing limit means none."""

    prompt_tokens: PositiveInt | None = None
    """Maximum number of tokens of a request, >= 1."""
    completion_tokens: PositiveInt | None = None
    """Maximum number of tokens of an answer, >= 1; sent as `max_tokens` unless the release sets it."""
    usd_per_day: Annotated[float, Meta(gt=0)] | None = None
    """Maximum cost per UTC day, US dollars, > 0; every model of the feature needs a known price."""


class CachePolicy(RegistryRecord, frozen=True, kw_only=True):
    """Cache of a feature's answers."""

    kind: Literal["none", "exact", "semantic"] = "exact"
    """`none`, `exact` (for the same request) or `semantic` (for a request with the same meaning)."""
    ttl: TimeToLive = "volatile"
    """Time to live of an answer: `volatile` (1h), `stable` (30d), or a duration."""
    threshold: Rate = 0.95
    """Minimum similarity for `semantic`, 0 to 1; an entry's own is learnt from comparisons."""
    mode: Literal["shadow", "serve"] = "shadow"
    """Of `semantic`: `shadow` answers nothing, and compares the cached answer with the one that was paid for; `serve`
    also answers, with each prompt whose measured false-hit rate is within `max_false_hits`."""
    max_false_hits: Percentage = "0.5%"
    """Upper limit of the 95 % interval of wrong answers among similar requests, in percent (`0.5%`)."""
    any_temperature: bool = False
    """Whether to cache answers of a temperature above 0 too, although the model would vary them."""

    @property
    def ttl_s(self) -> float:
        """`ttl` in seconds."""
        return time_to_live_s(self.ttl)

    @property
    def max_false_hit_rate(self) -> float:
        """`max_false_hits` as a share, 0 to 1."""
        return parse_percentage(self.max_false_hits)


class Timeout(RegistryRecord, frozen=True, kw_only=True):
    """Time limits of a call."""

    first_token: Duration = "10s"  # noqa: S105 - a duration
    """Time limit until the first token, and between two; after it the next model is tried."""
    total: Duration = "60s"
    """Time limit until the complete answer, over all attempts."""

    @property
    def first_token_s(self) -> float:
        """`first_token` in seconds."""
        return parse_duration_s(self.first_token)

    @property
    def total_s(self) -> float:
        """`total` in seconds."""
        return parse_duration_s(self.total)


class Retry(RegistryRecord, frozen=True, kw_only=True):
    """Retries at the same provider, before the next model."""

    same_provider: Annotated[int, Meta(ge=0, le=5)] = 0
    """Maximum number of retries, 0 to 5."""
    max_wait: Duration = "3s"
    """Longest wait before a retry; if the provider asks for a longer one, the next model is tried."""

    @property
    def max_wait_s(self) -> float:
        """`max_wait` in seconds."""
        return parse_duration_s(self.max_wait)


class JuryPolicy(RegistryRecord, frozen=True, kw_only=True):
    """Models that judge an answer in place of the release's model. One that fails or cannot be read is left out."""

    models: tuple[str, ...]
    """Names of models, two or more."""
    combine: Literal["majority", "mean", "cyclic"] = "majority"
    """`majority`: the verdict of more than half of them. `mean`: their mean score, against the threshold or 0.5.
    `cyclic`: each answer is judged by one of them, in rotation."""


class Feature(RegistryRecord, frozen=True, kw_only=True):
    """A product capability that calls a model."""

    critical: bool = False
    """Whether it takes part in a rollout only late (`policies.canary.critical_from`)."""
    fallback: tuple[str, ...] = ()
    """Models or tiers to try after the release's model, in order."""
    degrade: Degrade | None = None
    """The last resort."""
    budget: Budget = Budget()
    """Spending limits."""
    cache: CachePolicy = CachePolicy()
    """Cache of answers."""
    timeout: Timeout = Timeout()
    """Time limits of a call."""
    retry: Retry = Retry()
    """Retries at the same provider."""
    on_filtered: Literal["fail", "next"] = "fail"
    """If a provider's content policy rejects a request: `fail` raises the error, `next` tries the next model."""
    log_content: Literal["none", "redacted"] = "none"
    """`redacted` stores requests and answers in the event log, without secrets; `none` stores neither."""
    jury: JuryPolicy | None = None
    """Only of features that judge: several models in place of the release's. Calls of other origins ignore it."""


class BindingEntry(RegistryRecord, frozen=True, kw_only=True):
    """Prompt, model and parameters of a feature in a release or an arm; a missing key is inherited."""

    prompt: PromptId | None = None
    """Id of a prompt (`prompts/summary_v2`)."""
    model: str | None = None
    """Name of a model, or of a tier: its first model is called first, the others are fallbacks."""
    params: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies empty defaults for each record
    """Sampling parameters by LiteLLM's names (`temperature`, `max_tokens`, ...); merged with the inherited ones. A null
    one is not sent, even if the prompt or an inherited binding sets it."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable set of bindings."""

    extends: str | None = None
    """Release whose bindings it inherits."""
    bindings: Mapping[str, BindingEntry] = {}
    """Its own bindings, by feature."""


class Experiment(RegistryRecord, frozen=True, kw_only=True):
    """An A/B test inside one feature."""

    feature: str
    """Name of the feature."""
    arms: Annotated[dict[str, BindingEntry], Meta(min_length=2)]
    """Two or more named variants of the feature's binding."""
    goal: Name
    """Metric that decides the experiment (`save_rate`)."""


class Flag(RegistryRecord, frozen=True, kw_only=True):
    """Request header that selects the candidate of a rollout."""

    header: str = "X-Feature-Flag"
    """Name of the header."""
    value: str = "ai-beta"
    """Value that selects the candidate."""


class Alerts(RegistryRecord, frozen=True, kw_only=True):
    """Receivers of alerts."""

    pagerduty: str | None = None
    """Routing key of PagerDuty, as `${NAME}`."""
    webhook: str | None = None
    """URL that alerts are posted to; as `${NAME}` if it is secret."""


class Rollout(RegistryRecord, frozen=True, kw_only=True):
    """The active rollout; written by flowai."""

    candidate: str
    """The release that is rolled out."""
    stage: Stage = "dogfood"
    """`dogfood`, or the current percentage."""
    started_at: datetime | None = None
    """Time of publication (RFC 3339, UTC)."""


class CacheStore(RegistryRecord, frozen=True, kw_only=True):
    """Store of the gateway's caches."""

    url: str | None = None
    """`redis://...` of a server whose entries may be evicted; default `state`."""


class RegistryFile(RegistryRecord, frozen=True, kw_only=True):
    """The registry file; an environment's file `extends` another and contains only the differences."""

    schema_version: Literal[1]
    """Version of this format: 1."""
    extends: str | None = None
    """Only in `registry.<env>.yaml`: the base file. Maps merge; lists and scalars replace."""
    models: Mapping[Name, ModelEntry] = {}
    """Models, by the name that other keys use."""
    tiers: Mapping[Tier, tuple[str, ...]] = {}
    """Names of models by tier (`premium`, `standard`, `bulk`), in the order in which they are tried."""
    features: Mapping[Name, Feature] = {}
    """Product capabilities that call models."""
    releases: Mapping[Name, Release] = {}
    """Sets of bindings: prompt, model and parameters of each feature."""
    experiments: Mapping[Name, Experiment] = {}
    """A/B tests."""
    policies: Policies = Policies()
    """Policies of breakers, retries, alerts, rollouts and automatic rollback."""
    flag: Flag = Flag()
    """Request header that selects the candidate of a rollout."""
    embeddings: str | None = None
    """Model that embeds texts for the semantic cache; default the local model of the extra `semantic`."""
    serve: Serve = Serve()
    """The HTTP gateway."""
    state: str = ".flowai"
    """State shared by processes (rollbacks, heartbeats, breakers, budgets): a directory, or `redis://...` of a server
    that evicts nothing (`maxmemory-policy noeviction`)."""
    cache: CacheStore = CacheStore()
    """Where the gateway caches answers."""
    events: str = ".flowai/events"
    """Location of the event log: a directory, or `s3://...`."""
    version_targets: tuple[VersionTarget, ...] = ()
    """Files or commands that receive a new AI_MODEL_VERSION."""
    alerts: Alerts = Alerts()
    """Receivers of alerts."""
    current: str | None = None
    """The release that serves; written by flowai."""
    history: tuple[str, ...] = ()
    """Releases that completed 100 %, oldest first; written by flowai."""
    bad: tuple[str, ...] = ()
    """Releases that must never be served again; written by flowai."""
    rollout: Rollout | None = None
    """The active rollout; written by flowai."""


class Registry(RegistryFile, frozen=True, kw_only=True):
    """A loaded and checked registry: every name in it is defined."""

    environment: str | None = None
    """The environment it applies to; None without one."""
    own_file: str = "registry.yaml"
    """File with flowai's own keys, as the user types it."""
    places: Mapping[str, Place] = {}
    """Position of each model's entry."""

    def model(self, name: str) -> ModelEntry:
        """Return a model's entry.

        Raises:
            UsageError: there is no model of this name.
        """
        if name not in self.models:
            raise UsageError(f"no model `{name}` in `{self.own_file}`", hint=expected_one_of(self.models, found=name))
        return self.models[name]

    def feature(self, name: str) -> Feature:
        """Return a feature's entry.

        Raises:
            UsageError: there is no feature of this name.
        """
        if name not in self.features:
            raise UsageError(
                f"no feature `{name}` in `{self.own_file}`", hint=expected_one_of(self.features, found=name)
            )
        return self.features[name]

    def release(self, name: str) -> Release:
        """Return a release.

        Raises:
            UsageError: there is no release of this name.
        """
        if name not in self.releases:
            raise UsageError(
                f"no release `{name}` in `{self.own_file}`", hint=expected_one_of(self.releases, found=name)
            )
        return self.releases[name]
