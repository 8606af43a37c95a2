"""Times and durations as text: what is written is read back, and what people type means what it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.errors import UsageError
from flowai.timestamps import (
    EPOCH,
    format_rfc3339,
    format_us,
    from_us,
    parse_duration_ms,
    parse_duration_s,
    parse_moment,
    parse_option_s,
    parse_rfc3339,
    to_us,
)

NOW = datetime(2026, 5, 2, 10, 30, tzinfo=UTC)
MOMENTS = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001 - as above
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]),
)


@given(MOMENTS)
def test_a_moment_that_is_written_is_read_back(moment: datetime) -> None:
    text = format_rfc3339(moment)
    assert parse_rfc3339(text) == moment
    assert text[-1] == "Z"
    assert parse_rfc3339(format_rfc3339(moment, whole_seconds=True)) == moment.replace(microsecond=0)
    assert from_us(to_us(moment)) == moment


def test_moments_are_whole_microseconds() -> None:
    assert to_us(parse_rfc3339("1970-01-01T00:00:01.5Z")) == 1_500_000
    texts = ("2026-05-02T12:00:00+02:00", "2026-05-02T10:00:00Z", "2026-05-02T10:00:00")
    assert len({to_us(parse_rfc3339(text)) for text in texts}) == 1
    assert format_us(1_999_999) == "1970-01-01T00:00:01Z"
    assert to_us(EPOCH) == 0


@given(
    st.integers(0, 10**6),
    st.integers(0, 999),
    st.sampled_from(["ms", "s", "m", "h", "d", "w"]),
    st.sampled_from(["", " "]),
)
def test_a_duration_is_a_number_and_a_unit(whole: int, thousandths: int, unit: str, gap: str) -> None:
    number = f"{whole}.{thousandths:03}"
    factor = {"ms": "0.001", "s": "1", "m": "60", "h": "3600", "d": "86400", "w": "604800"}[unit]
    expected = Decimal(number) * Decimal(factor)
    assert parse_duration_s(f"{number}{gap}{unit}") == float(expected)
    assert parse_duration_ms(f" {number}{gap}{unit} ") == float(expected * 1000)


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5 min", "1e3s", "٣s", "5s 3m", ".5s"])
def test_other_texts_are_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration_s(text)


@pytest.mark.parametrize("text", ["0s", "3651d", "soon", f"{'9' * 400}w"])
def test_an_option_takes_more_than_nothing_and_at_most_ten_years(text: str) -> None:
    with pytest.raises(UsageError, match=r"--for: found `.*`, expected a time such as"):
        parse_option_s(text, option="--for")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", datetime(2026, 5, 2, 9, 0, tzinfo=UTC)),
        ("02:10", datetime(2026, 5, 2, 2, 10, tzinfo=UTC)),
        ("11:00", datetime(2026, 5, 1, 11, 0, tzinfo=UTC)),
        ("2026-05-01", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-02T12:00:00+02:00", datetime(2026, 5, 2, 10, 0, tzinfo=UTC)),
    ],
)
def test_people_type_moments_in_five_ways(text: str, expected: datetime) -> None:
    assert parse_moment(text, now=NOW, option="--since") == expected


def test_another_moment_is_refused_by_the_name_of_its_option() -> None:
    with pytest.raises(UsageError, match="--since: found `yesterday`, expected a time ago"):
        parse_moment("yesterday", now=NOW, option="--since")
