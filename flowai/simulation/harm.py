"""Changes outcomes of the candidate's calls so that one metric is worse by a known amount."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from flowai.simulation.calls import SimulatedCalls

    Flags = NDArray[np.bool_]

_SLOW_SHARE = 0.95
_SLOW_RATIO = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Harm:
    """A harm of the candidate."""

    metric: str
    """A guardrail."""
    amount: float
    """Of a rate: added share of failures, 0 to 1, mean over users. Of a mean: its ratio."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureShares:
    """Means over users of the shares of a user's calls."""

    failed: float
    spared: float
    """Measured calls that did not fail and can be made to fail."""


def _ended(calls: SimulatedCalls) -> Flags:
    return ~(calls.cached | calls.cancelled)


def _answered(calls: SimulatedCalls) -> Flags:
    return ~(calls.cached | calls.cancelled | calls.error)


def _fell_back(calls: SimulatedCalls) -> Flags:
    return calls.primary_failed | calls.degraded


def slow_limits(calls: SimulatedCalls) -> NDArray[np.float64]:
    """Return the time above which a call is slow, by feature: the 95th percentile."""
    answered = _answered(calls)
    limits = np.full(int(calls.feature.max(initial=0)) + 1, np.inf)
    for feature in np.unique(calls.feature[answered]).tolist():
        limits[feature] = np.quantile(calls.latency_ms[answered & (calls.feature == feature)], _SLOW_SHARE)
    return limits


# by rate: measured calls, failed ones, and those that may be made to fail
_RATES: dict[str, Callable[[SimulatedCalls], tuple[Flags, Flags, Flags]]] = {
    "error_rate": lambda calls: (_ended(calls), calls.error | _fell_back(calls), _answered(calls) & ~_fell_back(calls)),
    "json_valid": lambda calls: (
        ~calls.cached & (calls.json_invalid >= 0),
        calls.json_invalid == 1,
        ~calls.cached & (calls.json_invalid == 0),
    ),
    "cancelled": lambda calls: (~calls.cached, calls.cancelled, _answered(calls)),
    "degraded": lambda calls: (_ended(calls), _fell_back(calls), _answered(calls) & ~_fell_back(calls)),
    "acceptance": lambda calls: (~calls.cached & (calls.feedback >= 0), calls.feedback == 0, calls.feedback == 1),
    "hallucination": lambda calls: (~calls.cached & (calls.score >= 0), calls.score == 0, calls.score == 1),
}

_OUTCOMES = {"json_valid": ("json_invalid", 1), "acceptance": ("feedback", 0), "hallucination": ("score", 0)}
"""Column that a failure changes, and its value then."""


def failure_shares(calls: SimulatedCalls, metric: str) -> FailureShares | None:
    """Return the shares of a rate in logged calls; None without a measurement."""
    if metric == "slow_calls":
        measured = _answered(calls)
        failed = measured & (calls.latency_ms > slow_limits(calls)[calls.feature])
        spared = measured & ~failed
    else:
        measured, failed, spared = _RATES[metric](calls)
    if not measured.any():
        return None
    unit = np.where(calls.user >= 0, calls.user, int(calls.user.max(initial=-1)) + 1 + np.arange(len(calls)))
    _, unit = np.unique(unit[measured], return_inverse=True)
    count = np.bincount(unit)
    means = [float(np.mean(np.bincount(unit, weights=one[measured]) / count)) for one in (failed, spared)]
    return FailureShares(failed=means[0], spared=means[1])


def add_harm(
    calls: SimulatedCalls, harm: Harm, *, shares: FailureShares | None, limits: NDArray[np.float64], seed: int
) -> SimulatedCalls:
    """Return the calls with a harm of the candidate.

    Args:
        calls: calls of a rollout.
        harm: the harm.
        shares: of its metric, if that is a rate, as `failure_shares` measures them in the logged calls.
        limits: times above which calls are slow, by feature.
        seed: equal seeds have equal results.
    """
    if shares is None:
        return _slowed(calls, harm)
    chance = min(harm.amount / shares.spared, 1.0) if shares.spared else 0.0
    chosen = calls.by_candidate & (np.random.default_rng([seed, 1]).random(len(calls)) < chance)
    if harm.metric == "slow_calls":
        slow_ms = limits[calls.feature] * _SLOW_RATIO
        chosen &= _answered(calls) & np.isfinite(slow_ms)
        return replace(calls, latency_ms=np.where(chosen, np.maximum(calls.latency_ms, slow_ms), calls.latency_ms))
    chosen &= _RATES[harm.metric](calls)[2]
    if outcome := _OUTCOMES.get(harm.metric):
        column, failed = outcome
        changed: dict[str, Any] = {column: np.where(chosen, failed, getattr(calls, column)).astype(np.int8)}
        return replace(calls, **changed)
    if harm.metric == "degraded":
        return replace(calls, primary_failed=calls.primary_failed | chosen)
    return replace(
        calls,
        error=calls.error | (chosen if harm.metric == "error_rate" else False),
        cancelled=calls.cancelled | (chosen if harm.metric == "cancelled" else False),
        json_invalid=np.where(chosen, -1, calls.json_invalid).astype(np.int8),
        feedback=np.where(chosen, -1, calls.feedback).astype(np.int8),
        score=np.where(chosen, -1, calls.score).astype(np.int8),
        ttft_ms=np.where(chosen, np.nan, calls.ttft_ms),
    )


def _slowed(calls: SimulatedCalls, harm: Harm) -> SimulatedCalls:
    """Multiply a time or the cost of the candidate's calls to models."""
    factor = np.where(calls.by_candidate & ~calls.cached, harm.amount, 1.0)
    if harm.metric == "latency":
        return replace(calls, latency_ms=calls.latency_ms * factor)
    if harm.metric == "ttft":
        return replace(calls, ttft_ms=calls.ttft_ms * factor)
    return replace(calls, cost_usd=calls.cost_usd * factor)
