"""Assignment: sticky, evenly spread, only ever adding to the canary, and the same in every language."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.gateway.routing.assignment import (
    BUCKET_COUNT,
    assign_arm,
    assign_variant,
    assignment_unit,
    bucket,
    is_flagged,
)

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
VECTORS = json.loads((REFERENCE / "assignment-vectors.json").read_text())
USERS = [f"user-{number}" for number in range(100_000)]

Stage = int | Literal["dogfood"]


def variant(unit: str, stage: Stage, *, candidate: str = "v2", critical: bool = False, flagged: bool = False) -> str:
    return assign_variant(
        candidate=candidate, stage=stage, unit=unit, critical=critical, critical_from=25, flagged=flagged
    )


def within_four_deviations(count: int, of: int, share: float) -> bool:
    return abs(count - of * share) <= 4 * math.sqrt(of * share * (1 - share))


# --- the rule, as it is published ---


def test_assignments_equal_the_published_vectors() -> None:
    for row in VECTORS["buckets"]:
        assert bucket(row["salt"], row["unit"]) == row["bucket"], row
    for row in VECTORS["variants"]:
        facts = {key: value for key, value in row.items() if key != "variant"}
        assert assign_variant(**facts) == row["variant"], row
    for row in VECTORS["arms"]:
        assert assign_arm(experiment=row["experiment"], arms=row["arms"], unit=row["unit"]) == row["arm"], row


def test_the_documented_algorithm_gives_the_published_vectors() -> None:
    for row in VECTORS["buckets"]:
        text = f"{row['salt']}\0{row['unit']}"
        assert int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) % 10_000 == row["bucket"]


def test_half_a_surrogate_pair_counts_as_the_replacement_character() -> None:
    assert bucket("rollout:v2", "a\ud83db") == bucket("rollout:v2", "a\ufffdb")


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_documented_javascript_gives_the_same_assignments() -> None:
    (code,) = re.findall(r"^```js\n(.*?)^```$", (REFERENCE / "assignment.md").read_text(), re.DOTALL | re.MULTILINE)
    check = """
    (async () => {
      const vectors = JSON.parse(require("fs").readFileSync(0, "utf8"));
      const wrong = [];
      for (const row of vectors.buckets) if (await bucket(row.salt, row.unit) !== row.bucket) wrong.push(row);
      for (const row of vectors.variants) if (await variant(row) !== row.variant) wrong.push(row);
      for (const row of vectors.arms) if (await arm(row) !== row.arm) wrong.push(row);
      console.log(JSON.stringify(wrong));
    })();
    """
    done = subprocess.run(
        ["node", "-e", f"globalThis.crypto ??= require('crypto').webcrypto;\n{code}\n{check}"],
        input=json.dumps(VECTORS),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []


# --- variants ---


@pytest.mark.parametrize("percent", [1, 5, 25, 50, 75])
def test_canary_and_control_have_their_shares(percent: int) -> None:
    counts = Counter(variant(user, percent) for user in USERS)
    assert within_four_deviations(counts["canary"], len(USERS), percent / 100)
    assert within_four_deviations(counts["control"], len(USERS), min(percent, 100 - percent) / 100)


def test_from_5_to_20_percent_no_user_leaves_the_canary_or_the_control() -> None:
    before, after = ([variant(user, percent) for user in USERS] for percent in (5, 20))
    moved = Counter(itertools.compress(zip(before, after, strict=True), map(str.__ne__, before, after)))
    assert set(moved) == {("stable", "canary"), ("stable", "control")}


@given(unit=st.text(), candidate=st.text(), low=st.integers(0, 100), high=st.integers(0, 100))
def test_raising_the_share_moves_no_unit_out_of_the_canary(unit: str, candidate: str, low: int, high: int) -> None:
    low, high = sorted((low, high))
    if variant(unit, low, candidate=candidate) == "canary":
        assert variant(unit, high, candidate=candidate) == "canary"


def test_at_100_percent_all_get_the_candidate_and_in_dogfood_only_the_flagged() -> None:
    assert {variant(user, 100) for user in USERS[:1000]} == {"canary"}
    assert {variant(user, "dogfood") for user in USERS[:1000]} == {"stable"}
    assert {variant(user, 0) for user in USERS[:1000]} == {"stable"}
    for stage in ("dogfood", 1, 100):
        assert variant("anyone", stage, flagged=True) == "dogfood"


def test_critical_features_join_late_except_for_flagged_calls() -> None:
    assert {variant(user, 24, critical=True) for user in USERS[:1000]} == {"stable"}
    assert {variant(user, 25, critical=True) for user in USERS[:1000]} == {"stable", "canary", "control"}
    assert variant("anyone", 1, critical=True, flagged=True) == "dogfood"


@pytest.mark.parametrize("salt", ["rollout:v3", "experiment:v2"])
def test_salts_are_independent(salt: str) -> None:
    """Among those in the low tenth by one salt, the tenths by another are equally full: chi-square, 9 degrees."""
    chosen = [user for user in USERS if bucket("rollout:v2", user) < BUCKET_COUNT // 10]
    tenths = Counter(bucket(salt, user) * 10 // BUCKET_COUNT for user in chosen)
    expected = len(chosen) / 10
    assert sum((tenths[tenth] - expected) ** 2 / expected for tenth in range(10)) < 33.7  # p = 0.0001


# --- arms ---


@pytest.mark.parametrize("count", [2, 3, 7])
def test_arms_have_equal_shares_whatever_their_order_in_the_file(count: int) -> None:
    arms = [f"arm-{number}" for number in range(count)]
    given_arms = [assign_arm(experiment="e", arms=arms, unit=user) for user in USERS]
    assert all(within_four_deviations(n, len(USERS), 1 / count) for n in Counter(given_arms).values())
    assert given_arms[:500] == [assign_arm(experiment="e", arms=arms[::-1], unit=user) for user in USERS[:500]]


@given(unit=st.text(), arms=st.sets(st.text(), min_size=1, max_size=9))
def test_every_unit_has_an_arm(unit: str, arms: set[str]) -> None:
    assert assign_arm(experiment="e", arms=arms, unit=unit) in arms


# --- units ---


@pytest.mark.parametrize(
    ("user", "session", "expected"),
    [
        ("ada", "s1", ("ada", True)),
        (None, "s1", ("s1", True)),
        ("", "s1", ("s1", True)),
        ("", "", ("c1", False)),
        (None, None, ("c1", False)),
    ],
)
def test_the_assignment_unit_is_the_user_then_the_session_then_the_call(
    user: str | None, session: str | None, expected: tuple[str, bool]
) -> None:
    unit = assignment_unit(user=user, session=session, call_id="c1")
    assert (unit.name, unit.is_sticky) == expected


# --- the flag ---


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Feature-Flag": "ai-beta"}, True),
        ({"x-feature-flag": "other, ai-beta ,more"}, True),
        ({"X-FEATURE-FLAG": "\tai-beta "}, True),
        ({"X-Feature-Flag": "AI-BETA"}, False),
        ({"X-Feature-Flag": "ai-beta2"}, False),
        ({"X-Feature-Flag": ""}, False),
        ({"X-Feature-Flag": "ai-beta\r\n"}, False),
        ({"X-Feature-Flag": "ai-beta\0"}, False),
        ({"X-Feature-Flag ": "ai-beta"}, False),
        ({"Other": "ai-beta"}, False),
        ({}, False),
        ({"X-Feature-Flag": "," * 100_000 + "ai-beta"}, True),
        ({"\u212a" * 10_000: "ai-beta"}, False),
    ],
)
def test_the_flag_is_read_from_any_headers(headers: dict[str, str], expected: Any) -> None:
    assert is_flagged(headers, header="X-Feature-Flag", value="ai-beta") is expected


def test_lookalike_letters_do_not_match_the_header() -> None:
    assert not is_flagged({"X-\u212aey": "on"}, header="X-Key", value="on")  # the Kelvin sign folds to k


def test_an_empty_flag_value_matches_nothing() -> None:
    assert not is_flagged({"X-Feature-Flag": ""}, header="X-Feature-Flag", value="")


@given(headers=st.dictionaries(st.text(), st.text()))
def test_any_header_text_is_accepted(headers: dict[str, str]) -> None:
    assert not is_flagged(headers, header="X-Feature-Flag", value="ai-beta")
