"""`finetune check`: every kind of broken row is found by its rule and line; a good file of any format passes."""

from __future__ import annotations

import copy
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training_rows import CALL, WITH_TOOLS, make_pairs, row_of, rows_of

from flowai.errors import DatasetError
from flowai.finetune.check import lines as check_lines
from flowai.finetune.check.checker import CheckOptions, check_content, check_file
from flowai.finetune.check.lines import read_line
from flowai.finetune.check.records import ERRORS, RULES, WARNINGS
from flowai.finetune.check.rows import check_row, detect_format
from flowai.finetune.export.token_counts import TrainingTokenCounter, row_bytes
from flowai.finetune.formats.catalog import FORMAT_NAMES, FormatName, encode_row
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.finetune.check.records import CheckReport

    Breaks = Callable[[Any], object]

OPENAI = row_of("openai")
OPENAI_TOOLS = row_of("openai", WITH_TOOLS)
OPENAI_DPO = row_of("openai-dpo")
TRL = row_of("trl")
TRL_TOOLS = row_of("trl", WITH_TOOLS)
TRL_DPO = row_of("trl-dpo")
KTO = row_of("kto")
AXOLOTL = row_of("axolotl")
SHAREGPT = row_of("llamafactory")
SHAREGPT_TOOLS = row_of("llamafactory", WITH_TOOLS)

USER = {"role": "user", "content": "u"}
ANSWER = {"role": "assistant", "content": "a"}
TEXT_ROW = {"text": "one text to learn"}
CHAT_ROW = {"messages": [USER, ANSWER]}
STRING_ROW = {"prompt": "The sky is", "completion": " blue."}
WHOLE_CHATS = {"chosen": [USER, ANSWER], "rejected": [dict(USER), {"role": "assistant", "content": "b"}]}
ALPACA = {"instruction": "Sum up.", "input": "", "output": "Done.", "history": [["q", "a"]], "system": "s"}
RANKED = {
    "conversations": [{"from": "human", "value": "q"}],
    "chosen": {"from": "gpt", "value": "a"},
    "rejected": {"from": "gpt", "value": "b"},
}
SHAREGPT_KTO = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "kto_tag": True}
SEEN = {
    "role": "user",
    "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "u"}}],
}
TOOL_ROW = {
    "messages": [USER, {"role": "assistant", "tool_calls": [CALL], "weight": 1}],
    "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {}}}],
    "parallel_tool_calls": False,
}

GOOD: list[tuple[FormatName, dict[str, Any]]] = [
    ("openai", {"messages": [SEEN, ANSWER]}),
    ("openai", {"messages": [{"role": "developer", "content": "d"}, USER, {**ANSWER, "name": "bot"}]}),
    ("openai", {"messages": [USER, {"role": "assistant", "content": None, "refusal": "no"}]}),
    ("openai", TOOL_ROW),
    ("openai-dpo", {**OPENAI_DPO, "input": {**OPENAI_DPO["input"], "tools": [], "parallel_tool_calls": True}}),
    ("trl", TEXT_ROW),
    ("trl", STRING_ROW),
    ("trl", CHAT_ROW),
    ("trl", {**TRL, "id": 7, "source": None}),
    ("trl", {"prompt": [USER], "completion": [{"role": "assistant", "content": "", "tool_calls": [CALL]}]}),
    ("trl-dpo", WHOLE_CHATS),
    ("trl-dpo", {"prompt": "p", "chosen": "a", "rejected": "b"}),
    ("kto", {"prompt": "p", "completion": "a", "label": False}),
    ("axolotl", {"messages": [USER, {**ANSWER, "training": True}]}),
    ("axolotl", CHAT_ROW),
    ("llamafactory", ALPACA),
    ("llamafactory", RANKED),
    ("llamafactory", SHAREGPT_KTO),
    ("llamafactory", {"conversations": SHAREGPT["conversations"], "tools": '[{"name": "look_up"}]'}),
]


