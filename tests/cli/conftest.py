"""A sample project to stand in, and a way to run commands in it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.sample_project import Ran, SampleProject, make_project
from support.scripted_provider import ScriptedProvider

from flowai.cli.app import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "scripted-key-0123456789"


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as scripted:
        yield scripted


@pytest.fixture
def project(tmp_path: Path, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> SampleProject:
    for name in ("FLOWAI_ENV", "FLOWAI_REGISTRY", "AI_MODEL_VERSION", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCRIPTED_KEY", KEY)
    made = make_project(tmp_path / "project", provider.base_url)
    monkeypatch.chdir(made.root)
    return made


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to stand in, without the variables that a person who runs the tests may have set."""
    for name in ("FLOWAI_ENV", "FLOWAI_REGISTRY", "AI_MODEL_VERSION"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        return Ran(code=code, out=out, err=err)

    return call


@pytest.fixture
def flowai(project: SampleProject, command: Callable[..., Ran]) -> Callable[..., Ran]:  # noqa: ARG001 - stands in it
    return command


@pytest.fixture
def rollback(place: Path, command: Callable[..., Ran]) -> Callable[..., Ran]:  # noqa: ARG001 - as above
    return partial(command, "rollback")


@pytest.fixture
def release(place: Path, command: Callable[..., Ran]) -> Callable[..., Ran]:  # noqa: ARG001 - as above
    return partial(command, "release")
