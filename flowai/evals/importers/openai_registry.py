"""Imports evals of the registry of github.com/openai/evals: YAML with a class, and JSONL samples.

Source: that repository, docs/build-eval.md and evals/elsuite/basic/ (a sample has `input` and `ideal`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flowai.evals.importers.export_file import read_export
from flowai.evals.importers.openai_graders import message_text
from flowai.evals.importers.project_files import dataset_file, prompt_file, slug, suite_file, unique_ids
from flowai.evals.importers.records import ImportPlan, Omission

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from flowai.evals.importers.export_file import ExportFile
    from flowai.evals.importers.project_files import Row

FORMAT = "OpenAI Evals registry"
_ASSERTIONS: dict[str, tuple[str, str | None]] = {
    "match:Match": ("starts-with", None),
    "includes:Includes": ("contains-any", None),
    "fuzzy_match:FuzzyMatch": (
        "icontains-any",
        "articles and punctuation are not removed, and an answer inside the ideal one does not pass",
    ),
    "json_match:JsonMatch": ("equals", None),
    "json_validator:JsonValidator": ("is-json", None),
}
_TAKEN_ARGUMENTS = frozenset({"samples_jsonl"})
_ROLES = frozenset({"system", "user", "assistant", "developer"})


def is_registry(value: object) -> bool:
    """Return whether a document is a file of the registry: an entry has a `class` of `evals.`."""
    return isinstance(value, dict) and bool(_entries(value))


def is_samples(value: object) -> bool:
    """Return whether a document is a list of samples."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, dict) and "input" in row and "item" not in row for row in value)
    )


def read_plan(exports: Sequence[ExportFile], name: str | None) -> ImportPlan:
    """Build the plan of a registry file with one eval; its samples are beside it, or passed too."""
    export = next(export for export in exports if is_registry(export.value))
    entries = _entries(export.value)
    entry_name, entry = next(iter(entries.items()))
    title = entry_name.partition(".")[0]
    chosen = name or slug(title)
    omissions = [
        Omission(
            file=export.name,
            key=other,
            reason="only the first eval of a file is imported; import it from a file of its own",
        )
        for other in list(entries)[1:]
    ]
    given = entry.get("args")
    arguments: Row = given if isinstance(given, dict) else {}
    omissions += [
        Omission(file=export.name, key=f"{entry_name}.args.{key}", reason="has no counterpart")
        for key in arguments.keys() - _TAKEN_ARGUMENTS
    ]
    samples = next((other for other in exports if other is not export and is_samples(other.value)), None)
    samples = samples or _read_samples(export, arguments.get("samples_jsonl"), entry_name)
    kind = str(entry["class"]).rpartition("elsuite.")[2].removeprefix("basic.")
    assertion, caveat = _ASSERTIONS.get(
        kind, (None, f"the class `{entry['class']}` is code; write `assert` in the suite")
    )
    if caveat is not None:
        omissions.append(Omission(file=export.name, key=f"{entry_name}.class", reason=caveat))
    rows = [_case(row, index, samples, assertion) for index, row in enumerate(samples.value)]
    for row, case_id in zip(rows, unique_ids((None for _ in rows), chosen), strict=True):
        row["id"] = case_id
    rows = [{"id": row.pop("id"), **row} for row in rows]
    prompt = prompt_file(f"prompts/{chosen}_v1", [("user", _TEMPLATE)])
    meta = export.value.get(title)
    description = str(meta.get("description") or "") if isinstance(meta, dict) else ""
    suite = suite_file(
        chosen, description=description or title, source=f"{FORMAT}: {entry_name}", prompts=[prompt.path], rows=rows
    )
    return ImportPlan(
        format=FORMAT, files=(suite, dataset_file(chosen, rows), prompt), omissions=tuple(omissions),
        target=suite.path,
    )  # fmt: skip


_TEMPLATE = (
    '{{#each messages}}{{#ifEquals role "system"}}{{role "system"}}{{/ifEquals}}'
    '{{#ifEquals role "user"}}{{role "user"}}{{/ifEquals}}'
    '{{#ifEquals role "assistant"}}{{role "model"}}{{/ifEquals}}{{content}}{{/each}}'
)
"""A sample's own messages become the conversation; each sample may have another number of them."""


def _entries(value: Row) -> dict[str, Row]:
    return {
        str(name): entry
        for name, entry in value.items()
        if isinstance(entry, dict) and isinstance(entry.get("class"), str) and "evals." in entry["class"]
    }


def _read_samples(export: ExportFile, named: Any, entry: str) -> ExportFile:  # noqa: ANN401 - from a file
    """Read the samples that the registry names: beside it, or in the registry's `data` folder; nowhere else."""
    key = f"{entry}.args.samples_jsonl"
    if not isinstance(named, str):
        raise export.error("found no samples", key, hint="pass the JSONL file too")
    folder = export.path.resolve().parent
    for base in (folder, folder.parent / "data"):
        path = (base / named).resolve()
        if not path.is_relative_to(base):
            raise export.error(f"`{named}` leads out of `{base.name}`", key, hint="pass the JSONL file too")
        if path.is_file():
            return _checked(read_export(path), path)
    raise export.error(
        f"no file `{named}` beside the registry file or in `../data`", key, hint="pass the JSONL file too"
    )


def _checked(samples: ExportFile, path: Path) -> ExportFile:
    if isinstance(samples.value, dict):  # one line
        samples = type(samples)(path=path, name=samples.name, value=[samples.value], is_jsonl=True)
    if not is_samples(samples.value):
        raise samples.error("found no samples, expected lines with `input` and `ideal`")
    return samples


def _case(row: Row, index: int, samples: ExportFile, assertion: str | None) -> Row:
    messages = row["input"]
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    is_chat = isinstance(messages, list) and all(isinstance(message, dict) for message in messages)
    if not is_chat or any(str(message.get("role")) not in _ROLES for message in messages):
        raise samples.error("found no messages, expected a text or a list with `role` and `content`", f"{index}.input")
    conversation = [
        {"role": "system" if message["role"] == "developer" else message["role"], "content": message_text(message)}
        for message in messages
    ]
    ideal = row.get("ideal")
    answers = [str(answer) for answer in (ideal if isinstance(ideal, list) else [] if ideal is None else [ideal])]
    variables: Row = {"messages": conversation} | ({"ideal": answers} if answers else {})
    checks = _BUILDERS[assertion](answers) if assertion in _BUILDERS and (answers or assertion == "is-json") else []
    return {"id": None, "vars": variables} | ({"assert": checks} if checks else {})


def _any_of(kind: str) -> Callable[[list[str]], list[Row]]:
    def build(answers: list[str]) -> list[Row]:
        checks: list[Row] = [{"type": kind, "value": answer} for answer in answers]
        many = {"type": "assert-set", "threshold": math.floor(1e6 / len(checks)) / 1e6, "assert": checks}
        return checks if len(checks) == 1 else [many]

    return build


_BUILDERS: dict[str | None, Callable[[list[str]], list[Row]]] = {
    "starts-with": _any_of("starts-with"),
    "equals": _any_of("equals"),
    "contains-any": lambda answers: [{"type": "contains-any", "value": answers}],
    "icontains-any": lambda answers: [{"type": "icontains-any", "value": answers}],
    "is-json": lambda _: [{"type": "is-json"}],
}
