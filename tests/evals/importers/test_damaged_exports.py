"""Exports with damaged values: an error with a place or a plan, never another exception."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from flowai.errors import FlowaiError
from flowai.evals.importers.importer import plan_import

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXTURES = Path(__file__).parent / "fixtures"
LOG = {
    "version": 2,
    "status": "success",
    "plan": {},
    "eval": {"task": "t", "model": "m", "scorers": [{"name": "includes", "options": {"ignore_case": True}}]},
    "samples": [
        {
            "id": 1,
            "epoch": 1,
            "input": [{"role": "user", "content": [{"type": "text", "text": "?"}]}],
            "target": ["x"],
            "messages": [{}, {}, {}],
            "output": {"choices": [{"message": {"role": "assistant", "content": "attachment://a"}}]},
            "scores": {"includes": {"value": "C"}},
            "metadata": {"level": 1},
            "attachments": {"a": "x"},
        }
    ],
}
SETS = {
    "openai": ("openai_eval.json", "openai_items.jsonl", "openai_run.json"),
    "outputs": ("openai_eval.json", "openai_output_items.json"),
    "registry": ("openai_registry.yaml", "openai_samples.jsonl"),
    "langfuse": ("langfuse_dataset.json", "langfuse_items.json", "langfuse_chat_prompt.json"),
    "text": ("langfuse_text_prompt.json",),
    "github": ("summarize.prompt.yml",),
    "inspect": ("log.json",),
}
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, "", "x", "{{", "{{x}}", [], {}, [None], [1], ["x"], {"a": 1}, {"type": "x"}, [{}], [[]],
    "\ud7ff", "a" * 500, 10**18,
)  # fmt: skip
ROUNDS = 60


def load(name: str) -> Any:
    if name == "log.json":
        return LOG
    text = (FIXTURES / name).read_text(encoding="utf-8")
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    return yaml.safe_load(text) if name.endswith((".yaml", ".yml")) else json.loads(text)


def dump(path: Path, value: Any) -> None:
    if path.suffix == ".jsonl" and isinstance(value, list):
        path.write_text("".join(f"{json.dumps(row)}\n" for row in value), encoding="utf-8")
    else:
        path.write_text(json.dumps(value), encoding="utf-8")


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from paths_in(part, (*path, key))


def damaged(value: Any, source: random.Random) -> Any:
    changed = copy.deepcopy(value)
    for path in source.sample(list(paths_in(value)), k=source.choice([1, 1, 2])):
        inner = changed
        try:
            for key in path[:-1]:
                inner = inner[key]
            if source.random() < 0.25:
                del inner[path[-1]]
            else:
                inner[path[-1]] = source.choice(ODD)
        except (KeyError, IndexError, TypeError):  # an earlier change removed it
            continue
    return changed


@pytest.mark.parametrize("name", SETS)
def test_a_damaged_export_is_an_error_or_a_plan(name: str, tmp_path: Path) -> None:
    source = random.Random(name)  # noqa: S311 - the same damage in every run
    for _ in range(ROUNDS):
        chosen = source.choice(SETS[name])
        for file in SETS[name]:
            dump(tmp_path / file, damaged(load(file), source) if file == chosen else load(file))
        try:
            plan = plan_import([tmp_path / file for file in SETS[name]])
        except FlowaiError:
            continue
        for written in plan.files:
            assert written.text.encode()
            if written.path.endswith(".jsonl"):
                ids = [json.loads(line)["id"] for line in written.text.splitlines()]
                assert all(isinstance(case_id, str) and case_id for case_id in ids)
            elif written.path.endswith(".yaml"):
                assert yaml.safe_load(written.text)["tests"]
