"""Recognises the format of an export by its content, and writes its plan: all files, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from flowai.errors import DatasetError, Place, UsageError
from flowai.evals.importers import github_models, inspect_log, langfuse, openai_evals, openai_registry
from flowai.evals.importers.export_file import ExportFile, read_export
from flowai.evals.importers.records import ImportPlan
from flowai.storage.files import write_atomic
from flowai.storage.own_files import check_no_link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Item = TypeVar("Item")

FORMATS = "OpenAI Evals, Langfuse, Inspect, GitHub Models"
_PROMPTFOO_KEYS = frozenset({"prompts", "providers", "targets", "tests", "scenarios"})
_MIN_PROMPTFOO_KEYS = 2


def plan_import(paths: Sequence[Path], *, name: str | None = None) -> ImportPlan:
    """Read an export of one or several files; nothing is written.

    Args:
        paths: the files of one eval, dataset or log.
        name: name of the files to write; None for the export's own.

    Raises:
        DatasetError: a file is unreadable, wrong, or of no known format.
    """
    if any(map(inspect_log.is_archive, paths)):
        return inspect_log.read_archive(_only(paths), name)
    exports = [read_export(path) for path in paths]
    values = [export.value for export in exports]
    readers: tuple[tuple[bool, Callable[[Sequence[ExportFile], str | None], ImportPlan]], ...] = (
        (any(map(openai_evals.is_eval, values)), openai_evals.read_plan),
        (any(map(openai_registry.is_registry, values)), openai_registry.read_plan),
        (all(map(langfuse.is_export, values)), langfuse.read_plan),
    )
    for is_recognised, read_plan in readers:
        if is_recognised:
            return read_plan(exports, name)
    if inspect_log.is_log(values[0]):
        return inspect_log.read_json_log(_only(exports), name)
    if github_models.is_prompt_file(values[0]):
        return github_models.read_plan(_only(exports), name)
    if not _is_promptfoo(values[0]):
        raise _unknown(exports)
    return ImportPlan(
        format="promptfoo",
        target=str(paths[0]),
        notes=("a configuration of promptfoo runs unchanged, there is nothing to import",),
    )


def write_plan(plan: ImportPlan, folder: Path, root: Path, *, replaces: bool = False) -> list[Path]:
    """Write the files of a plan below a folder of the project; return their paths.

    Raises:
        UsageError: a path leads out of the project, or a file exists and `replaces` is false; nothing was written.
        InfrastructureError: a file cannot be written.
    """
    targets = [folder / file.path for file in plan.files]
    for target in targets:
        if not target.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"`{target}` is outside the project `{root}`", hint="`--to` names a folder of the project")
        check_no_link(target)
    existing = [target for target in targets if target.exists()]
    if existing and not replaces:
        listed = ", ".join(f"`{target}`" for target in existing)
        hint = "--force replaces them, --name writes files of another name"
        raise UsageError(f"would replace {listed}; nothing was written", hint=hint)
    for target, file in zip(targets, plan.files, strict=True):
        write_atomic(target, file.text)
    return targets


def _only(items: Sequence[Item]) -> Item:
    if len(items) != 1:
        raise UsageError(f"found {len(items)} files, expected one", hint="import each log or prompt file alone")
    return items[0]


def _is_promptfoo(value: object) -> bool:
    return isinstance(value, dict) and len(value.keys() & _PROMPTFOO_KEYS) >= _MIN_PROMPTFOO_KEYS


def _unknown(exports: Sequence[ExportFile]) -> DatasetError:
    export = exports[0]
    hint = f"expected an export of {FORMATS}"
    if any(openai_evals.is_data(e.value) or openai_evals.is_run(e.value) for e in exports):
        hint = "these are items or a run of an OpenAI eval: pass the eval object too"
    elif any(openai_registry.is_samples(e.value) for e in exports):
        hint = "these are samples of an eval: pass its registry file (YAML) too"
    found = ", ".join(f"`{key}`" for key in list(export.value)[:5]) if isinstance(export.value, dict) else "a list"
    return DatasetError(f"unknown format: found {found or 'nothing'}", place=Place(file=export.name), hint=hint)
