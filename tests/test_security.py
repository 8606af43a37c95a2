"""SECURITY.md: every promise names a test, and every named test exists."""

from __future__ import annotations

import re

import pytest
from support.source_code import ROOT

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise ")]
NAMED = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`")


@pytest.mark.parametrize("row", ROWS)
def test_a_promise_names_a_test_that_exists(row: str) -> None:
    named = NAMED.findall(row)
    assert named, "no test"
    for file, name in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), name


def test_the_page_says_who_is_trusted_and_how_to_report() -> None:
    for heading in ("## Report a weakness", "## Threat model", "### Pull requests", "### Callers", "## Not promised"):
        assert heading in PAGE
    assert "SECURITY.md" in (ROOT / "README.md").read_text(encoding="utf-8")
