"""Decides whether a text with the shape of a secret may be one; redaction need not ask, a scan of code must.

Redaction replaces too much rather than too little. In code, the same shapes are mostly names, placeholders and hashes.
"""

from __future__ import annotations

import re

ALLOW_MARK = "flowai:allow-secret"
"""Comment on a line whose secrets are no findings."""

_PLACEHOLDERS = re.compile(
    r"example|placeholder|changeme|change-me|dummy|redacted|insert|replace|\byour|your[-_]|my[-_]|fake|sample|notreal|"
    r"xxxx|\*\*\*|\.\.\.|[<>{}$]|%s|test[-_]?(?:key|token|secret|pass)",
    re.IGNORECASE,
)
_SHAPED_PLACEHOLDERS = re.compile(r"example|placeholder|changeme|redacted|your[-_]|xxxxx|\*\*\*|\.\.\.", re.IGNORECASE)
_SEPARATORS = re.compile(r"[-_.]+")
_WORD = re.compile(r"[A-Za-z]?[a-z]{0,14}|[A-Z]{0,12}|[a-z]{0,2}\d{1,4}")
_RUN = re.compile(r"[A-Za-z0-9+/]+")
_CHANGE = re.compile(r"[A-Za-z](?=\d)|\d(?=[A-Za-z])")
_CASE_CHANGE = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[a-z0-9])|\d(?=[A-Za-z])")
_HASH = re.compile(r"(?:sha\d+|md5|h1|blake\w*)[:=_-]", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_KEY_BODY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*-----(?:\\[nrt]|[\s\\\"'+,]|[A-Za-z-]{1,20}: [^\n]{0,80}\n){0,200}+[A-Za-z0-9+/=]{32}"
)
"""Beginning of a PEM block with its body, also as a text in code."""
_COMMON_PASSWORDS = frozenset((
    "admin", "changeit", "default", "foobar", "guest", "hunter2", "minioadmin", "mypass", "mypassword", "pass", "pass1",
    "passwd", "password", "password1", "password123", "postgres", "pw", "pwd", "root", "secret", "secret123", "test",
    "token", "user",
))  # fmt: skip
MIN_DISTINCT = 6
"""A secret has more different characters than `xxxxxxxx` and `abababab`."""
MIN_PASSWORD_CHARS = 8
MIN_RUN_CHARS = 16
"""Shortest run of letters and digits in the value of an assignment."""
MIN_CHANGES = 3
"""Fewest changes between letter and digit in such a run: names and dates have fewer, random texts have many."""

MIN_CASE_CHANGE_RATE = 0.45
"""Changes of case or kind per character of a run: about 0.6 by chance, 0.4 in names of short words."""


def is_plausible(shape: str, secret: str) -> bool:
    """Return whether a text that matches a shape may be a secret.

    Args:
        shape: name of the pattern.
        secret: the matching text, without its context.
    """
    if len(set(secret)) < MIN_DISTINCT:
        return False
    check = _CHECKS.get(shape)
    if check is not None:
        return check(secret)
    return _SHAPED_PLACEHOLDERS.search(secret) is None and not _is_words(secret)


def _is_key_block(secret: str) -> bool:
    """Return whether a PEM block has a body; code that reads keys names their first line only."""
    return _KEY_BODY.match(secret) is not None and _SHAPED_PLACEHOLDERS.search(secret) is None


def _is_password(secret: str) -> bool:
    return (
        len(secret) >= MIN_PASSWORD_CHARS
        and secret.lower() not in _COMMON_PASSWORDS
        and _PLACEHOLDERS.search(secret) is None
        and not _is_words(secret)
    )


def _is_random_value(secret: str) -> bool:
    """Return whether a value is random enough for a key: an assignment alone says little."""
    return _PLACEHOLDERS.search(secret) is None and _HASH.match(secret) is None and _has_random_run(secret)


def _has_random_run(secret: str) -> bool:
    return _UUID.fullmatch(secret) is not None or any(map(_is_random, _RUN.findall(secret)))


def _is_random(run: str) -> bool:
    """Return whether letters and digits alternate as they do by chance, or upper and lower case do."""
    if len(run) < MIN_RUN_CHARS or len(set(run)) < MIN_DISTINCT:
        return False
    if len(_CHANGE.findall(run)) >= MIN_CHANGES:
        return True
    return len(_CASE_CHANGE.findall(run)) > MIN_CASE_CHANGE_RATE * len(run)


def _is_credential(secret: str) -> bool:
    """Return whether the value of a header is random, or the user and password of `Basic`."""
    return _PLACEHOLDERS.search(secret) is None and (_has_random_run(secret) or _is_user_and_password(secret))


def _is_user_and_password(secret: str) -> bool:
    from base64 import b64decode

    try:
        user, colon, password = b64decode(secret, validate=True).decode("utf-8").partition(":")
    except ValueError:
        return False
    return bool(user and colon) and _is_password(password)


def _is_token(secret: str) -> bool:
    """Return whether a JSON Web Token has a header and a signature."""
    from base64 import urlsafe_b64decode

    head, _, rest = secret.partition(".")
    try:
        header = urlsafe_b64decode(head + "=" * (-len(head) % 4))
    except ValueError:
        return False
    return b'"alg"' in header and len(rest.rpartition(".")[2]) >= MIN_RUN_CHARS


def _is_words(secret: str) -> bool:
    """Return whether a text consists of words and small numbers, as names of classes and files do."""
    return all(_WORD.fullmatch(part) for part in _SEPARATORS.split(secret))


_CHECKS = {
    "private-key": _is_key_block,
    "url": _is_password,
    "assignment": _is_random_value,
    "bearer": _is_credential,
    "header": _is_credential,
    "jwt": _is_token,
}
