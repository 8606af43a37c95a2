"""Judges an answer by the checks of its case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.assertions import Answer
from flowai.evals.assertions.scoring import apply_checks, apply_checks_async, score_results
from flowai.evals.targets.records import TargetCompletion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.evals.assertions.scoring import Score
    from flowai.evals.reports import AssertionResult
    from flowai.evals.runs.records import PreparedTrial
    from flowai.providers import ChatMessage, Completion


class Judge:
    """Applies the checks of trials; reasons are redacted."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def judge(self, prepared: PreparedTrial, completion: Completion, *, is_cached: bool) -> Score:
        """Judge an answer by checks that call no program and no model."""
        answer = answer_of(prepared, completion, is_cached=is_cached)
        return self._score(prepared, apply_checks(prepared.checks, answer))

    async def judge_async(self, prepared: PreparedTrial, completion: Completion, *, is_cached: bool) -> Score:
        """Judge an answer by any checks."""
        answer = answer_of(prepared, completion, is_cached=is_cached)
        return self._score(prepared, await apply_checks_async(prepared.checks, answer))

    def _score(self, prepared: PreparedTrial, results: tuple[AssertionResult, ...]) -> Score:
        score = score_results(results, prepared.planned.case.threshold)
        redacted = [
            msgspec.structs.replace(check, reason=self._redact(check.reason)) if check.reason else check
            for check in results
        ]
        return score._replace(checks=tuple(redacted))


def answer_of(prepared: PreparedTrial, completion: Completion, *, is_cached: bool) -> Answer:
    """Return what the checks see of an answer."""
    planned = prepared.planned
    own = completion if isinstance(completion, TargetCompletion) else None
    return Answer(
        text=completion.text,
        latency_ms=completion.latency_ms,
        ttft_ms=completion.ttft_ms,
        cost_usd=completion.cost_usd,
        finish_reason=completion.finish_reason,
        tool_calls=completion.tool_calls,
        output=None if own is None else own.output,
        refusal=None if own is None else own.refusal,
        guardrails=None if own is None else own.guardrails,
        metadata={} if own is None else own.metadata,
        declared_tools=_declared_tools(prepared),
        variables=prepared.variables,
        prompt=prepared.prompt_text or _text_of(prepared.request.messages),
        provider=planned.target.model,
        is_cached=is_cached,
        case=planned.case,
    )


def _declared_tools(prepared: PreparedTrial) -> dict[str, Any]:
    """Return the tools and functions that the request declares, or else the target's `config`."""
    provider = prepared.planned.target.provider
    declared = {**(provider.config if provider is not None else {}), **prepared.request.params}
    return {key: declared[key] for key in ("tools", "functions") if key in declared}


def _text_of(messages: Sequence[ChatMessage]) -> str:
    """Return the text of a single message, else the messages as JSON."""
    if len(messages) == 1 and isinstance(messages[0].get("content"), str):
        return str(messages[0]["content"])
    return msgspec.json.encode(messages).decode()
