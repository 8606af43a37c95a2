"""`flowai import`: options and screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import JsonOption

if TYPE_CHECKING:
    from flowai.evals.importers.records import ImportPlan

EXAMPLES = examples(
    "flowai import eval.json items.jsonl",
    "flowai import logs/capitals.eval --name capitals",
    "flowai import summarize.prompt.yml --to imported",
)


def command(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Files of one export; the format is recognised by content.")
    ],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Folder of the project to write to; default its root.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the files; default the export's own.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    json: JsonOption = False,
) -> None:
    """Import evals, datasets, prompts and logs of other tools.

    Reads OpenAI Evals, Langfuse, Inspect and GitHub Models; writes suites, datasets and prompts, and lists what was
    not taken.
    """
    import os

    from flowai.cli import console
    from flowai.cli.import_view import print_omissions
    from flowai.errors import ProjectError, UsageError
    from flowai.evals.importers.importer import plan_import, write_plan
    from flowai.evals.importers.project_files import slug
    from flowai.project import find_project

    if name is not None and slug(name, "") != name:
        raise UsageError(f"--name: found `{name}`, expected lower-case letters, digits and `_`")
    here = Path.cwd()
    try:
        root = find_project(here, os.environ).root
    except ProjectError:
        if os.environ.get("FLOWAI_REGISTRY"):
            raise
        root = here
    folder = root if to is None else here / to
    plan = plan_import([Path(file) for file in files], name=name)
    written = [os.path.relpath(path, here) for path in write_plan(plan, folder, root, replaces=force)]
    steps = _steps(plan, folder)
    if json:
        facts = {"format": plan.format, "written": written, "not_taken": plan.omissions, "steps": steps}
        console.print_json(facts)
        return
    for path in written:
        console.print_line(f"wrote {path}")
    if plan.omissions:
        print_omissions(plan.omissions)
    console.print_line()
    for step in steps:
        console.print_line(step)


def _steps(plan: ImportPlan, folder: Path) -> list[str]:
    """Return what to do next, ending with the command that runs the imported suite."""
    import os
    import shlex

    def from_here(path: str) -> str:
        return os.path.relpath(folder / path)

    steps = [f"note: {note}" for note in plan.notes]
    words = ["flowai", "eval", from_here(plan.target) if plan.files else plan.target]
    words += ["--from-outputs", from_here(plan.outputs)] if plan.outputs else []
    words += ["--model", "NAME"] if plan.files and not plan.models and not plan.outputs else []
    return [*steps, f"next: {shlex.join(words)}"]