def put(*way: str | int, value: Any) -> Breaks:
    """Set a value by its path."""

    def breaks(row: Any) -> None:
        for step in way[:-1]:
            row = row[step]
        row[way[-1]] = value

    return breaks


def drop(*way: str | int) -> Breaks:
    def breaks(row: Any) -> None:
        for step in way[:-1]:
            row = row[step]
        del row[way[-1]]

    return breaks


def insert(*way: str | int, value: Any) -> Breaks:
    def breaks(row: Any) -> None:
        for step in way[:-1]:
            row = row[step]
        row.insert(way[-1], value)

    return breaks


def function(**changes: Any) -> dict[str, Any]:
    return {**CALL, "function": {**CALL["function"], **changes}}  # type: ignore[dict-item]


BROKEN: list[tuple[FormatName, dict[str, Any], Breaks, str]] = [
    # columns
    ("openai", OPENAI, drop("messages"), "row/missing_key"),
    ("openai", OPENAI, put("extra", value=1), "row/unknown_key"),
    ("openai", OPENAI, put("messages", value="hello"), "row/key_type"),
    ("openai", OPENAI, put("messages", value=[]), "messages/empty"),
    ("openai-dpo", OPENAI_DPO, drop("input"), "row/missing_key"),
    ("openai-dpo", OPENAI_DPO, drop("input", "messages"), "row/missing_key"),
    ("openai-dpo", OPENAI_DPO, put("input", value=[USER]), "row/key_type"),
    ("openai-dpo", OPENAI_DPO, put("note", value="x"), "row/unknown_key"),
    ("trl", TRL, drop("completion"), "row/missing_key"),
    ("trl", TRL, drop("prompt"), "row/missing_key"),
    ("trl", TRL, put("completion", value="as text"), "row/key_type"),
    ("trl", STRING_ROW, put("prompt", value=3), "row/key_type"),
    ("trl", TEXT_ROW, put("text", value=["x"]), "row/key_type"),
    ("trl-dpo", TRL_DPO, drop("rejected"), "row/missing_key"),
    ("kto", KTO, drop("label"), "row/missing_key"),
    ("kto", KTO, drop("completion"), "row/missing_key"),
    ("axolotl", AXOLOTL, put("messages", value={"role": "user"}), "row/key_type"),
    ("llamafactory", SHAREGPT, drop("conversations"), "row/missing_key"),
    ("llamafactory", SHAREGPT, put("conversations", value="x"), "row/key_type"),
    ("llamafactory", SHAREGPT, put("conversations", value=[]), "messages/empty"),
    ("llamafactory", SHAREGPT, put("system", value=["x"]), "row/key_type"),
    ("llamafactory", ALPACA, drop("output"), "row/missing_key"),
    ("llamafactory", ALPACA, put("input", value=3), "row/key_type"),
    # a message's shape
    ("openai", OPENAI, put("messages", 1, value="hi"), "message/type"),
    ("openai", OPENAI, put("messages", 1, "mood", value="good"), "message/unknown_key"),
    ("openai", OPENAI, drop("messages", 1, "role"), "role/missing"),
    ("openai", OPENAI, put("messages", 1, "role", value=None), "role/type"),
    ("openai", OPENAI, put("messages", 1, "role", value="human"), "role/unknown"),
    ("openai", OPENAI, drop("messages", 1, "content"), "content/missing"),
    ("openai", OPENAI, put("messages", 1, "content", value=None), "content/null"),
    ("openai", OPENAI, put("messages", 1, "content", value=3), "content/type"),
    ("openai", OPENAI, put("messages", 1, "content", value=[{"type": "video"}]), "content/part"),
    ("openai", OPENAI, put("messages", 1, "content", value=[{"type": "text"}]), "content/part"),
    ("openai", OPENAI, put("messages", 1, "content", value=["text"]), "content/part"),
    ("openai", OPENAI, put("messages", 1, "content", value=[]), "content/empty"),
    ("openai", OPENAI, put("messages", 1, "content", value="  \n"), "content/empty"),
    ("openai", OPENAI, put("messages", -1, "content", value=""), "content/empty"),
    ("trl", TRL, put("prompt", 0, value=7), "message/type"),
    ("trl", TRL, put("prompt", 0, "role", value="function"), "role/unknown"),
    ("trl", TRL, put("completion", 0, "content", value=""), "content/empty"),
    ("trl", TRL, put("prompt", 1, "content", value=SEEN["content"]), "content/part"),
    ("trl", STRING_ROW, put("completion", value=" "), "content/empty"),
    ("trl", TRL, put("completion", value=[]), "messages/empty"),
    ("axolotl", AXOLOTL, put("messages", -1, "content", value="\t"), "content/empty"),
    ("llamafactory", SHAREGPT, put("conversations", 0, value="x"), "message/type"),
    ("llamafactory", SHAREGPT, put("conversations", 0, value={"value": "x"}), "role/missing"),
    ("llamafactory", SHAREGPT, put("conversations", 0, "from", value=1), "role/type"),
    ("llamafactory", SHAREGPT, put("conversations", 0, "from", value="user"), "role/unknown"),
    ("llamafactory", SHAREGPT, drop("conversations", 0, "value"), "content/missing"),
    ("llamafactory", SHAREGPT, put("conversations", 0, "value", value=None), "content/null"),
    ("llamafactory", SHAREGPT, put("conversations", 0, "value", value=["x"]), "content/type"),
    ("llamafactory", SHAREGPT, put("conversations", -1, "value", value=""), "content/empty"),
    ("llamafactory", ALPACA, put("output", value=" "), "content/empty"),
    ("llamafactory", ALPACA, put("history", value=[["only a question"]]), "history/pairs"),
    # order
    ("openai", OPENAI, lambda row: row["messages"].pop(), "roles/last"),
    ("openai", {"messages": [USER, ANSWER]}, drop("messages", 1), "roles/no_answer"),
    ("openai", {"messages": [USER, ANSWER]}, drop("messages", 0), "roles/no_request"),
    ("openai", OPENAI, insert("messages", 3, value=ANSWER), "roles/order"),
    ("openai-dpo", OPENAI_DPO, insert("input", "messages", 9, value=ANSWER), "roles/order"),
    ("trl", TRL, insert("prompt", 2, value={"role": "system", "content": "late"}), "roles/system"),
    ("trl", TRL, insert("prompt", 9, value=ANSWER), "roles/order"),
    ("trl", TRL, put("prompt", value=[{"role": "system", "content": "x"}]), "roles/no_request"),
    ("trl", CHAT_ROW, drop("messages", 1), "roles/no_answer"),
    ("trl-dpo", TRL_DPO, insert("prompt", 9, value=ANSWER), "roles/order"),
    ("axolotl", AXOLOTL, insert("messages", 9, value=USER), "roles/last"),
    ("llamafactory", SHAREGPT, drop("conversations", 0), "roles/order"),
    ("llamafactory", SHAREGPT, drop("conversations", -1), "roles/last"),
    ("llamafactory", SHAREGPT, insert("conversations", 2, value={"from": "system", "value": "x"}), "roles/system"),
    ("llamafactory", RANKED, insert("conversations", 1, value={"from": "gpt", "value": "x"}), "roles/last"),
    # what is trained
    ("openai", OPENAI, put("messages", -1, "weight", value=0), "trained/none"),
    ("openai", OPENAI, put("messages", -1, "weight", value=0.5), "weight/value"),
    ("openai", OPENAI, put("messages", -1, "weight", value=1.0), "weight/value"),
    ("openai", OPENAI, put("messages", -1, "weight", value=True), "weight/value"),
    ("openai", OPENAI, put("messages", 1, "weight", value=1), "weight/role"),
    ("axolotl", AXOLOTL, put("messages", -1, "training", value=False), "trained/none"),
    ("axolotl", AXOLOTL, put("messages", -1, "training", value="yes"), "training/type"),
    # tools
    ("openai", OPENAI_TOOLS, put("messages", 2, "tool_calls", value=[]), "tools/calls"),
    ("openai", OPENAI_TOOLS, put("messages", 2, "tool_calls", value={"id": "x"}), "tools/calls"),
    ("openai", OPENAI_TOOLS, put("messages", 1, "tool_calls", value=[CALL]), "tools/calls"),
    ("openai", OPENAI_TOOLS, drop("messages", 2, "tool_calls", 0, "id"), "tools/call"),
    ("openai", OPENAI_TOOLS, drop("messages", 2, "tool_calls", 0, "type"), "tools/call"),
    ("openai", OPENAI_TOOLS, drop("messages", 2, "tool_calls", 0, "function"), "tools/call"),
    ("openai", OPENAI_TOOLS, put("messages", 2, "tool_calls", 0, value=function(name="")), "tools/call"),
    ("openai", OPENAI_TOOLS, put("messages", 2, "tool_calls", 0, value=function(arguments={})), "tools/arguments"),
    ("openai", OPENAI_TOOLS, put("messages", 2, "tool_calls", 0, value=function(arguments="{")), "tools/arguments"),
    ("openai", OPENAI_TOOLS, put("messages", 2, "tool_calls", value=[CALL, CALL]), "tools/duplicate_id"),
    ("openai", OPENAI_TOOLS, put("messages", 3, "tool_call_id", value="other"), "tools/without_call"),
    ("openai", OPENAI_TOOLS, drop("messages", 3, "tool_call_id"), "tools/without_call"),
    ("openai", OPENAI_TOOLS, drop("messages", 3), "tools/unanswered"),
    ("openai", TOOL_ROW, put("tools", value={"name": "x"}), "tools/definition"),
    ("openai", TOOL_ROW, drop("tools", 0, "function", "name"), "tools/definition"),
    ("trl", TRL_TOOLS, put("prompt", 2, "tool_calls", 0, value=function(arguments=[1])), "tools/arguments"),
    ("trl", TRL_TOOLS, drop("prompt", 3), "roles/order"),
    ("trl", {**TRL, "tools": "[]"}, put("tools", value="not json"), "tools/definition"),
    ("llamafactory", SHAREGPT_TOOLS, put("conversations", 1, "value", value="look_up()"), "tools/arguments"),
    ("llamafactory", SHAREGPT_TOOLS, put("conversations", 1, "value", value='{"arguments": {}}'), "tools/call"),
    ("llamafactory", SHAREGPT_TOOLS, put("conversations", 1, "value", value='{"name": "f"}'), "tools/arguments"),
    # preferences and labels
    ("openai-dpo", OPENAI_DPO, put("preferred_output", value=[]), "output/count"),
    ("openai-dpo", OPENAI_DPO, put("preferred_output", value=[ANSWER, ANSWER]), "output/count"),
    ("openai-dpo", OPENAI_DPO, put("preferred_output", value=ANSWER), "row/key_type"),
    ("openai-dpo", OPENAI_DPO, put("preferred_output", value=[USER]), "output/role"),
    ("openai-dpo", OPENAI_DPO, put("preferred_output", value=OPENAI_DPO["non_preferred_output"]), "preference/same"),
    ("trl-dpo", TRL_DPO, put("chosen", value=TRL_DPO["rejected"]), "preference/same"),
    ("trl-dpo", TRL_DPO, put("chosen", value=[USER]), "output/role"),
    ("trl-dpo", TRL_DPO, put("chosen", value="as text"), "row/key_type"),
    ("trl-dpo", WHOLE_CHATS, put("rejected", 0, "content", value="another question"), "preference/prompt"),
    ("trl-dpo", WHOLE_CHATS, drop("chosen", 1), "roles/no_answer"),
    ("kto", KTO, put("label", value="true"), "label/type"),
    ("kto", KTO, put("label", value=1), "label/type"),
    ("kto", KTO, put("label", value=None), "label/type"),
    ("llamafactory", SHAREGPT_KTO, put("kto_tag", value="yes"), "label/type"),
    ("llamafactory", RANKED, put("chosen", value=RANKED["rejected"]), "preference/same"),
    ("llamafactory", RANKED, put("chosen", "from", value="human"), "output/role"),
]


