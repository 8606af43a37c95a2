"""Rules before a fact check: what they flag, and what they leave to the judge."""

from __future__ import annotations

import pytest

from flowai.evals.assertions.graded.fact_rules import unsupported

TEXT = (
    "Acme Ltd sold 1,234,500 bicycles in 2023, 12.4 % more than the year before. Maria Lopez, who leads the company, "
    "announced on 2024-03-12 that a plant in Lyon will open. It cost $3.1 million."
)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Acme sold 1,234,500 bicycles.", []),
        ("Acme sold about 1.2 million bicycles, 12 % more.", []),
        ("Acme sold 1.3 million bicycles.", ["1.3 million"]),
        ("Acme sold 1234500 bicycles in 2022.", ["2022"]),
        ("On 12 March 2024 Lopez announced a plant in Lyon.", []),
        ("On 12 April 2024 Lopez announced a plant in Lyon.", ["April"]),
        ("The plant in Paris will open.", ["Paris"]),
        ("Maria Lopez announced two plants.", []),
        ("The plant cost 3,100,000 dollars.", []),
        ("The plant cost $3.2 million.", ["$3.2 million"]),
        ("Three facts: sales grew, a plant opens, it is in Lyon.", []),
        ("Acme's sales may march on.", []),
        ("", []),
    ],
)
def test_numbers_dates_and_names(answer: str, expected: list[str]) -> None:
    assert unsupported(answer, TEXT) == expected


def test_capitals_of_german_nouns_are_no_names() -> None:
    text = (
        "Die Firma verkauft Fahrräder. " + "Der Umsatz der Firma im Jahr stieg und die Kosten der Anlage sanken. " * 3
    )
    assert unsupported("Im Ergebnis wuchs der Gewinn der Gesellschaft.", text) == []


@pytest.mark.parametrize("text", ["", "1" * 5000, "," * 5000, "A" * 20_000, "1,000" * 2000, "é" * 3000])
def test_odd_texts_are_read_quickly(text: str) -> None:
    assert isinstance(unsupported(text, text), list)
