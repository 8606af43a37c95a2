"""`flowai providers`: circuit breakers and back-offs of the registry's providers, and their last failures."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.analytics.call_list import open_calls, parse_attempts, range_until_now
from flowai.analytics.event_query import IS_CALL
from flowai.analytics.records import ReportRecord
from flowai.errors import MissingKeyError, UsageError, expected_one_of
from flowai.gateway.routing.attempts import CANCELLED
from flowai.registry import endpoint_as_written
from flowai.registry.environment import fill
from flowai.registry.resolve import provider_name
from flowai.state import BreakerStatus, BreakerView, open_state, shown_address
from flowai.state.urls import scheme_of
from flowai.timestamps import format_us
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.events import Attempt
    from flowai.state import SharedState
    from flowai.workspace.workspace import CommandContext, Workspace

SCHEMA_VERSION = 1
FAILURES_SINCE = "24h"
"""Start of the time range in which failures are searched."""
MAX_FAILED_CALLS = 500
"""Newest calls with failed attempts that are read."""


class ModelBackOff(ReportRecord, frozen=True, kw_only=True):
    """Back-off of a model."""

    model: str
    """Name in the registry."""
    remaining_s: float
    """Seconds until it is called again, > 0."""


class LastFailure(ReportRecord, frozen=True, kw_only=True):
    """The newest failed attempt at a provider."""

    at: str
    """Time of the call's request, RFC 3339, UTC."""
    model: str
    """Name in the registry."""
    error_class: str
    http_status: int | None
    message: str | None


class ProviderReport(ReportRecord, frozen=True, kw_only=True):
    """A provider: its models, and whether it is called now."""

    provider: str
    models: tuple[str, ...]
    """Names in the registry; empty for a provider that only the shared state knows."""
    status: BreakerStatus
    """State of its circuit breaker; `open` also when the next call would probe."""
    remaining_s: float
    """Seconds until the breaker allows the next attempt; 0 when one may start now."""
    failure_count: int
    """Failures that the breaker counts now."""
    back_offs: tuple[ModelBackOff, ...]
    """Models that are not called because the provider asked for that."""
    recent_failure_count: int
    """Failed attempts in the last 24 hours, of the newest calls with failures."""
    last_failure: LastFailure | None


class ProvidersReport(ReportRecord, frozen=True, kw_only=True):
    """All providers: a public format."""

    schema_version: int = SCHEMA_VERSION
    state: str
    """Where the shared state is, without passwords."""
    is_shared: bool
    """False for `memory:`: other processes have their own breakers, which are not shown."""
    providers: tuple[ProviderReport, ...]
    """By name."""
    was_reset: bool | None = None
    """With `--reset`: whether there was an open breaker, a counted failure or a back-off to end; else None."""


@dataclass(kw_only=True, slots=True)
class ProviderFailures:
    """Failed attempts at a provider."""

    count: int = 0
    last: LastFailure | None = None


def report_providers(context: CommandContext, *, reset: str | None = None) -> ProvidersReport:
    """Return the state of all providers.

    Args:
        context: the project.
        reset: provider whose breaker is closed and whose back-offs are ended first; None for none.

    Raises:
        UsageError: there is no such provider.
        InfrastructureError: the state or the event log cannot be read.
    """
    workspace = open_workspace(context)
    models = _models_by_provider(workspace)
    address = fill(workspace.registry.state, workspace.environ, owner="`state`")
    shared, was_reset = asyncio.run(_read_state(workspace, address, reset=reset, known=models))
    failures = _failures(workspace)
    return ProvidersReport(
        state=shown_address(address),
        is_shared=scheme_of(address) != "memory",
        providers=tuple(
            _provider(name, models.get(name, ()), shared, failures.get(name, ProviderFailures()))
            for name in sorted({*models, *shared.breakers})
        ),
        was_reset=was_reset,
    )


def _models_by_provider(workspace: Workspace) -> dict[str, tuple[str, ...]]:
    models: dict[str, list[str]] = {}
    for model, entry in workspace.registry.models.items():
        provider = endpoint_as_written(workspace.registry, model).provider
        if entry.provider is None and entry.api_base is not None:
            with suppress(MissingKeyError):  # an address that is not known here: the prefix names the provider
                api_base = fill(entry.api_base, workspace.environ, owner=f"model `{model}`")
                provider = provider_name(entry.model, api_base)
        models.setdefault(provider, []).append(model)
    return {provider: tuple(names) for provider, names in models.items()}


async def _read_state(
    workspace: Workspace, address: str, *, reset: str | None, known: Mapping[str, object]
) -> tuple[SharedState, bool | None]:
    """Return the shared state, and whether there was something to reset (None if nothing had to be)."""
    environment = workspace.registry.environment or ""
    state = open_state(address, workspace.project.root, clock_s=lambda: workspace.context.now().timestamp())
    try:
        shared = await state.shared(environment)
        if reset is None:
            return shared, None
        names = {*known, *shared.breakers}
        if reset not in names:
            raise UsageError(f"no provider `{reset}`", hint=expected_one_of(sorted(names), found=reset))
        was_reset = await state.reset_breaker(reset)
        return await state.shared(environment), was_reset
    finally:
        await state.aclose()


def _failures(workspace: Workspace) -> dict[str, ProviderFailures]:
    """Return the failed attempts of the newest calls by provider."""
    time_range = range_until_now(workspace.context, FAILURES_SINCE)
    with open_calls(workspace, time_range, ("call_id", "attempts")) as log:
        rows = log.fetch(
            f"SELECT DISTINCT call_id, at_us, CAST(attempts AS VARCHAR) FROM lines WHERE {IS_CALL} "  # noqa: S608 - a condition of ours
            "AND regexp_matches(CAST(attempts AS VARCHAR), $failed) ORDER BY at_us DESC, call_id LIMIT $max_count",
            {"failed": r'"status"\s*:\s*"error"', "max_count": MAX_FAILED_CALLS},
        )
    failures: dict[str, ProviderFailures] = {}
    for _, at_us, attempts in rows:
        for attempt in reversed(parse_attempts(attempts)):
            if attempt.status == "error" and attempt.error_class != CANCELLED:
                found = failures.setdefault(attempt.provider, ProviderFailures())
                found.count += 1
                found.last = found.last or _last_failure(attempt, at_us)
    return failures


def _last_failure(attempt: Attempt, at_us: int) -> LastFailure:
    return LastFailure(
        at=format_us(at_us),
        model=attempt.model,
        error_class=attempt.error_class or "unknown",
        http_status=attempt.http_status,
        message=attempt.message,
    )


def _provider(name: str, models: tuple[str, ...], shared: SharedState, failures: ProviderFailures) -> ProviderReport:
    view = shared.breakers.get(name, BreakerView())
    until_s = view.lease_until_s if view.status == "probing" else view.open_until_s
    back_offs = sorted(
        (model, until - shared.read_at_s) for model, until in view.back_offs.items() if until > shared.read_at_s
    )
    return ProviderReport(
        provider=name,
        models=models,
        status=view.status,
        remaining_s=max(0.0, until_s - shared.read_at_s) if view.status != "closed" else 0.0,
        failure_count=view.failure_count,
        back_offs=tuple(ModelBackOff(model=model, remaining_s=remaining_s) for model, remaining_s in back_offs),
        recent_failure_count=failures.count,
        last_failure=failures.last,
    )
