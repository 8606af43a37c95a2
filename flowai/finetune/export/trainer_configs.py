"""What a consumer needs beside the rows: a training script for TRL, YAML for Axolotl and LLaMA-Factory, a schema.

Each default that would cut answers off, or train on what nobody judged, is set here: SFTConfig and DPOConfig cut rows
at 1,024 tokens from the end, where the answer is; LLaMA-Factory cuts at 2,048 and learns every assistant turn.

Sources: TRL 1.16, SFTConfig, DPOConfig, KTOConfig; Axolotl, "Config Reference"; LLaMA-Factory, `data/README.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.finetune.formats.catalog import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowai.finetune.formats.catalog import Column, FormatName
    from flowai.finetune.records import Split

BASE_MODEL = "meta-llama/Meta-Llama-3-8B-Instruct"

_MARGIN = 1.3  # the longest row is counted with a proxy tokenizer; the model's own may need more
_STEP_TOKENS = 256
_SPARE_TOKENS = 256
_UNKNOWN_TOKENS = 8_192

_CARD_TYPES: dict[Column, dict[str, Any]] = {
    "messages": {"list": "json"},
    "turns": {"list": [{"name": "from", "dtype": "string"}, {"name": "value", "dtype": "string"}]},
    "object": {"dtype": "json"},
    "text": {"dtype": "string"},
    "flag": {"dtype": "bool"},
}
_PYTHON_TYPES: dict[Column, str] = {
    "messages": "List(Json())",
    "turns": 'List({"from": Value("string"), "value": Value("string")})',
    "object": "Json()",
    "text": 'Value("string")',
    "flag": 'Value("bool")',
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSetInfo:
    """What was written."""

    files: Mapping[Split, str]
    """The name of each split's file, for splits that have rows; relative to the directory."""
    dataset: str
    """The data set's name."""
    base_model: str = BASE_MODEL
    """The model to train: a name on the Hub, or a directory."""
    longest_tokens: int | None = None
    """Tokens of the longest row, a proxy count; None when not counted."""

    @property
    def length_tokens(self) -> int:
        """Tokens that a row may have without being cut, generously."""
        if self.longest_tokens is None:
            return _UNKNOWN_TOKENS
        wanted = int(self.longest_tokens * _MARGIN) + _SPARE_TOKENS
        return -(-wanted // _STEP_TOKENS) * _STEP_TOKENS


def trainer_configs(name: FormatName, shipment: TrainingSetInfo) -> dict[str, str]:
    """Give the files that go beside the rows, by name; none for OpenAI's formats, or where no row is for training."""
    makers: dict[FormatName, Callable[[FormatName, TrainingSetInfo], dict[str, str]]] = {
        "trl": _trl,
        "trl-dpo": _trl,
        "kto": _trl,
        "axolotl": _axolotl,
        "llamafactory": _llamafactory,
    }
    maker = makers.get(name)
    return maker(name, shipment) if maker is not None and "train" in shipment.files else {}


def card_header(name: FormatName, files: Mapping[Split, str]) -> dict[str, Any]:
    """Give the part of a dataset card's YAML head that fixes the schema.

    A directory with it in its README.md is read with `load_dataset(directory)`, every file alike.
    """
    return {
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": file} for split, file in files.items()],
            }
        ],
        "dataset_info": {
            "features": [{"name": column, **_CARD_TYPES[kind]} for column, kind in FORMATS[name].columns.items()]
        },
    }


_TRAINERS: dict[FormatName, tuple[str, str, str]] = {
    "trl": ("SFTConfig", "SFTTrainer", "\n        completion_only_loss=True,"),
    "trl-dpo": ("DPOConfig", "DPOTrainer", ""),
    "kto": ("KTOConfig", "KTOTrainer", ""),
}

_SCRIPT = '''\
"""Trains a model with TRL on the files beside this script. Needs: pip install 'trl>=1.16' 'datasets>=4.7'"""

import argparse
from pathlib import Path

import torch
from datasets import {imported}, load_dataset
from trl import {config}, {trainer}

HERE = Path(__file__).resolve().parent
FILES = {files}
# said, not guessed: a loader that guesses from the first rows stumbles over tool calls in later ones
FEATURES = Features({features})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default={model})
    parser.add_argument("--max-steps", type=int, default=-1)
    options = parser.parse_args()
    files = {{split: str(HERE / name) for split, name in FILES.items()}}
    data = load_dataset("json", data_files=files, features=FEATURES)
    # max_length: longer rows would lose their end, which is the answer
    config = {config}(
        output_dir=str(HERE / "trained"),
        max_length={length},
        max_steps=options.max_steps,
        use_cpu=not torch.accelerator.is_available(),
        report_to="none",{extra}
    )
    trainer = {trainer}(
        model=options.model, args=config, train_dataset=data["train"], eval_dataset=data.get("validation")
    )
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
'''


