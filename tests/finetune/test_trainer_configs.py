"""Files beside the rows: consumers can parse them, limits cut no answer off, totals, a price."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING

import pytest
import yaml
from support.training_rows import SEVERAL_TURNS, WITH_TOOLS, make_pairs, row_of, rows_of

from flowai.finetune.export.token_counts import TrainingTokenCounter, row_bytes, tokenizer_of, training_cost_usd
from flowai.finetune.export.trainer_configs import BASE_MODEL, TrainingSetInfo, card_header, trainer_configs
from flowai.finetune.formats.catalog import FORMAT_NAMES, FORMATS, FormatName
from flowai.providers.tokens import load_encoding

if TYPE_CHECKING:
    from flowai.finetune.records import Split

FILES: dict[Split, str] = {"train": "train.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"}
HOSTILE = 'x"\n:{}\\"""'


@pytest.mark.parametrize("name", ["trl", "trl-dpo", "kto"])
@pytest.mark.parametrize("model", [BASE_MODEL, HOSTILE])
def test_the_trl_script_parses_and_names_its_columns(name: FormatName, model: str) -> None:
    files = trainer_configs(name, TrainingSetInfo(files=FILES, dataset="geo", base_model=model))
    script = files["train_trl.py"]
    tree = ast.parse(script)
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert {*FORMATS[name].columns, model, "train.jsonl", "validation.jsonl"} <= texts
    assert "test.jsonl" not in texts, "what tests a model must not train it"


@pytest.mark.parametrize("name", ["axolotl", "llamafactory"])
@pytest.mark.parametrize("model", [BASE_MODEL, HOSTILE])
def test_yaml_contains_the_given_values(name: FormatName, model: str) -> None:
    files = trainer_configs(name, TrainingSetInfo(files=FILES, dataset="geo", base_model=model, longest_tokens=3000))
    config = yaml.safe_load(files[f"{name}.yaml"])
    assert model in config.values()
    assert config.get("sequence_len", config.get("cutoff_len")) >= 3000 * 1.3


def test_llamafactory_finds_every_split_by_name() -> None:
    files = trainer_configs("llamafactory", TrainingSetInfo(files=FILES, dataset="geo"))
    config = yaml.safe_load(files["llamafactory.yaml"])
    info = json.loads(files["dataset_info.json"])
    assert {name: entry["file_name"] for name, entry in info.items()} == {
        "geo_train": "train.jsonl",
        "geo_validation": "validation.jsonl",
        "geo_test": "test.jsonl",
    }
    assert config["dataset"] == "geo_train"
    assert config["eval_dataset"] == "geo_validation"
    assert config["template"] == "llama3"
    assert config["mask_history"] is True


def test_a_set_without_validation_rows_names_none() -> None:
    shipment = TrainingSetInfo(files={"train": "train.jsonl"}, dataset="geo")
    for name in FORMAT_NAMES:
        assert all("validation.jsonl" not in text for text in trainer_configs(name, shipment).values())
    assert "test_datasets" not in trainer_configs("axolotl", shipment)["axolotl.yaml"]


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_without_a_row_to_train_on_there_is_nothing_to_run(name: FormatName) -> None:
    assert trainer_configs(name, TrainingSetInfo(files={"validation": "validation.jsonl"}, dataset="geo")) == {}


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_the_head_of_a_card_names_every_column_and_file(name: FormatName) -> None:
    header = yaml.safe_load(yaml.safe_dump(card_header(name, FILES)))
    assert [feature["name"] for feature in header["dataset_info"]["features"]] == list(FORMATS[name].columns)
    assert [one["path"] for one in header["configs"][0]["data_files"]] == list(FILES.values())


def test_tokens_are_those_of_the_named_tokenizer() -> None:
    tally = TrainingTokenCounter()
    tokens, trained = tally.count(
        {"messages": [{"role": "user", "content": "one two"}, {"role": "assistant", "content": "three"}]}
    )
    encoding = load_encoding("o200k_base")
    assert tokens == 2 * 4 + len(encoding.encode("one two")) + len(encoding.encode("three"))
    assert trained == 4 + len(encoding.encode("three"))


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_only_the_judged_answers_are_trained_tokens(name: FormatName) -> None:
    count = TrainingTokenCounter().count
    tokens, trained = count(row_of(name, SEVERAL_TURNS))
    answer = count({"completion": "To the North Sea."})[0]
    worse = count({"completion": "To the Black Sea, I believe."})[0]
    assert trained == answer + (worse if name.endswith("-dpo") else 0)
    assert tokens > trained
    assert count(row_of(name, WITH_TOOLS))[0] <= row_bytes(row_of(name, WITH_TOOLS))


def test_totals_are_kept_by_split_and_priced_per_epoch() -> None:
    tally = TrainingTokenCounter("gpt-4.1-mini-2025-04-14")
    rows = rows_of("openai", make_pairs(12))
    for row in rows[:8]:
        tally.add("train", row)
    for row in rows[8:]:
        tally.add("validation", row)
    totals = tally.totals()
    assert totals.tokenizer == "o200k_base"
    assert totals.is_proxy is False
    assert totals.splits["train"].row_count == 8
    assert totals.splits["train"].tokens == sum(tally.count(row)[0] for row in rows[:8])
    assert totals.longest_tokens == max(tally.count(row)[0] for row in rows)
    cost_usd = training_cost_usd(totals, usd_per_million_tokens=5.0, epoch_count=3)
    assert cost_usd == pytest.approx(3 * totals.splits["train"].tokens * 5 / 1e6)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o-mini-2024-07-18", ("o200k_base", False)),
        ("openai/gpt-4.1", ("o200k_base", False)),
        ("gpt-3.5-turbo-0125", ("cl100k_base", False)),
        ("meta-llama/Meta-Llama-3-8B-Instruct", ("o200k_base", True)),
        ("gpt-oss-20b", ("o200k_base", True)),
        (None, ("o200k_base", True)),
    ],
)
def test_a_proxy_count_names_its_tokenizer(model: str | None, expected: tuple[str, bool]) -> None:
    assert tokenizer_of(model) == expected


def test_a_very_long_text_of_spaces_is_counted() -> None:
    assert TrainingTokenCounter().count({"completion": " " * 1_000_000})[0] > 1000
