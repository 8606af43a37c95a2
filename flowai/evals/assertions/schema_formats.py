"""Values of the JSON Schema keyword `format`, with the meaning they have in Ajv, the validator of promptfoo.

A format that is not here restricts nothing. Sources: RFC 3339 (times), RFC 3986 (URIs), RFC 4122, RFC 5321, RFC 6570,
RFC 6901, RFC 1123 (host names), OpenAPI 3.0 (`byte`, `int32`); Ajv's documentation of `ajv-formats`.
"""

from __future__ import annotations

import calendar
import ipaddress
import re
from typing import TYPE_CHECKING

from flowai.evals.assertions.javascript_regex import translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonschema import FormatChecker

_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.\d+)?(z|[+-]\d\d(?::?\d\d)?)?", re.ASCII | re.IGNORECASE)
_DATE_TIME_SEPARATOR = re.compile(r"[tT\s]")
_LEAP_SECOND = 60
_HEX_PAIR = "%[0-9A-Fa-f]{2}"
_URI_CHARS = rf"(?:[A-Za-z0-9\-._~!$&'\"()*+,;=:@/]|{_HEX_PAIR})*"
_QUERY_CHARS = rf"(?:[A-Za-z0-9\-._~!$&'\"()*+,;=:@/?]|{_HEX_PAIR})*"
_URI_TAIL = rf"(?:\?{_QUERY_CHARS})?(?:#{_QUERY_CHARS})?"
_USER = rf"(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|{_HEX_PAIR})*@"
_HOST = rf"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'\"()*+,;=]|{_HEX_PAIR})*)"
_AUTHORITY = rf"(?:{_USER})?{_HOST}(?::\d*)?"
_HIERARCHY = rf"(?:/?/{_AUTHORITY}(?:/{_URI_CHARS})?|{_URI_CHARS})"
_SCHEME = r"[A-Za-z][A-Za-z0-9+\-.]*:"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_POINTER = r"(?:/(?:[^~/]|~0|~1)*)*"
_URL_LABEL = "[A-Za-z0-9\u00a1-\uffff]+(?:-+[A-Za-z0-9\u00a1-\uffff]+)*"
_MAIL_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_TOP_LABEL = r"(?:[A-Za-z\u00a1-\uffff]{2,}|\d{1,3})"
_MAX_HOST_CHARS = 253

_PATTERNS: dict[str, str] = {
    "duration": r"P(?!$)(?:(?:\d+Y)?(?:\d+M)?(?:\d+D)?(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+S)?)?|(?:\d+W)?)",
    "uri-reference": rf"(?:{_SCHEME})?{_HIERARCHY}{_URI_TAIL}",
    "uri-template": (
        rf"(?:[^\x00-\x20\"'<>%\\^`{{|}}]|{_HEX_PAIR}|\{{[+#./;?&=,!@|]?(?:\w|{_HEX_PAIR})+(?::[1-9]\d{{0,3}}|\*)?"
        rf"(?:,(?:\w|{_HEX_PAIR})+(?::[1-9]\d{{0,3}}|\*)?)*\}})*"
    ),
    "url": rf"(?:https?|ftp)://(?:\S+@)?{_URL_LABEL}(?:\.{_URL_LABEL})*\.{_TOP_LABEL}(?::\d{{2,5}})?(?:/\S*)?",
    "email": rf"{_ATOM}(?:\.{_ATOM})*@(?:{_MAIL_LABEL}\.)+{_MAIL_LABEL}",
    "hostname": rf"{_LABEL}(?:\.{_LABEL})*\.?",
    "uuid": r"(?:urn:uuid:)?[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}",
    "json-pointer": _POINTER,
    "json-pointer-uri-fragment": rf"#(?:/(?:[\w\-.!$&'()*+,;:=@]|{_HEX_PAIR}|~0|~1)*)*",
    "relative-json-pointer": rf"(?:0|[1-9]\d*)(?:#|{_POINTER})",
    "byte": r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
}


def build_format_checker() -> FormatChecker:
    """Build the checker that the library's validators accept."""
    from jsonschema import FormatChecker

    checker = FormatChecker(formats=())
    for name, is_valid in _formats().items():
        checker.checks(name)(is_valid)
    return checker


def _formats() -> dict[str, Callable[[object], bool]]:
    texts: dict[str, Callable[[str], bool]] = {
        "date": _is_date,
        "time": lambda text: _is_time(text, needs_zone=True),
        "date-time": lambda text: _is_date_time(text, needs_zone=True),
        "iso-time": _is_time,
        "iso-date-time": _is_date_time,
        "uri": _is_uri,
        "ipv4": _is_ipv4,
        "ipv6": _is_ipv6,
        "regex": _is_regex,
    }
    texts |= {name: _matcher(pattern) for name, pattern in _PATTERNS.items()}
    formats = {name: _of_texts(is_valid) for name, is_valid in texts.items()}
    return formats | {
        "hostname": lambda value: formats["hostname"](value) and len(str(value).removesuffix(".")) <= _MAX_HOST_CHARS,
        "int32": lambda value: not _is_number(value) or _is_whole(value, 31),
        "int64": lambda value: not _is_number(value) or _is_whole(value, None),
    }


def _of_texts(is_valid: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: not isinstance(value, str) or is_valid(value)


def _matcher(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object, bits: int | None) -> bool:
    if not isinstance(value, int | float) or value != value // 1:
        return False
    return bits is None or -(2**bits) <= value < 2**bits


def _is_date(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    year, month, day = map(int, match.groups())
    if not 1 <= month <= 12:  # noqa: PLR2004 - months
        return False
    days = 29 if month == 2 and calendar.isleap(year) else (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]  # noqa: PLR2004 - February
    return 1 <= day <= days


def _is_time(text: str, *, needs_zone: bool = False) -> bool:
    match = _TIME.fullmatch(text)
    if match is None or (needs_zone and not match[4]):
        return False
    hour, minute, second = int(match[1]), int(match[2]), int(match[3])
    offset = _offset_minutes(match[4])
    if offset is None:
        return False
    if hour <= 23 and minute <= 59 and second < _LEAP_SECOND:  # noqa: PLR2004 - a day
        return True
    return second == _LEAP_SECOND and (hour * 60 + minute - offset) % 1440 == 1439  # noqa: PLR2004 - the last minute of a day


def _offset_minutes(zone: str | None) -> int | None:
    if not zone or zone in "zZ":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - a day
        return None
    return (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)


def _is_date_time(text: str, *, needs_zone: bool = False) -> bool:
    parts = _DATE_TIME_SEPARATOR.split(text)
    return len(parts) == 2 and _is_date(parts[0]) and _is_time(parts[1], needs_zone=needs_zone)  # noqa: PLR2004 - date and time


_URI = re.compile(rf"{_SCHEME}(?=[^?#]){_HIERARCHY}{_URI_TAIL}", re.ASCII)


def _is_uri(text: str) -> bool:
    return _URI.fullmatch(text) is not None


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def _is_regex(text: str) -> bool:
    try:
        translate(text)
    except ValueError:
        return False
    return True