def check(tmp_path: Path, data: bytes, **options: Any) -> CheckReport:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(data)
    return check_file(file, "rows.jsonl", CheckOptions(**options))


def rules(report: CheckReport, level: str = "error") -> set[str]:
    return {rule.rule for rule in report.rules if rule.level == level}


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(encode_row(row) for row in rows)


def test_the_table_covers_what_a_row_can_break() -> None:
    assert len(BROKEN) >= 100
    of_rows = {rule for rule in ERRORS if not rule.startswith(("file/", "line/", "json/", "tokens/"))}
    shown_elsewhere = {"row/not_object", "row/other_format", "row/type_changes"}
    assert of_rows - shown_elsewhere == {rule for *_, rule in BROKEN}


@pytest.mark.parametrize(
    ("name", "good", "breaks", "rule"),
    BROKEN,
    ids=[f"{name}-{rule}-{number}" for number, (name, *_, rule) in enumerate(BROKEN)],
)
def test_a_broken_row_is_found_with_line_and_rule(
    tmp_path: Path, name: FormatName, good: dict[str, Any], breaks: Breaks, rule: str
) -> None:
    broken = copy.deepcopy(good)
    breaks(broken)
    report = check(tmp_path, lines(*([good] * 12), broken, good), format=name)
    found = {problem.rule for problem in report.problems if problem.level == "error"}
    assert rule in found
    assert {problem.line for problem in report.problems if problem.level == "error"} == {13}
    assert report.broken_row_count == 1
    assert found <= {rule, "row/type_changes"}, "one fault, one rule"


