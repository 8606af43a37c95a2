"""Answers and errors of targets that are no models, in flowai's terms."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from flowai.errors import (
    CallError,
    InvalidRequestError,
    MalformedAnswerError,
    ModelNotFoundError,
    RateLimitedError,
    ServerError,
    TimedOutError,
)
from flowai.evals.targets.records import TargetCompletion

if TYPE_CHECKING:
    from flowai.evals.assertions.services import CodeError
    from flowai.evals.suites.records import SuiteProvider
    from flowai.redaction import Redactor

_MAX_WHAT_CHARS = 500
_RATE_LIMIT = re.compile(r"\b429\b|rate.?limit|too many requests", re.IGNORECASE)
_KINDS: dict[str, type[CallError]] = {
    "raised": ServerError,
    "killed": ServerError,
    "timed out": TimedOutError,
    "nonsense": MalformedAnswerError,
    "missing": ModelNotFoundError,
}


def answer_of(value: Any, provider: SuiteProvider, *, latency_ms: float, redactor: Redactor) -> TargetCompletion:  # noqa: ANN401 - any JSON value
    """Build the answer of what a target returned.

    Args:
        value: promptfoo's `{output, error, tokenUsage, cost, metadata, guardrails, ...}`, or a text.
        provider: the target.
        latency_ms: time of the call.
        redactor: removes secrets from an error.

    Raises:
        CallError: it returned an error, or neither an error nor an output.
    """
    if isinstance(value, str):
        value = {"output": value}
    if not isinstance(value, dict) or not ({"output", "error"} & value.keys()):
        found = "nothing" if value is None else f"{json.dumps(value)[:100]}"
        raise target_error(
            MalformedAnswerError, f"returned {found}; expected an object with `output` or `error`", provider, redactor
        )
    if value.get("error"):
        what = str(value["error"])
        raise target_error(RateLimitedError if _RATE_LIMIT.search(what) else ServerError, what, provider, redactor)
    output = value.get("output")
    if output is None:
        raise target_error(MalformedAnswerError, "returned no `output`", provider, redactor)
    return _completion(value, output, provider, latency_ms)


def _completion(value: dict[str, Any], output: Any, provider: SuiteProvider, latency_ms: float) -> TargetCompletion:  # noqa: ANN401 - any JSON value
    usage = value.get("tokenUsage") if isinstance(value.get("tokenUsage"), dict) else {}
    text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    refusal = text if value.get("isRefusal") else None
    metadata = dict(value["metadata"]) if isinstance(value.get("metadata"), dict) else {}
    metadata |= {name: value[name] for name in ("sessionId", "logProbs") if value.get(name) is not None}
    finish_reason = value.get("finishReason")
    return TargetCompletion(
        text=text,
        output=None if isinstance(output, str) else output,
        model=provider.id,
        served_model=provider.id,
        provider=provider.kind,
        finish_reason=finish_reason if isinstance(finish_reason, str) else None,
        input_tokens=_count(usage, "prompt"),
        output_tokens=_count(usage, "completion"),
        cost_usd=_amount(value.get("cost")),
        latency_ms=latency_ms,
        ttft_ms=None,
        refusal=refusal,
        guardrails=value["guardrails"] if isinstance(value.get("guardrails"), dict) else None,
        metadata=metadata,
    )


def target_error(kind: type[CallError], what: str, provider: SuiteProvider, redactor: Redactor) -> CallError:
    """Build a target's error; redacted before it is cut."""
    text = " ".join(redactor.text(what).split())
    text = text if len(text) <= _MAX_WHAT_CHARS else f"{text[: _MAX_WHAT_CHARS - 1]}…"
    error = kind(text, provider=provider.kind, model=provider.name)
    error.is_provider_fault = kind is not InvalidRequestError
    return error


def code_error(error: CodeError, provider: SuiteProvider, redactor: Redactor, *, what: str = "") -> CallError:
    """Build the error of a target whose code failed; `what` names the code."""
    return target_error(_KINDS[error.kind], f"{what}{error.what}", provider, redactor)


def _count(usage: Any, name: str) -> int | None:  # noqa: ANN401 - any JSON value
    number = usage.get(name)
    is_count = (
        isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number) and number >= 0
    )
    return int(number) if is_count else None


def _amount(value: Any) -> float | None:  # noqa: ANN401 - any JSON value
    is_cost = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if is_cost else None
