"""Records of `policies` in a registry: circuit breakers, retries, alerts, rollouts, rollback, judges, private data."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from flowai.registry.fields import (
    LANGUAGE,
    REGION,
    Duration,
    Guardrail,
    MarginRatio,
    OpenTime,
    Percent,
    PositiveInt,
    PositiveRate,
    Rate,
    RegistryRecord,
    Stage,
)
from flowai.timestamps import parse_duration_s

SECONDS_PER_DAY = 86_400


class BreakerPolicy(RegistryRecord, frozen=True, kw_only=True):
    """When a failing provider gets no calls for a while."""

    failures: PositiveInt = 5
    """The breaker opens at more failures than this within the window, >= 1."""
    window: Duration = "60s"
    """Sliding window in which failures are counted."""
    open: OpenTime = "5m"
    """Time that the breaker stays open before one call probes the provider. A range (`15s..5m`): the first probe comes
    after the shorter time, and each failed probe doubles the time since the breaker opened, with at most the longer
    time between two probes."""
    failure_rate: PositiveRate | None = None
    """From `min_calls` calls within the window, more than `failures` failures open the breaker only if they are at
    least this share of the calls, > 0 to 1. Default: their number alone decides."""
    slow_rate: PositiveRate | None = None
    """From `min_calls` calls within the window, this share of slow ones opens the breaker, > 0 to 1. Default: never."""
    slow: Duration = "5s"
    """Time to the first token above which a call is slow."""
    min_calls: PositiveInt = 20
    """Minimum number of calls within the window for `failure_rate` and `slow_rate`, >= 1."""

    @property
    def slow_s(self) -> float:
        """`slow` in seconds."""
        return parse_duration_s(self.slow)

    @property
    def window_s(self) -> float:
        """`window` in seconds."""
        return parse_duration_s(self.window)

    @property
    def open_s(self) -> float:
        """`open` in seconds; of a range, the shorter time."""
        return parse_duration_s(self.open.partition("..")[0])

    @property
    def max_open_s(self) -> float:
        """Longest time between two probes, in seconds."""
        return parse_duration_s(self.open.rpartition("..")[2])


class RetryPolicy(RegistryRecord, frozen=True, kw_only=True):
    """Limit of calls that are repeated at the same model, in all processes together."""

    budget: Rate | None = None
    """Maximum share of repeated calls among all calls of a provider within the breaker's window, 0 to 1; moving to
    another model is no repeat. Default: no limit."""
    min_retries: Annotated[int, Meta(ge=0)] = 10
    """Repeated calls of a provider that are allowed within the window, however few calls there are, >= 0."""


class AlertPolicy(RegistryRecord, frozen=True, kw_only=True):
    """When an alert is raised."""

    error_rate: Rate = 0.05
    """Share of failed calls, 0 to 1, above which an alert is raised."""
    window: Duration = "5m"
    """Time over which the share is measured."""
    min_calls: PositiveInt = 50
    """Minimum number of calls in the window for an alert, >= 1."""

    @property
    def window_s(self) -> float:
        """`window` in seconds."""
        return parse_duration_s(self.window)


class NonInferiorityMargins(RegistryRecord, frozen=True, kw_only=True):
    """Non-inferiority margins: allowed difference between candidate and control.

    The first five are differences of shares, 0 to 1; the others ratios, at least 1.
    """

    error_rate: Rate = 0.01
    """Share of calls whose own model failed, whatever a fallback gave the caller."""
    json_valid: Rate = 0.01
    """Share of answers that are valid JSON."""
    slow_calls: Rate = 0.02
    """Share of calls slower than the control's 95th percentile and 5 %."""
    acceptance: Rate = 0.02
    """Share of answers that users accepted."""
    hallucination: Rate = 0.01
    """Share of judged answers with statements that their source does not support."""
    latency: MarginRatio = 1.2
    """Latency, geometric mean."""
    ttft: MarginRatio = 1.15
    """Time to the first token, geometric mean."""
    cost: MarginRatio = 1.2
    """Cost of a call, mean; a single call counts up to ten times the control's 95th percentile."""
    cancelled: MarginRatio = 1.2
    """Share of calls whose caller left; it may also grow by 1 percentage point."""
    degraded: MarginRatio = 1.2
    """Share of answers by another model or the last resort; it may also grow by 1 percentage point."""

    def of(self, metric: str) -> float:
        """Return the margin of a metric; metrics without one of their own have that of their kind."""
        return float(getattr(self, {"slow_ttft": "slow_calls", "save_rate": "acceptance"}.get(metric, metric)))


