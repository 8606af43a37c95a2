"""Decisions: consensus, disputes, and their effect on a pair."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.finetune.decisions.decisions import (
    ReviewDecision,
    agreements,
    apply_consensus,
    consensus_by_pair,
    decision_step,
    merge,
    reviewer_counts,
)
from flowai.finetune.records import Pair, Quarantined

if TYPE_CHECKING:
    from flowai.finetune.decisions.decisions import ReviewAction

BEGIN = datetime(2026, 5, 2, tzinfo=UTC)


def told(*lines: str) -> list[ReviewDecision]:
    """Build decisions of `reviewer action pair [text]`, a second apart."""
    made = []
    for second, line in enumerate(lines):
        reviewer, action, pair, *text = line.split(maxsplit=3)
        facts = {"reviewer": reviewer, "action": action, "pair": pair, "text": text[0] if text else None}
        made.append(msgspec.convert({**facts, "at": BEGIN + timedelta(seconds=second)}, ReviewDecision))
    return made


def pair(**changes: Any) -> Pair:
    facts: dict[str, Any] = {
        "id": "c1",
        "at": "2026-05-02T12:00:00Z",
        "feature": "chat",
        "messages": ({"role": "user", "content": "Say it."},),
        "output": "It is said.",
        "opinion": "edited",
        "edit": "It was said.",
    }
    return Pair(**{**facts, **changes})


def held(**changes: Any) -> Quarantined:
    return Quarantined(id="c1", step="review", reason="trivial_edit", needs_review=True, pair=pair(**changes))


@pytest.mark.parametrize(
    ("lines", "holds"),
    [
        (["ann accept c1"], "accept"),
        (["ann accept c1", "ann reject c1"], "reject"),
        (["ann accept c1", "ann undo c1"], None),
        (["ann accept c1", "ann reject c1", "ann undo c1"], "accept"),
        (["ann accept c1", "ann reject c1", "ann undo c1", "ann undo c1"], None),
        (["ann undo c1", "ann accept c1"], "accept"),
        (["ann accept c1", "ann skip c1"], None),
        (["ann skip c1", "bob reject c1"], "reject"),
        (["ann accept c1", "bob accept c1"], "accept"),
        (["ann accept c1", "bob undo c1"], "accept"),
        (["ann accept c1", "bob reject c1"], None),
        (["ann accept c1", "bob reject c1", "cid reject c1"], "reject"),
        (["ann accept c1", "bob reject c1", "bob accept c1"], "accept"),
        (["ann accept c1", "bob reject c1", "bob undo c1"], "accept"),
        (["ann edit c1 one", "bob edit c1 other"], None),
        (["ann edit c1 one", "bob edit c1 one"], "edit"),
        (["ann edit c1 one", "bob edit c1 other", "cid accept c1"], None),
    ],
)
def test_the_decision_that_holds(lines: list[str], holds: str | None) -> None:
    ruling = consensus_by_pair(told(*lines)).get("c1")
    held = None if ruling is None else ruling.decision
    assert (None if held is None else held.action) == holds


def test_a_disagreement_is_named_and_keeps_the_pair_out() -> None:
    ruling = consensus_by_pair(told("ann accept c1", "bob reject c1"))["c1"]
    assert ruling.decision is None
    for given_ in (pair(), held()):
        out = apply_consensus(given_, ruling)
        assert isinstance(out, Quarantined)
        assert out.reason == "disputed"
        assert out.detail == "ann: accept, bob: reject"
        assert out.needs_review is True
        assert out.pair == pair()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["accept", "reject", "skip", "undo"])), max_size=12))
def test_files_merge_in_any_order_and_as_often_as_one_likes(words: list[tuple[str, str]]) -> None:
    decisions = told(*(f"{who} {action} c1" for who, action in words))
    parts = [[one for one in decisions if one.reviewer == who] for who in "ab"]
    shuffled = random.Random(1).sample(decisions, len(decisions))  # noqa: S311 - a shuffle to repeat
    expected = consensus_by_pair(decisions)
    assert consensus_by_pair(merge(parts[1], parts[0])) == expected
    assert consensus_by_pair(merge(shuffled, decisions, parts[0])) == expected


@pytest.mark.parametrize("given_", [pair(), held()], ids=["pair", "held"])
def test_decisions_are_applied(given_: Pair | Quarantined) -> None:
    def done(line: str) -> Pair | Quarantined:
        return decision_step(told(line))(given_)

    assert done("ann accept c1") == pair()
    assert done("ann edit c1 Say no more.") == pair(edit="Say no more.")
    assert done("ann edit c1 It is said.") == pair(opinion="accepted", edit=None)
    assert done("ann skip c1") is given_
    assert done("ann accept c2") is given_
    declined = done("ann reject c1")
    assert isinstance(declined, Quarantined)
    assert declined.reason == "declined"
    assert declined.detail == "by ann"
    assert declined.pair is None


def test_an_accepted_bad_example_stays_one_and_an_edited_one_becomes_good() -> None:
    rejected = pair(opinion="rejected", edit=None)
    assert decision_step(told("ann accept c1"))(rejected) == rejected
    assert decision_step(told("ann edit c1 Right."))(rejected) == pair(opinion="edited", edit="Right.")


def test_a_line_that_no_reviewer_may_accept_stays_out() -> None:
    out = Quarantined(id="c1", step="quality", reason="refusal")
    assert decision_step(told("ann accept c1"))(out) is out


def test_reviewers_are_counted_by_the_pairs_they_decided() -> None:
    lines = told("bob accept c1", "bob reject c1", "ann reject c1", "bob accept c2", "bob skip c3", "bob undo c2")
    assert reviewer_counts(lines) == {"ann": 1, "bob": 1}


def test_first_decisions_make_the_agreement() -> None:
    lines = told("ann accept c1", "bob reject c1", "bob accept c1", "ann accept c2", "bob skip c2", "bob accept c2")
    (names, found), *others = agreements(lines).items()
    assert not others
    assert names == ("ann", "bob")
    assert found.rated_by_both_count == 2
    assert found.agreed_count == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "edit"},
        {"action": "edit", "text": " \n"},
        {"action": "accept", "text": "x"},
        {"action": "adopt"},
        {"reviewer": ""},
        {"reviewer": "ann\x1b[31m"},
        {"reviewer": "=ann"},
        {"reviewer": "a" * 65},
        {"pair": ""},
        {"at": "2026-05-02T12:00:00"},
        {"schema_version": 2},
        {"surprise": 1},
    ],
    ids=str,
)
def test_an_invalid_decision_is_refused(changes: dict[str, Any]) -> None:
    facts = {"at": "2026-05-02T12:00:00Z", "reviewer": "ann", "pair": "c1", "action": "accept", **changes}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(facts, ReviewDecision)


def test_every_action_is_known_to_the_record() -> None:
    actions: tuple[ReviewAction, ...] = ("accept", "reject", "skip", "undo")
    for action in actions:
        ReviewDecision(at=BEGIN, reviewer="ann", pair="c1", action=action)
