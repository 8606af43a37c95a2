"""Lists that are kept by hand name all of what they list, and nothing else."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

from flowai.cli.command_group import COMMAND_GROUPS, module_of

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def top_level(file: Path) -> set[str]:
    """Return the names that a module defines."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_every_module_of_a_command_is_one_of_the_command_line() -> None:
    folder = ROOT / "flowai" / "cli" / "commands"
    modules = {
        f"flowai.cli.commands.{file.parent.name}.{file.stem}"
        for file in folder.glob("*/*.py")
        if top_level(file) & {"command", "app"}
    }
    assert {module_of(name) for names in COMMAND_GROUPS.values() for name in names} == modules


def test_every_benchmark_is_run() -> None:
    tree = ast.parse((ROOT / "benchmarks/run.py").read_text(encoding="utf-8"))
    parts = next(
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PARTS"
    )
    benchmarks = {file.stem for file in (ROOT / "benchmarks").glob("*.py") if {"HEADER", "rows"} <= top_level(file)}
    assert sorted(module for _, module, _ in ast.literal_eval(parts)) == sorted(benchmarks)


def test_every_generated_part_of_the_docs_has_its_generator() -> None:
    source = (ROOT / "docs/generate.py").read_text(encoding="utf-8")
    generators = set(re.findall(r'^ {4}"([a-z-]+)": ', source, re.MULTILINE))
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    used = {
        name for page in pages for name in re.findall(r"<!-- generated:([a-z-]+) -->", page.read_text(encoding="utf-8"))
    }
    assert generators == used


def test_every_target_of_make_is_listed_and_has_help() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    assert set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split()) == targets
    assert set(re.findall(r"^([a-z-]+):.*## \w", text, re.MULTILINE)) == targets


def test_types_are_checked_of_all_that_tests_import() -> None:
    tools = PYPROJECT["tool"]
    paths = set(tools["pytest"]["ini_options"]["pythonpath"])
    assert paths <= set(tools["mypy"]["mypy_path"])
    for path in paths:
        assert [file for file in (ROOT / path).rglob("*.py") if not file.name.startswith(("test_", "conftest"))]


def test_every_page_is_linked_from_another() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in pages
        for link in re.findall(r"\]\(([^)\s:]+)\)", page.read_text(encoding="utf-8"))
    }
    linked |= {path / "README.md" for path in linked if path.is_dir()}
    assert [str(page.relative_to(ROOT)) for page in pages[2:] if page.resolve() not in linked] == []