@pytest.mark.parametrize(("name", "good", "breaks", "rule"), BROKEN[::7])
def test_the_format_is_detected(
    tmp_path: Path, name: FormatName, good: dict[str, Any], breaks: Breaks, rule: str
) -> None:
    broken = copy.deepcopy(good)
    breaks(broken)
    report = check(tmp_path, lines(broken, *([good] * 12)))
    if detect_format(good) == name:
        assert report.format == name
        assert rule in rules(report)


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_good_files_of_every_format_raise_nothing(tmp_path: Path, name: FormatName) -> None:
    report = check(tmp_path, lines(*rows_of(name, make_pairs(40))))
    assert report.format == name
    assert report.format_source == "detected"
    assert report.error_count == 0
    assert report.broken_row_count == 0
    assert rules(report, "warning") <= {"roles/together"}
    assert report.row_count == len(rows_of(name, make_pairs(40)))


@pytest.mark.parametrize(("name", "row"), GOOD)
def test_other_good_rows_raise_nothing(tmp_path: Path, name: FormatName, row: dict[str, Any]) -> None:
    report = check(tmp_path, lines(*([row] * 12)), format=name)
    assert rules(report) == set()
    assert rules(report, "warning") <= {"roles/together", "file/one_label"}


HEAD = json.dumps(OPENAI).encode() + b"\n"
DEEP = b'{"messages": ' + b"[" * 70 + b"]" * 70 + b"}\n"
LINES: list[tuple[bytes, str]] = [
    (b"\xff\xfe{}\n", "line/not_utf8"),
    (HEAD[:40] + b"\n", "json/syntax"),
    (b"{'messages': []}\n", "json/syntax"),
    (b'{"messages": [],}\n', "json/syntax"),
    (b'{"messages": "a\tb"}\n', "json/syntax"),
    (b"plain text\n", "json/syntax"),
    (HEAD.strip() + HEAD, "json/trailing"),
    (HEAD.strip() + b",\n", "json/trailing"),
    (b'{"messages": NaN}\n', "json/nan"),
    (b'{"messages": -Infinity}\n', "json/nan"),
    (b'{"messages": [], "messages": []}\n', "json/duplicate_key"),
    (b'{"messages": [{"role": "user", "role": "user"}]}\n', "json/duplicate_key"),
    (b'{"n": 1' + b"0" * 30 + b"}\n", "json/huge_number"),
    (b'{"n": ' + b"9" * 5000 + b"}\n", "json/huge_number"),
    (b'{"n": 1e999}\n', "json/huge_number"),
    (b'{"text": "\\ud83d"}\n', "json/surrogate"),
    (b'{"\\udc00": 1}\n', "json/surrogate"),
    (DEEP, "json/too_deep"),
    (b"[" * 100_000 + b"\n", "json/too_deep"),
    (b"[]\n", "row/not_object"),
    (b"null\n", "row/not_object"),
    (b'"text"\n', "row/not_object"),
    (b"3\n", "row/not_object"),
    (b"{}\n", "row/missing_key"),
    (b"\n", "line/blank"),
    (b" \t \n", "line/blank"),
]


