"""Authentication of the review page: a token in the address, then a cookie.

Loopback is not enough: other users of the machine and pages of other sites can reach the port. Other users can also
read the browser's command line, so the address that starts it works only once.
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.datastructures import Headers

_RANDOM_BYTES = 32


class LoginToken:
    """Checks tokens and cookies; `random_bytes` returns that many unpredictable bytes (`secrets.token_bytes`)."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._cookie = random_bytes(_RANDOM_BYTES).hex()
        self.token = random_bytes(_RANDOM_BYTES).hex()
        self.single_use_token = random_bytes(_RANDOM_BYTES).hex()
        self._used = False

    def accepts(self, token: str) -> bool:
        """Return whether a token is valid; the single-use token is so only once.

        Comparisons take constant time, so that time does not show how close a guess is.
        """
        candidate = token.encode("utf-8", "surrogateescape")
        is_reusable = hmac.compare_digest(self.token.encode(), candidate)
        is_single_use = hmac.compare_digest(self.single_use_token.encode(), candidate) and not self._used
        self._used = self._used or is_single_use
        return is_reusable or is_single_use

    def cookie(self, port: int) -> str:
        """Return the Set-Cookie header; the name has the port, because cookies are shared by all ports of a host."""
        return f"{_name(port)}={self._cookie}; Path=/; HttpOnly; SameSite=Strict"

    def has_cookie(self, headers: Headers, port: int) -> bool:
        """Return whether a request has the cookie."""
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(_name(port))
        except CookieError:
            cookie = None
        return hmac.compare_digest(self._cookie.encode(), (cookie.value if cookie else "").encode())


def _name(port: int) -> str:
    return f"flowai-review-{port}"
