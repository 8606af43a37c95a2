"""Addresses of stores as they may be shown."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two characters at least: `C:` is a place
REDIS_SCHEMES = ("redis", "rediss")


def scheme_of(named: str) -> str:
    """Give the scheme of an address (`redis`, `memory`); empty for a directory."""
    found = _SCHEME.match(named)
    return found[1].lower() if found else ""


def redis_host(url: str) -> str:
    """Give what a Redis URL says beside credentials and settings: `host:6379/0`.

    Raises:
        ValueError: it cannot be read; the message quotes nothing of it. A `/`, `#`, `@` or `?` in a password must be
            percent-encoded, or the rest of the password would pass for something else.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port
    except ValueError:
        raise ValueError("host and port cannot be told apart") from None  # the original quotes the password's pieces
    database = parts.path.strip("/")
    if parts.fragment or "#" in url or not (database == "" or database.isdecimal()):
        raise ValueError("what follows the host must be a database number")
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port or 6379}/{database or 0}"


def shown_address(named: str) -> str:
    """Give an address without user, password and settings: `redis://host:6379/0`; a directory stays as it is."""
    scheme = scheme_of(named)
    if scheme not in REDIS_SCHEMES:
        return named
    try:
        return f"{scheme}://{redis_host(named)}"
    except ValueError:
        return f"{scheme}://..."


def without_password(text: str, url: str) -> str:
    """Take a URL's password out of a text, in case a server quotes what it was sent."""
    parts = urlsplit(url)
    found = {parts.password or "", *parse_qs(parts.query).get("password", [])}
    for password in {form for secret in found for form in (secret, unquote(secret)) if form}:
        text = text.replace(password, "***")
    return text
