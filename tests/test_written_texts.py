"""Files that flowai writes: any text of a user is read back unchanged from each of them."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowai.errors import DatasetError, ProjectError
from flowai.evals.suites.datasets import read_tests
from flowai.finetune.decisions.decision_files import encode_decisions, read_decisions
from flowai.finetune.decisions.decisions import ReviewDecision
from flowai.finetune.export.trainer_configs import TrainingSetInfo, trainer_configs
from flowai.postmortem.regression_cases import _append
from flowai.project import Project
from flowai.prompts.lockfile import LockedRelease, PromptLock
from flowai.registry.fields import NAME
from flowai.releases.ledger import LedgerEntry, open_ledger, read_ledger
from flowai.releases.version_targets import write_version
from flowai.storage.files import read_json
from flowai.storage.jsonl import AppendLog, iterate_jsonl

AT = datetime(2026, 5, 2, 8, tzinfo=UTC)
HARD = "\0\x07\t\n\r\x1b \"#'*,-.:=@[\\{|}~\x7f\x80\x85\x9f\xa0\xad\u2028\u2029\ufeff\ufffe\uffff🎉\U0010ffff"

texts = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(HARD)))
some = settings(deadline=None, max_examples=50)


@some
@given(name=st.from_regex(NAME), before=texts, ending=st.sampled_from(["\n", "\r\n"]))
def test_a_dotenv_file_holds_every_release_and_keeps_all_else(name: str, before: str, ending: str) -> None:
    others = f"# {' '.join(before.split())}{ending}A='{before.translate({10: None, 13: None, 39: None})}'{ending}"
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / ".env"
        for old in ("", f'AI_MODEL_VERSION="v0" # {ending}', f"export AI_MODEL_VERSION = v0{ending}"):
            file.write_bytes((others + old + "B=2").encode())
            write_version("dotenv:.env", name, root=Path(directory), environ={})
            text = file.read_bytes().decode()
            assert text.startswith(others)
            line = next(line for line in text.split("\n") if "AI_MODEL_VERSION" in line)
            assert line.rpartition("=")[2].strip() == name


@some
@given(text=texts.filter(str.strip), note=texts, pair=texts.filter(bool), ending=st.sampled_from([".csv", ".jsonl"]))
def test_a_file_of_decisions_holds_any_text(text: str, note: str, pair: str, ending: str) -> None:
    decisions = (
        ReviewDecision(at=AT, reviewer="ann", pair=pair, action="edit", text=text, note=note),
        ReviewDecision(at=AT, reviewer="ann", pair=pair, action="reject", note=note),
    )
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"d{ending}"
        file.write_bytes(encode_decisions(decisions, ending))
        assert read_decisions(file, name="d", ending=ending) == decisions


@some
@given(rows=st.lists(st.dictionaries(texts, texts, min_size=1, max_size=2), min_size=1, max_size=3))
def test_regression_cases_hold_any_text(rows: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory).resolve()
        file = root / "datasets" / "cases.jsonl"
        cases: list[dict[str, Any]] = [{"id": f"c{number}", "vars": row} for number, row in enumerate(rows)]
        _append(file, cases[:1])
        _append(file, cases[1:])
        found = read_tests(file, Project(root=root, registry=root / "registry.yaml"))
    assert [test["vars"] for test, _ in found] == rows


@some
@given(name=texts, digest=texts)
def test_a_lock_holds_any_text(name: str, digest: str) -> None:
    lock = PromptLock(releases={name: msgspec.convert({"prompts": {name: digest}, "models": {}}, LockedRelease)})
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "prompts.lock"
        lock.write(file)
        assert PromptLock.read(file) == lock


@some
@given(text=texts)
def test_a_ledger_holds_any_text(text: str) -> None:
    entry = LedgerEntry(id=text, at=AT, actor=text, action="stop", release=text, reason=text, evidence={text: [text]})
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory).resolve()
        project = Project(root=root, registry=root / "registry.yaml")
        with open_ledger(project, None) as ledger:
            ledger.append(entry)
        assert read_ledger(project, None).entries == (entry,)


@some
@given(text=texts)
def test_what_goes_beside_training_rows_holds_any_text(text: str) -> None:
    shipment = TrainingSetInfo(files={"train": f"{text}.jsonl", "validation": "v.jsonl"}, dataset=text, base_model=text)
    files = trainer_configs("axolotl", shipment) | trainer_configs("llamafactory", shipment)
    for loader in {yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)}:
        assert yaml.load(files["axolotl.yaml"], Loader=loader)["base_model"] == text  # noqa: S506 - both are safe
        assert yaml.load(files["llamafactory.yaml"], Loader=loader)["model_name_or_path"] == text  # noqa: S506
    assert json.loads(files["dataset_info.json"])[f"{text}_train"]["file_name"] == f"{text}.jsonl"
    script = trainer_configs("trl", shipment)["train_trl.py"]
    constants: dict[str, Any] = {}
    lines = [line for line in script.split("\n") if line.startswith("FILES = ") or 'nargs="?"' in line]
    exec(lines[0], constants)  # noqa: S102 - a line of ours
    assert constants["FILES"]["train"] == f"{text}.jsonl"
    assert eval(lines[1].partition("default=")[2].removesuffix(")")) == text  # noqa: S307 - as above


@some
@given(text=texts)
def test_an_append_only_file_holds_any_text(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "log.jsonl"
        with AppendLog(file) as log:
            log.append({text: text})
        assert list(iterate_jsonl(file)) == [(1, {text: text})]


def test_half_of_a_surrogate_pair_is_refused_where_it_is_read(tmp_path: Path) -> None:
    value = '{"vars": {"a": "\\ud83c"}}'
    expected = "found half of a surrogate pair, U\\+D83C, expected text that UTF-8 can encode"
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"a": "\\ud83c\\udf89"}}\n{value}\n')
    with pytest.raises(ProjectError, match=f"rows.jsonl:2: {expected}"):
        list(iterate_jsonl(file, name="rows.jsonl"))
    (tmp_path / "rows.json").write_text(f'[{{"vars": {{"a": "x"}}}},\n{value}]')
    with pytest.raises(ProjectError, match=expected):
        read_json(tmp_path / "rows.json")
    with pytest.raises(DatasetError, match=f"rows.json:2: {expected}"):
        read_tests(tmp_path / "rows.json", Project(root=tmp_path, registry=tmp_path / "registry.yaml"))
