"""The records of `policies` in a registry: when a provider is left alone, a person called, a release rolled out."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from flowai.registry.fields import Duration, Guardrail, Percent, PositiveInt, Rate, RegistryRecord, Stage
from flowai.timestamps import parse_duration_s


class BreakerPolicy(RegistryRecord, frozen=True, kw_only=True):
    """When a provider is left alone."""

    failures: PositiveInt = 5
    """More than this many within the window open the breaker, >= 1."""
    window: Duration = "60s"
    """Sliding window."""
    open: Duration = "5m"
    """How long it stays open before one probe."""

    @property
    def window_s(self) -> float:
        """Seconds of the sliding window."""
        return parse_duration_s(self.window)

    @property
    def open_s(self) -> float:
        """Seconds the breaker stays open."""
        return parse_duration_s(self.open)


class AlertPolicy(RegistryRecord, frozen=True, kw_only=True):
    """When a person is called."""

    error_rate: Rate = 0.05
    """Share of failed calls, 0 to 1, above which an alert is raised."""
    window: Duration = "5m"
    """Over which it is measured."""
    min_calls: PositiveInt = 50
    """Fewer calls than this raise none, >= 1."""

    @property
    def window_s(self) -> float:
        """Seconds over which the rate is measured."""
        return parse_duration_s(self.window)


class NonInferiorityMargins(RegistryRecord, frozen=True, kw_only=True):
    """How much worse than the control a candidate may be, as a difference of shares, 0 to 1."""

    error_rate: Rate = 0.01
    """Of failed calls."""
    json_valid: Rate = 0.01
    """Of answers that are valid JSON."""
    slow_calls: Rate = 0.02
    """Of calls above the control's p95."""
    acceptance: Rate = 0.02
    """Of answers that users accepted."""
    hallucination: Rate = 0.01
    """Of judged answers that hold what their source does not say."""


class CanaryPolicy(RegistryRecord, frozen=True, kw_only=True):
    """How a release is rolled out."""

    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)] = ("dogfood", 1, 5, 25, 100)
    """`dogfood`, then rising percentages up to 100."""
    alpha: Annotated[float, Meta(gt=0, le=0.5)] = 0.05
    """Chance of a wrong verdict over the whole rollout, above 0, at most 0.5."""
    guardrails: tuple[Guardrail, ...] = ("error_rate", "json_valid", "slow_calls", "acceptance")
    """Metrics that must hold."""
    margins: NonInferiorityMargins = NonInferiorityMargins()
    """How much worse each may be."""
    critical_from: Percent = 25
    """First percentage at which critical features join."""
    soak: Duration = "24h"
    """How long 100 % is watched before the release becomes current."""

    @property
    def soak_s(self) -> float:
        """Seconds 100 % is watched."""
        return parse_duration_s(self.soak)


class Policies(RegistryRecord, frozen=True, kw_only=True):
    """The rules of operation."""

    breaker: BreakerPolicy = BreakerPolicy()
    """When a provider is left alone."""
    alert: AlertPolicy = AlertPolicy()
    """When a person is called."""
    canary: CanaryPolicy = CanaryPolicy()
    """How a release is rolled out."""
