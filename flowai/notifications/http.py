"""Posts one JSON document; says whether trying again makes sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.notifications.records import DeliveryError
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from email.message import Message
    from urllib.request import HTTPRedirectHandler

LIMIT_S = 3.0
_TOO_MANY = 429
_TIMED_OUT = 408
_SERVER = 500
_MAX_SHOWN = 160


def post_json(url: str, document: object, *, secrets: frozenset[str] = frozenset(), limit_s: float = LIMIT_S) -> None:
    """Post; anything but 2xx is a failure, redirects too.

    Args:
        url: http or https.
        document: what msgspec encodes.
        secrets: what must not stand in an error.
        limit_s: until the answer is there.

    Raises:
        DeliveryError: it did not arrive.
    """
    import http.client  # only when something is sent
    import urllib.error
    import urllib.request

    redactor = Redactor({*secrets, url})
    if not url.startswith(("http://", "https://")):
        raise DeliveryError("its address is no http:// or https:// URL", will_pass=False)
    opener = urllib.request.build_opener(_no_redirects())
    try:
        request = urllib.request.Request(  # noqa: S310 - http(s) only, see above
            url,
            data=msgspec.json.encode(document),
            headers={"Content-Type": "application/json", "User-Agent": "flowai"},
            method="POST",
        )
        with opener.open(request, timeout=limit_s):
            return
    except urllib.error.HTTPError as error:
        with error:
            said = redactor.text(error.read(2_000).decode(errors="replace"))[:_MAX_SHOWN]
        passes = error.code in (_TOO_MANY, _TIMED_OUT) or error.code >= _SERVER
        raise DeliveryError(
            f"HTTP {error.code}: {' '.join(said.split())}".rstrip(": "),
            retry_after_s=_retry_after_s(error.headers),
            will_pass=passes,
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = redactor.text(str(getattr(error, "reason", None) or error))
        raise DeliveryError(f"no answer: {reason}") from None
    except ValueError:
        raise DeliveryError("its address is no URL", will_pass=False) from None


def _no_redirects() -> HTTPRedirectHandler:
    import urllib.request

    class Stay(urllib.request.HTTPRedirectHandler):
        """Goes nowhere else: a redirect would turn the message into a GET."""

        def redirect_request(self, *_: object) -> None:
            pass

    return Stay()


def _retry_after_s(headers: Message) -> float | None:
    """Read Retry-After in seconds; its date form is rare and counts as not said."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 - more is no time