class CanaryPolicy(RegistryRecord, frozen=True, kw_only=True):
    """Stages and guardrails of a rollout."""

    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)] = ("dogfood", 1, 5, 25, 100)
    """`dogfood`, then rising percentages up to 100."""
    alpha: Annotated[float, Meta(gt=0, le=0.5)] = 0.05
    """Probability of a wrong verdict over the whole rollout, > 0, at most 0.5."""
    guardrails: tuple[Guardrail, ...] = (
        "error_rate",
        "json_valid",
        "slow_calls",
        "latency",
        "cancelled",
        "acceptance",
    )
    """Metrics that must not get worse."""
    margins: NonInferiorityMargins = NonInferiorityMargins()
    """Allowed difference of each metric."""
    critical_from: Percent = 25
    """First percentage at which critical features take part."""
    soak: Duration = "24h"
    """Time at 100 % before the release becomes current."""

    @property
    def soak_s(self) -> float:
        """`soak` in seconds."""
        return parse_duration_s(self.soak)


class WatchPolicy(RegistryRecord, frozen=True, kw_only=True):
    """Guardrails for which `flowai watch` rolls back a candidate, besides failed calls."""

    guardrails: tuple[Guardrail, ...] | None = None
    """Guardrails of `policies.canary`; default all of them; `[]`: only failed calls are checked."""


class RetirementPolicy(RegistryRecord, frozen=True, kw_only=True):
    """Limits for reports of a model's end date. Dates are from LiteLLM's price table; see `flowai models`."""

    warn: Duration = "60d"
    """Time before the end date from which `smoke`, `release publish` and `watch` warn."""
    fail: Duration = "14d"
    """Time before the end date from which `smoke` and `release publish` fail."""

    @property
    def warn_days(self) -> float:
        """`warn` in days."""
        return parse_duration_s(self.warn) / SECONDS_PER_DAY

    @property
    def fail_days(self) -> float:
        """`fail` in days."""
        return parse_duration_s(self.fail) / SECONDS_PER_DAY


class JudgingPolicy(RegistryRecord, frozen=True, kw_only=True):
    """Calibration that a judge needs before its verdicts decide anything; below it they are shown only."""

    min_youden: Rate = 0.5
    """Minimum of Youden's index, the true positive rate plus the true negative rate minus 1; 0 to 1. A constant judge
    has 0, a perfect one 1."""
    max_age: Duration = "90d"
    """Age of a calibration from which the judge counts as not calibrated."""
    require_calibration: bool = False
    """Whether a judge that was never measured decides nothing in `flowai eval` either. By default its verdicts count
    as they are until a calibration of what it judges is there."""

    @property
    def max_age_s(self) -> float:
        """`max_age` in seconds."""
        return parse_duration_s(self.max_age)


PrivateKind = Literal["CARD", "PHONE", "EMAIL", "IBAN", "SSN", "IP", "URL", "PERSON", "ADDRESS"]
NameSource = Literal["rules", "spacy", "presidio"]
Region = Annotated[str, Meta(pattern=REGION)]
Language = Annotated[str, Meta(pattern=LANGUAGE)]


class PrivacyPolicy(RegistryRecord, frozen=True, kw_only=True):
    """Private data that `finetune export` replaces. Options of the command win; secrets are always replaced."""

    kinds: tuple[PrivateKind, ...] = ()
    """Kinds to replace; default all."""
    regions: tuple[Region, ...] = ()
    """Numbering plans that a national phone number may follow (ISO 3166-1 alpha-2); default some fifty."""
    languages: tuple[Language, ...] = ()
    """Languages of names and addresses (ISO 639-1); default all that have rules."""
    allow: tuple[str, ...] = ()
    """Texts that stay: public names, names of own products."""
    names: NameSource | None = None
    """Source of names: `rules`, or rules and an installed model of `spacy` or `presidio`. Default: Presidio where it is
    installed, else rules."""
    min_score: Rate = 0.0
    """Minimum confidence of a finding, 0 to 1."""
    toxicity: Rate = 0.5
    """Minimum probability of a toxic answer, 0 to 1."""


class Policies(RegistryRecord, frozen=True, kw_only=True):
    """Policies of breakers, retries, alerts, rollouts, automatic rollback, retired models, judges and private data."""

    breaker: BreakerPolicy = BreakerPolicy()
    """Circuit breaker of each provider."""
    retry: RetryPolicy = RetryPolicy()
    """Limit of repeated calls of each provider."""
    alert: AlertPolicy = AlertPolicy()
    """Alert on failed calls."""
    canary: CanaryPolicy = CanaryPolicy()
    """Stages and guardrails of rollouts."""
    watch: WatchPolicy = WatchPolicy()
    """Automatic rollback."""
    retirement: RetirementPolicy = RetirementPolicy()
    """Models that their provider retires soon."""
    judging: JudgingPolicy = JudgingPolicy()
    """Judges whose verdicts decide."""
    privacy: PrivacyPolicy = PrivacyPolicy()
    """Private data and toxic answers in training rows."""

    @property
    def watched_guardrails(self) -> tuple[Guardrail, ...]:
        """Guardrails that `flowai watch` judges during a rollout."""
        return self.canary.guardrails if self.watch.guardrails is None else self.watch.guardrails
