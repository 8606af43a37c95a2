"""Limits of a tenant that all processes share: requests and tokens a minute, dollars a day.

Source: OpenAI, Rate limits (headers and error codes).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from flowai.server.errors import ErrorResponse, RefusedError
from flowai.state.requests.rates import RateRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from flowai.gateway.records import CompletionResult
    from flowai.providers import Embeddings
    from flowai.registry import TenantLimits
    from flowai.state.requests.rates import RateDecision
    from flowai.state.requests.store import RequestStore

CHARACTERS_PER_TOKEN = 4
"""Estimate for texts. Source: OpenAI, Rate limits."""
MEDIA_TOKENS = 1_000
"""Estimate for an image or a file inside a body."""
_MIN_MEDIA_CHARACTERS = 1_024
_LIMIT_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerUsage:
    """Usage of an answer that counts against limits."""

    tokens: int | None = 0
    """Tokens of request and answer; None when not reported: the estimate counts."""
    cost_usd: float = 0.0


def usage_of_answer(answer: CompletionResult) -> AnswerUsage:
    """Return the usage of a completion; an answer from a cache used nothing."""
    if answer.cache != "miss":
        return AnswerUsage()
    counts = (answer.input_tokens, answer.output_tokens)
    is_known = any(count is not None for count in counts)
    tokens = sum(count or 0 for count in counts) if is_known else None
    return AnswerUsage(tokens=tokens, cost_usd=max(0.0, answer.cost_usd or 0.0))


def usage_of_vectors(vectors: Embeddings) -> AnswerUsage:
    """Return the usage of embeddings."""
    return AnswerUsage(tokens=vectors.input_tokens, cost_usd=max(0.0, vectors.cost_usd or 0.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmittedRequest:
    """A request that counts against its tenant's limits."""

    tenant: str
    rule: RateRule
    tokens: int
    """The estimate that was counted."""


class RateLimits:
    """Limits of all tenants, as one process applies them."""

    def __init__(self, store: RequestStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    async def admit(
        self, tenant: str, limits: TenantLimits, body: dict[str, Any], headers: dict[str, str]
    ) -> AdmittedRequest:
        """Count a request, and add the limits' headers to those of its response.

        Raises:
            RefusedError: 429, a limit is reached.
        """
        rule = RateRule(
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            usd_per_day=limits.usd_per_day,
        )
        limit_tokens = rule.tokens_per_minute
        tokens = 0 if limit_tokens is None else min(estimate_tokens(body), limit_tokens)
        decision = await self._store.admit(tenant, rule, tokens=tokens)
        headers.update(_limit_headers(rule, decision))
        if decision.exceeded is not None:
            raise RefusedError(self._problem(tenant, rule, decision))
        return AdmittedRequest(tenant=tenant, rule=rule, tokens=tokens)

    async def settle(self, admitted: AdmittedRequest, usage: AnswerUsage) -> None:
        """Replace the estimate of a request by its usage."""
        has_tokens = admitted.rule.tokens_per_minute is not None and usage.tokens is not None
        tokens = (usage.tokens or 0) - admitted.tokens if has_tokens else 0
        cost_usd = 0.0 if admitted.rule.usd_per_day is None else usage.cost_usd
        if tokens or cost_usd:
            await self._store.add_usage(admitted.tenant, admitted.rule, tokens=tokens, cost_usd=cost_usd)

    def _problem(self, tenant: str, rule: RateRule, decision: RateDecision) -> ErrorResponse:
        if decision.exceeded == "usd":
            midnight = self._now().astimezone(UTC).date() + timedelta(days=1)
            return ErrorResponse(
                status=429,
                message=f"`{tenant}` has spent its ${rule.usd_per_day:,.2f} of today; "
                f"the limit resets at {midnight}T00:00:00Z",
                type="insufficient_quota",
                code="insufficient_quota",
                retry_after_s=decision.retry_in_s,
                headers={"x-should-retry": "false"},  # otherwise OpenAI's clients retry twice within seconds
            )
        name = decision.exceeded or "requests"
        limit = rule.tokens_per_minute if name == "tokens" else rule.requests_per_minute
        return ErrorResponse(
            status=429,
            message=f"`{tenant}` may use {limit:,} {name} a minute; try again in {decision.retry_in_s:.1f} s",
            type=name,
            code="rate_limit_exceeded",
            retry_after_s=decision.retry_in_s,
        )


def estimate_tokens(body: dict[str, Any]) -> int:
    """Return an estimate of the tokens of a request and its answer, from its parsed body."""
    characters = tokens = 0
    for text in _texts(body):
        if len(text) >= _MIN_MEDIA_CHARACTERS and (text.startswith("data:") or " " not in text[:_MIN_MEDIA_CHARACTERS]):
            tokens += MEDIA_TOKENS
        else:
            characters += len(text)
    limits = (body.get(name) for name in _LIMIT_NAMES)
    answer_tokens = max((limit for limit in limits if isinstance(limit, int)), default=0)
    return max(1, characters // CHARACTERS_PER_TOKEN + tokens + max(0, answer_tokens))


def _texts(value: object) -> Iterator[str]:
    """Yield the texts of a JSON value whose depth was checked."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from _texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child)


def _limit_headers(rule: RateRule, decision: RateDecision) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, limit, remaining, reset_s in (
        ("requests", rule.requests_per_minute, decision.remaining_requests, decision.requests_reset_s),
        ("tokens", rule.tokens_per_minute, decision.remaining_tokens, decision.tokens_reset_s),
    ):
        if limit is not None:
            headers[f"x-ratelimit-limit-{name}"] = str(limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(remaining)
            headers[f"x-ratelimit-reset-{name}"] = _go_duration(reset_s)
    return headers


def _go_duration(seconds: float) -> str:
    """Format seconds as OpenAI does: `120ms`, `1.5s`, `1m3s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest_s = divmod(round(seconds, 1), 60)
    text = f"{rest_s:.1f}".removesuffix(".0") + "s"
    return f"{minutes:.0f}m{text}" if minutes else text