@pytest.mark.parametrize(("raw", "rule"), LINES, ids=[f"{rule}-{index}" for index, (_, rule) in enumerate(LINES)])
def test_a_broken_line_is_found_and_ends_nothing(tmp_path: Path, raw: bytes, rule: str) -> None:
    report = check(tmp_path, HEAD * 5 + raw + HEAD * 7)
    errors = [problem for problem in report.problems if problem.level == "error"]
    assert [(problem.line, problem.rule) for problem in errors] == [(6, rule)]
    assert report.row_count == 12 + (rule != "line/blank")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "file/empty"),
        (b"\n\n \n", "file/empty"),
        (b"\xef\xbb\xbf", "file/empty"),
        (b"\x1f\x8b\x08\x00rest", "file/binary"),
        (b"PAR1\x15\x04", "file/binary"),
        (b"PK\x03\x04...", "file/binary"),
        (HEAD + b"\x00\x01" + HEAD, "file/binary"),
        ("{}\n".encode("utf-16"), "file/encoding"),
        (HEAD.decode().encode("utf-16-le"), "file/encoding"),
        (b'[{"messages": []}]', "file/array"),
        (b"[\n  {}\n]", "file/array"),
        (b'{"a": 1}\n{"b": 2}\n', "file/format"),
        (b"instruction,output\nhello,world\n", "file/format"),
    ],
)
def test_other_file_types_are_named(tmp_path: Path, data: bytes, rule: str) -> None:
    report = check(tmp_path, data)
    assert rule in rules(report)
    assert report.format is None


