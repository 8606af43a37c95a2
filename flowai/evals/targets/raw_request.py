"""Reads an HTTP request that is written as a text: request line, headers, an empty line, body."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote

_REQUEST_LINE = re.compile(r"([A-Za-z]+)\s+(\S.*?)(?:\s+HTTP/\d(?:\.\d)?)?", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class RawRequestError(Exception):
    """The text is no HTTP request.

    Args:
        what: the reason.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class RawRequest(NamedTuple):
    """A request that was written as a text."""

    method: str
    target: str
    """Path with query, or a whole address; characters that a URL has not are escaped."""
    headers: dict[str, str]
    """Lower-case names."""
    body: str


def parse_raw_request(text: str) -> RawRequest:
    """Parse a request.

    Raises:
        RawRequestError: the request line or a header is wrong.
    """
    head, _, body = text.replace("\r\n", "\n").strip().partition("\n\n")
    first, *lines = head.split("\n")
    match = _REQUEST_LINE.fullmatch(first.strip())
    if match is None:
        raise RawRequestError(f"the request begins with `{first[:80]}`; expected `METHOD /path HTTP/1.1`")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or _HEADER_NAME.fullmatch(name.strip()) is None:
            raise RawRequestError(f"`{line[:80]}` is not a header; expected `Name: value`")
        headers[name.strip().lower()] = value.strip()
    target = quote(match[2], safe="/:?#[]@!$&'()*+,;=%-._~")
    if "://" not in target and not headers.get("host"):
        raise RawRequestError("the request has no `Host` header, and its path is no address")
    return RawRequest(method=match[1].upper(), target=target, headers=headers, body=body.strip())
