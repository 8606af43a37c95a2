"""Formats: each row is what its consumer documents, holds the answer that was judged, and is the same to the byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.training_rows import (
    CALL,
    SEVERAL_TURNS,
    WITH_OTHER_TOOL,
    WITH_SYSTEM,
    WITH_TOOLS,
    make_pair,
    make_pairs,
    row_of,
    rows_of,
)

from flowai.errors import UsageError
from flowai.finetune.check.rows import check_row, detect_format
from flowai.finetune.formats.catalog import FORMAT_NAMES, FORMATS, FormatName, encode_row, find_format
from flowai.finetune.formats.conversation import FormatViolation

if TYPE_CHECKING:
    from flowai.finetune.records import Pair, UserVerdict

IMITATING: tuple[FormatName, ...] = ("openai", "trl", "axolotl", "llamafactory")
PREFERRING: tuple[FormatName, ...] = ("openai-dpo", "trl-dpo")


def unfit(name: FormatName, pair: Pair) -> str:
    """Return the rule by which a format refuses a pair."""
    made = FORMATS[name].rows(pair)
    assert isinstance(made, FormatViolation), made
    return made.rule


def test_openai_trains_only_the_judged_answer() -> None:
    row = row_of("openai", SEVERAL_TURNS)
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert [message.get("weight") for message in row["messages"]] == [None, None, 0, None, 1]
    assert row["messages"][-1]["content"] == "To the North Sea."


def test_openai_keeps_tool_calls_as_the_api_writes_them() -> None:
    messages = row_of("openai", WITH_TOOLS)["messages"]
    assert messages[2] == {"role": "assistant", "content": "", "weight": 0, "tool_calls": [CALL]}
    assert messages[3] == {"role": "tool", "content": "North Sea", "tool_call_id": "call_1"}


def test_chat_templates_get_arguments_as_values() -> None:
    columns: dict[FormatName, str] = {"trl": "prompt", "trl-dpo": "prompt", "kto": "prompt", "axolotl": "messages"}
    for name, column in columns.items():
        call = row_of(name, WITH_TOOLS)[column][2]["tool_calls"][0]
        assert call["function"]["arguments"] == {"city": "Zürich", "n": 3}


def test_a_preference_holds_the_edit_over_the_answer() -> None:
    pair = make_pair(output="worse", edit="better")
    assert rows_of("openai-dpo", [pair])[0] == {
        "input": {"messages": list(WITH_SYSTEM)},
        "preferred_output": [{"role": "assistant", "content": "better"}],
        "non_preferred_output": [{"role": "assistant", "content": "worse"}],
    }
    row = rows_of("trl-dpo", [pair])[0]
    assert row["chosen"][0]["content"] == "better"
    assert row["rejected"][0]["content"] == "worse"


@pytest.mark.parametrize(
    ("pair", "labels"),
    [
        (make_pair(output="a"), [("a", True)]),
        (make_pair(output="a", opinion="rejected"), [("a", False)]),
        (make_pair(output="a", edit="b"), [("b", True), ("a", False)]),
    ],
    ids=["accepted", "rejected", "edited"],
)
def test_kto_labels_every_answer_by_itself(pair: Pair, labels: list[tuple[str, bool]]) -> None:
    assert [(row["completion"][0]["content"], row["label"]) for row in rows_of("kto", [pair])] == labels


def test_axolotl_says_of_each_message_whether_it_is_learned() -> None:
    row = row_of("axolotl", WITH_OTHER_TOOL)
    assert [message["training"] for message in row["messages"]] == [False] * 5 + [True]


def test_llamafactory_alternates_and_writes_calls_as_json() -> None:
    row = row_of("llamafactory", WITH_TOOLS)
    assert row["system"] == "Answer in one line."
    assert [turn["from"] for turn in row["conversations"]] == ["human", "function_call", "observation", "gpt"]
    call = json.loads(row["conversations"][1]["value"])
    assert call == {"name": "look_up", "arguments": {"city": "Zürich", "n": 3}}


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_every_row_has_the_columns_of_its_format(name: FormatName) -> None:
    for row in rows_of(name, make_pairs(40)):
        assert list(row) == list(FORMATS[name].columns)


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_our_own_rows_pass_our_own_check_and_are_known(name: FormatName) -> None:
    rows = rows_of(name, make_pairs(40))
    assert rows
    for row in rows:
        assert detect_format(row) == name
        assert [found.rule for found in check_row(name, row) if found.rule != "roles/together"] == []


def test_parts_of_text_are_one_text_and_a_developer_is_the_system() -> None:
    parts = [{"type": "text", "text": "Where does "}, {"type": "text", "text": "it go?"}]
    request = ({"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts})
    assert row_of("trl", request)["prompt"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where does it go?"},
    ]


@pytest.mark.parametrize(
    "arguments", ['{"a": "\\ud800"}', '{"a": NaN}', '{"a": 1e999}', '{"a": 1, "a": 2}', '"text"', ""]
)
def test_arguments_that_only_python_reads_reach_no_row(arguments: str) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    pair = make_pair((USER, {"role": "assistant", "tool_calls": [call]}, RESULT), edit="b")
    for name in FORMAT_NAMES:
        made = FORMATS[name].rows(pair)
        if arguments:
            assert isinstance(made, FormatViolation)
            assert made.rule == "tools/arguments"
        else:
            assert not isinstance(made, FormatViolation), "no arguments are an empty object"


ASSISTANT = {"role": "assistant", "content": "a"}
USER = {"role": "user", "content": "u"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "r"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    ("messages", "rule"),
    [
        ([{"role": "narrator", "content": "x"}], "role/unknown"),
        ([{"role": ["user"], "content": "x"}], "role/unknown"),
        ([{"role": "user", "content": " \n"}], "content/empty"),
        ([{"role": "user"}], "content/empty"),
        ([{"role": "user", "content": {"text": "x"}}], "content/part"),
        ([{"role": "user", "content": [IMAGE]}], "content/part"),
        ([{"role": "user", "content": "\ud83d"}], "json/surrogate"),
        ([USER, ASSISTANT], "roles/order"),
        ([USER, ASSISTANT, ASSISTANT, USER], "roles/order"),
        ([USER, RESULT], "tools/without_call"),
        ([USER, CALLING, USER], "tools/unanswered"),
        ([USER, CALLING], "roles/order"),
        ([USER, {"role": "assistant", "tool_calls": [CALL, CALL]}, RESULT], "tools/duplicate_id"),
        ([USER, {"role": "assistant", "tool_calls": [{"id": "c"}]}, RESULT], "tools/call"),
        ([USER, {"role": "assistant", "tool_calls": [{**CALL, "id": None}]}, RESULT], "tools/call"),
        (
            [USER, {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "["}}]}],
            "tools/arguments",
        ),
        (
            [USER, {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": [1]}}]}],
            "tools/arguments",
        ),
    ],
)
def test_requests_that_no_format_can_represent_are_named(messages: list[dict[str, Any]], rule: str) -> None:
    for name in FORMAT_NAMES:
        assert unfit(name, make_pair(tuple(messages), edit="b")) == rule


@pytest.mark.parametrize("name", IMITATING)
def test_a_rejected_answer_is_not_imitated(name: FormatName) -> None:
    assert unfit(name, make_pair(opinion="rejected")) == "answer/rejected"


@pytest.mark.parametrize("name", PREFERRING)
def test_only_an_edit_is_a_preference(name: FormatName) -> None:
    assert unfit(name, make_pair()) == "answer/no_edit"
    assert unfit(name, make_pair(output="a", edit="a ")) == "preference/same"
    assert unfit(name, make_pair(output="", edit="a")) == "content/empty"


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("edit", ["", " \n\t", "\udc00"])
def test_an_answer_without_a_token_to_learn_is_no_row(name: FormatName, edit: str) -> None:
    assert unfit(name, make_pair(edit=edit)) in {"content/empty", "json/surrogate"}


def test_templates_want_one_system_message_at_the_top_and_a_question() -> None:
    late = (USER, {"role": "system", "content": "late"}, USER)
    alone = ({"role": "system", "content": "Write a poem."},)
    assert not isinstance(FORMATS["openai"].rows(make_pair(late)), FormatViolation)
    assert not isinstance(FORMATS["openai"].rows(make_pair(alone)), FormatViolation)
    for name in ("trl", "kto", "axolotl", "llamafactory"):
        assert unfit(name, make_pair(late)) == "roles/system"
        assert unfit(name, make_pair(alone)) == "roles/no_request"


def test_llamafactory_accepts_neither_two_users_in_a_row_nor_calls_with_a_text() -> None:
    assert unfit("llamafactory", make_pair((USER, USER))) == "roles/order"
    talking = (USER, {**CALLING, "content": "Let me look."}, RESULT)
    assert unfit("llamafactory", make_pair(talking)) == "tools/with_text"
    two = {"role": "assistant", "tool_calls": [CALL, {**CALL, "id": "call_2"}]}
    several = (USER, two, RESULT, {**RESULT, "tool_call_id": "call_2"})
    assert unfit("llamafactory", make_pair(several)) == "roles/order"
    assert not isinstance(FORMATS["trl"].rows(make_pair(several)), FormatViolation)


def test_a_line_is_one_line_for_every_reader() -> None:
    line = encode_row({"text": "a\u2028b\u2029c\x85d\ne\r"})
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line) == {"text": "a\u2028b\u2029c\x85d\ne\r"}
    assert line.endswith(b"}\n")


def test_an_unknown_format_is_named_with_its_neighbour() -> None:
    with pytest.raises(UsageError, match="found `trl-kto`") as caught:
        find_format("trl-kto")
    assert caught.value.hint is not None
    assert "llamafactory" in caught.value.hint


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", ""]),
            "content": st.one_of(st.none(), st.text(max_size=8), st.lists(st.just({"type": "text", "text": "p"}))),
        },
        optional={
            "tool_calls": st.lists(st.sampled_from([CALL, {**CALL, "id": "call_2"}, {"id": 3}]), max_size=2),
            "tool_call_id": st.sampled_from(["call_1", "call_2"]),
            "name": st.text(max_size=3),
        },
    ),
    min_size=1,
    max_size=6,
)
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(["answer", "\ud800", "\u2028"]))
OPINIONS = st.sampled_from(["accepted", "edited", "rejected"])


@pytest.mark.parametrize("name", FORMAT_NAMES)
@given(messages=MESSAGES, output=TEXTS, edit=TEXTS, opinion=OPINIONS)
def test_whatever_the_pair_its_rows_pass_the_check_or_the_reason_has_a_name(
    name: FormatName, messages: list[dict[str, Any]], output: str, edit: str, opinion: UserVerdict
) -> None:
    pair = make_pair(tuple(messages), output=output, opinion=opinion, edit=edit if opinion == "edited" else None)
    made = FORMATS[name].rows(pair)
    if isinstance(made, FormatViolation):
        assert made.rule
        assert made.detail
        return
    for row in made:
        assert json.loads(encode_row(row)) == row
        rules = {found.rule for found in check_row(name, row)} - {"roles/together", "roles/repeated"}
        assert rules == set(), row


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_the_same_pairs_give_the_same_bytes(name: FormatName) -> None:
    once = [encode_row(row) for row in rows_of(name, make_pairs(20))]
    assert once == [encode_row(row) for row in rows_of(name, make_pairs(20))]
