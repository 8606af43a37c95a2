"""Turns the figures of a run and the gates of its suites into a decision; knows no files, models or screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from flowai.evals.reports.records import Gate, GateCheck, GateDecision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.errors import ExitCode
    from flowai.evals.reports.records import GateVerdict, Totals

DEFAULT_GATE = Gate(pass_rate=1.0)
"""The rule where a suite declares no gate; it also wants every trial judged."""


def decide(totals: Mapping[str, Totals], gates: Mapping[str, Gate | None]) -> GateDecision:
    """Hold each suite's figures against its gate.

    Args:
        totals: figures by suite path.
        gates: gate by suite path; None or absent for the default: every trial passes.

    Returns:
        `error` when any trial has no answer (it outranks everything, since a missing trial may hide a failure), `fail`
        when a limit is not met, `undecided` when a limit had nothing to measure or, under the default rule, a trial
        could not be judged; else `pass`.
    """
    checks: list[GateCheck] = []
    unjudged = not totals
    for suite, figures in totals.items():
        gate = gates.get(suite)
        unjudged |= gate is None and figures.unscored_count > 0
        checks += _checks(suite, figures, gate or DEFAULT_GATE)
    return GateDecision(verdict=_verdict(totals, checks, unjudged=unjudged), checks=tuple(checks))


def exit_code(decision: GateDecision) -> ExitCode:
    """Give the exit status that a verdict stands for."""
    from flowai.errors import ExitCode

    return {
        "pass": ExitCode.DONE,
        "fail": ExitCode.GATE_NOT_MET,
        "error": ExitCode.INFRASTRUCTURE,
        "undecided": ExitCode.INCONCLUSIVE,
    }[decision.verdict]


def _verdict(totals: Mapping[str, Totals], checks: list[GateCheck], *, unjudged: bool) -> GateVerdict:
    if any(figures.error_count for figures in totals.values()):
        return "error"
    if any(check.passed is False for check in checks):
        return "fail"
    return "undecided" if unjudged or any(check.passed is None for check in checks) else "pass"


def _checks(suite: str, figures: Totals, gate: Gate) -> Iterator[GateCheck]:
    promised = figures.json_promised_count
    json_valid_rate = figures.json_valid_count / promised if promised else None
    limits: tuple[tuple[str, float | None, float | None, Literal["min", "max"]], ...] = (
        ("pass_rate", figures.pass_rate, gate.pass_rate, "min"),
        ("json_valid_rate", json_valid_rate, gate.json_valid_rate, "min"),
        ("latency_p95_ms", figures.latency.p95_ms, gate.latency_p95_ms, "max"),
        ("ttft_p95_ms", figures.ttft.p95_ms, gate.ttft_p95_ms, "max"),
        ("cost_usd", None if figures.unpriced_count else figures.cost_usd, gate.cost_usd, "max"),
        *((f"metrics.{name}", figures.metrics.get(name), least, "min") for name, least in gate.metrics.items()),
    )
    for metric, observed, threshold, direction in limits:
        if threshold is not None:
            yield _check(suite, metric, observed, threshold, direction)


def _check(
    suite: str, metric: str, observed: float | None, threshold: float, direction: Literal["min", "max"]
) -> GateCheck:
    held = None
    if observed is not None:
        held = observed >= threshold if direction == "min" else observed <= threshold
    return GateCheck(
        suite=suite, metric=metric, observed=observed, threshold=threshold, direction=direction, passed=held
    )
