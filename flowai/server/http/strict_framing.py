"""h11 without the tolerance for requests that a proxy in front may read otherwise (request smuggling)."""

from __future__ import annotations

import re
from typing import Any

import h11

from flowai.server.auth import MAX_HEADER_BYTES

_FOLDED = re.compile(rb"\n[ \t]")
_HEAD_END = re.compile(rb"\n\r?\n")


class AmbiguousRequestError(h11.RemoteProtocolError):
    """A request that a proxy may read otherwise, or not at all; the message contains nothing of the request."""


class StrictConnection(h11.Connection):
    """A server's connection that refuses ambiguous requests.

    Refused are Content-Length with Transfer-Encoding, several Content-Lengths, Transfer-Encoding in HTTP/1.0 (RFC 9112,
    6.1 to 6.3), folded headers (5.2), and versions other than 1.0 and 1.1.
    """

    def next_event(self) -> Any:  # noqa: ANN401 - h11's own events and sentinels
        """Return the next event; raises RemoteProtocolError for an ambiguous request."""
        if self.their_state is h11.IDLE:
            _check_raw_head(self.trailing_data[0])
        event = super().next_event()
        if isinstance(event, h11.Request):
            _check_request(event)
        return event


def _check_raw_head(raw: bytes) -> None:
    """Check what h11 hides: folding, several equal lengths, and a long head that arrived at once."""
    start = len(raw) - len(raw.lstrip(b"\r\n"))
    end = _HEAD_END.search(raw, start)
    head = raw[start : end.start() if end else len(raw)]
    if len(head) > MAX_HEADER_BYTES:
        raise AmbiguousRequestError(f"the head is longer than {MAX_HEADER_BYTES:,} bytes", error_status_hint=431)
    if _FOLDED.search(head):
        raise AmbiguousRequestError("folded headers are not supported")
    lengths = [line for line in head.split(b"\n")[1:] if line.partition(b":")[0].strip().lower() == b"content-length"]
    if len(lengths) > 1 or any(b"," in line for line in lengths):
        raise AmbiguousRequestError("the request has several lengths")


def _check_request(request: h11.Request) -> None:
    if request.http_version not in (b"1.0", b"1.1"):
        raise AmbiguousRequestError("only HTTP/1.0 and HTTP/1.1 are supported")
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0"):
        raise AmbiguousRequestError("the request has a Transfer-Encoding beside a length or in HTTP/1.0")