@pytest.mark.parametrize("row", [TRL, SHAREGPT, TRL_DPO], ids=["trl", "llamafactory", "trl-dpo"])
def test_an_array_is_read_where_the_consumer_reads_one(tmp_path: Path, row: dict[str, Any]) -> None:
    whole = json.dumps([row] * 3, indent=2, ensure_ascii=False).encode()
    for data in (whole, b"\xef\xbb\xbf \n" + whole + b"\n", json.dumps([row] * 3).encode()):
        report = check(tmp_path, data)
        assert rules(report) == set()
        assert report.row_count == 3


def test_faults_in_an_array_have_their_line(tmp_path: Path) -> None:
    row = json.dumps(TRL)
    data = f"[\n{row},\n{{}},\n{row[:-1]},\n{row}\n] x".encode()
    report = check(tmp_path, data, format="trl")
    found = [(problem.line, problem.rule) for problem in report.problems if problem.rule != "row/missing_key"]
    assert {problem.line for problem in report.problems if problem.rule == "row/missing_key"} == {3}
    assert [rule for _, rule in found] == ["json/syntax"]
    assert rules(check(tmp_path, f"[\n{row},\n{row}\n] x".encode())) == {"json/trailing"}
    assert rules(check(tmp_path, f"[{row},\n{row}\n".encode())) == {"json/syntax"}
    assert rules(check(tmp_path, f"[{row}, 5]".encode())) == {"row/not_object"}
    assert rules(check(tmp_path, f"[{row}, ]".encode())) == {"json/syntax"}
    assert rules(check(tmp_path, f"[{row}]".encode(), format="openai")) == {"file/array"}


