"""Verdicts are promptfoo's, except for the differences that the reference names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support.promptfoo import differential
from support.promptfoo.differences import DIFFERENCES, Difference
from support.promptfoo.differential_cases import comparisons

REFERENCE = Path(__file__).parents[3] / "docs/reference/assertions.md"
MIN_ANSWERS = 30
FEWER_ANSWERS = {"not-meteor"}
"""Promptfoo takes a second for one answer."""


@pytest.fixture(scope="module")
def cases() -> list[differential.Case]:
    return differential.cases_of(comparisons())


@pytest.fixture(scope="module")
def mismatches(
    cases: list[differential.Case],
) -> list[tuple[differential.Case, differential.Verdict, differential.Verdict]]:
    _, recorded = differential.read_recorded(cases)
    found = differential.run_flowai(cases)
    return [item for item in zip(cases, recorded, found, strict=True) if not differential.is_same(*item[1:])]


def test_every_type_is_compared_on_enough_answers(cases: list[differential.Case]) -> None:
    counts = Counter(case.assertion["type"] for case in cases)
    assert {name for name, count in counts.items() if count < MIN_ANSWERS} <= FEWER_ANSWERS
    assert len({name.removeprefix("not-") for name in counts}) >= 32


def test_no_difference_is_silent(
    mismatches: list[tuple[differential.Case, differential.Verdict, differential.Verdict]],
) -> None:
    unexplained = [item for item in mismatches if not any(_explains(difference, item) for difference in DIFFERENCES)]
    assert unexplained == []


def test_every_difference_still_exists(
    mismatches: list[tuple[differential.Case, differential.Verdict, differential.Verdict]],
) -> None:
    stale = [entry.text for entry in DIFFERENCES if not any(_explains(entry, item) for item in mismatches)]
    assert stale == []


def test_the_reference_names_every_difference() -> None:
    section = " ".join(REFERENCE.read_text().partition("## What differs from promptfoo")[2].split())
    assert [entry.text for entry in DIFFERENCES if " ".join(entry.text.split()) not in section] == []


@pytest.mark.slow
def test_the_recorded_verdicts_are_those_of_the_installed_promptfoo(cases: list[differential.Case]) -> None:
    version = differential.promptfoo_version()
    if version is None:
        pytest.skip("promptfoo is not installed: python benchmarks/install_peers.py promptfoo")
    recorded_version, recorded = differential.read_recorded(cases)
    if version != recorded_version:
        pytest.skip(f"promptfoo is {version}; the verdicts are recorded from {recorded_version}: record them anew")
    assert differential.run_promptfoo(cases) == recorded


def _explains(entry: Difference, item: tuple[differential.Case, differential.Verdict, differential.Verdict]) -> bool:
    return item[0].assertion["type"].removeprefix("not-") in entry.types and entry.explains(*item)
