"""Checks on how an answer came about: how long it took, what it cost, why it ended.

In: an assertion. Out: a judge, which is undecided where the figure was not measured. Must never know negation, weights
or other assertions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import one_of
from flowai.evals.assertions.records import Finding, mistake, quoted

if TYPE_CHECKING:
    from flowai.evals.assertions.records import Answer, Judge
    from flowai.evals.suites.records import Assertion

FINISH_REASONS = ("stop", "length", "content_filter", "tool_calls")


def _limit(assertion: Assertion, unit: str) -> float:
    if assertion.threshold is None:
        raise mistake(assertion, "has no `threshold`", hint=f"give the limit in {unit}")
    return assertion.threshold


def latency(assertion: Assertion) -> Judge:
    """Hold when the whole answer took at most `threshold` milliseconds, when it was made.

    Raises:
        SuiteError: no threshold.
    """
    most_ms = _limit(assertion, "milliseconds")

    def judge(answer: Answer) -> Finding:
        if answer.latency_ms is None:
            return Finding(None, ": not measured")
        held = answer.latency_ms <= most_ms
        return Finding(held, f" {answer.latency_ms:.0f} ms {'<=' if held else '>'} {most_ms:g} ms")

    return judge


def ttft(assertion: Assertion) -> Judge:
    """Hold when the first token came after at most `threshold` milliseconds, when the answer was made.

    Raises:
        SuiteError: no threshold.
    """
    most_ms = _limit(assertion, "milliseconds")

    def judge(answer: Answer) -> Finding:
        if answer.ttft_ms is None:
            return Finding(None, ": not measured")
        held = answer.ttft_ms <= most_ms
        return Finding(held, f" {answer.ttft_ms:.0f} ms {'<=' if held else '>'} {most_ms:g} ms")

    return judge


def cost(assertion: Assertion) -> Judge:
    """Hold when the call cost at most `threshold` US dollars, when it was made.

    Raises:
        SuiteError: no threshold.
    """
    most_usd = _limit(assertion, "US dollars")

    def judge(answer: Answer) -> Finding:
        if answer.cost_usd is None:
            return Finding(None, ": the price is not known")
        held = answer.cost_usd <= most_usd
        return Finding(held, f" ${answer.cost_usd:.4g} {'<=' if held else '>'} ${most_usd:g}")

    return judge


def finish_reason(assertion: Assertion) -> Judge:
    """Hold when the model stopped for this reason.

    Raises:
        SuiteError: not one of the reasons that providers give.
    """
    wanted = assertion.value
    if not isinstance(wanted, str) or wanted.lower() not in FINISH_REASONS:
        found = wanted if isinstance(wanted, str) else None
        raise mistake(
            assertion, f"found {quoted(wanted)}; expected a finish reason", hint=one_of(FINISH_REASONS, found=found)
        )

    def judge(answer: Answer) -> Finding:
        if answer.finish_reason is None:
            return Finding(None, ": the provider gave none")
        held = answer.finish_reason.lower() == wanted.lower()
        return Finding(held, f" {wanted}" if held else f" {quoted(answer.finish_reason)}, expected {quoted(wanted)}")

    return judge
