"""Downloads tables of cases that a suite names by their address; only if the user allows it."""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

from flowai.storage.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.evals.suites.yaml_reader import YamlNode

MAX_BYTES = 100_000_000
TIMEOUT_S = 30.0

_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_SHEET = re.compile(r"https://docs\.google\.com/spreadsheets/d/([\w-]+)", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(?:csv|jsonl|json|ya?ml)\Z", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Return whether a text is an address that can be downloaded."""
    return _ADDRESS.match(text) is not None


def download_table(address: str, node: YamlNode) -> Path:
    """Download a table into the project's own directory; its suffix is that of the address, else `.csv`.

    Raises:
        SuiteError: the user does not allow it, or it failed.
    """
    if not node.file.context.allows_network:
        hint = "pass --allow-net to download it in every run, or save it as a file beside the suite"
        raise node.error(f"`{address[:80]}` is not a file of the project", hint=hint)
    url = _export_address(address)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http and https only
            if not is_address(answer.geturl()):
                raise node.error(f"`{address[:80]}` leads to something else than a web address")
            content = answer.read(MAX_BYTES + 1)
    except (OSError, ValueError, urllib.error.HTTPError) as error:
        reason = str(getattr(error, "reason", None) or error)[:120]
        raise node.error(f"`{address[:80]}` cannot be downloaded: {reason}", hint="open it in a browser") from None
    if len(content) > MAX_BYTES:
        raise node.error(f"`{address[:80]}` has more than {MAX_BYTES:,} bytes")
    suffix = _SUFFIX.search(urllib.parse.urlsplit(url).path)
    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    path = node.file.project.local / "downloads" / f"{name}{suffix[0].lower() if suffix else '.csv'}"
    write_atomic(path, content, is_private=True)
    return path


def _export_address(address: str) -> str:
    """Return the address of a Google sheet as CSV; other addresses unchanged."""
    sheet = _SHEET.match(address)
    if sheet is None:
        return address
    tab = re.search(r"[?&#]gid=(\d+)", address)
    export = f"https://docs.google.com/spreadsheets/d/{sheet[1]}/export?format=csv"
    return f"{export}&gid={tab[1]}" if tab else export
