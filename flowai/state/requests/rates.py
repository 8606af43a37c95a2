"""Rates of a tenant: requests and tokens a minute, dollars a day.

What was used drains evenly, a minute's limit per minute: a tenant may use a whole minute at once, and then as much as
drains. `usage.lua` has the same rules.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from flowai.state.money import limit_nano_usd, nano_usd

MINUTE_S = 60.0
DAY_S = 86_400
Limit = Literal["requests", "tokens", "usd"]


class RateRule(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a tenant; None for no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    usd_per_day: float | None = None


class TenantUsage(msgspec.Struct, frozen=True, array_like=True):
    """Usage of a tenant that counts against its limits."""

    requests: float = 0.0
    """Requests that have not drained yet, >= 0."""
    tokens: float = 0.0
    """Tokens that have not drained yet, >= 0."""
    at_s: float = 0.0
    """When it was computed, by the store's clock."""
    day: int = 0
    """UTC day of `spent_nano`, since the epoch."""
    spent_nano: int = 0
    """Cost of the day, nano-dollars."""
    other_day: int = 0
    """The day that was counted before; a clock that was wrong for a while comes back to it."""
    other_nano: int = 0
    """Cost of that day, nano-dollars."""


class RateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Permission or refusal of one request, and the limits after it."""

    exceeded: Limit | None = None
    """The limit that refuses the request; None when admitted."""
    retry_in_s: float = 0.0
    """Seconds until the request can be admitted; 0 when it is."""
    remaining_requests: int | None = None
    """Requests that would be admitted now; None without a limit."""
    requests_reset_s: float = 0.0
    """Seconds until the whole limit is available."""
    remaining_tokens: int | None = None
    """Tokens that would be admitted now; None without a limit."""
    tokens_reset_s: float = 0.0
    """Seconds until the whole limit is available."""


def drained(usage: TenantUsage, rule: RateRule, *, now_s: float) -> TenantUsage:
    """Return the usage at a time; a clock that is set back drains nothing."""
    minutes = max(0.0, now_s - usage.at_s) / MINUTE_S
    day = int(now_s // DAY_S)
    spent_nano, other_day, other_nano = usage.spent_nano, usage.other_day, usage.other_nano
    if day != usage.day:
        spent_nano, other_day, other_nano = other_nano if day == other_day else 0, usage.day, spent_nano
    return TenantUsage(
        requests=max(0.0, usage.requests - minutes * (rule.requests_per_minute or 0)),
        tokens=max(0.0, usage.tokens - minutes * (rule.tokens_per_minute or 0)),
        at_s=now_s,
        day=day,
        spent_nano=spent_nano,
        other_day=other_day,
        other_nano=other_nano,
    )


def admit(usage: TenantUsage, rule: RateRule, *, tokens: int) -> tuple[TenantUsage, RateDecision]:
    """Return the usage after a request, and the decision about it.

    Args:
        usage: as `drained` returns it.
        rule: limits of the tenant.
        tokens: estimate of the request; above the limit it counts as the limit.
    """
    asked_tokens = min(tokens, rule.tokens_per_minute or 0)
    exceeded, retry_in_s = _exceeded(usage, rule, asked_tokens)
    if exceeded is None:
        usage = msgspec.structs.replace(
            usage,
            requests=usage.requests + (rule.requests_per_minute is not None),
            tokens=usage.tokens + asked_tokens,
        )
    return usage, RateDecision(
        exceeded=exceeded,
        retry_in_s=retry_in_s,
        remaining_requests=_remaining(usage.requests, rule.requests_per_minute),
        requests_reset_s=_drain_s(usage.requests, rule.requests_per_minute),
        remaining_tokens=_remaining(usage.tokens, rule.tokens_per_minute),
        tokens_reset_s=_drain_s(usage.tokens, rule.tokens_per_minute),
    )


def add_usage(usage: TenantUsage, *, tokens: int, cost_usd: float) -> TenantUsage:
    """Return the usage after an answer.

    Args:
        usage: as `drained` returns it.
        tokens: what the answer used beyond the estimate; below 0 if it used less.
        cost_usd: cost of the answer, >= 0.
    """
    return msgspec.structs.replace(
        usage, tokens=max(0.0, usage.tokens + tokens), spent_nano=usage.spent_nano + nano_usd(cost_usd)
    )


def _exceeded(usage: TenantUsage, rule: RateRule, tokens: int) -> tuple[Limit | None, float]:
    """Return the limit that refuses a request, and the seconds until it does not."""
    if rule.usd_per_day is not None and usage.spent_nano >= limit_nano_usd(rule.usd_per_day):
        return "usd", DAY_S - usage.at_s % DAY_S
    requests_beyond = usage.requests + 1 - (rule.requests_per_minute or 0)
    tokens_beyond = usage.tokens + tokens - (rule.tokens_per_minute or 0)
    requests_wait_s = _drain_s(requests_beyond, rule.requests_per_minute)
    tokens_wait_s = _drain_s(tokens_beyond, rule.tokens_per_minute)
    if requests_wait_s >= tokens_wait_s:
        return ("requests", requests_wait_s) if requests_wait_s > 0 else (None, 0.0)
    return "tokens", tokens_wait_s


def _remaining(used: float, limit: int | None) -> int | None:
    return None if limit is None else max(0, int(limit - used))


def _drain_s(amount: float, limit: int | None) -> float:
    """Return the seconds in which an amount drains; 0 without a limit."""
    return 0.0 if limit is None else max(0.0, amount * MINUTE_S / limit)
