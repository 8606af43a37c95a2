"""Records of `serve` in a registry: callers and limits of the HTTP gateway."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads annotations when records are built
from datetime import date  # noqa: TC003 - as above
from typing import Annotated

from msgspec import Meta

from flowai.registry.fields import Duration, Name, PositiveInt, RegistryRecord, Sha256
from flowai.timestamps import parse_duration_s


class ServeKey(RegistryRecord, frozen=True, kw_only=True):
    """API key of a caller; the file contains only its hash."""

    tenant: Name
    """Tenant of the caller's calls: cached answers are never shared across tenants."""
    sha256: Sha256
    """SHA-256 of the key's UTF-8 text, 64 hexadecimal digits in lower case. The key has 32 random bytes, too many to
    guess."""
    expires: date | None = None
    """Last day (UTC) on which the key is accepted, `2027-01-31`; default none."""
    features: tuple[Name, ...] | None = None
    """The only features that the key may call; with `models` or `features`, every other name is unknown to it (404)."""
    models: tuple[Name, ...] | None = None
    """The only models that the key may call directly; the fallbacks of its features need not be listed."""

    @property
    def is_restricted(self) -> bool:
        """True when the key may call only the listed names."""
        return self.features is not None or self.models is not None


class TenantLimits(RegistryRecord, frozen=True, kw_only=True):
    """Limits of a tenant over all its keys; a missing limit means none."""

    max_concurrency: PositiveInt | None = None
    """Maximum number of its calls at the same time in each process, >= 1; more of them wait as in `queue`."""
    requests_per_minute: PositiveInt | None = None
    """Requests a minute over all processes, >= 1: as many at once, and as many more spread over each minute."""
    tokens_per_minute: PositiveInt | None = None
    """Tokens of requests and answers a minute over all processes, >= 1; a request is admitted on an estimate, which its
    usage replaces."""
    usd_per_day: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    """Cost per UTC day over all processes, US dollars, > 0; calls under way when it is reached still end."""

    @property
    def has_rates(self) -> bool:
        """True with a limit that all processes share."""
        return (self.requests_per_minute, self.tokens_per_minute, self.usd_per_day) != (None, None, None)


class ServeQueue(RegistryRecord, frozen=True, kw_only=True):
    """Requests that wait for one of `max_concurrency` calls to end; tenants are served in turn, and each one's keys."""

    max_waiting: Annotated[int, Meta(ge=0, le=10_000)] = 32
    """Maximum number of waiting requests per key, 0 to 10,000; with 0 none wait."""
    max_wait: Duration = "2s"
    """Longest wait; then a request gets status 503, or 429 where its tenant's own `max_concurrency` is the cause."""

    @property
    def max_wait_s(self) -> float:
        """`max_wait` in seconds."""
        return parse_duration_s(self.max_wait)


class Drain(RegistryRecord, frozen=True, kw_only=True):
    """The end of the HTTP gateway after SIGTERM."""

    notice: Duration | None = None
    """Time for which calls are still accepted while `/readyz` already answers 503, so that load balancers turn away
    first; None for `5s`, and for `0s` where only the same machine can reach the server."""

    def notice_s(self, *, is_local: bool) -> float:
        """Return `notice` in seconds, >= 0; `is_local` says whether only the same machine can reach the server."""
        return parse_duration_s(self.notice or ("0s" if is_local else "5s"))


class Serve(RegistryRecord, frozen=True, kw_only=True):
    """Callers and limits of the HTTP gateway."""

    keys: Mapping[Name, ServeKey] = {}
    """Keys by name; without keys only callers on the same machine are allowed."""
    tenants: Mapping[Name, TenantLimits] = {}
    """Limits by tenant; a tenant that is not listed has none."""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=1 << 30)] = 4 << 20
    """Longest request body, 1,024 to 1,073,741,824 bytes."""
    max_concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 256
    """Maximum number of calls at the same time, 1 to 100,000; further requests wait as in `queue`."""
    queue: ServeQueue = ServeQueue()
    """Requests that wait for a call to end."""
    body_timeout: Duration = "30s"
    """Time limit for receiving a request's body."""
    drain: Drain = Drain()
    """The end of the server."""

    @property
    def body_timeout_s(self) -> float:
        """`body_timeout` in seconds."""
        return parse_duration_s(self.body_timeout)
