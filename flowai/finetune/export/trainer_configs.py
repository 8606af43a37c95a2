"""Configurations beside the rows: a training script for TRL, YAML for Axolotl and LLaMA-Factory, a schema.

They override every default that would cut answers off or train on unjudged text: SFTConfig and DPOConfig cut rows at
1,024 tokens, from the end; LLaMA-Factory cuts at 2,048 and learns every assistant turn.

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
    """Facts about a written training set that trainer configurations need."""

    files: Mapping[Split, str]
    """File names by split, relative to the directory; splits without rows are missing."""
    dataset: str
    base_model: str = BASE_MODEL
    """A name on the Hub, or a directory."""
    longest_tokens: int | None = None
    """Tokens of the longest row, a proxy count; None if not counted."""

    @property
    def length_tokens(self) -> int:
        """Maximum tokens of a row, with a margin so that no row is cut."""
        if self.longest_tokens is None:
            return _UNKNOWN_TOKENS
        needed = int(self.longest_tokens * _MARGIN) + _SPARE_TOKENS
        return -(-needed // _STEP_TOKENS) * _STEP_TOKENS


def trainer_configs(name: FormatName, info: TrainingSetInfo) -> dict[str, str]:
    """Return the trainer's files by name; none for OpenAI's formats, or if no row is in the training split."""
    builders: dict[FormatName, Callable[[FormatName, TrainingSetInfo], dict[str, str]]] = {
        "trl": _trl,
        "trl-dpo": _trl,
        "kto": _trl,
        "axolotl": _axolotl,
        "llamafactory": _llamafactory,
    }
    builder = builders.get(name)
    return builder(name, info) if builder is not None and "train" in info.files else {}


def card_header(name: FormatName, files: Mapping[Split, str]) -> dict[str, Any]:
    """Return the YAML header of a dataset card; with it `load_dataset(directory)` reads every file with one schema."""
    return {
        "configs": [
            {"config_name": "default", "data_files": [{"split": split, "path": file} for split, file in files.items()]}
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
# declared: a schema detected from the first rows would not fit tool calls in later ones
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


def _trl(name: FormatName, info: TrainingSetInfo) -> dict[str, str]:
    config, trainer, extra = _TRAINERS[name]
    columns = FORMATS[name].columns
    types = {column: _PYTHON_TYPES[kind] for column, kind in columns.items()}
    script = _SCRIPT.format(
        imported=", ".join(["Features", "Json", "List", *(["Value"] if "flag" in columns.values() else [])]),
        config=config,
        trainer=trainer,
        extra=extra,
        # Python reads JSON's escape of a character beyond U+FFFF as two characters
        files=json.dumps({split: file for split, file in info.files.items() if split != "test"}, ensure_ascii=False),
        features="{" + ", ".join(f"{json.dumps(column)}: {type_}" for column, type_ in types.items()) + "}",
        model=repr(info.base_model),
        length=info.length_tokens,
    )
    return {"train_trl.py": script}


def _axolotl(_: FormatName, info: TrainingSetInfo) -> dict[str, str]:
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
        "base_model": info.base_model,
        "chat_template": "tokenizer_default",
        "datasets": [source("train")],
        "val_set_size": 0,
        "sequence_len": info.length_tokens,
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
    if "validation" in info.files:
        config["test_datasets"] = [source("validation")]
    head = (
        "# axolotl train axolotl.yaml, in this directory: its README.md fixes the schema (datasets >= 4.7).\n"
        "# Each message states whether it is learned (`training`).\n"
    )
    return {"axolotl.yaml": head + _yaml(config)}


_TEMPLATES = {"llama-3": "llama3", "llama3": "llama3", "qwen": "qwen", "gemma": "gemma", "mistral": "mistral"}


def _llamafactory(_: FormatName, info: TrainingSetInfo) -> dict[str, str]:
    names = {split: f"{info.dataset}_{split}" for split in info.files}
    datasets = {
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
        for split, file in info.files.items()
    }
    model = info.base_model.lower()
    config: dict[str, Any] = {
        "model_name_or_path": info.base_model,
        "template": next((known for part, known in _TEMPLATES.items() if part in model), "default"),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_target": "all",
        "dataset_dir": ".",
        "dataset": names["train"],
        "mask_history": True,
        "cutoff_len": info.length_tokens,
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
        "# `mask_history` trains only the last answer, the one that was judged.\n"
    )
    return {
        "dataset_info.json": json.dumps(datasets, indent=2, ensure_ascii=False) + "\n",
        "llamafactory.yaml": head + _yaml(config),
    }


def _yaml(value: dict[str, Any]) -> str:
    import yaml  # loaded only by exports

    # ASCII: YAML 1.1 parsers fold unescaped U+0085, U+2028 and U+2029
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=120)
