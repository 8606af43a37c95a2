"""A row's split never changes; no user, session or cluster is in two."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training_rows import make_pair

from flowai.errors import UsageError
from flowai.finetune.dedup.near_duplicates import Duplicates
from flowai.finetune.dedup.split import Sessions, SplitRatios, split_of

if TYPE_CHECKING:
    from random import Random

    from flowai.finetune.records import Pair, Split

HALVES = SplitRatios(train=0.5, validation=0.2, test=0.3)
TEXTS = (
    "Which pump in the north hall was out of order during the night shift of 4 March?",
    "Which pump in the north hall was out of order during the night shift of 4 May?",
    "How many containers left berth 7 on Tuesday before the crane was stopped by the wind?",
)


def row(
    name: str, *, user: str | None = None, session: str | None = None, text: str = TEXTS[0], minute: int = 0
) -> Pair:
    pair = make_pair(({"role": "user", "content": text},), id=name, output=text)
    return msgspec.structs.replace(pair, at=f"2026-05-02T00:{minute:02}:00Z", user_hash=user, session=session)


def kept(pairs: list[Pair], ratios: SplitRatios = HALVES) -> dict[str, Split]:
    """Split as an export does: sessions first, then what is left of each cluster."""
    splits = {pair.id: split_of(pair, ratios) for pair in pairs}
    with tempfile.TemporaryDirectory() as place, Sessions(Path(place)) as sessions:
        for pair in pairs:
            sessions.add(pair, splits[pair.id])
        strays = set(sessions.cross_split_pairs())
        with Duplicates(Path(place)) as duplicates:
            for pair in pairs:
                if pair.id not in strays:
                    duplicates.add(pair, splits[pair.id])
            stay = [fate.id for fate in duplicates.results() if fate.reason is None]
    return {name: splits[name] for name in stay}


def test_a_user_then_a_session_then_the_pair_itself_decides() -> None:
    assert split_of(row("a", user="u", session="s"), HALVES) == split_of(row("b", user="u", session="t"), HALVES)
    assert split_of(row("a", session="s"), HALVES) == split_of(row("b", session="s"), HALVES)
    assert len({split_of(row(f"c{at}"), HALVES) for at in range(40)}) == 3


def test_shares_come_out_as_asked_and_salts_make_other_splits() -> None:
    users = [row("x", user=f"u{at}") for at in range(4_000)]
    counts = Counter(split_of(one, HALVES) for one in users)
    assert counts["train"] == pytest.approx(2_000, abs=150)
    assert counts["test"] == pytest.approx(1_200, abs=150)
    salted = SplitRatios(train=0.5, validation=0.2, test=0.3, salt="again")
    assert 1_000 < sum(split_of(one, HALVES) != split_of(one, salted) for one in users) < 3_500


def test_a_smaller_test_share_only_moves_rows_out_of_test() -> None:
    less = SplitRatios(train=0.6, validation=0.2, test=0.2)
    for at in range(500):
        before, after = split_of(row("x", user=f"u{at}"), HALVES), split_of(row("x", user=f"u{at}"), less)
        assert (before, after) not in {("train", "test"), ("validation", "test"), ("train", "validation")}


def test_the_split_of_a_user_is_the_same_on_every_machine() -> None:
    found = "".join(split_of(row("x", user=f"u{at}"), HALVES)[0] for at in range(8))
    assert found == "tttvtttt"


@pytest.mark.parametrize("shares", [(0.9, 0.05, 0.06), (1.2, -0.1, -0.1), (0.0, 0.0, 0.0)])
def test_invalid_shares_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(UsageError, match="with the sum 1"):
        SplitRatios(train=shares[0], validation=shares[1], test=shares[2])


def test_a_session_stays_where_it_began() -> None:
    users = {split_of(row("x", user=f"u{at}"), HALVES): f"u{at}" for at in range(60)}
    shared = [
        row("a", user=users["test"], session="s", text=TEXTS[0], minute=1),
        row("b", user=users["train"], session="s", text=TEXTS[2], minute=2),
        row("c", user=users["train"], session="t", text="Nothing to do with the others at all.", minute=3),
    ]
    assert kept(shared) == {"a": "test", "c": "train"}


def test_sessions_of_two_tenants_are_two() -> None:
    users = {split_of(row("x", user=f"u{at}"), HALVES): f"u{at}" for at in range(60)}
    own = [row("a", user=users["test"], session="1"), row("b", user=users["train"], session="1", text=TEXTS[2])]
    with tempfile.TemporaryDirectory() as place, Sessions(Path(place)) as sessions:
        for pair, tenant in zip(own, ("acme", "umbrella"), strict=True):
            sessions.add(msgspec.structs.replace(pair, tenant=tenant), split_of(pair, HALVES))
        assert list(sessions.cross_split_pairs()) == []


people = st.sampled_from((None, "u1", "u2", "u3", "u4", "u5"))
places = st.sampled_from((None, "s1", "s2", "s3"))
rows = st.lists(
    st.tuples(people, places, st.sampled_from(TEXTS), st.integers(0, 9)), max_size=12, unique_by=lambda one: one
).map(
    lambda facts: [
        row(f"{user}-{session}-{TEXTS.index(text)}-{minute}", user=user, session=session, text=text, minute=minute)
        for user, session, text, minute in facts
    ]
)


@pytest.mark.slow  # splits many logs
@settings(max_examples=60, deadline=None)
@given(rows, rows, st.randoms(use_true_random=False))
def test_new_rows_never_move_a_row_and_no_group_is_in_two_splits(
    old: list[Pair], new: list[Pair], random: Random
) -> None:
    both = list({pair.id: pair for pair in (*old, *new)}.values())
    before, after = kept(old), kept(random.sample(both, len(both)))
    assert all(after[name] == side for name, side in before.items() if name in after)
    groups: defaultdict[tuple[str, str], set[Split]] = defaultdict(set)
    for pair in both:
        if pair.id in after:
            for kind, name in (("user", pair.user_hash), ("session", pair.session)):
                if name:
                    groups[kind, name].add(after[pair.id])
            groups["text", pair.output[-6:]].add(after[pair.id])
    assert all(len(sides) == 1 for sides in groups.values())


@pytest.mark.slow  # splits many logs
@settings(max_examples=40, deadline=None)
@given(rows, rows)
def test_a_cluster_stays_in_its_split_while_the_log_grows(old: list[Pair], new: list[Pair]) -> None:
    later = [
        msgspec.structs.replace(pair, id=f"later-{pair.id}", at="2026-06-01T00:00:00Z", session=None) for pair in new
    ]
    before, after = kept(old), kept([*old, *later])
    texts = {pair.id: pair.output for pair in (*old, *later)}
    sides = {texts[name]: side for name, side in before.items()}
    assert all(sides.get(texts[name], side) == side for name, side in after.items())
