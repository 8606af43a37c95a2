"""The public API: a fixed list of names, imported on first use; docs import these and nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flowai
from flowai import errors

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
IMPORT = re.compile(r"\b(?:from (flowai[\w.]*) import ([\w, ]+)|import (flowai[\w.]+))")
SUBMODULES = {"flowai.registry.schema": {"SCHEMA_FILE"}}
"""Imports that docs show and that are no part of `flowai.__all__`: the file for editors is found once, by hand."""

GATEWAY = {
    "CompletionRequest", "CompletionResult", "Embeddings", "Explanation", "Gateway", "GatewayStatus", "RuntimeOptions",
    "StreamEvent", "StreamRestarted", "StreamStarted", "SyncGateway", "TextChunk",
}  # fmt: skip
ERRORS = {
    "AllModelsFailedError", "AuthError", "BudgetError", "CallError", "ContentFilteredError", "ContextTooLongError",
    "FlowaiError", "InfrastructureError", "InvalidRequestError", "MalformedAnswerError", "MissingKeyError",
    "ModelNotFoundError", "ProjectError", "PromptError", "RateLimitedError", "RegistryError", "ServerError",
    "TimedOutError", "UnreachableError", "UsageError",
}  # fmt: skip
EVENTS = {
    "AlertEvent",
    "CallEvent",
    "EmbeddingEvent",
    "Event",
    "FeedbackEvent",
    "ReleaseEvent",
    "ScoreEvent",
    "read_events",
}
FILES = {"PromptLibrary", "Report", "ScrubResult", "Scrubber", "find_project", "openai_messages", "to_frame"}


def test_the_list_of_public_names_is_fixed() -> None:
    assert set(flowai.__all__) == GATEWAY | ERRORS | EVENTS | FILES | {"__version__"}
    assert dir(flowai) == sorted(flowai.__all__)


@pytest.mark.parametrize("name", flowai.__all__)
def test_each_name_exists_and_type_checkers_see_the_same(name: str) -> None:
    value = getattr(flowai, name)
    if name == "__version__":
        return
    module = typed_imports()[name]
    assert flowai._MODULE_OF[name] == module
    assert value is getattr(sys.modules[module], name)


def typed_imports() -> dict[str, str]:
    """Return the module of each name that `flowai/__init__.py` imports for type checkers."""
    tree = ast.parse((ROOT / "flowai" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_every_failure_of_a_call_is_public() -> None:
    failures = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert {name for name in failures if issubclass(getattr(errors, name), errors.CallError)} <= set(flowai.__all__)


def test_the_package_itself_imports_nothing() -> None:
    script = "import sys, flowai; print([name for name in sys.modules if name.startswith('flowai.')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute `Gatewy`"):
        flowai.Gatewy  # noqa: B018


def test_docs_import_public_names_only() -> None:
    wrong = []
    shown: set[str] = set()
    for page in PAGES:
        for module, names, alone in IMPORT.findall(page.read_text(encoding="utf-8")):
            found = {name.strip() for name in names.split(",") if name.strip()}
            known = set(flowai.__all__) if module == "flowai" else SUBMODULES.get(module, set())
            shown |= found
            if alone or not found <= known:
                wrong.append(f"{page.relative_to(ROOT)}: {alone or module} {sorted(found - known)}")
    assert wrong == []
    assert {"Gateway", "SyncGateway", "Scrubber", "to_frame"} <= shown


def test_the_reference_shows_every_public_name() -> None:
    text = (ROOT / "docs" / "reference" / "python-api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^### (\w+)$|^\| `(\w+Error)` ", text, re.MULTILINE))
    assert {name or error for name, error in shown} == set(flowai.__all__) - {"__version__"}


PATH = re.compile(r"`((?:flowai|tests|benchmarks|docs|requirements)/[\w./-]*)`")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/explanation/architecture.md"])
def test_every_path_that_a_contributor_is_sent_to_exists(page: str) -> None:
    paths = set(PATH.findall((ROOT / page).read_text(encoding="utf-8")))
    assert len(paths) > 20
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []
