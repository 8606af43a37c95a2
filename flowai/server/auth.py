"""Authentication of callers (keys, tenants, sessions), and protection of a local server from pages in a browser."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import TYPE_CHECKING

from flowai.server.api_keys import find_key, hash_of
from flowai.server.errors import RefusedError, error_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from starlette.datastructures import Headers

    from flowai.gateway.records import GatewayStatus
    from flowai.registry import ServeKey

SESSION_HEADER = "x-session-id"
TENANT_HEADER = "x-tenant"
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
HASH_PREFIX_CHARACTERS = 8
"""Part of a refused key's hash that the audit log keeps: enough to compare with a registry, too little to use."""
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key"})
_SESSION = re.compile(r"[\x21-\x7e]{1,256}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The caller of a request."""

    tenant: str | None = None
    key: str | None = None
    """Name of its key in the registry; None without keys."""
    address: str | None = None
    """Of the client; None if the connection has none."""
    session: str | None = None
    """Id of the conversation."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers without credentials, lower-case names."""

    @property
    def name(self) -> str | None:
        """The key's name, or the client's address where no key is needed; None if it is unknown."""
        if self.key is not None:
            return f"key {self.key}"
        return None if self.address is None else f"address {self.address}"


def is_loopback(host: str) -> bool:
    """Return whether an address or name is reachable from this machine only."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def validate_headers(headers: Headers) -> None:
    """Refuse too many or too long headers.

    Raises:
        RefusedError: 431.
    """
    raw = headers.raw
    if len(raw) > MAX_HEADERS or sum(len(name) + len(value) for name, value in raw) > MAX_HEADER_BYTES:
        text = f"at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES:,} bytes together are read"
        raise error_response(431, text, code="headers_too_large")


def check_browser(headers: Headers, *, is_local: bool) -> None:
    """Refuse requests that a page of another site sends through a browser.

    DNS rebinding shows in `Host`, a page of another site in `Origin` and `Sec-Fetch-Site`. The server sends no CORS
    headers, so that no page can read a response.

    Args:
        headers: of the request.
        is_local: whether the server listens on this machine only, so that callers may need no key.

    Raises:
        RefusedError: 403 page of another site; 421 foreign host name.
    """
    host = headers.get("host", "")
    if is_local:
        match = _HOST.fullmatch(host)
        if match is None or not is_loopback(match[1]):
            raise error_response(421, "the `Host` is not this machine", code="wrong_host")
    origin = headers.get("origin")
    is_foreign = origin is not None and origin.partition("://")[2] != host
    if is_foreign or headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise error_response(403, "pages of other sites may not call this server", code="foreign_origin")


class RefusedKeyError(RefusedError):
    """A key was sent and refused."""

    def __init__(self, refusal: RefusedError, *, reason: str, sent_key: str, name: str | None = None) -> None:
        super().__init__(refusal.problem)
        self.reason = reason
        """`unknown` or `expired`."""
        self.hash_prefix = hash_of(sent_key)[:HASH_PREFIX_CHARACTERS]
        self.name = name
        """Name of an expired key in the registry."""


def caller_of(
    headers: Headers,
    keys: Mapping[str, ServeKey],
    *,
    is_local: bool,
    now: Callable[[], datetime],
    address: str | None = None,
) -> Caller:
    """Authenticate a request and return its caller.

    Args:
        headers: of the request.
        keys: of the registry.
        is_local: whether the server listens on this machine only; then no key is needed if there are none.
        now: returns the current time.
        address: the client's; None if the connection has none.

    Raises:
        RefusedKeyError: 401 unknown or expired key.
        RefusedError: 401 missing key; 400 invalid session or tenant.
    """
    key: str | None = None
    if keys or not is_local:
        key = _valid_key(headers, keys, now)
        tenant: str | None = keys[key].tenant
    else:
        tenant = _header_value(headers, TENANT_HEADER, _TENANT, "letters, digits, `_`, `-`, `.`, at most 128")
    session = _header_value(headers, SESSION_HEADER, _SESSION, "printable ASCII without spaces, at most 256")
    kept = {name: value for name, value in headers.items() if name not in _SECRET_HEADERS}
    return Caller(tenant=tenant, key=key, address=address, session=session, headers=kept)


def visible_status(gateway_status: GatewayStatus, key: ServeKey) -> GatewayStatus:
    """Return the status as the owner of a key may see it: names that the key may not call do not exist."""
    if not key.is_restricted:
        return gateway_status
    return replace(
        gateway_status,
        features=gateway_status.features.intersection(key.features or ()),
        models=gateway_status.models.intersection(key.models or ()),
    )


def _valid_key(headers: Headers, keys: Mapping[str, ServeKey], now: Callable[[], datetime]) -> str:
    """Return the name of the key in `Authorization` (OpenAI's clients) or in `X-Api-Key` (Anthropic's)."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    sent_keys = [bearer.strip()] if scheme.lower() == "bearer" and bearer.strip() else []
    if "x-api-key" in headers:
        sent_keys.append(headers["x-api-key"].strip())
    name = next((found for sent in sent_keys if (found := find_key(sent, keys)) is not None), None)
    if name is None:
        refusal = _unauthorized("send a valid key as `authorization: Bearer ...` or as `x-api-key`", "invalid_api_key")
        raise RefusedKeyError(refusal, reason="unknown", sent_key=sent_keys[0]) if sent_keys else refusal
    expires = keys[name].expires
    if expires is not None and now().astimezone(UTC).date() > expires:
        refusal = _unauthorized(f"this key expired on {expires}", "expired_api_key")
        sent_key = next(sent for sent in sent_keys if find_key(sent, keys) == name)
        raise RefusedKeyError(refusal, reason="expired", sent_key=sent_key, name=name)
    return name


def _unauthorized(text: str, code: str) -> RefusedError:
    return error_response(401, text, code=code, headers={"www-authenticate": "Bearer"})


def _header_value(headers: Headers, name: str, pattern: re.Pattern[str], expected: str) -> str | None:
    value = headers.get(name)
    if value is not None and pattern.fullmatch(value) is None:
        raise error_response(400, f"the header `{name}` is not {expected}", code="invalid_header", param=name)
    return value
