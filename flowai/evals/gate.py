"""Gate decision of a run: totals against limits. Pure: no files, no models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from flowai.errors import ExitCode
from flowai.evals.reports.records import Gate, GateCheck, GateDecision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.evals.reports.records import GateVerdict, Totals

DEFAULT_GATE = Gate(pass_rate=1.0)
"""Gate of a suite that declares none; then every trial must also be judged."""


def decide(totals: Mapping[str, Totals], gates: Mapping[str, Gate | None]) -> GateDecision:
    """Compare each suite's totals with its gate; both are by suite path.

    The verdict is `error` if any trial has no answer (it outranks everything, because a missing trial may hide a
    failure), `fail` if a limit is not met, `inconclusive` if a limit had nothing to measure or, by the default gate, a
    trial could not be judged; else `pass`.
    """
    checks: list[GateCheck] = []
    is_unjudged = not totals
    for suite, suite_totals in totals.items():
        gate = gates.get(suite)
        is_unjudged |= gate is None and suite_totals.unscored_count > 0
        checks += _checks(suite, suite_totals, gate or DEFAULT_GATE)
    return GateDecision(verdict=_verdict(totals, checks, is_unjudged=is_unjudged), checks=tuple(checks))


def exit_code(decision: GateDecision) -> ExitCode:
    """Return the exit status of a decision."""
    return {
        "pass": ExitCode.DONE,
        "fail": ExitCode.GATE_NOT_MET,
        "error": ExitCode.INFRASTRUCTURE,
        "inconclusive": ExitCode.INCONCLUSIVE,
    }[decision.verdict]


def _verdict(totals: Mapping[str, Totals], checks: list[GateCheck], *, is_unjudged: bool) -> GateVerdict:
    if any(suite_totals.error_count for suite_totals in totals.values()):
        return "error"
    if any(check.passed is False for check in checks):
        return "fail"
    return "inconclusive" if is_unjudged or any(check.passed is None for check in checks) else "pass"


def _checks(suite: str, totals: Totals, gate: Gate) -> Iterator[GateCheck]:
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