def test_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    report = check(tmp_path, b"\xef\xbb\xbf" + HEAD.replace(b"\n", b"\r\n") * 12)
    assert rules(report) == {"line/bom"}
    assert rules(report, "warning") == {"line/crlf"}
    assert report.broken_row_count == 1
    assert report.warned_row_count == 11
    assert [problem.line for problem in report.problems if problem.rule == "line/crlf"] == [1]


def test_empty_lines_are_only_wrong_in_files_that_are_uploaded(tmp_path: Path) -> None:
    assert rules(check(tmp_path, (lines(TRL) + b"\n") * 12)) == set()
    assert rules(check(tmp_path, lines(*[OPENAI] * 12) + b"\n")) == {"line/blank"}


def test_a_row_of_another_format_is_named(tmp_path: Path) -> None:
    report = check(tmp_path, lines(*[OPENAI] * 12, TRL, SHAREGPT))
    assert rules(report) == {"row/other_format"}
    assert report.broken_row_count == 2


def test_a_column_that_changes_its_type_is_named(tmp_path: Path) -> None:
    rows = [{**TRL, "id": number, "note": None} for number in range(5)]
    report = check(tmp_path, lines(*rows, {**TRL, "id": "six", "note": "x"}))
    assert [(problem.line, problem.rule, problem.key) for problem in report.problems] == [(6, "row/type_changes", "id")]


def test_texts_and_messages_in_one_file_are_two_schemas(tmp_path: Path) -> None:
    assert "row/type_changes" in rules(check(tmp_path, lines(TRL, TRL, STRING_ROW)))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("<|im_end|> <|im_start|>system", "text/control_token"),
        ("[INST] do it [/INST]", "text/control_token"),
        ("\uff1c\uff5cim_end\uff5c\uff1e", "text/control_token"),
        ("key: sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD", "text/secret"),
        ("nul \x00 here", "text/control_character"),
        ("\x1b[31mred", "text/control_character"),
    ],
)
def test_suspicious_text_is_a_warning(tmp_path: Path, text: str, rule: str) -> None:
    row = copy.deepcopy(TRL)
    row["completion"][0]["content"] = text
    report = check(tmp_path, lines(TRL, row))
    assert report.error_count == 0
    assert [(problem.line, problem.rule, problem.key) for problem in report.problems] == [
        (2, rule, "completion[0].content")
    ]
    assert not any(text in problem.problem for problem in report.problems)


@pytest.mark.parametrize("text", ["a < b and c[0] > d", "x | y", "see [1] and <https://example.com>", "tab\tand\nline"])
def test_ordinary_texts_give_no_warning(tmp_path: Path, text: str) -> None:
    row = copy.deepcopy(TRL)
    row["completion"][0]["content"] = text
    assert check(tmp_path, lines(row)).rules == ()


def test_tools_in_arguments_are_searched_too(tmp_path: Path) -> None:
    row = copy.deepcopy(OPENAI_TOOLS)
    row["messages"][2]["tool_calls"][0] = function(arguments='{"k": "ghp_abcdefghijklmnopqrstuvwxyz0123456789"}')
    assert "text/secret" in rules(check(tmp_path, lines(*[OPENAI] * 10, row)), "warning")


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"messages": [USER, USER, ANSWER]}, "roles/repeated"),
        (OPENAI_TOOLS, "roles/together"),
        ({**TOOL_ROW, "tools": [{"type": "function", "function": {"name": "other"}}]}, "tools/undeclared"),
    ],
)
def test_what_some_consumers_refuse_is_a_warning(tmp_path: Path, row: dict[str, Any], rule: str) -> None:
    report = check(tmp_path, lines(*[OPENAI] * 10, row))
    assert report.error_count == 0
    assert rule in rules(report, "warning")


def test_openai_wants_ten_rows_and_kto_both_labels(tmp_path: Path) -> None:
    assert rules(check(tmp_path, lines(*[OPENAI] * 9)), "warning") == {"file/few_rows"}
    assert rules(check(tmp_path, lines(KTO, KTO)), "warning") == {"file/one_label"}
    assert rules(check(tmp_path, lines(KTO, {**KTO, "label": not KTO["label"]})), "warning") == set()


