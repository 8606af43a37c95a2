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
    return _at_most(assertion, lambda answer: answer.latency_ms, ("{:.0f} ms", "{:g} ms"), "milliseconds")


def ttft(assertion: Assertion) -> CheckFunction:
    """Pass if the first token came after at most `threshold` milliseconds when the answer was generated."""
    return _at_most(assertion, lambda answer: answer.ttft_ms, ("{:.0f} ms", "{:g} ms"), "milliseconds")


def cost(assertion: Assertion) -> CheckFunction:
    """Pass if the call cost at most `threshold` US dollars when the answer was generated."""
    missing = "the price is not known"
    return _at_most(assertion, lambda answer: answer.cost_usd, ("${:.4g}", "${:g}"), "US dollars", missing=missing)


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


def _at_most(
    assertion: Assertion,
    measure: Callable[[Answer], float | None],
    formats: tuple[str, str],
    unit: str,
    *,
    missing: str = "not measured",
) -> CheckFunction:
    """Pass if a measurement is at most the threshold; `formats` are of the measurement and of the threshold."""
    limit = assertion.threshold
    if limit is None:
        raise suite_error(assertion, "has no `threshold`", hint=f"set `threshold` in {unit}")

    def check(answer: Answer) -> CheckResult:
        measured = measure(answer)
        if measured is None:
            return CheckResult(None, f": {missing}")
        passed = measured <= limit
        shown, shown_limit = formats[0].format(measured), formats[1].format(limit)
        return CheckResult(passed, f" {shown} {'<=' if passed else '>'} {shown_limit}")

    return check
