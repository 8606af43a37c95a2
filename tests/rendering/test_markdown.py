"""Hostile text in Markdown: one line, no markup, no escape from a cell or a fence."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.rendering.markdown import code_block, escape_markdown, inline_code, one_line, table, visible


@given(st.text(), st.integers(4, 60))
def test_one_line_is_one_printable_line_and_no_longer(text: str, max_chars: int) -> None:
    line = one_line(text, max_chars)
    assert len(line) <= max_chars
    assert line.isprintable()


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", "[a](javascript:x)", "**bold**", "a | b", "# head", "_it_", "`x`", "~~no~~", "\\"],
)
def test_a_text_contains_no_markdown(hostile: str) -> None:
    shown = escape_markdown(hostile)
    assert "<" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*(?:[`*\[\]|~#]|\b_|_\b)", shown)
    assert table(["x"], [[hostile]]).count("\n") == 2


@given(st.text())
def test_no_text_escapes_its_code_or_its_fence(text: str) -> None:
    assert inline_code(text).count("`") == 2
    first, *_, last = code_block(text, max_chars=50).split("\n")
    assert first == f"{last}text"
    assert not any(re.match(rf" {{0,3}}{last}", line) for line in text[:50].splitlines())


def test_cut_characters_are_counted() -> None:
    assert code_block("abcdef", max_chars=2, language="json") == "```json\nab\n... 4 more characters\n```"


def test_visible_text_keeps_lines_and_tabs_and_moves_no_cursor() -> None:
    assert visible("a\tb\nc\r\x1b[2J\u202e\x9bé") == "a\tb\nc\\r\\x1b[2J\\u202e\\x9bé"
