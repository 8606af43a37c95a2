"""Golden pairs: the last feedback decides, edits differ from rewrites, and no judged call is lost."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.events import CallEvent, Content, FeedbackEvent
from flowai.finetune.pairs.collect import Funnel, PairSelector, collect_pairs
from flowai.finetune.pairs.edits import classify_edit
from flowai.finetune.pairs.pair_store import open_pair_store
from flowai.finetune.pairs.pairing import FeedbackItem, build_pair, quarantine_doubtful_edit, user_verdict
from flowai.finetune.records import Pair, Quarantined

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.events import Event, FeedbackVerdict

NOON = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)
ASKED: dict[str, Any] = {"role": "user", "content": "Sum it up: the merger was not approved."}


def call(name: str = "c1", **changes: Any) -> CallEvent:
    event = CallEvent(
        call_id=name,
        at=NOON,
        origin="library",
        feature="summarization",
        release="v1",
        prompt_id="prompts/summary_v1",
        prompt_hash="3fa91c",
        requested_model="gpt-4o-mini",
        latency_ms=100.0,
        finish_reason="stop",
        content=Content(messages=(ASKED,), output="The merger was stopped."),
    )
    return msgspec.structs.replace(event, **changes)


def said(
    verdict: FeedbackVerdict, name: str = "c1", *, after_s: float = 10, text: str | None = None, **facts: Any
) -> Any:
    return FeedbackEvent(
        call_id=name,
        at=NOON + timedelta(seconds=after_s),
        origin="library",
        verdict=verdict,
        text=text,
        **{"feature": "summarization", **facts},
    )


def words(*spoken: FeedbackVerdict) -> list[FeedbackItem]:
    return [
        FeedbackItem(at_us=number, verdict=verdict, text=f"text {number}" if verdict == "edited" else None)
        for number, verdict in enumerate(spoken)
    ]


@pytest.mark.parametrize(
    ("spoken", "opinion", "text"),
    [
        (["accepted"], "accepted", None),
        (["saved"], "accepted", None),
        (["thumbs_up"], "accepted", None),
        (["rejected"], "rejected", None),
        (["thumbs_down"], "rejected", None),
        (["rejected", "accepted"], "accepted", None),
        (["accepted", "rejected"], "rejected", None),
        (["edited"], "edited", "text 0"),
        (["edited", "saved"], "edited", "text 0"),
        (["accepted", "edited"], "edited", "text 1"),
        (["edited", "edited"], "edited", "text 1"),
        (["edited", "thumbs_down"], "rejected", None),
        (["edited", "rejected", "saved"], "accepted", None),
    ],
)
def test_the_last_feedback_counts_and_positive_feedback_keeps_an_edit(
    spoken: list[FeedbackVerdict], opinion: str, text: str | None
) -> None:
    assert user_verdict(words(*spoken)) == (opinion, text)
    for order in itertools.permutations(words(*spoken)):
        assert user_verdict(order) == (opinion, text), "the order of lines says nothing"


@pytest.mark.parametrize(
    ("answer", "edit", "kind"),
    [
        ("The merger was stopped.", "The merger was not approved by the board.", "real"),
        ("It costs 40 euros.", "It costs 45 euros.", "real"),
        ("It was approved by all of them on Monday", "It was not approved by all of them on Monday", "real"),
        ("The merger was stopped", "the merger was stopped!", "trivial"),
        ("one  two\nthree", "One two three.", "trivial"),
        ("The merger was stopped.", "Please call our office on weekdays between nine and five", "rewrite"),
        ('{"a": 1}', '{"a": 2}', "real"),
        ('{"a": 1', '{"a": 1}', "real"),
        ('{"a":1,"b":[2]}', '{"b": [2], "a": 1}', "trivial"),
        ("[" * 5000, "[" * 5000 + ".", "trivial"),
    ],
)
def test_real_edits_differ_from_trivial_ones_and_rewrites(answer: str, edit: str, kind: str) -> None:
    assert classify_edit(answer, edit) == kind


def test_an_accepted_answer_is_learned() -> None:
    pair = build_pair(call(served_model="gpt-4o-mini-2024"), words("saved"))
    assert isinstance(pair, Pair)
    assert pair.opinion == "accepted"
    assert pair.answer == "The merger was stopped."
    assert pair.model == "gpt-4o-mini-2024"
    assert pair.prompt_id == "prompts/summary_v1"
    assert pair.prompt_hash == "3fa91c"
    assert pair.messages == (ASKED,)


def test_an_edit_is_learned_instead_of_the_answer() -> None:
    pair = build_pair(call(), words("edited"))
    assert isinstance(pair, Pair)
    assert pair.opinion == "edited"
    assert pair.answer == "text 0"
    assert pair.output == "The merger was stopped."


def test_a_rejected_answer_is_not_learned() -> None:
    pair = build_pair(call(), words("rejected"))
    assert isinstance(pair, Pair)
    assert pair.opinion == "rejected"
    assert pair.answer is None


@pytest.mark.parametrize(
    ("changes", "spoken", "reason"),
    [
        ({"content": None}, "accepted", "no_content"),
        ({"error_class": "RateLimitedError", "content": None}, "rejected", "broken"),
        ({"content": Content(messages=(), output="x")}, "accepted", "broken"),
        ({"content": Content(messages=(ASKED,), output=None)}, "accepted", "empty"),
        ({"content": Content(messages=(ASKED,), output="")}, "accepted", "empty"),
        ({"finish_reason": "length"}, "accepted", "truncated"),
    ],
)
def test_calls_without_a_pair_have_a_reason(changes: dict[str, Any], spoken: FeedbackVerdict, reason: str) -> None:
    made = build_pair(call(**changes), words(spoken))
    assert isinstance(made, Quarantined)
    assert made.id == "c1"
    assert made.reason == reason
    assert made.needs_review is False


@pytest.mark.parametrize(("text", "reason"), [(None, "no_text"), ("", "empty"), (" \n", "empty")])
def test_an_edit_without_a_text_gives_no_pair(text: str | None, reason: str) -> None:
    made = build_pair(call(), [FeedbackItem(at_us=0, verdict="edited", text=text)])
    assert isinstance(made, Quarantined)
    assert made.reason == reason


def test_a_cut_off_answer_that_was_edited_is_a_pair() -> None:
    assert isinstance(build_pair(call(finish_reason="length"), words("edited")), Pair)


def test_trivial_edits_and_rewrites_go_to_a_reviewer_with_their_pair() -> None:
    pair = build_pair(call(), [FeedbackItem(at_us=0, verdict="edited", text="the merger was stopped")])
    assert isinstance(pair, Pair)
    held = quarantine_doubtful_edit(pair)
    assert held is not None
    assert held.reason == "trivial_edit"
    assert held.needs_review is True
    assert held.pair == pair
    assert quarantine_doubtful_edit(msgspec.structs.replace(pair, edit="The merger was not approved.")) is None
    assert quarantine_doubtful_edit(msgspec.structs.replace(pair, opinion="accepted", edit=None)) is None


def collected(
    tmp_path: Path, events: list[Event], wanted: PairSelector | None = None
) -> tuple[list[Pair], list[Quarantined], Funnel]:
    home = tmp_path / str(len(list(tmp_path.iterdir())))
    home.mkdir()
    rejected: list[Quarantined] = []
    with open_pair_store(home) as store:
        funnel = collect_pairs(lambda: events, wanted or PairSelector(feature="summarization"), store, rejected.append)
        return list(store.pairs()), rejected, funnel


def test_only_judged_calls_of_users_in_the_time_range_are_collected(tmp_path: Path) -> None:
    late = NOON + timedelta(days=2)
    events: list[Event] = [
        call("c1"),
        call("c2"),
        call("other", feature="code_gen"),
        call("eval", origin="eval"),
        call("late", at=late),
        said("accepted", "c1"),
        said("accepted", "other", feature=None),
        said("accepted", "eval"),
        said("accepted", "late", after_s=999_999),
    ]
    wanted = PairSelector(feature="summarization", since=NOON, until=late)
    pairs, rejected, funnel = collected(tmp_path, events, wanted)
    assert [pair.id for pair in pairs] == ["c1"]
    assert rejected == []
    assert funnel == Funnel(call_count=5, selected_count=2, judged_count=1, content_count=1, pair_count=1)


def test_feedback_without_a_call_is_reported(tmp_path: Path) -> None:
    _, rejected, _ = collected(tmp_path, [said("edited", "gone", text="better")])
    assert [(one.id, one.reason) for one in rejected] == [("gone", "no_call")]


def test_a_repeated_line_counts_once_and_conflicting_lines_never(tmp_path: Path) -> None:
    events: list[Event] = [
        call("same"),
        call("same"),
        call("two", release="v1"),
        call("two", release="v2"),
        call("half"),
        call("half", content=None),
        *(said("accepted", name) for name in ("same", "two", "half")),
    ]
    pairs, rejected, _ = collected(tmp_path, events)
    assert [pair.id for pair in pairs] == ["same"]
    assert [(one.id, one.reason) for one in rejected] == [("half", "conflicting"), ("two", "conflicting")]


def test_pairs_of_a_session_are_consecutive(tmp_path: Path) -> None:
    events: list[Event] = []
    for number, session in enumerate(["s1", "s2", None, "s1", "s2"]):
        events.append(call(f"c{number}", at=NOON + timedelta(minutes=number), session=session))
        events.append(said("accepted", f"c{number}"))
    pairs, _, _ = collected(tmp_path, events)
    assert [pair.id for pair in pairs] == ["c0", "c3", "c1", "c4", "c2"]


VERDICTS = st.sampled_from(["accepted", "rejected", "edited", "saved", "thumbs_down"])


@given(
    spoken=st.lists(st.tuples(st.integers(0, 8), VERDICTS, st.integers(0, 3)), max_size=30),
    order=st.randoms(use_true_random=False),
)
def test_every_judged_call_is_a_pair_or_reported_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, spoken: list[tuple[int, FeedbackVerdict, int]], order: Any
) -> None:
    tmp_path = tmp_path_factory.mktemp("log")
    events: list[Event] = [call(f"c{number}", session=f"s{number % 2}") for number in range(6)]
    for number, verdict, second in spoken:
        text = f"another text {second}" if verdict == "edited" and second else None
        events.append(said(verdict, f"c{number}", after_s=second, text=text))
    pairs, rejected, _ = collected(tmp_path, events)
    ids = [pair.id for pair in pairs] + [one.id for one in rejected]
    assert sorted(ids) == sorted({f"c{number}" for number, _, _ in spoken})
    order.shuffle(events)
    assert collected(tmp_path, events)[:2] == (pairs, rejected)
