"""Finds e-mail addresses, IP addresses, URLs and IBANs.

Each search starts at a character that every match contains (`@`, `://`, `.`) and reads a bounded context on both sides.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from flowai.privacy.spans import EntityType, Span
from flowai.privacy.vocabulary import cue_words, vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORD = r"[^\W_]"
_LOCAL_CHARACTER = r"[\w.!#$&'*+/=?^`{|}~-]"
_LOCAL = re.compile(rf"{_LOCAL_CHARACTER}{{1,64}}\Z|\"[^\"\n@]{{1,62}}\"\Z")
_LOCAL_COUNT = 64  # Source: RFC 5321, 4.5.3.1
_DOMAIN = re.compile(
    rf"(?:{_WORD}(?:[\w-]{{0,62}})\.){{1,8}}(?P<top>[A-Za-z]{{2,24}}(?![a-zA-Z0-9_@])|[^\W\d_a-zA-Z]{{2,24}}(?![\w@])"
    rf"|xn--[a-z0-9-]{{2,40}}(?![\w@]))(?!\.[\w-])"
)
_ADDRESS_LITERAL = re.compile(r"\[(?:IPv6:)?[0-9A-Fa-f:.]{3,45}\]")
# not mail domains, though they look like them: systemd units, images for dense screens, calls and attributes
_NO_SPACES = re.compile("[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]")  # scripts that put no space before an address
_SCP_PATH = re.compile(r":[\w~.-]+/")
_AT, _DOT = (
    rf"(?:\s{word}\s|\s?[\[({{<]\s?(?:{word}|{sign})\s?[\])}}>]\s?)" for word, sign in (("at", "@"), ("dot", r"\."))
)
_SPELLED_OUT_EMAIL = re.compile(
    rf"(?<![\w.+-])[\w.+-]{{1,64}}+{_AT}(?:[\w-]{{1,63}}+(?:{_DOT}|\.)){{1,4}}[a-z]{{2,24}}\b", re.IGNORECASE
)
_SPELLED_CUE = re.compile(r"[\[({<]\s?at\s?[\])}>]|\sdot\s|[\[({<]\s?dot\s?[\])}>]", re.IGNORECASE)


def emails(text: str) -> Iterator[Span]:
    """Find e-mail addresses, also in other scripts and spelled out (`ann at example dot org`)."""
    position = text.find("@")
    while position >= 0:
        span = _email(text, position)
        if span is not None:
            yield span
        position = text.find("@", position + 1 if span is None else span.end)
    if _SPELLED_CUE.search(text):
        for match in _SPELLED_OUT_EMAIL.finditer(text):
            yield Span(start=match.start(), end=match.end(), kind=EntityType.EMAIL, score=0.8)


def _email(text: str, position: int) -> Span | None:
    local = _LOCAL.search(text[max(0, position - _LOCAL_COUNT) : position])
    domain = _DOMAIN.match(text, position + 1) or _ADDRESS_LITERAL.match(text, position + 1)
    if local is None or domain is None:
        return None
    top = domain.groupdict().get("top")
    if top is not None and (top.lower() in cue_words("no mail domains") or _SCP_PATH.match(text, domain.end())):
        return None
    # `email=ann@…`, `a|ann@…`, `'ann@…`: such characters are rarely part of a name, often part of its line
    name = _NO_SPACES.split(local.group())[-1] if domain.group().isascii() else local.group()
    name = name[max(name.rfind(character) for character in "=|/?&`{}") + 1 :].lstrip(".!#$&'*+/=?^`{|}~-")
    start = position - len(name)
    return None if start >= position else Span(start=start, end=domain.end(), kind=EntityType.EMAIL, score=0.95)


_IPV4 = re.compile(
    r"[0-9](?<![\w.][0-9])(?<!\d[-+][0-9])[0-9]{0,2}\.(?:[0-9]{1,3}\.){2}[0-9]{1,3}(?![\w]|\.[\w]|-[\w])"
)
_IPV6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:])[0-9A-Fa-f:]{3,39}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3})?(?![\w:])"
)
_VERSION_BEFORE = re.compile(
    r"(?:\b(?:version|ver|v|release|rel|build|update|upgraded?|firmware|driver|section|chapter|oid|rfc)|fileversion"
    r"|assemblyversion|[=~<>!^]=|@)['\"]?[\s:=]{0,3}['\"]?\Z",
    re.IGNORECASE,
)
_IP_CUE = re.compile(
    r"\b(?:ip|ipv4|addr|address|host|server|client|from|ping|dns|gateway|router|login|connect\w*|visitor|ssh)\b",
    re.IGNORECASE,
)
_PREFIX_AFTER = re.compile("/([0-9]{1,2})(?![0-9])")
_CUE_COUNT = 40
_VERSION_LIKE_UNDER = 32
_MASK_FROM = 255


def ip_addresses(text: str) -> Iterator[Span]:
    """Find addresses of hosts, but no networks, masks, loopback addresses or version numbers."""
    for match in _IPV4.finditer(text):
        if _is_host(text, match):
            yield Span(start=match.start(), end=match.end(), kind=EntityType.IP, score=0.9)
    if text.count(":") > 1:
        for match in _IPV6.finditer(text):
            if _is_ipv6(match.group()):
                yield Span(start=match.start(), end=match.end(), kind=EntityType.IP, score=0.9)


def _is_host(text: str, match: re.Match[str]) -> bool:
    parts = match.group().split(".")
    octets = [int(part) for part in parts]
    if max(octets) > _MASK_FROM or any(len(part) > 1 and part[0] == "0" for part in parts):
        return False
    if octets[0] in {0, 127, _MASK_FROM} or octets[2:] == [0, 0]:
        return False
    prefix = _PREFIX_AFTER.match(text, match.end())
    if prefix and int(prefix.group(1)) < _VERSION_LIKE_UNDER and octets[3] == 0:
        return False
    before = text[max(0, match.start() - _CUE_COUNT) : match.start()]
    if _VERSION_BEFORE.search(before):
        return False
    return sum(octet >= _VERSION_LIKE_UNDER for octet in octets) > 1 or _IP_CUE.search(before) is not None


def _is_ipv6(text: str) -> bool:
    """Return whether it is a host's address, and not a time, a program's `a::b` or a fingerprint."""
    groups = [group for group in text.split(":") if group]
    if len(groups) < 3 and not text.lower().startswith(("2", "3", "fe80", "fc", "fd")):  # noqa: PLR2004 - fewer look like code
        return False
    if not any(character.isdigit() for character in text) or max(map(len, groups)) < 3:  # noqa: PLR2004 - times, MACs
        return False
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


_URL = re.compile(
    r"(?<![A-Za-z0-9])(?:https?|ftps?)://[^\s<>\"'`\\|^{}\[\])]{3,2000}+"
    r"|(?<![\w./@-])www\.[^\s<>\"'`\\|^{}\[\])]{4,2000}+",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"(?<![\w@./\\:$#=(<*\'\"-])(?:[A-Za-z0-9][A-Za-z0-9-]{1,40}\.){1,4}(?:(?P<common>com|net|org|biz"
    r"|com\.[a-z]{2}|co\.[a-z]{2})|[a-z]{2}|info|name|blog|shop)"
    r"(?![\w@(=\[-]|\.\w|://)"
    r"(?:/[\w./?=&%~+-]{0,200})?"
)
_SITE_CUE = re.compile(
    r"\b(?:web ?site|site|home ?page|domain|web page|blog|visit|portfolio|online at)\b[^.\n]{0,12}\Z", re.IGNORECASE
)
_LOGIN = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,30}+://[^\s:/@?#\"'<>]{0,128}+:[^\s/@\"'<>]{1,256}+@[^\s\"'<>\[\](){}]{1,2000}+"
)
_HOST = re.compile(
    rf"(?:https?://|ftps?://)?(?:[^/@\s]{{1,200}}@)?(?P<host>(?:{_WORD}(?:[\w-]{{0,62}})\.)+[^\W\d_]{{2,24}}"
    rf"|(?:\d{{1,3}}\.){{3}}\d{{1,3}})(?::\d{{1,5}})?(?P<path>[/?#].*)?\Z",
    re.IGNORECASE | re.DOTALL,
)
_PERSONAL_PATH = re.compile(
    r"/(?:users?|profiles?|people|person|in|u|members?|author|accounts?|customers?)/[^/]|/[~@]\w", re.IGNORECASE
)
_REFERENCE_PATH = re.compile(
    r"#[\w.-]+\Z|/(?:docs?|documentation|reference|wiki|spec|schemas?|blob|tree|issues?|pull|pulls|commit|compare"
    r"|releases|api|v\d+|rfc\d*"
    r"|en/latest|questions/\d+|packages?|project|licenses?|standards?|download|downloads|dist|static|assets"
    r"|simple)(?:/|\Z)",
    re.IGNORECASE,
)
# a link of a document or a program, not a person's page in a conversation
_MARKED_UP = re.compile(
    r"(?:\]\(|(?:src|href|image|target|url|link|homepage|repository)['\"]?\s?=\s?['\"]?|:\w{1,20}: |[\w`)] <"
    r"|[(=\[] ?['\"]|^\s*(?:#|//|\*|\.\. _[^:\n]{1,40}:|Project-URL:[^\n]{1,40})\s*)\Z",
    re.IGNORECASE | re.MULTILINE,
)
# a page after such words is public; a bare host may still be private
_REFERRED_TO = re.compile(r"\b(?:see|cf\.?|refs?|reference|source|docs|url|link)['\"]?[: ]\s?['\"]?\Z", re.IGNORECASE)
_LONG_NAME = 4  # letters; `ann.com` and `mark.io` are products
_TRAILING = ".,;:!?*_~"


def urls(text: str) -> Iterator[Span]:
    """Find URLs that may identify a person: with credentials, of a private host, or of a page about a person.

    Public pages (`docs.…`, a repository, a standard) are not found.
    """
    if "://" in text:
        for match in _LOGIN.finditer(text):
            yield _url(match, 0.97)
    for match in _URL.finditer(text):
        span = _url(match, 0.93)
        if _is_personal_url(text[span.start : span.end], text[max(0, span.start - _CUE_COUNT) : span.start]):
            yield span


def domains(text: str) -> Iterator[Span]:
    """Find domains without a scheme (`doe.com`) in a sentence; rare top-level domains only with a cue."""
    for match in _BARE.finditer(text):
        before = text[max(0, match.start() - _CUE_COUNT) : match.start()]
        if (match.group("common") or _SITE_CUE.search(before)) and _is_personal_url(match.group(), before):
            yield Span(start=match.start(), end=match.end(), kind=EntityType.URL, score=0.6)


def _url(match: re.Match[str], score: float) -> Span:
    end = match.start() + len(_NO_SPACES.split(match.group())[0].rstrip(_TRAILING))
    return Span(start=match.start(), end=end, kind=EntityType.URL, score=score)


def _is_personal_url(url: str, before: str) -> bool:
    parts = _HOST.match(url)
    if parts is None:
        return False
    path = parts.group("path") or ""
    if _PERSONAL_PATH.search(path):
        return True
    labels = parts.group("host").lower().split(".")
    if any(len(word) > _LONG_NAME and word in vocabulary().given for word in labels[-2].split("-")) and len(labels) > 1:
        return True
    if (
        labels[-1].isdigit() or _MARKED_UP.search(before) or (len(path) > 1 and _REFERRED_TO.search(before))
    ):  # an IP address is found as such
        return False
    if labels[-1] in cue_words("local domains") or labels[0] in cue_words("public hosts begin with"):
        return False
    public = cue_words("public hosts end with")
    return not (_REFERENCE_PATH.search(path) or any(".".join(labels[-count:]) in public for count in (2, 3)))


# Source: SWIFT, "IBAN Registry" (ISO 13616): length by country
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_IBAN_HEAD = re.compile(r"[A-Za-z](?<![A-Za-z0-9][A-Za-z])[A-Za-z][0-9]{2}(?=[ .-]?[A-Za-z0-9])")
_IBAN_RUN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}(?![A-Za-z0-9])")
_IBAN_MODULUS = 97


def ibans(text: str) -> Iterator[Span]:
    """Find IBANs with a valid check number and the length of their country.

    Source: ISO 13616-1 (form), ISO/IEC 7064 MOD 97-10 (check).
    """
    for head in _IBAN_HEAD.finditer(text):
        country = head.group()[:2]
        length = _IBAN_LENGTHS.get(country.upper())
        end = None if length is None else _iban_end(text, head.start(), length)
        if end is None and country in _IBAN_LENGTHS:  # invented ones may have a wrong length and a valid check number
            run = _IBAN_RUN.match(text, head.start())
            end = run.end() if run else None
        if end is not None and passes_mod_97(text[head.start() : end]):
            yield Span(start=head.start(), end=end, kind=EntityType.IBAN, score=0.95)


def _iban_end(text: str, start: int, length: int) -> int | None:
    """Return the end of `length` letters and digits with single separators; None if more follow."""
    position, left = start, length
    while left:
        if position >= len(text):
            return None
        if text[position].isalnum() and text[position].isascii():
            left -= 1
        elif text[position] not in " .-" or not text[position - 1].isalnum():
            return None
        position += 1
    return None if text[position : position + 1].isalnum() else position


def passes_mod_97(iban: str) -> bool:
    """Return whether an IBAN's check number is valid; separators are allowed."""
    plain = [character for character in iban.upper() if character.isalnum()]
    number = "".join(str(int(character, 36)) for character in (*plain[4:], *plain[:4]))
    return int(number) % _IBAN_MODULUS == 1
