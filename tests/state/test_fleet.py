"""Several processes on one store: nothing is lost, nothing is spent twice, one probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from support.state_process import Fleet

if TYPE_CHECKING:
    from pathlib import Path

NOON_S = 1_772_366_400.0


@pytest.fixture(params=["file", pytest.param("redis", marks=pytest.mark.service)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "file" else cast("str", request.getfixturevalue("redis_url"))


def test_the_sixth_failure_opens_the_breaker_for_all_and_one_process_probes(address: str) -> None:
    with Fleet(address) as fleet:
        fleet.all("set_clock", NOON_S)
        for nth in (0, 1, 2, 3, 0):
            assert fleet.one(nth, "fail", "alpha", 5) == "closed"
        assert fleet.all("admit", "alpha", 1) == [[None]] * 4
        for nth in (1, 2, 3):
            fleet.begin(nth, "look_until", "alpha", "open")
        assert fleet.one(0, "fail", "alpha", 5) == "open"
        assert [fleet.end(nth) for nth in (1, 2, 3)] == ["open"] * 3

        fleet.all("set_clock", NOON_S + 299.999)
        assert fleet.all("admit", "alpha", 50) == [[]] * 4
        fleet.all("set_clock", NOON_S + 300)
        leases = [lease for found in fleet.all("admit", "alpha", 50) for lease in found]
        assert len(leases) == 1
        assert leases[0] is not None
        assert fleet.all("look", "alpha") == ["probing"] * 4

        fleet.all("set_clock", NOON_S + 360)  # that probe hangs: its lease ends, and one other may try
        leases = [lease for found in fleet.all("admit", "alpha", 50) for lease in found]
        assert len(leases) == 1
        fleet.one(2, "succeed", "alpha", leases[0])
        assert fleet.all("look", "alpha") == ["closed"] * 4


def test_failures_of_all_processes_at_once_are_all_counted(address: str) -> None:
    with Fleet(address) as fleet:
        fleet.all("set_clock", NOON_S)
        for _ in range(10):
            fleet.all("fail", "alpha", 40)
        assert fleet.all("look", "alpha") == ["closed"] * 4
        assert fleet.one(0, "fail", "alpha", 40) == "open"


def test_reservations_of_all_processes_stay_within_the_limit(address: str) -> None:
    with Fleet(address) as fleet:
        fleet.all("set_clock", NOON_S)
        assert sum(fleet.all("reserve", 200, 0.02, 10)) == 500


def test_spending_stays_within_the_limit_and_loses_nothing(address: str) -> None:
    with Fleet(address) as fleet:
        fleet.all("set_clock", NOON_S)
        paid = sum(fleet.all("spend", 200, 20))
        assert paid <= 20_000
        left = 20_000 - paid
        assert fleet.one(0, "reserve", 1, (left + 1) / 1000, 20) == 0
        assert fleet.one(0, "reserve", 1, left / 1000, 20) == 1
