"""The review queue: changes word by word, others' decisions only in disputes, undo."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.errors import UsageError
from flowai.finetune.decisions.decision_log import DecisionLog
from flowai.finetune.pairs.edits import DiffPart, word_diff
from flowai.finetune.records import Pair, Quarantined
from flowai.review.queue import ReviewQueue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOMENT = datetime(2026, 5, 2, tzinfo=UTC)
SOME = st.text(st.sampled_from("ab .\n\u00e9\u4e2d\U0001f642"), max_size=14)


@given(SOME, SOME)
def test_parts_give_both_texts(before: str, after: str) -> None:
    pieces = word_diff(before, after)
    assert "".join(piece.text for piece in pieces if piece.kind != "added") == before
    assert "".join(piece.text for piece in pieces if piece.kind != "removed") == after
    assert all(piece.text for piece in pieces)
    assert all(one.kind != other.kind for one, other in pairwise(pieces))


def test_neighbouring_changes_are_one_change() -> None:
    assert word_diff("The quick brown fox.", "The slow red fox jumps.") == (
        DiffPart(kind="same", text="The "),
        DiffPart(kind="removed", text="quick brown"),
        DiffPart(kind="added", text="slow red"),
        DiffPart(kind="same", text=" fox"),
        DiffPart(kind="added", text=" jumps"),
        DiffPart(kind="same", text="."),
    )


def test_very_long_texts_are_one_change() -> None:
    before, after = "a " + "b c " * 20_000 + "z", "a " + "d e " * 20_000 + "z"
    assert [piece.kind for piece in word_diff(before, after)] == ["same", "removed", "added", "same"]


def pair(number: int) -> Pair:
    return Pair(
        id=f"c{number}",
        at="2026-05-02T12:00:00Z",
        feature="chat",
        messages=({"role": "user", "content": "Say it."},),
        output="It is said.",
        opinion="edited",
        edit="it is said",
    )


@pytest.fixture
def queue_of(tmp_path: Path) -> Callable[[str], ReviewQueue]:
    def make(reviewer: str) -> ReviewQueue:
        given_: list[Pair | Quarantined] = [
            Quarantined(id="c0", step="review", reason="trivial_edit", needs_review=True, pair=pair(0)),
            pair(1),
            pair(1),
            Quarantined(id="", step="pairs", reason="broken"),
            pair(2),
        ]
        log = DecisionLog(tmp_path / "decisions.jsonl", name="decisions.jsonl")
        return ReviewQueue(
            feature="chat", reviewer=reviewer, candidates=given_, decision_log=log, labels={}, now=lambda: MOMENT
        )

    return make


def test_undo_goes_back_step_by_step_to_the_last_decision(queue_of: Callable[[str], ReviewQueue]) -> None:
    queue = queue_of("ann")
    assert len(queue) == 3
    queue.decide(0, "accept")
    queue.decide(2, "reject")
    queue.decide(0, "edit", text="It was.")
    assert queue.undo() == 0
    assert queue.undo() == 2
    assert queue.undo() == 0
    assert queue.undo() is None
    assert queue.overview().decided_count == 0


def test_one_reviewer_does_not_undo_another_s(queue_of: Callable[[str], ReviewQueue]) -> None:
    queue_of("bob").decide(0, "accept")
    assert queue_of("ann").undo() is None


def test_others_are_shown_only_where_reviewers_disagree(queue_of: Callable[[str], ReviewQueue]) -> None:
    ann, bob = queue_of("ann"), queue_of("bob")
    ann.decide(0, "accept", note="fine")
    assert bob.item(0).other_decisions == ()
    assert bob.overview().rows[0].action is None
    bob.decide(0, "edit", text="It is said!")
    (word,) = ann.item(0).other_decisions
    assert word.reviewer == "bob"
    assert word.action == "edit"
    assert word.text == "It is said!"
    assert ann.overview().rows[0].disputed
    assert ann.overview().decided_count == 0
    ann.decide(0, "edit", text="It is said!")
    assert not bob.overview().rows[0].disputed


def test_the_same_decision_is_written_once(queue_of: Callable[[str], ReviewQueue]) -> None:
    queue = queue_of("ann")
    assert queue.decide(0, "accept") == queue.decide(0, "accept")
    assert queue.undo() == 0
    assert queue.undo() is None


def test_an_editor_begins_with_the_last_edit(queue_of: Callable[[str], ReviewQueue]) -> None:
    queue = queue_of("ann")
    assert queue.item(0).draft == "it is said"
    queue.decide(0, "edit", text="It was.")
    assert queue.item(0).draft == "It was."


def test_invalid_input_is_refused(queue_of: Callable[[str], ReviewQueue]) -> None:
    queue = queue_of("ann")
    with pytest.raises(UsageError, match="no pair 3"):
        queue.item(3)
    with pytest.raises(UsageError, match="no pair -1"):
        queue.decide(-1, "accept")
    with pytest.raises(UsageError, match="an edit needs a text"):
        queue.decide(0, "edit", text=" ")
    for name in ("", "a\nb", "=cmd", "\u202eann"):
        with pytest.raises(UsageError, match="--reviewer"):
            queue_of(name)
