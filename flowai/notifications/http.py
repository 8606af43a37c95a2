"""Posts a JSON document, and tells whether a retry may help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.notifications.records import DeliveryError
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from email.message import Message
    from urllib.request import HTTPRedirectHandler

TIMEOUT_S = 3.0
_TOO_MANY_REQUESTS = 429
_REQUEST_TIMEOUT = 408
_SERVER_ERROR = 500
_MAX_BODY_CHARS = 160


def post_json(
    url: str, document: object, *, secrets: frozenset[str] = frozenset(), timeout_s: float = TIMEOUT_S
) -> None:
    """Post a document; raises DeliveryError for any other status than 2xx, also a redirect.

    `secrets` are redacted in errors.
    """
    import http.client  # only if something is sent
    import urllib.error
    import urllib.request

    redactor = Redactor({*secrets, url})
    if not url.startswith(("http://", "https://")):
        raise DeliveryError("its address is not an http:// or https:// URL", is_transient=False)
    opener = urllib.request.build_opener(_no_redirects())
    try:
        request = urllib.request.Request(  # noqa: S310 - http(s) only, see above
            url,
            data=msgspec.json.encode(document),
            headers={"Content-Type": "application/json", "User-Agent": "flowai"},
            method="POST",
        )
        with opener.open(request, timeout=timeout_s):
            return
    except urllib.error.HTTPError as error:
        with error:
            body = redactor.text(error.read(2_000).decode(errors="replace"))[:_MAX_BODY_CHARS]
        is_transient = error.code in (_TOO_MANY_REQUESTS, _REQUEST_TIMEOUT) or error.code >= _SERVER_ERROR
        raise DeliveryError(
            f"HTTP {error.code}: {' '.join(body.split())}".rstrip(": "),
            retry_after_s=_retry_after_s(error.headers),
            is_transient=is_transient,
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = redactor.text(str(getattr(error, "reason", None) or error))
        raise DeliveryError(f"no answer: {reason}") from None
    except ValueError:
        raise DeliveryError("its address is not a URL", is_transient=False) from None


def _no_redirects() -> HTTPRedirectHandler:
    import urllib.request

    class NoRedirects(urllib.request.HTTPRedirectHandler):
        """Refuses redirects: urllib would repeat the POST as a GET."""

        def redirect_request(self, *_: object) -> None:
            pass

    return NoRedirects()


def _retry_after_s(headers: Message) -> float | None:
    """Read Retry-After in seconds; its date form is rare and not supported."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 - more is not a time
