"""Authentication of callers (keys, tenants, sessions), and protection of a local server from pages in a browser."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.server.api_keys import name_of
from flowai.server.errors import error_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import Headers

    from flowai.registry import ServeKey

SESSION_HEADER = "x-session-id"
TENANT_HEADER = "x-tenant"
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key"})
_SESSION = re.compile(r"[\x21-\x7e]{1,256}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The caller of a request."""

    name: str | None = None
    """`key` and the key's name, or `address` and the client's address if no key is needed; None if it is unknown."""
    tenant: str | None = None
    session: str | None = None
    """Id of the conversation."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers without credentials, lower-case names."""


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


def caller_of(headers: Headers, keys: Mapping[str, ServeKey], *, is_local: bool, address: str | None = None) -> Caller:
    """Authenticate a request and return its caller.

    Args:
        headers: of the request.
        keys: of the registry.
        is_local: whether the server listens on this machine only; then no key is needed if there are none.
        address: the client's; None if the connection has none.

    Raises:
        RefusedError: 401 missing or unknown key; 400 invalid session or tenant.
    """
    if keys or not is_local:
        key = _key_name(headers, keys)
        name: str | None = f"key {key}"
        tenant: str | None = keys[key].tenant
    else:
        name = None if address is None else f"address {address}"
        tenant = _header_value(headers, TENANT_HEADER, _TENANT, "letters, digits, `_`, `-`, `.`, at most 128")
    session = _header_value(headers, SESSION_HEADER, _SESSION, "printable ASCII without spaces, at most 256")
    kept = {name: value for name, value in headers.items() if name not in _SECRET_HEADERS}
    return Caller(name=name, tenant=tenant, session=session, headers=kept)


def _key_name(headers: Headers, keys: Mapping[str, ServeKey]) -> str:
    """Return the name of the key in `Authorization` (OpenAI's clients) or in `X-Api-Key` (Anthropic's)."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    name = name_of(key.strip(), keys) if scheme.lower() == "bearer" else None
    if name is None and "x-api-key" in headers:
        name = name_of(headers["x-api-key"].strip(), keys)
    if name is None:
        raise error_response(
            401,
            "send a valid key as `authorization: Bearer ...` or as `x-api-key`",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )
    return name


def _header_value(headers: Headers, name: str, pattern: re.Pattern[str], expected: str) -> str | None:
    value = headers.get(name)
    if value is not None and pattern.fullmatch(value) is None:
        raise error_response(400, f"the header `{name}` is not {expected}", code="invalid_header", param=name)
    return value
