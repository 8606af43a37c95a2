"""Record of the audit log; its docstrings are the descriptions in the JSON Schema and the docs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

AuditAction = Literal[
    "key_refused",
    "key_added",
    "key_removed",
    "key_changed",
    "publish",
    "promote",
    "complete",
    "rollback",
    "stop",
    "adopt",
]


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the audit log. It never contains a key or the hash of one."""

    schema_version: Literal[1] = 1
    """Version of this format: 1."""
    at: Annotated[datetime, Meta(tz=True)]
    """When it happened (RFC 3339, UTC)."""
    action: AuditAction
    """`key_refused`: a caller's key was refused. `key_added`, `key_removed`, `key_changed`: the registry's keys changed
    while a server ran. The others are release steps, as in the ledger."""
    actor: str
    """A refused caller's address; `registry` for changed keys; user and host of a release step (`ann@build-7`)."""
    result: Literal["done", "refused", "failed"]
    process: str | None = None
    """Host and process id of the server (`build-7:4711`)."""
    environment: str | None = None
    """Environment of the registry."""
    key: str | None = None
    """Name of the key in the registry; null for an unknown one."""
    tenant: str | None = None
    """Tenant of the key."""
    hash_prefix: str | None = None
    """First eight digits of a refused key's SHA-256."""
    changed: tuple[str, ...] = ()
    """Names of the key's fields that changed."""
    release: str | None = None
    """Release of the step."""
    serving: str | None = None
    """Baseline after the step."""
    experiment: str | None = None
    """Experiment that ended."""
    reason: str | None = None
    """Why a key was refused (`unknown`, `expired`), why a step was taken, or why it failed."""
    suppressed_count: int = 0
    """Refused keys since the last such line that have no line of their own, so that they cannot fill the disk."""