def _trl(name: FormatName, shipment: TrainingSetInfo) -> dict[str, str]:
    config, trainer, extra = _TRAINERS[name]
    columns = FORMATS[name].columns
    types = {column: _PYTHON_TYPES[kind] for column, kind in columns.items()}
    script = _SCRIPT.format(
        imported=", ".join(["Features", "Json", "List", *(["Value"] if "flag" in columns.values() else [])]),
        config=config,
        trainer=trainer,
        extra=extra,
        # Python reads JSON's escape of a character beyond U+FFFF as two characters
        files=json.dumps(
            {split: file for split, file in shipment.files.items() if split != "test"}, ensure_ascii=False
        ),
        features="{" + ", ".join(f"{json.dumps(column)}: {type_}" for column, type_ in types.items()) + "}",
        model=repr(shipment.base_model),
        length=shipment.length_tokens,
    )
    return {"train_trl.py": script}


def _axolotl(_: FormatName, shipment: TrainingSetInfo) -> dict[str, str]:
    def source(split: Split) -> dict[str, Any]:
        return {
            "path": ".",
            "split": split,
            "type": "chat_template",
            "field_messages": "messages",
            "message_property_mappings": {"role": "role", "content": "content"},
            "message_field_training": "training",
            "roles_to_train": [],
            "train_on_eos": "turn",
        }

    config: dict[str, Any] = {
        "base_model": shipment.base_model,
        "chat_template": "tokenizer_default",
        "datasets": [source("train")],
        "val_set_size": 0,
        "sequence_len": shipment.length_tokens,
        "excess_length_strategy": "raise",
        "adapter": "lora",
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_target_linear": True,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "num_epochs": 3,
        "learning_rate": 0.0002,
        "optimizer": "adamw_torch",
        "output_dir": "./trained",
    }
    if "validation" in shipment.files:
        config["test_datasets"] = [source("validation")]
    head = (
        "# axolotl train axolotl.yaml, in this directory: its README.md fixes the schema (datasets >= 4.7).\n"
        "# Each message says itself whether it is learned (`training`).\n"
    )
    return {"axolotl.yaml": head + _yaml(config)}


_TEMPLATES = {"llama-3": "llama3", "llama3": "llama3", "qwen": "qwen", "gemma": "gemma", "mistral": "mistral"}


def _llamafactory(_: FormatName, shipment: TrainingSetInfo) -> dict[str, str]:
    names = {split: f"{shipment.dataset}_{split}" for split in shipment.files}
    info = {
        names[split]: {
            "file_name": file,
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "system": "system"},
            "tags": {
                "role_tag": "from",
                "content_tag": "value",
                "user_tag": "human",
                "assistant_tag": "gpt",
                "observation_tag": "observation",
                "function_tag": "function_call",
                "system_tag": "system",
            },
        }
        for split, file in shipment.files.items()
    }
    model = shipment.base_model.lower()
    config: dict[str, Any] = {
        "model_name_or_path": shipment.base_model,
        "template": next((known for part, known in _TEMPLATES.items() if part in model), "default"),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_target": "all",
        "dataset_dir": ".",
        "dataset": names["train"],
        "mask_history": True,
        "cutoff_len": shipment.length_tokens,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "num_train_epochs": 3,
        "learning_rate": 0.0001,
        "output_dir": "trained",
    }
    if "validation" in names:
        config["eval_dataset"] = names["validation"]
    head = (
        "# llamafactory-cli train llamafactory.yaml, in this directory. `template` must be the model's own;\n"
        "# `mask_history` trains the last answer alone: it is the one that was judged.\n"
    )
    return {
        "dataset_info.json": json.dumps(info, indent=2, ensure_ascii=False) + "\n",
        "llamafactory.yaml": head + _yaml(config),
    }


def _yaml(value: dict[str, Any]) -> str:
    import yaml  # only an export writes it

    # ASCII: YAML 1.1 parsers fold U+0085, U+2028 and U+2029 where they stand unescaped
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=120)
