"""The entry to the review page: a secret in the address once, a cookie afterwards.

Being on this machine is not enough: other people may be, and pages of other sites are in the same browser. The address
that is handed to a browser stands in the list of processes, which others can read: it lets in once.
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
    """Knows who may come in.

    Args:
        random_bytes: gives that many bytes nobody can guess (`secrets.token_bytes`).
    """

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._cookie = random_bytes(_RANDOM_BYTES).hex()
        self.token = random_bytes(_RANDOM_BYTES).hex()
        self.token_once = random_bytes(_RANDOM_BYTES).hex()
        self._used = False

    def accepts(self, token: str) -> bool:
        """Tell whether a token opens; the one for once does so once.

        Every token is compared to its end, so that time does not tell how near a guess came.
        """
        given = token.encode("utf-8", "surrogateescape")
        lasting = hmac.compare_digest(self.token.encode(), given)
        once = hmac.compare_digest(self.token_once.encode(), given) and not self._used
        self._used = self._used or once
        return lasting or once

    def cookie(self, port: int) -> str:
        """Give the header that sets the cookie; its name tells servers on other ports apart, which cookies do not."""
        return f"{_name(port)}={self._cookie}; Path=/; HttpOnly; SameSite=Strict"

    def has_session(self, headers: Headers, port: int) -> bool:
        """Tell whether a request carries the cookie."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(_name(port))
        except CookieError:
            found = None
        return hmac.compare_digest(self._cookie.encode(), (found.value if found else "").encode())


def _name(port: int) -> str:
    return f"flowai-review-{port}"