def test_rows_over_the_limit_are_counted_by_a_named_tokenizer(tmp_path: Path) -> None:
    long = copy.deepcopy(TRL)
    long["completion"][0]["content"] = "word " * 500
    report = check(tmp_path, lines(TRL, long), max_tokens=200)
    assert [(problem.line, problem.rule) for problem in report.problems] == [(2, "tokens/over_limit")]
    assert report.tokenizer == "o200k_base"
    assert report.tokenizer_is_proxy is True
    known = check(tmp_path, lines(TRL), max_tokens=200, model="gpt-3.5-turbo-0125")
    assert known.tokenizer == "cl100k_base"
    assert known.tokenizer_is_proxy is False


def test_positions_are_listed_up_to_a_limit_and_all_are_counted(tmp_path: Path) -> None:
    broken = {"messages": [USER]}
    report = check(tmp_path, lines(*[broken] * 50), max_problems_count=3)
    assert [problem.line for problem in report.problems if problem.level == "error"] == [1, 2, 3]
    assert [(rule.rule, rule.count, rule.first_line) for rule in report.rules] == [("roles/no_answer", 50, 1)]
    assert report.problem_count == 50


def test_names_from_a_file_cannot_control_a_terminal(tmp_path: Path) -> None:
    row = {"messages": [{"role": "\x1b[2J\x07" + "x" * 500, "content": "a"}], "\x1b]0;title\x07": 1}
    shown = "".join(problem.key + problem.problem for problem in check(tmp_path, lines(row)).problems)
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert len(shown) < 1000


def test_a_line_of_a_megabyte_is_an_ordinary_line(tmp_path: Path) -> None:
    long = copy.deepcopy(TRL)
    long["completion"][0]["content"] = "lorem ipsum " * 90_000
    assert check(tmp_path, lines(TRL, long, TRL)).rules == ()


def test_an_endless_line_is_skipped_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_lines, "MAX_LINE_BYTES", 100_000)
    data = lines(TRL) + b"x" * 5_000_000 + b"\n" + lines({**TRL, "completion": 3})
    tracemalloc.start()
    report = check(tmp_path, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(problem.line, problem.rule) for problem in report.problems] == [
        (2, "line/too_long"),
        (3, "row/key_type"),
        (3, "row/type_changes"),
    ]
    assert peak < 2_000_000


@pytest.mark.parametrize("kind", ["missing", "directory"])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path if kind == "directory" else tmp_path / "none.jsonl"
    with pytest.raises(DatasetError) as caught:
        check_file(path, "rows.jsonl", CheckOptions())
    assert caught.value.place is not None
    assert caught.value.place.file == "rows.jsonl"


ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("role")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "id", "function", "name"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


def ways(value: Any, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of every value within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in ((*way, key), *ways(item, (*way, key)))]


SAMPLES = [(name, row_of(name, WITH_TOOLS)) for name in FORMAT_NAMES] + GOOD


@pytest.mark.slow
@settings(max_examples=400)
@given(data=st.data(), odd=ODD, name=st.sampled_from(FORMAT_NAMES))
def test_no_row_is_too_odd_to_be_checked(data: st.DataObject, odd: Any, name: FormatName) -> None:
    row = copy.deepcopy(data.draw(st.sampled_from(SAMPLES))[1])
    put(*data.draw(st.sampled_from(ways(row))), value=odd)(row)
    assert all(found.rule in RULES for found in check_row(name, row))
    assert all(found.rule in RULES for found in check_content(row, Redactor()))
    assert TrainingTokenCounter().count(row)[0] <= row_bytes(row)


@given(raw=st.binary(max_size=60))
def test_no_line_is_too_odd_to_be_read(raw: bytes) -> None:
    line = read_line(raw.replace(b"\n", b" ") + b"\n", 1)
    assert all(found.rule in RULES for found in line.problems)


def test_rules_are_errors_or_warnings_and_each_says_what_it_means() -> None:
    assert not ERRORS.keys() & WARNINGS.keys()
    assert all(meaning and meaning[-1] != "." for meaning in RULES.values())
