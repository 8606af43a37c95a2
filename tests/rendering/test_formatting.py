"""Numbers for people: sensible digits and honest units."""

from __future__ import annotations

import pytest

from flowai.rendering import formatting


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [(None, "-"), (0, "0.00 s"), (437, "0.44 s"), (9994, "9.99 s"), (9996, "10.0 s"), (59_940, "59.9 s"),
     (59_960, "1 min 00 s"), (125_000, "2 min 05 s"), (3_840_000, "1 h 04 min")],
)  # fmt: skip
def test_durations(time_ms: float | None, text: str) -> None:
    assert formatting.duration(time_ms) == text


@pytest.mark.parametrize(
    ("cost_usd", "text"),
    [
        (None, "-"),
        (0, "$0"),
        (0.00001, "<$0.0001"),
        (0.011, "$0.011"),
        (0.5, "$0.5"),
        (1.239, "$1.24"),
        (1204, "$1,204"),
    ],
)
def test_dollars(cost_usd: float | None, text: str) -> None:
    assert formatting.dollars(cost_usd) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (999_950, "1.0 MB"), (5e12, "5000.0 GB")]
)
def test_sizes(size_bytes: float, text: str) -> None:
    assert formatting.size(size_bytes) == text


def test_counts_agree_with_their_noun() -> None:
    assert [formatting.count(1, "case"), formatting.count(2000, "case"), formatting.count(2, "entry", "entries")] == [
        "1 case",
        "2,000 cases",
        "2 entries",
    ]
