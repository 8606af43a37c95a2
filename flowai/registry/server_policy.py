"""Records of `serve` in a registry: callers and limits of the HTTP gateway."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads annotations when records are built
from typing import Annotated

from msgspec import Meta

from flowai.registry.fields import Duration, Name, RegistryRecord, Sha256
from flowai.timestamps import parse_duration_s


class ServeKey(RegistryRecord, frozen=True, kw_only=True):
    """API key of a caller; the file contains only its hash."""

    tenant: Name
    """Tenant of the caller's calls: cached answers are never shared across tenants."""
    sha256: Sha256
    """SHA-256 of the key's UTF-8 text, 64 hexadecimal digits in lower case. The key has 32 random bytes, too many to
    guess."""


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
    max_body_bytes: Annotated[int, Meta(ge=1024, le=1 << 30)] = 4 << 20
    """Longest request body, 1,024 to 1,073,741,824 bytes."""
    max_concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 256
    """Maximum number of calls at the same time, 1 to 100,000; further requests get status 503."""
    body_timeout: Duration = "30s"
    """Time limit for receiving a request's body."""
    drain: Drain = Drain()
    """The end of the server."""

    @property
    def body_timeout_s(self) -> float:
        """`body_timeout` in seconds."""
        return parse_duration_s(self.body_timeout)
