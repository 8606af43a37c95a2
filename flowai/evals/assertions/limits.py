"""Checks of what a call measured or reported: latency, cost, finish reason, probabilities, guardrails.

As in `text`, a wrong value or threshold is a SuiteError when the check is built.
"""

from __future__ import annotations

import math
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


def perplexity(assertion: Assertion) -> CheckFunction:
    """Pass if the perplexity of the answer's tokens is at most `threshold`; without one, if it was reported."""
    return _from_logprobs(assertion, lambda mean: math.exp(min(-mean, 700.0)), is_score=False)


def perplexity_score(assertion: Assertion) -> CheckFunction:
    """Pass if 1 / (1 + perplexity) is at least `threshold`; without one, if it was reported."""
    return _from_logprobs(assertion, lambda mean: 1 / (1 + math.exp(min(-mean, 700.0))), is_score=True)


def _from_logprobs(assertion: Assertion, measure: Callable[[float], float], *, is_score: bool) -> CheckFunction:
    limit = assertion.threshold

    def check(answer: Answer) -> CheckResult:
        if not answer.logprobs:
            return CheckResult(None, ": the provider reported no log probabilities")
        measured = measure(math.fsum(answer.logprobs) / len(answer.logprobs))
        score = measured if is_score else None
        if limit is None:
            return CheckResult(passed=True, detail=f" {measured:.4g}", score=score)
        passed = measured >= limit if is_score else measured <= limit
        sign = (">=" if passed else "<") if is_score else ("<=" if passed else ">")
        return CheckResult(passed, f" {measured:.4g} {sign} {limit:g}", score)

    return check


def guardrails(_: Assertion) -> CheckFunction:
    """Pass if the provider's own safety checks did not flag prompt or answer."""

    def check(answer: Answer) -> CheckResult:
        found = answer.guardrails or {}
        if not found.get("flagged"):
            return CheckResult(passed=True, detail=": nothing was flagged")
        part = "the prompt" if found.get("flaggedInput") else "the answer"
        reason = found.get("reason")
        return CheckResult(passed=False, detail=f": {part} was flagged{f': {quoted(reason)}' if reason else ''}")

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
