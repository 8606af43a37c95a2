"""A key that only its service's name betrays is found wherever it stands in a long text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowai.redaction import Redactor
from flowai.redaction.patterns import SECRET_PATTERNS, spell_out

if TYPE_CHECKING:
    from flowai.redaction.shape import SecretPattern

PROSE = "Please summarize the notes: Anna asked for the budget. "
TURKISH = "İstanbul'da İzmir'e İlk "
"""Its lower case has more characters."""


@pytest.mark.parametrize("before", ["", PROSE * 40, TURKISH * 40], ids=["alone", "after prose", "after Turkish"])
@pytest.mark.parametrize("shape", [shape for shape in SECRET_PATTERNS if shape.folded], ids=lambda shape: shape.name)
def test_a_hint_without_case_is_searched_near_each_long_word(shape: SecretPattern, before: str) -> None:
    example = spell_out(shape)
    text = f"{before}see https://docs.example.com/a/long/address and\n{example}\n{PROSE}"
    assert "[REDACTED:" in Redactor().text(text)
    assert Redactor().spans(text)
