"""The records of `serve` in a registry: who may use the HTTP gateway, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads annotations when records are built
from typing import Annotated

from msgspec import Meta

from flowai.registry.fields import Duration, Name, RegistryRecord, Sha256
from flowai.timestamps import parse_duration_s


class ServeKey(RegistryRecord, frozen=True, kw_only=True):
    """A key that lets a caller in; the file holds its hash only."""

    tenant: Name
    """Whose data its calls are: caches never cross it."""
    sha256: Sha256
    """SHA-256 of the key's UTF-8 text, 64 hexadecimal digits in lower case. The key is random and long (32 bytes), so
    that nobody finds it by trying."""


class Serve(RegistryRecord, frozen=True, kw_only=True):
    """The HTTP gateway: its callers and its limits."""

    keys: Mapping[Name, ServeKey] = {}
    """Keys by a name of your own; without any, only callers on the same machine are let in."""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=1 << 30)] = 4 << 20
    """Longest request body, 1,024 to 1,073,741,824."""
    max_concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 256
    """Calls that run at one time, 1 to 100,000; one more is told to come back."""
    body_timeout: Duration = "30s"
    """Until a request's body is there."""

    @property
    def body_timeout_s(self) -> float:
        """Seconds until a request's body is there."""
        return parse_duration_s(self.body_timeout)
