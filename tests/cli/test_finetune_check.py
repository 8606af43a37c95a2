"""`flowai finetune check`: needs no project; the screen, the JSON and the exit status say the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.training_rows import make_pairs, rows_of

from flowai.finetune.formats.catalog import FORMAT_NAMES, FormatName, line_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran

    Command = Callable[..., Ran]

BROKEN = b'{"messages": [{"role": "user", "content": "hi"}]}\n'


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good file in a directory that is no project."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"".join(line_of(row) for row in rows_of("openai", make_pairs(16)[:6] * 3)))
    return path


def test_a_whole_file(file: Path, command: Command) -> None:
    ran = command("finetune", "check", file.name)
    assert ran.code == 0
    rows = len(file.read_bytes().splitlines())
    assert ran.out.splitlines() == [
        f"train.jsonl   openai (by its keys)   {rows} rows   {file.stat().st_size:,} bytes",
        f"OK  all {rows} rows",
    ]


def test_a_broken_file(file: Path, command: Command) -> None:
    good = file.read_bytes()
    rows = len(good.splitlines())
    file.write_bytes(good + BROKEN + b'{"messages": \n' + BROKEN)
    ran = command("finetune", "check", file.name, "--show", "2")
    assert ran.code == 1
    assert ran.out.splitlines()[1:] == [
        f"FAIL  roles/no_answer  2 x  no answer to learn, first at line {rows + 1}",
        f"FAIL  json/syntax      1 x  not JSON, first at line {rows + 2}",
        "",
        f"train.jsonl:{rows + 1}   roles/no_answer   messages",
        f"train.jsonl:{rows + 2}   json/syntax   expecting value at column 14",
        "... and 1 more; --show lists more of them",
        "",
        f"BROKEN  3 of {rows + 3} rows",
    ]


def test_json_is_one_document_with_the_same_figures(file: Path, command: Command) -> None:
    file.write_bytes(file.read_bytes() + BROKEN)
    ran = command("finetune", "check", file.name, "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    assert document["broken_row_count"] == 1
    assert document["problems"][0]["rule"] == "roles/no_answer"
    assert [rule["rule"] for rule in document["rules"]] == ["roles/no_answer"]


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_every_format_can_be_told(file: Path, command: Command, name: FormatName) -> None:
    file.write_bytes(b"".join(line_of(row) for row in rows_of(name, make_pairs(20))))
    ran = command("finetune", "check", file.name, "--format", name)
    assert ran.code == 0
    assert f"{name} (as told)" in ran.out


def test_the_wrong_format_breaks_every_row(file: Path, command: Command) -> None:
    ran = command("finetune", "check", file.name, "--format", "llamafactory")
    assert ran.code == 1
    assert "looks like `openai`" in ran.out


def test_a_limit_names_the_tokenizer(file: Path, command: Command) -> None:
    ran = command("finetune", "check", file.name, "--max-tokens", "5", "--model", "meta-llama/Llama-3")
    assert ran.code == 1
    assert "tokens counted with o200k_base, a proxy: the model's own tokenizer is not installed" in ran.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("train.jsonl", "--format", "sharegpt"), 2, "--format: found `sharegpt`"),
        (("train.jsonl", "--max-tokens", "0"), 2, "--max-tokens: found 0"),
        (("train.jsonl", "--show", "-1"), 2, "--show: found -1"),
        ((), 2, "missing argument"),
        (("none.jsonl",), 3, "none.jsonl: no such file"),
        ((".",), 3, "is a directory"),
    ],
)
def test_wrong_usage_is_told_from_wrong_files(
    file: Path, command: Command, arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert file.is_file()
    ran = command("finetune", "check", *arguments)
    assert ran.code == code
    assert said in ran.err
    assert ran.out == ""
