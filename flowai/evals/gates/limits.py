"""Limits of a gate: totals against fixed values, without confidence. Pure: no files, no models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from flowai.errors import ExitCode
from flowai.evals.reports.records import Gate, GateCheck, GateDecision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.evals.reports.records import GateVerdict, Totals

DEFAULT_GATE = Gate(pass_rate=1.0)
"""Gate of a suite that declares none; then every trial must also be judged."""


def decide(totals: Mapping[str, Totals], gates: Mapping[str, Gate | None]) -> GateDecision:
    """Compare each suite's totals with its gate; both are by suite path.

    The verdict is `error` if more trials than accepted have no answer (it outranks everything, because a missing trial
    may hide a failure), `fail` if a limit is not met, `inconclusive` if a limit had nothing to measure or, by a gate
    without limits, a trial could not be judged; else `pass`.
    """
    checks: list[GateCheck] = []
    is_unjudged = not totals
    for suite, suite_totals in totals.items():
        gate = gates.get(suite) or DEFAULT_GATE
        is_unjudged |= is_unjudged_default(suite_totals, gates.get(suite))
        checks += limit_checks(suite, suite_totals, effective_gate(msgspec.structs.replace(gate, baseline=None)))
    has_errors = any(exceeds_errors(suite_totals, gates.get(suite)) for suite, suite_totals in totals.items())
    return GateDecision(
        verdict=verdict_of(checks, has_errors=has_errors, is_unjudged=is_unjudged), checks=tuple(checks)
    )


def effective_gate(gate: Gate) -> Gate:
    """Return the gate with `pass_rate: 1` if it has no limit and no comparison."""
    return gate if _has_limit(gate) else msgspec.structs.replace(gate, pass_rate=1.0)


def is_unjudged_default(totals: Totals, gate: Gate | None) -> bool:
    """Return whether answers without a judgement leave the suite undecided: without a limit, none is accepted."""
    is_default = gate is None or (not _has_limit(gate) and gate.max_error_rate is None and gate.max_error_count is None)
    return is_default and totals.unscored_count > 0


def _has_limit(gate: Gate) -> bool:
    limits = (gate.pass_rate, gate.json_valid_rate, gate.latency_p95_ms, gate.ttft_p95_ms, gate.cost_usd)
    return bool(gate.metrics) or gate.baseline is not None or any(limit is not None for limit in limits)


def exceeds_errors(totals: Totals, gate: Gate | None) -> bool:
    """Return whether more trials had an error than the gate accepts: infrastructure, or a check that itself broke."""
    if gate is None or (gate.max_error_rate is None and gate.max_error_count is None):
        return totals.error_count > 0
    broken_count = totals.error_count + totals.unscored_count
    by_rate = gate.max_error_rate is not None and broken_count > gate.max_error_rate * totals.trial_count
    return by_rate or (gate.max_error_count is not None and broken_count > gate.max_error_count)


def exit_code(decision: GateDecision) -> ExitCode:
    """Return the exit status of a decision."""
    return {
        "pass": ExitCode.DONE,
        "fail": ExitCode.GATE_NOT_MET,
        "error": ExitCode.INFRASTRUCTURE,
        "inconclusive": ExitCode.INCONCLUSIVE,
    }[decision.verdict]


def verdict_of(checks: Sequence[GateCheck], *, has_errors: bool, is_unjudged: bool) -> GateVerdict:
    """Return the verdict of checks; errors outrank it."""
    if has_errors:
        return "error"
    if any(check.passed is False for check in checks):
        return "fail"
    return "inconclusive" if is_unjudged or any(check.passed is None for check in checks) else "pass"


def limit_checks(suite: str, totals: Totals, gate: Gate) -> Iterator[GateCheck]:
    """Yield each limit of a gate with the observed value."""
    promised_count = totals.json_promised_count
    json_valid_rate = totals.json_valid_count / promised_count if promised_count else None
    limits: tuple[tuple[str, float | None, float | None, Literal["min", "max"]], ...] = (
        ("pass_rate", totals.pass_rate, gate.pass_rate, "min"),
        ("json_valid_rate", json_valid_rate, gate.json_valid_rate, "min"),
        ("latency_p95_ms", totals.latency.p95_ms, gate.latency_p95_ms, "max"),
        ("ttft_p95_ms", totals.ttft.p95_ms, gate.ttft_p95_ms, "max"),
        ("cost_usd", None if totals.unpriced_count else totals.cost_usd, gate.cost_usd, "max"),
        *((f"metrics.{name}", totals.metrics.get(name), minimum, "min") for name, minimum in gate.metrics.items()),
    )
    for metric, observed, threshold, direction in limits:
        if threshold is not None:
            passed = None
            if observed is not None:
                passed = observed >= threshold if direction == "min" else observed <= threshold
            yield GateCheck(
                suite=suite, metric=metric, observed=observed, threshold=threshold, direction=direction, passed=passed
            )
