"""The records of `policies` in a registry: when a provider is left alone, a person called, a release rolled out.

In: nothing. Out: frozen records. Must never know who applies the rules.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from flowai.registry.fields import Duration, Guardrail, Percent, PositiveInt, Rate, RegistryRecord, Stage
from flowai.timestamps import parse_duration_s


class BreakerPolicy(RegistryRecord, frozen=True, kw_only=True):
    """When a provider is left alone.

    Args:
        failures: more than this many within the window open the breaker, >= 1.
        window: sliding window.
        open: how long it stays open before one probe.
    """

    failures: PositiveInt = 5
    window: Duration = "60s"
    open: Duration = "5m"

    @property
    def window_s(self) -> float:
        """Seconds of the sliding window."""
        return parse_duration_s(self.window)

    @property
    def open_s(self) -> float:
        """Seconds the breaker stays open."""
        return parse_duration_s(self.open)


class AlertPolicy(RegistryRecord, frozen=True, kw_only=True):
    """When a person is called.

    Args:
        error_rate: share of failed calls, 0 to 1, above which an alert is raised.
        window: over which it is measured.
        min_calls: fewer calls than this raise none, >= 1.
    """

    error_rate: Rate = 0.05
    window: Duration = "5m"
    min_calls: PositiveInt = 50

    @property
    def window_s(self) -> float:
        """Seconds over which the rate is measured."""
        return parse_duration_s(self.window)


class NonInferiorityMargins(RegistryRecord, frozen=True, kw_only=True):
    """How much worse than the control a candidate may be, as a difference of shares, 0 to 1.

    Args:
        error_rate: of failed calls.
        json_valid: of answers that are valid JSON.
        slow_calls: of calls above the control's p95.
        acceptance: of answers that users accepted.
        hallucination: of judged answers that hold what their source does not say.
    """

    error_rate: Rate = 0.01
    json_valid: Rate = 0.01
    slow_calls: Rate = 0.02
    acceptance: Rate = 0.02
    hallucination: Rate = 0.01


class CanaryPolicy(RegistryRecord, frozen=True, kw_only=True):
    """How a release is rolled out.

    Args:
        stages: `dogfood`, then rising percentages up to 100.
        alpha: chance of a wrong verdict over the whole rollout, above 0, at most 0.5.
        guardrails: metrics that must hold.
        margins: how much worse each may be.
        critical_from: first percentage at which critical features join.
        soak: how long 100 % is watched before the release becomes current.
    """

    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)] = ("dogfood", 1, 5, 25, 100)
    alpha: Annotated[float, Meta(gt=0, le=0.5)] = 0.05
    guardrails: tuple[Guardrail, ...] = ("error_rate", "json_valid", "slow_calls", "acceptance")
    margins: NonInferiorityMargins = NonInferiorityMargins()
    critical_from: Percent = 25
    soak: Duration = "24h"

    @property
    def soak_s(self) -> float:
        """Seconds 100 % is watched."""
        return parse_duration_s(self.soak)


class Policies(RegistryRecord, frozen=True, kw_only=True):
    """The rules of operation.

    Args:
        breaker: when a provider is left alone.
        alert: when a person is called.
        canary: how a release is rolled out.
    """

    breaker: BreakerPolicy = BreakerPolicy()
    alert: AlertPolicy = AlertPolicy()
    canary: CanaryPolicy = CanaryPolicy()
