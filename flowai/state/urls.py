"""Addresses of state stores, without their passwords."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # at least two characters: `C:` is a drive
REDIS_SCHEMES = ("redis", "rediss")


def scheme_of(address: str) -> str:
    """Return the scheme of an address (`redis`, `memory`); empty for a directory."""
    match = _SCHEME.match(address)
    return match[1].lower() if match else ""


def redis_host(url: str) -> str:
    """Return host, port and database of a Redis URL, `host:6379/0`; raises ValueError without quoting it.

    A `/`, `#`, `@` or `?` in a password must be percent-encoded, or the rest of the password counts as something else.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port
    except ValueError:
        raise ValueError("host and port cannot be separated") from None  # the original quotes the password's pieces
    database = parts.path.strip("/")
    if parts.fragment or "#" in url or not (database == "" or database.isdecimal()):
        raise ValueError("the part after the host must be a database number")
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port or 6379}/{database or 0}"


def shown_address(address: str) -> str:
    """Return an address without user, password and settings: `redis://host:6379/0`; a directory is unchanged."""
    scheme = scheme_of(address)
    if scheme not in REDIS_SCHEMES:
        return address
    try:
        return f"{scheme}://{redis_host(address)}"
    except ValueError:
        return f"{scheme}://..."


def without_password(text: str, url: str) -> str:
    """Return a text without the URL's password, which a server may echo."""
    parts = urlsplit(url)
    passwords = {parts.password or "", *parse_qs(parts.query).get("password", [])}
    for password in {form for secret in passwords for form in (secret, unquote(secret)) if form}:
        text = text.replace(password, "***")
    return text
