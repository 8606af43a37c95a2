"""Documents and examples name models that live: none has an end date in the installed price table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowai.evals.judges.default_grader import DEFAULT_EMBEDDER, DEFAULT_GRADERS
from flowai.providers import PriceTable
from flowai.providers.model_facts import model_facts

ROOT = Path(__file__).parents[1]
PATTERNS = ("README.md", "docs/**/*.md", "docs/examples/**/*", "registry.yaml", "evals/**/*.yaml", "prompts/*.prompt")
NAME = re.compile(r"[A-Za-z0-9][\w./:@-]*\w")
PRICES = PriceTable()


def models_in(text: str) -> set[str]:
    """Return the names in a text that the price table lists, as LiteLLM or promptfoo spells them."""
    words = {match[0] for match in NAME.finditer(text)}
    spellings = {spelling for word in words for spelling in (word, word.replace(":", "/", 1))}
    return {name for name in spellings if re.search(r"\d", name) and PRICES.row(name) is not None}


def test_models_are_found_in_texts() -> None:
    assert models_in("`openai:gpt-4o-mini`, gpt-4o, 12 of 3") == {"openai/gpt-4o-mini", "gpt-4o"}


@pytest.mark.parametrize(
    "path",
    sorted(path.relative_to(ROOT).as_posix() for pattern in PATTERNS for path in ROOT.glob(pattern) if path.is_file()),
)
def test_a_document_names_no_model_with_an_end_date(path: str) -> None:
    found = models_in((ROOT / path).read_text(encoding="utf-8"))
    ends = {name: facts.end_date for name in found if (facts := model_facts(name, PRICES)) and facts.end_date}
    assert ends == {}


def test_the_default_graders_have_no_end_date() -> None:
    for name in (*DEFAULT_GRADERS, DEFAULT_EMBEDDER):
        facts = model_facts(name, PRICES)
        assert facts is not None
        assert facts.end_date is None, name
