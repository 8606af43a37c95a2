"""Checks by the suite's own code and by webhooks: how their result becomes pass, score and reason.

Code and address are called by the run's services; what breaks there leaves the answer unjudged. Source of the results:
promptfoo, "Javascript assertions", "Python assertions" and "Deterministic metrics", section `webhook`.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from flowai.errors import CallError, FlowaiError
from flowai.evals.assertions.records import AsyncCheck, CheckResult, printable, quoted, suite_error
from flowai.evals.assertions.services import CodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.assertions.records import Answer
    from flowai.evals.assertions.services import CheckServices, CodeRunner
    from flowai.evals.suites.records import Assertion

_MAX_REASON_CHARS = 300
_EXPECTED = "true or false, a number, or an object with `pass`, `score` and `reason`"


class CodeResultError(ValueError):
    """Raised if code or an address returns something that is no result; the message is one line."""


def code_runner(assertion: Assertion, services: CheckServices) -> CodeRunner:
    """Return the service that runs code, or raise SuiteError if this run has none."""
    if services.code is None:
        raise suite_error(assertion, "runs code, which this run does not allow")
    return services.code


def code_check(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass as the suite's code decides: by true, a number above 0 or at least `threshold`, or an object's `pass`."""
    runner, code = code_runner(assertion, services), assertion.code
    if code is None:
        raise suite_error(assertion, f"found {quoted(assertion.value)}; expected code")

    async def check(answer: Answer) -> CheckResult:
        try:
            value = await runner.call(code, [value_of(answer), check_context(answer, assertion)])
            return code_result(value, threshold=assertion.threshold, language=code.language)
        except CodeError as error:
            return CheckResult(None, f": the code {_line(str(error))}")
        except CodeResultError as error:
            return CheckResult(None, f": the code {error}")

    return AsyncCheck(check)


def value_of(answer: Answer) -> Any:  # noqa: ANN401 - any JSON value
    """Return the answer as code sees it."""
    return answer.text if answer.output is None else answer.output


def check_context(answer: Answer, assertion: Assertion) -> dict[str, Any]:
    """Build the second argument of a suite's code, with promptfoo's names."""
    case = answer.case
    variables = dict(answer.variables)
    metadata = dict(answer.metadata)
    test: dict[str, Any] = {"vars": variables}
    if case is not None:
        test |= {"description": case.description, "metadata": case.metadata, "threshold": case.threshold}
    response = {
        "output": value_of(answer),
        "cost": answer.cost_usd,
        "latencyMs": answer.latency_ms,
        "finishReason": answer.finish_reason,
        "cached": answer.is_cached,
        "metadata": metadata,
    }
    context = {
        "prompt": answer.prompt,
        "vars": variables,
        "test": test,
        "logProbs": None if answer.logprobs is None else list(answer.logprobs),
        "provider": {"id": answer.provider},
        "providerResponse": response,
        "metadata": metadata,
    }
    return {**context, "config": assertion.config} if assertion.config else context


def code_result(value: Any, *, threshold: float | None, language: str) -> CheckResult:  # noqa: ANN401 - any JSON value
    """Return the result that a value of the suite's code stands for; raise CodeResultError for any other value."""
    if language == "python" and isinstance(value, str):
        value = _parsed_text(value)
    if isinstance(value, bool):
        return CheckResult(value, f": the code returned {json.dumps(value)}")
    if isinstance(value, int | float):
        return _number_result(float(value), threshold)
    if isinstance(value, dict):
        return _object_result(value, threshold if language == "python" else None)
    raise CodeResultError(f"returned {quoted(value)}; expected {_EXPECTED}")


def _parsed_text(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value that a text of Python code stands for (`"true"`, `"0.5"`, JSON)."""
    folded = text.lower()
    if folded in {"true", "false"}:
        return folded == "true"
    try:
        return json.loads(text) if text.startswith("{") else float(text)
    except (ValueError, RecursionError):
        return text


def _number_result(value: float, threshold: float | None) -> CheckResult:
    if not math.isfinite(value):
        raise CodeResultError(f"returned {value}; expected {_EXPECTED}")
    passed = value > 0 if threshold is None else value >= threshold
    limit = "> 0" if threshold is None else f">= {threshold:g}"
    return CheckResult(passed, f": the code returned {value:g}, expected {limit}", _clipped_score(value))


def _object_result(value: Mapping[str, Any], threshold: float | None) -> CheckResult:
    passed = value.get("pass", value.get("pass_"))
    score, reason = value.get("score"), value.get("reason")
    is_score = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
    if not isinstance(passed, bool) or not is_score or not isinstance(reason, str):
        raise CodeResultError(f"returned {quoted(dict(value))}; expected {_EXPECTED}")
    number = float(score or 0)
    if threshold is not None and number < threshold:
        passed, reason = False, f"score {number:g} < {threshold:g}; {reason}"
    detail = f": {_line(reason)}" if reason else ": without a reason"
    return CheckResult(passed, detail, _clipped_score(number), _named_scores(value))


def _named_scores(value: Mapping[str, Any]) -> dict[str, float] | None:
    scores = value.get("namedScores", value.get("named_scores"))
    if not isinstance(scores, dict):
        return None
    return {
        str(name): float(score)
        for name, score in scores.items()
        if isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
    }


def _clipped_score(value: float) -> float:
    return min(1.0, max(0.0, value))


def _line(text: str) -> str:
    return printable(" ".join(text.split())[:_MAX_REASON_CHARS])


def webhook(assertion: Assertion, services: CheckServices) -> AsyncCheck:
    """Pass if the address answers a POST of the answer with `{"pass": true}`."""
    url, webhooks = assertion.value, services.webhooks
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise suite_error(
            assertion,
            f"found {quoted(url)}; expected the address of a webhook",
            hint="such as http://localhost:8080/check",
        )
    if webhooks is None:
        raise suite_error(assertion, "calls an address, which this run does not allow")

    async def check(answer: Answer) -> CheckResult:
        body = {"output": value_of(answer), "context": {"prompt": answer.prompt, "vars": dict(answer.variables)}}
        try:
            return _webhook_result(await webhooks.post(url, body))
        except CallError as error:
            return CheckResult(None, f": the webhook failed: {_line(error.what)}")
        except FlowaiError as error:
            return CheckResult(None, f": {_line(error.what)}")
        except CodeResultError as error:
            return CheckResult(None, f": the webhook {error}")

    return AsyncCheck(check)


def _webhook_result(value: Any) -> CheckResult:  # noqa: ANN401 - any JSON value
    passed = value.get("pass") if isinstance(value, dict) else None
    if not isinstance(passed, bool):
        raise CodeResultError(f"answered {quoted(value)}; expected an object with `pass`: true or false")
    score, reason = value.get("score"), value.get("reason")
    is_score = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
    detail = (
        f": {_line(reason)}" if isinstance(reason, str) and reason else f": the webhook answered {json.dumps(passed)}"
    )
    return CheckResult(passed, detail, _clipped_score(float(score)) if is_score else None)
