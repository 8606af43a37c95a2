"""The documented row rules of consumers that are too heavy, or too far away, to run here; each written down by itself.

None of our own checks are used: what stands here must come from the consumers' documents alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.training_rows import REQUESTS, make_pair, make_pairs, rows_of

from flowai.finetune.export.trainer_configs import TrainingSetInfo, trainer_configs
from flowai.finetune.formats.catalog import FormatName, encode_row

if TYPE_CHECKING:
    from flowai.finetune.formats.catalog import TrainingRow

PAIRS = make_pairs(60)


def read(name: FormatName) -> list[TrainingRow]:
    """Return rows as a consumer reads them: from their lines."""
    return [json.loads(encode_row(row)) for row in rows_of(name, PAIRS)]


def cookbook_errors(row: TrainingRow) -> list[str]:
    """Check a chat row without tools.

    Source: OpenAI cookbook, "Data preparation and analysis for chat model fine-tuning", format validation.
    """
    messages = row.get("messages")
    if not messages:
        return ["missing_messages_list"]
    errors = []
    for message in messages:
        if not {"role", "content"} <= message.keys():
            errors.append("message_missing_key")
        if message.keys() - {"role", "content", "name", "function_call", "weight"}:
            errors.append("message_unrecognized_key")
        if message.get("role") not in {"system", "user", "assistant", "function"}:
            errors.append("unrecognized_role")
        if not isinstance(message.get("content"), str) or not message["content"]:
            errors.append("missing_content")
    if not any(message.get("role") == "assistant" for message in messages):
        errors.append("example_missing_assistant_message")
    return errors


def test_openai_cookbook_finds_nothing_in_rows_without_tools() -> None:
    plain = [row for row in read("openai") if not any(message["role"] == "tool" for message in row["messages"])]
    assert len(plain) >= 20
    assert [error for row in plain for error in cookbook_errors(row)] == []


OPENAI_KEYS = {
    "system": ({"role", "content"}, {"name"}),
    "user": ({"role", "content"}, {"name"}),
    "assistant": ({"role"}, {"content", "name", "weight", "tool_calls", "refusal", "audio", "function_call"}),
    "tool": ({"role", "content", "tool_call_id"}, set[str]()),
}
"""Keys a message must have and may have, by role. Source: OpenAI's OpenAPI document, the chat request messages."""


def assert_openai_message(message: dict[str, Any]) -> None:
    must, may = OPENAI_KEYS[message["role"]]
    assert must <= message.keys() <= must | may
    assert None not in message.values()
    assert isinstance(message.get("content", ""), str)
    assert message.get("weight", 1) in (0, 1)
    for call in message.get("tool_calls", []):
        assert call.keys() == {"id", "type", "function"}
        assert call["type"] == "function"
        assert call["function"].keys() == {"name", "arguments"}
        assert isinstance(json.loads(call["function"]["arguments"]), dict)


def test_openai_chat_rows_follow_the_api_document() -> None:
    for row in read("openai"):
        assert row.keys() == {"messages"}
        for message in row["messages"]:
            assert_openai_message(message)
        trained = [message for message in row["messages"] if message.get("weight") == 1]
        assert trained == [row["messages"][-1]]
        assert trained[0]["content"].strip()


def test_openai_preference_rows_follow_the_api_document() -> None:
    rows = read("openai-dpo")
    assert len(rows) >= 20
    for row in rows:
        assert row.keys() == {"input", "preferred_output", "non_preferred_output"}
        for message in row["input"]["messages"]:
            assert_openai_message(message)
            assert "weight" not in message
        assert row["input"]["messages"][-1]["role"] != "assistant"
        for output in (row["preferred_output"], row["non_preferred_output"]):
            assert [message["role"] for message in output] == ["assistant"]
            assert output[0]["content"].strip()


def llamafactory_reads(row: TrainingRow, entry: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Read a row as LLaMA-Factory's sharegpt format does: what is asked, and what is learned after each.

    Source: LLaMA-Factory, data/README.md: human and observation in odd places, gpt and function_call in even ones.
    """
    columns, tags = entry["columns"], entry["tags"]
    turns = row[columns["messages"]]
    assert isinstance(row[columns["system"]], str)
    asking = {tags["user_tag"], tags["observation_tag"]}
    answering = {tags["assistant_tag"], tags["function_tag"]}
    assert len(turns) % 2 == 0
    for index, turn in enumerate(turns):
        assert turn.keys() == {tags["role_tag"], tags["content_tag"]}
        assert turn[tags["role_tag"]] in (answering if index % 2 else asking)
        if turn[tags["role_tag"]] == tags["function_tag"]:
            calls = json.loads(turn[tags["content_tag"]])
            for call in calls if isinstance(calls, list) else [calls]:
                assert isinstance(call["name"], str)
                assert isinstance(call["arguments"], dict)
    texts = [turn[tags["content_tag"]] for turn in turns]
    return texts[::2], texts[1::2]


def test_llamafactory_drops_no_row_and_learns_from_each() -> None:
    info = json.loads(
        trainer_configs("llamafactory", TrainingSetInfo(files={"train": "t.jsonl"}, dataset="d"))["dataset_info.json"]
    )
    entry = info["d_train"]
    assert entry["formatting"] == "sharegpt"
    rows = read("llamafactory")
    assert len(rows) >= 20
    for row in rows:
        asked, learned = llamafactory_reads(row, entry)
        assert len(asked) == len(learned)
        assert learned[-1].strip(), "with mask_history the last answer is the one that is learned"


def test_axolotl_rows_say_of_every_message_whether_it_is_learned() -> None:
    """Source: Axolotl, "Conversation": chat_template with message_field_training; roles as chat templates know them."""
    for row in read("axolotl"):
        for message in row["messages"]:
            assert message["role"] in {"system", "user", "assistant", "tool"}
            assert isinstance(message["content"], str)
            assert isinstance(message["training"], bool)
            for call in message.get("tool_calls", []):
                assert isinstance(call["function"]["arguments"], dict)
        assert [message["training"] for message in row["messages"]].count(True) == 1
        assert row["messages"][-1]["training"]
        assert row["messages"][-1]["content"].strip()


@pytest.mark.parametrize("name", ["trl", "trl-dpo", "kto"])
def test_trl_rows_are_conversational_of_one_type(name: FormatName) -> None:
    """Source: TRL, "Dataset formats and types": prompt-completion, preference, unpaired preference."""
    answers = {"trl": ["completion"], "trl-dpo": ["chosen", "rejected"], "kto": ["completion"]}[name]
    for row in read(name):
        assert row["prompt"][-1]["role"] in {"user", "tool"}
        for answer in answers:
            assert [message["role"] for message in row[answer]] == ["assistant"]
        assert isinstance(row.get("label", True), bool)


@pytest.mark.parametrize("request_index", range(len(REQUESTS)))
@pytest.mark.parametrize("name", ["openai", "openai-dpo", "trl", "trl-dpo", "kto", "axolotl", "llamafactory"])
def test_every_format_holds_every_ordinary_request(name: FormatName, request_index: int) -> None:
    assert rows_of(name, [make_pair(REQUESTS[request_index], edit="Better.")])
