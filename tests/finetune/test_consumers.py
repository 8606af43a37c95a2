"""Exported rows in their real consumers: they are accepted, and only the answers are trained.

Offline, on a CPU, in an environment of their own: `make test-consumers`.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.tiny_model import END, make_tokenizer, save_tiny_model
from support.training_rows import make_pairs, rows_of

from flowai.finetune.check.checker import CheckOptions, check_file
from flowai.finetune.export.token_counts import TrainingTokenCounter
from flowai.finetune.export.trainer_configs import TrainingSetInfo, card_header, trainer_configs
from flowai.finetune.formats.catalog import FORMAT_NAMES, FORMATS, FormatName, encode_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.finetune.formats.catalog import TrainingRow
    from flowai.finetune.records import Pair, Split

pytestmark = [
    pytest.mark.consumers,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # advice of other people's trainers to themselves
]

PAIRS = make_pairs(60)
FILES: dict[Split, str] = {"train": "train.jsonl", "validation": "validation.jsonl"}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "TOGETHER_NO_BANNER": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    save_tiny_model(directory)
    return directory


def ship(directory: Path, name: FormatName, pairs: list[Pair]) -> dict[Split, list[TrainingRow]]:
    """Write what an export writes: two files of rows, what belongs beside them, a card."""
    rows = rows_of(name, pairs)
    splits: dict[Split, list[TrainingRow]] = {"train": rows[: len(rows) // 2], "validation": rows[len(rows) // 2 :]}
    tally = TrainingTokenCounter()
    for split, part in splits.items():
        (directory / FILES[split]).write_bytes(b"".join(encode_row(row) for row in part))
        for row in part:
            tally.add(split, row)
    shipment = TrainingSetInfo(files=FILES, dataset="geo", longest_tokens=tally.totals().longest_tokens)
    for file, text in trainer_configs(name, shipment).items():
        (directory / file).write_text(text, encoding="utf-8")
    head = yaml.safe_dump(card_header(name, FILES), sort_keys=False)
    (directory / "README.md").write_text(f"---\n{head}---\n\n# geo\n", encoding="utf-8")
    return splits


def load(directory: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(str(directory), cache_dir=str(directory / "cache"))


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_datasets_reads_every_split_with_one_fixed_schema(tmp_path: Path, name: FormatName) -> None:
    splits = ship(tmp_path, name, PAIRS)
    data = load(tmp_path)
    assert data["train"].features == data["validation"].features
    assert list(data["train"].features) == list(FORMATS[name].columns)
    for split, rows in splits.items():
        assert list(data[split]) == rows


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_the_schema_does_not_depend_on_the_rows(tmp_path: Path, name: FormatName) -> None:
    def schema(directory: str, pairs: list[Pair]) -> Any:
        (tmp_path / directory).mkdir()
        ship(tmp_path / directory, name, pairs)
        return load(tmp_path / directory)["train"].features

    plain = [pair for pair in PAIRS if not any(message["role"] == "tool" for message in pair.messages)]
    tools = [pair for pair in PAIRS if any(message["role"] == "tool" for message in pair.messages)]
    assert schema("plain", plain) == schema("tools", tools) == schema("all", PAIRS)


def trainer_of(directory: Path, name: FormatName, model: Path, **options: Any) -> Any:
    """Build the trainer on exported rows, with the settings of the script that stands beside them."""
    import trl

    config, trainer = {
        "trl": (trl.SFTConfig, trl.SFTTrainer),
        "trl-dpo": (trl.DPOConfig, trl.DPOTrainer),
        "kto": (trl.KTOConfig, trl.KTOTrainer),
    }[name]
    script = (directory / "train_trl.py").read_text(encoding="utf-8")
    found = re.search(r"max_length=(\d+)", script)
    assert found
    settings = config(
        output_dir=str(directory / "out"),
        max_length=int(found[1]),
        max_steps=1,
        report_to="none",
        use_cpu=True,
        **options,
    )
    return trainer(model=str(model), args=settings, train_dataset=load(directory)["train"])


def test_trl_trains_one_step_on_the_answers_alone(tmp_path: Path, model: Path) -> None:
    rows = ship(tmp_path, "trl", PAIRS)["train"]
    trainer = trainer_of(tmp_path, "trl", model, completion_only_loss=True)
    tokenizer = make_tokenizer()
    assert len(trainer.train_dataset) == len(rows)
    for row, prepared in zip(rows, trainer.train_dataset, strict=True):
        labels = trainer.data_collator([prepared])["labels"][0].tolist()
        trained = [label for label in labels if label != -100]
        assert tokenizer.decode(trained) == f"{row['completion'][0]['content']}{END}\n"
    assert math.isfinite(trainer.train().training_loss)


def test_trl_sees_tool_calls_as_they_were_written(tmp_path: Path, model: Path) -> None:
    ship(tmp_path, "trl", [pair for pair in PAIRS if any(message.get("tool_calls") for message in pair.messages)])
    trainer = trainer_of(tmp_path, "trl", model, completion_only_loss=True)
    texts = [make_tokenizer().decode(row["input_ids"]) for row in trainer.train_dataset]
    assert all("<call>" in text for text in texts)
    assert any('<call>look_up {"city": "Zürich", "n": 3}</call>' in text for text in texts)
    assert not any("None" in text or "null" in text for text in texts)


@pytest.mark.parametrize("name", ["trl-dpo", "kto"])
def test_trl_trains_one_step_on_preferences(tmp_path: Path, model: Path, name: FormatName) -> None:
    rows = ship(tmp_path, name, PAIRS)["train"]
    trainer = trainer_of(tmp_path, name, model)
    tokenizer = make_tokenizer()
    assert len(trainer.train_dataset) == len(rows)
    answers = {"trl-dpo": ("chosen", "rejected"), "kto": ("completion",)}[name]
    for row, prepared in zip(rows, trainer.train_dataset, strict=True):
        mask = trainer.data_collator([prepared])["completion_mask"]
        assert (mask.sum(dim=1) > 0).all()
        for answer in answers:
            assert tokenizer.decode(prepared[f"{answer}_ids"]) == f"{row[answer][0]['content']}{END}\n"
    assert math.isfinite(trainer.train().training_loss)


@pytest.mark.parametrize("name", ["trl", "trl-dpo", "kto"])
def test_the_script_beside_the_rows_runs(tmp_path: Path, model: Path, name: FormatName) -> None:
    ship(tmp_path, name, PAIRS)
    ran = subprocess.run(
        [sys.executable, "train_trl.py", str(model), "--max-steps", "1"],
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert (tmp_path / "trained" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["openai", "openai-dpo"])
def test_together_takes_rows_without_tools(tmp_path: Path, name: FormatName) -> None:
    from together.utils.files import check_file as together_check

    plain = [pair for pair in PAIRS if not any(message["role"] == "tool" for message in pair.messages)]
    for split, rows in ship(tmp_path, name, plain).items():
        report = together_check(tmp_path / FILES[split])
        assert report["is_check_passed"], report
        assert report["num_samples"] == len(rows)


def test_together_refuses_what_our_check_warns_of(tmp_path: Path) -> None:
    from together.utils.files import check_file as together_check

    ship(tmp_path, "openai", [pair for pair in PAIRS if any(message["role"] == "tool" for message in pair.messages)])
    assert not together_check(tmp_path / "train.jsonl")["is_check_passed"]
    rules = {rule.rule for rule in check_file(tmp_path / "train.jsonl", "train.jsonl", CheckOptions()).rules}
    assert "roles/together" in rules


BROKEN_FOR_TOGETHER: dict[str, Callable[[TrainingRow], object]] = {
    "an unknown key": lambda row: row.update(extra=1),
    "no messages": lambda row: row.update(messages=[]),
    "messages of another type": lambda row: row.update(messages="hello"),
    "no role": lambda row: row["messages"][0].pop("role"),
    "another role": lambda row: row["messages"][0].update(role="human"),
    "no content": lambda row: row["messages"][0].pop("content"),
    "content of another type": lambda row: row["messages"][0].update(content=3),
    "a weight of one half": lambda row: row["messages"][-1].update(weight=0.5),
    "a weight of two": lambda row: row["messages"][-1].update(weight=2),
    "no answer": lambda row: row.update(messages=row["messages"][:-1]),
}


@pytest.mark.parametrize("broken", BROKEN_FOR_TOGETHER)
def test_our_check_finds_what_together_refuses(tmp_path: Path, broken: str) -> None:
    from together.utils.files import check_file as together_check

    rows = rows_of("openai", PAIRS[:12])
    BROKEN_FOR_TOGETHER[broken](rows[0])
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"".join(encode_row(row) for row in rows))
    assert not together_check(file)["is_check_passed"]
    report = check_file(file, "train.jsonl", CheckOptions())
    assert [problem.line for problem in report.problems if problem.level == "error"][:1] == [1]


def test_axolotl_learns_the_last_answer_of_every_row(tmp_path: Path) -> None:
    """Axolotl's rule for `message_field_training`: what differs when a turn's text is replaced is its labels.

    Source: Axolotl, `prompt_strategies/chat_template.py`, find_turn.
    """
    config_rows = ship(tmp_path, "axolotl", PAIRS)
    config = yaml.safe_load((tmp_path / "axolotl.yaml").read_text(encoding="utf-8"))
    source = config["datasets"][0]
    assert source["path"] == "."
    assert source["split"] == "train"
    assert source["roles_to_train"] == []
    assert list(load(tmp_path)["train"]) == config_rows["train"]
    tokenizer = make_tokenizer()
    for row in [*config_rows["train"], *config_rows["validation"]]:
        turns = row[source["field_messages"]]
        learned = [index for index, turn in enumerate(turns) if turn[source["message_field_training"]]]
        assert learned == [len(turns) - 1]
        whole = _ids(tokenizer, turns)
        dummy = _ids(tokenizer, [*turns[:-1], {"role": "assistant", "content": "[[dummy_message]]"}])
        start = next(index for index, (a, b) in enumerate(zip(whole, dummy, strict=False)) if a != b)
        tail = next(index for index in range(len(dummy)) if whole[-1 - index] != dummy[-1 - index])
        trained = whole[start : len(whole) - tail]
        assert len(trained) > 0
        assert tokenizer.decode(trained) in turns[-1]["content"]


def _ids(tokenizer: Any, turns: list[dict[str, Any]]) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    return ids


def test_the_tokens_of_a_row_are_within_the_length_that_is_set(tmp_path: Path) -> None:
    rows = ship(tmp_path, "llamafactory", PAIRS)["train"]
    config = yaml.safe_load((tmp_path / "llamafactory.yaml").read_text(encoding="utf-8"))
    info = json.loads((tmp_path / "dataset_info.json").read_text(encoding="utf-8"))
    assert config["mask_history"] is True
    assert info[config["dataset"]]["file_name"] == "train.jsonl"
    assert max(TrainingTokenCounter().count(row)[0] for row in rows) < config["cutoff_len"]
