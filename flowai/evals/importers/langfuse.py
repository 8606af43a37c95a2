"""Imports Langfuse's datasets and prompts: the JSON of its public API.

Source: github.com/langfuse/langfuse, fern/apis/server/definition: `datasets.yml`, `dataset-items.yml`, `prompts.yml`
(GET /api/public/v2/datasets/NAME, /api/public/dataset-items, /api/public/v2/prompts/NAME).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowai.evals.importers.parameters import take_parameters
from flowai.evals.importers.project_files import (
    HISTORY,
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

FORMAT = "Langfuse"
EXPECTED = "expected_output"
_ROLES = {"system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
          "ai": "assistant", "model": "assistant"}  # fmt: skip
_INCLUDED_PROMPT = re.compile(r"@@@langfusePrompt:[^@]*@@@")


def is_prompt(value: object) -> bool:
    """Return whether a document is a prompt."""
    return isinstance(value, dict) and "prompt" in value and "version" in value and "name" in value


def is_dataset(value: object) -> bool:
    """Return whether a document is a dataset, without its items."""
    return (
        isinstance(value, dict)
        and "projectId" in value
        and "name" in value
        and "prompt" not in value
        and "input" not in value
    )


def is_items(value: object) -> bool:
    """Return whether a document is a page, a list or a single one of dataset items."""
    rows = _rows_of(value)
    return bool(rows) and all(
        isinstance(row, dict) and ("expectedOutput" in row or "datasetName" in row or "datasetId" in row)
        for row in rows
    )


def is_export(value: object) -> bool:
    """Return whether a document is any of these."""
    return is_prompt(value) or is_dataset(value) or is_items(value)


def read_plan(exports: Sequence[ExportFile], name: str | None) -> ImportPlan:
    """Build the plan of any number of prompts, and of one dataset with the pages of its items."""
    omissions: list[Omission] = []
    prompts: list[ImportedFile] = []
    models: list[str] = []
    prompts += [_prompt(export, models, omissions) for export in exports if is_prompt(export.value)]
    about = next((export for export in exports if is_dataset(export.value)), None)
    items = [row for export in exports for row in _items(export, omissions)]
    if not items:
        if about is not None:
            raise about.error("found a dataset without items", hint="pass the JSON of /api/public/dataset-items too")
        first = prompts[0].path.removesuffix(".prompt")
        return ImportPlan(
            format=FORMAT, files=tuple(prompts), omissions=tuple(omissions), models=tuple(models),
            target=prompts[0].path, notes=(f"write a suite in evals/ that names `{first}`",),
        )  # fmt: skip
    names = list(dict.fromkeys(str(row["datasetName"]) for _, _, row in items if row.get("datasetName")))
    if len(names) > 1:
        raise items[0][0].error(f"found items of {len(names)} datasets, expected one", hint="import each dataset alone")
    title = str(about.value["name"]) if about else names[0] if names else exports[0].path.stem
    chosen = name or slug(title)
    if about is not None:
        omissions += _dataset_keys(about)
    rows = _cases(items, chosen, omissions)
    if not prompts:
        omissions.append(
            Omission(
                file=exports[0].name,
                key="prompts",
                reason="a dataset has no prompt; import one too, or write `prompts` in the suite",
            )
        )
    description = str(about.value.get("description") or "") if about else ""
    suite = suite_file(
        chosen, description=description, source=f"{FORMAT} dataset: {title}",
        prompts=[file.path for file in prompts], providers=models, rows=rows,
    )  # fmt: skip
    if any("assert" in row for row in rows):
        reason = "Langfuse keeps no checks with a dataset: `equals` was written; choose what the answer must satisfy"
        omissions.append(Omission(file=exports[0].name, key="expectedOutput", reason=reason))
    return ImportPlan(
        format=FORMAT, files=(suite, dataset_file(chosen, rows), *prompts), omissions=tuple(omissions),
        models=tuple(models), target=suite.path,
    )  # fmt: skip


def _rows_of(value: Any) -> list[Any]:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        if isinstance(value.get("items"), list):
            return list(value["items"])
        value = value["data"] if isinstance(value.get("data"), list) else [value] if "input" in value else []
    return value if isinstance(value, list) else []


def _items(export: ExportFile, omissions: list[Omission]) -> Iterator[tuple[ExportFile, str, Row]]:
    if is_prompt(export.value) or not is_items(export.value):
        return
    meta = export.value.get("meta") if isinstance(export.value, dict) else None
    if isinstance(meta, dict) and isinstance(meta.get("totalPages"), int) and meta["totalPages"] > 1:
        reason = f"page {meta.get('page', 1)} of {meta['totalPages']}: pass the other pages too"
        omissions.append(Omission(file=export.name, key="meta.totalPages", reason=reason))
    for index, row in enumerate(_rows_of(export.value)):
        key = f"data.{index}" if isinstance(export.value, dict) else str(index)
        if row.get("status") == "ARCHIVED":
            omissions.append(Omission(file=export.name, key=key, reason="the item is archived"))
        else:
            yield export, key, row


def _cases(items: list[tuple[ExportFile, str, Row]], name: str, omissions: list[Omission]) -> list[Row]:
    rows = []
    ids = unique_ids((row.get("id") for _, _, row in items), name)
    for (export, key, row), case_id in zip(items, ids, strict=True):
        given, expected = row.get("input"), row.get("expectedOutput")
        values = {variable_name(str(k)): v for k, v in given.items()} if isinstance(given, dict) else {"input": given}
        if EXPECTED in values and expected is not None:
            raise export.error(
                f"the input has a field `{EXPECTED}` of its own", f"{key}.input.{EXPECTED}", hint="rename it"
            )
        case: Row = {"id": case_id, "vars": values}
        if expected is not None:
            case["vars"] = values | {EXPECTED: expected}
            case["assert"] = [{"type": "equals", "value": f"{{{{{EXPECTED}}}}}"}]
        if isinstance(row.get("metadata"), dict) and row["metadata"]:
            case["metadata"] = row["metadata"]
        elif row.get("metadata"):
            omissions.append(Omission(file=export.name, key=f"{key}.metadata", reason="metadata is a mapping here"))
        if row.get("mediaReferences"):
            omissions.append(
                Omission(file=export.name, key=f"{key}.mediaReferences", reason="files are not in the export")
            )
        rows.append(case)
    return rows


def _dataset_keys(export: ExportFile) -> Iterator[Omission]:
    for key in ("metadata", "inputSchema", "expectedOutputSchema"):
        if export.value.get(key):
            yield Omission(file=export.name, key=key, reason="datasets have none here")


def _prompt(export: ExportFile, models: list[str], omissions: list[Omission]) -> ImportedFile:
    value: Row = export.value
    version = value["version"]
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise export.error("found no version, expected a whole number", "version")
    found = _INCLUDED_PROMPT.search(str(value["prompt"]))
    if found is not None:
        raise export.error(
            f"found `{found[0][:80]}`, a prompt inside the prompt",
            "prompt",
            hint="export the resolved prompt (`?resolve=true`)",
        )
    given = value.get("config")
    settings = dict(given) if isinstance(given, dict) else {}
    model = settings.pop("model", None)
    if model is not None and not isinstance(model, str):
        raise export.error("found no model's name", "config.model")
    config = take_parameters(export, settings, "config", omissions)
    omissions.extend(
        Omission(file=export.name, key=key, reason="releases in registry.yaml say which prompt serves")
        for key in ("labels", "tags", "commitMessage")
        if value.get(key)
    )
    if model and model not in models:
        models.append(model)
    prompt_id = f"prompts/{slug(str(value['name']))}_v{version}"
    return prompt_file(prompt_id, list(_messages(export, value["prompt"], omissions)), model=model, config=config)


def _messages(export: ExportFile, prompt: Any, omissions: list[Omission]) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    if isinstance(prompt, str):
        yield "user", to_template(prompt, _renamed)
        return
    if not isinstance(prompt, list):
        raise export.error("found neither a text nor messages", "prompt")
    after = ""
    has_history = False
    for index, message in enumerate(prompt):
        key = f"prompt.{index}"
        if not isinstance(message, dict):
            raise export.error("found no message", key)
        if message.get("type") == "placeholder":
            reason = f"`{message.get('name')}` is `{{{{history}}}}` here: messages that the caller passes"
            if has_history:
                reason = "a prompt has only one place for the caller's messages"
            omissions.append(Omission(file=export.name, key=key, reason=reason))
            after, has_history = after if has_history else "{{history}}", True
            continue
        role = _ROLES.get(str(message.get("role")).lower())
        if role is None or not isinstance(message.get("content"), str):
            raise export.error("found no message, expected `role` and a text `content`", key)
        if after:
            yield HISTORY, after
            after = ""
        yield role, to_template(message["content"], _renamed)
    if after:
        yield HISTORY, after


def _renamed(path: str) -> str:
    return variable_name(path)
