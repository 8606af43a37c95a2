"""Start-up stays lean: a fresh interpreter shows which libraries a command did not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.sample_project import SUITE, case, make_project
from support.scripted_provider import ScriptedProvider

ROOT = Path(__file__).parents[1]

HEAVY = {
    "litellm",
    "openai",
    "httpx",
    "aiohttp",
    "pydantic",
    "pandas",
    "duckdb",
    "numpy",
    "jinja2",
    "jsonschema",
    "asyncio",
    "yaml",
    "diskcache",
    "tabulate",
    "rich",
}


def loaded(arguments: list[str], root: Path) -> set[str]:
    """Run a command in a fresh interpreter; give the heavy libraries it loaded."""
    script = (
        "import sys\nfrom flowai.cli.app import run\n"
        f"code = run({arguments!r})\n"
        "print('\\nLOADED', code, *sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    environ = {"PATH": "/usr/bin:/bin", "SCRIPTED_KEY": "scripted-key-0123456789", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=environ, capture_output=True, text=True, check=True
    )
    words = done.stdout.rpartition("LOADED ")[2].split()
    assert words[0] == "0", done.stdout + done.stderr
    return HEAVY & set(words[1:])


def test_version_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded(["--version"], tmp_path) <= {"rich", "pydantic"}, "what typer itself brings"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["eval", "--help"],
        ["smoke", "--help"],
        ["serve", "--help"],
        ["cache", "--help"],
        ["rollback", "--help"],
        ["canary-report", "--help"],
        ["postmortem", "--help"],
        ["watch", "--help"],
    ],
)
def test_help_loads_typer_and_rich_only(arguments: list[str], tmp_path: Path) -> None:
    assert loaded(arguments, tmp_path) <= {"rich", "pydantic"}


def test_cache_stats_loads_the_cache_only(tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        project = make_project(tmp_path, provider.base_url)
        loaded(["eval"], project.root)
    assert loaded(["cache", "stats"], project.root) <= {"rich", "pydantic", "diskcache", "yaml"}, (
        "the registry names `state`"
    )


LITELLM = {"litellm", "openai", "httpx"}
"""LiteLLM, and what only LiteLLM needs."""


@pytest.mark.parametrize("arguments", [["eval"], ["smoke"], ["smoke", "--base-url", "BASE_URL"]])
def test_calls_over_openai_s_protocol_load_no_litellm(arguments: list[str], tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        project = make_project(tmp_path, provider.base_url)
        project.write("evals/smoke.yaml", SUITE)
        project.cases(case("one", metadata={"feature": "chat"}))
        found = loaded([word.replace("BASE_URL", provider.base_url) for word in arguments], project.root)
    assert "aiohttp" in found, "models were called"
    assert not found & LITELLM


def test_an_eval_without_templates_or_a_baseline_loads_neither_their_engine_nor_arrays(tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        project = make_project(tmp_path, provider.base_url)
        assert not loaded(["eval"], project.root) & {"jinja2", "numpy"}


def test_a_model_that_asks_for_it_is_called_through_litellm(tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        project = make_project(tmp_path, provider.base_url)
        text = (project.root / "registry.yaml").read_text(encoding="utf-8")
        project.write("registry.yaml", text.replace("api_base:", "transport: litellm, api_base:"))
        assert loaded(["eval"], project.root) >= LITELLM


def test_a_fully_cached_eval_loads_neither_a_client_nor_an_event_loop(tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        project = make_project(tmp_path, provider.base_url)
        assert "aiohttp" in loaded(["eval"], project.root), "the first run calls models"
    assert loaded(["eval"], project.root) <= {"rich", "pydantic", "diskcache", "yaml", "tabulate"}
