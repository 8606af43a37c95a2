"""Imports evals of OpenAI's Evals API: the eval object, its runs, their output items, and JSONL data.

Source: OpenAI's API description (github.com/openai/openai-openapi), schemas `Eval`, `EvalRun`,
`CreateEvalCompletionsRunDataSource`, `EvalRunOutputItem`; data: a line `{"item": {...}, "sample": {...}}`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.importers.openai_graders import GraderImport, message_text
from flowai.evals.importers.parameters import take_parameters
from flowai.evals.importers.project_files import (
    dataset_file,
    prompt_file,
    slug,
    suite_file,
    to_template,
    unique_ids,
    variable_name,
)
from flowai.evals.importers.records import ImportedFile, ImportPlan, Omission

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.evals.importers.export_file import ExportFile
    from flowai.evals.importers.project_files import Row

FORMAT = "OpenAI Evals"
_ROLES = frozenset({"system", "developer", "user", "assistant"})
_ITEM_PREFIX = re.compile(r"\{\{\s*item\.")
_IGNORED = frozenset({
    "id", "object", "created_at", "name", "data_source_config", "testing_criteria", "metadata", "updated_at",
})  # fmt: skip


def is_eval(value: object) -> bool:
    """Return whether a document is an eval object."""
    return isinstance(value, dict) and "testing_criteria" in value


def is_run(value: object) -> bool:
    """Return whether a document is a run of an eval."""
    return isinstance(value, dict) and (value.get("object") == "eval.run" or "data_source" in value)


def is_data(value: object) -> bool:
    """Return whether a document is data: rows with `item`, or a page of output items."""
    rows = _rows_of(value)
    return bool(rows) and all(isinstance(row, dict) and ("item" in row or "datasource_item" in row) for row in rows)


def read_plan(exports: Sequence[ExportFile], name: str | None) -> ImportPlan:
    """Build the plan of an eval with any number of runs and data files; errors are DatasetError."""
    evals = [export for export in exports if is_eval(export.value)]
    if len(evals) != 1:
        raise exports[0].error(
            f"found {len(evals)} evals, expected one", hint="pass the eval object together with its runs and data"
        )
    export = evals[0]
    title = str(export.value.get("name") or "")
    chosen = name or slug(title, slug(export.path.stem))
    criteria = export.value["testing_criteria"]
    if not isinstance(criteria, list):
        raise export.error("found no list of graders", "testing_criteria")
    graders = GraderImport(export=export, name=chosen, rename=_renamed)
    for index, grader in enumerate(criteria):
        graders.add(grader, f"testing_criteria.{index}")
    omissions = [*graders.omissions, *_other_keys(export)]
    prompts: list[ImportedFile] = []
    models: list[str] = []
    rows: list[Row] = []
    for other in exports:
        if other is not export and is_run(other.value):
            _read_run(other, chosen, prompts, models, omissions)
        rows += list(_items(other, omissions)) if other is not export else []
    if not rows:
        omissions.append(
            Omission(
                file=export.name, key="data_source_config", reason="the export has no items; pass the JSONL file too"
            )
        )
    cases, outputs = _cases(rows, chosen)
    if not prompts:
        omissions.append(
            Omission(
                file=export.name,
                key="prompts",
                reason="the export has no prompt; pass the run object too, or write `prompts` in the suite",
            )
        )
    suite = suite_file(
        chosen,
        description=title,
        source=f"{FORMAT}: {title or export.path.name}",
        prompts=[file.path for file in prompts],
        providers=models,
        assertions=graders.assertions,
        rows=cases,
    )
    recorded = [dataset_file(chosen, outputs, suffix=".outputs")] if outputs else []
    tables = [dataset_file(chosen, cases)] if cases else []
    files = (suite, *tables, *recorded, *prompts, *graders.files)
    notes = [f"{file.path} is code of the export: read it before it runs" for file in graders.files]
    return ImportPlan(
        format=FORMAT, files=files, omissions=tuple(omissions), models=tuple(models),
        target=suite.path, outputs=recorded[0].path if recorded else None, notes=tuple(notes),
    )  # fmt: skip


def _renamed(path: str) -> str:
    head, dot, rest = path.partition(".")
    return f"{variable_name(head)}{dot}{rest}"


def _other_keys(export: ExportFile) -> Iterator[Omission]:
    for key in export.value.keys() - _IGNORED:
        yield Omission(file=export.name, key=str(key), reason="unknown key")
    if export.value.get("metadata"):
        yield Omission(file=export.name, key="metadata", reason="suites have no metadata")
    config = export.value.get("data_source_config")
    if isinstance(config, dict) and config.get("type") not in ("custom", None):
        reason = f"`{config['type']}`: stored completions are not in the export; pass its output items"
        yield Omission(file=export.name, key="data_source_config.type", reason=reason)


def _read_run(
    export: ExportFile, name: str, prompts: list[ImportedFile], models: list[str], omissions: list[Omission]
) -> None:
    source = export.value.get("data_source")
    source = source if isinstance(source, dict) else {}
    model = source.get("model") or export.value.get("model")
    provider = f"openai:{model}" if isinstance(model, str) and model else None
    if provider and provider not in models:
        models.append(provider)
    content = source.get("source")
    if isinstance(content, dict) and content.get("type") not in ("file_content", None):
        reason = f"`{content['type']}`: the rows are not in the export; pass them as JSONL"
        omissions.append(Omission(file=export.name, key="data_source.source", reason=reason))
    inputs = source.get("input_messages")
    if not isinstance(inputs, dict):
        return
    messages = inputs.get("template")
    if not isinstance(messages, list):
        reason = "messages of an item's own are not a prompt; write one"
        omissions.append(Omission(file=export.name, key="data_source.input_messages", reason=reason))
        return
    templates = [_template(export, index, message) for index, message in enumerate(messages)]
    config = take_parameters(export, source.get("sampling_params"), "data_source.sampling_params", omissions)
    file = prompt_file(f"prompts/{name}_v{len(prompts) + 1}", templates, config=config)
    if all(file.text != known.text for known in prompts):
        prompts.append(file)


def _template(export: ExportFile, index: int, message: Any) -> tuple[str, str]:  # noqa: ANN401 - any JSON value
    role = str(message.get("role")) if isinstance(message, dict) else ""
    if role not in _ROLES:
        key = f"data_source.input_messages.template.{index}"
        raise export.error(f"found no message, expected `role` as one of {', '.join(sorted(_ROLES))}", key)
    return role, to_template(_ITEM_PREFIX.sub("{{", message_text(message)), _renamed)


def _rows_of(value: Any) -> list[Any]:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        value = [value] if "item" in value or "datasource_item" in value else value.get("data")
    return value if isinstance(value, list) else []


def _items(export: ExportFile, omissions: list[Omission]) -> Iterator[Row]:
    """Yield the rows of a data file, a run, or a page of output items, each with `item` and perhaps `output`."""
    rows, prefix = _rows_of(export.value), ""
    if is_run(export.value):
        source = export.value.get("data_source")
        content = source.get("source") if isinstance(source, dict) else None
        rows = _rows_of({"data": content.get("content")}) if isinstance(content, dict) else []
        prefix = "data_source.source.content."
    elif isinstance(export.value, dict) and export.value.get("has_more"):
        omissions.append(Omission(file=export.name, key="has_more", reason="this is one page; pass the others too"))
    for index, row in enumerate(rows):
        item = row.get("item", row.get("datasource_item")) if isinstance(row, dict) else None
        if not isinstance(item, dict):
            raise export.error("found no mapping, expected the fields of an item", f"{prefix}{index}.item")
        yield {"item": item, "output": _output(row.get("sample"))}


def _output(sample: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return the recorded answer of a row."""
    if not isinstance(sample, dict):
        return None
    if isinstance(sample.get("output_text"), str):
        return str(sample["output_text"])
    messages = sample.get("output")
    if not isinstance(messages, list) or not messages:
        return None
    return message_text(messages[-1]) if isinstance(messages[-1], dict) else None


def _cases(rows: list[Row], name: str) -> tuple[list[Row], list[Row]]:
    """Return the cases, items of several runs once, and their recorded answers."""
    numbers: dict[bytes, int] = {}
    distinct: list[Row] = []
    for row in rows:
        key = msgspec.json.encode(row["item"], order="deterministic")
        if key not in numbers:
            numbers[key] = len(distinct)
            distinct.append(row["item"])
        row["number"] = numbers[key]
    ids = unique_ids((item.get("id") for item in distinct), name)
    cases = [
        {"id": case_id, "vars": {variable_name(str(key)): value for key, value in item.items()}}
        for case_id, item in zip(ids, distinct, strict=True)
    ]
    outputs = [{"id": ids[row["number"]], "output": row["output"]} for row in rows if row["output"] is not None]
    return cases, outputs
