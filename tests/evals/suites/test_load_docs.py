"""The suite in the reference loads unchanged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.evals.suites import cases, gate_settings, loader, options

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.evals.suites.records import Suite

REFERENCE = Path(__file__).parents[3] / "docs/reference/suites.md"


def test_the_example_of_the_reference_loads(
    suite_of: Callable[[str], Suite], write: Callable[[str, str], Path]
) -> None:
    write("evals/schemas/summary.json", '{"type": "object"}')
    write("datasets/summary.jsonl", '{"text": "a"}\n')
    (example,) = re.findall(r"```yaml\n(.*?)```", REFERENCE.read_text(), re.DOTALL)
    assert [case.id for case in suite_of(example).cases] == ["summary-1", "negation-07"]


def test_the_reference_names_every_key() -> None:
    text = REFERENCE.read_text()
    keys = loader._SUITE_KEYS | loader._SETTINGS | gate_settings.GATE_KEYS | cases.TEST_KEYS | options.OPTION_KEYS
    rows = [row.partition("|")[0] for row in re.findall(r"^\| (.*)$", text, re.MULTILINE)]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert sorted(keys - named) == []
    assert [key for key in sorted(options.EVALUATE_KEYS) if f"`{key}`" not in text] == []
