"""Checks of a call's measurements: latency, time to first token, cost, finish reason.

As in `text`, a wrong value or threshold is a SuiteError when the check is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import expected_one_of
from flowai.evals.assertions.records import CheckResult, quoted, suite_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.evals.assertions.records import Answer, CheckFunction
    from flowai.evals.suites.records import Assertion

FINISH_REASONS = ("stop", "length", "content_filter", "tool_calls")


def latency(assertion: Assertion) -> CheckFunction:
    """Pass if the complete answer took at most `threshold` milliseconds when it was generated."""
    return _max_time(assertion, lambda answer: answer.latency_ms)


def ttft(assertion: Assertion) -> CheckFunction:
    """Pass if the first token came after at most `threshold` milliseconds when the answer was generated."""
    return _max_time(assertion, lambda answer: answer.ttft_ms)


def cost(assertion: Assertion) -> CheckFunction:
    """Pass if the call cost at most `threshold` US dollars when the answer was generated."""
    max_usd = _threshold(assertion, "US dollars")

    def check(answer: Answer) -> CheckResult:
        if answer.cost_usd is None:
            return CheckResult(None, ": the price is not known")
        passed = answer.cost_usd <= max_usd
        return CheckResult(passed, f" ${answer.cost_usd:.4g} {'<=' if passed else '>'} ${max_usd:g}")

    return check


def finish_reason(assertion: Assertion) -> CheckFunction:
    """Pass if the model stopped for this reason."""
    expected = assertion.value
    if not isinstance(expected, str) or expected.lower() not in FINISH_REASONS:
        raise suite_error(
            assertion,
            f"found {quoted(expected)}; expected a finish reason",
            hint=expected_one_of(FINISH_REASONS, found=expected if isinstance(expected, str) else None),
        )

    def check(answer: Answer) -> CheckResult:
        if answer.finish_reason is None:
            return CheckResult(None, ": not reported by the provider")
        passed = answer.finish_reason.lower() == expected.lower()
        return CheckResult(
            passed, f" {expected}" if passed else f" {quoted(answer.finish_reason)}, expected {quoted(expected)}"
        )

    return check


def _threshold(assertion: Assertion, unit: str) -> float:
    if assertion.threshold is None:
        raise suite_error(assertion, "has no `threshold`", hint=f"set `threshold` in {unit}")
    return assertion.threshold


def _max_time(assertion: Assertion, time_ms: Callable[[Answer], float | None]) -> CheckFunction:
    max_ms = _threshold(assertion, "milliseconds")

    def check(answer: Answer) -> CheckResult:
        measured_ms = time_ms(answer)
        if measured_ms is None:
            return CheckResult(None, ": not measured")
        passed = measured_ms <= max_ms
        return CheckResult(passed, f" {measured_ms:.0f} ms {'<=' if passed else '>'} {max_ms:g} ms")

    return check
