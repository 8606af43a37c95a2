"""Checks on how an answer came about: how long it took, what it cost, why it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import expected_one_of
from flowai.evals.assertions.records import CheckResult, quoted, suite_error

if TYPE_CHECKING:
    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.suites.records import Assertion

FINISH_REASONS = ("stop", "length", "content_filter", "tool_calls")


def _limit(assertion: Assertion, unit: str) -> float:
    if assertion.threshold is None:
        raise suite_error(assertion, "has no `threshold`", hint=f"give the limit in {unit}")
    return assertion.threshold


def latency(assertion: Assertion) -> CheckFunction:
    """Hold when the whole answer took at most `threshold` milliseconds, when it was made.

    Raises:
        SuiteError: no threshold.
    """
    most_ms = _limit(assertion, "milliseconds")

    def judge(answer: Answer) -> CheckResult:
        if answer.latency_ms is None:
            return CheckResult(None, ": not measured")
        held = answer.latency_ms <= most_ms
        return CheckResult(held, f" {answer.latency_ms:.0f} ms {'<=' if held else '>'} {most_ms:g} ms")

    return judge


def ttft(assertion: Assertion) -> CheckFunction:
    """Hold when the first token came after at most `threshold` milliseconds, when the answer was made.

    Raises:
        SuiteError: no threshold.
    """
    most_ms = _limit(assertion, "milliseconds")

    def judge(answer: Answer) -> CheckResult:
        if answer.ttft_ms is None:
            return CheckResult(None, ": not measured")
        held = answer.ttft_ms <= most_ms
        return CheckResult(held, f" {answer.ttft_ms:.0f} ms {'<=' if held else '>'} {most_ms:g} ms")

    return judge


def cost(assertion: Assertion) -> CheckFunction:
    """Hold when the call cost at most `threshold` US dollars, when it was made.

    Raises:
        SuiteError: no threshold.
    """
    most_usd = _limit(assertion, "US dollars")

    def judge(answer: Answer) -> CheckResult:
        if answer.cost_usd is None:
            return CheckResult(None, ": the price is not known")
        held = answer.cost_usd <= most_usd
        return CheckResult(held, f" ${answer.cost_usd:.4g} {'<=' if held else '>'} ${most_usd:g}")

    return judge


def finish_reason(assertion: Assertion) -> CheckFunction:
    """Hold when the model stopped for this reason.

    Raises:
        SuiteError: not one of the reasons that providers give.
    """
    wanted = assertion.value
    if not isinstance(wanted, str) or wanted.lower() not in FINISH_REASONS:
        found = wanted if isinstance(wanted, str) else None
        raise suite_error(
            assertion,
            f"found {quoted(wanted)}; expected a finish reason",
            hint=expected_one_of(FINISH_REASONS, found=found),
        )

    def judge(answer: Answer) -> CheckResult:
        if answer.finish_reason is None:
            return CheckResult(None, ": the provider gave none")
        held = answer.finish_reason.lower() == wanted.lower()
        return CheckResult(
            held, f" {wanted}" if held else f" {quoted(answer.finish_reason)}, expected {quoted(wanted)}"
        )

    return judge
