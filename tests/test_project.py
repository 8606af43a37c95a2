"""The project: found from anywhere inside it, and never left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowai.errors import ProjectError, UsageError
from flowai.project import find_project, find_standalone_suite, standalone_project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "registry.yaml").write_text("schema_version: 1\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    return tmp_path.resolve()


def test_the_nearest_registry_upwards_is_the_project(root: Path) -> None:
    assert find_project(root / "a" / "b", {}).root == root


def test_flowai_registry_names_the_file(root: Path) -> None:
    other = root / "a" / "other.yaml"
    other.write_text("schema_version: 1\n")
    project = find_project(root, {"FLOWAI_REGISTRY": "a/other.yaml"})
    assert project.root == other.parent
    assert project.registry == other


def test_no_project_is_one_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"no `registry\.yaml`") as caught:
        find_project(tmp_path, {})
    assert caught.value.hint is not None
    assert "FLOWAI_REGISTRY" in caught.value.hint


def test_a_wrong_flowai_registry_is_named(root: Path) -> None:
    with pytest.raises(ProjectError, match=r"FLOWAI_REGISTRY names `gone\.yaml`"):
        find_project(root, {"FLOWAI_REGISTRY": "gone.yaml"})


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x"])
def test_paths_outside_are_refused(root: Path, path: str) -> None:
    with pytest.raises(UsageError, match="outside the project"):
        find_project(root, {}).inside(path)


def test_a_link_that_leads_outside_is_refused(root: Path) -> None:
    (root / "link").symlink_to("/etc")
    with pytest.raises(UsageError, match="outside the project"):
        find_project(root, {}).inside("link/passwd")


def test_a_suite_without_a_registry_reads_inside_its_repository(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    for name in ("repo/.git", "repo/suites/a", "repo/.hidden", "elsewhere"):
        (root / name).mkdir(parents=True)
    suite = root / "repo/suites/a/promptfooconfig.yml"
    suite.write_text("")
    assert find_standalone_suite(suite.parent) == suite
    assert find_standalone_suite(root) is None
    project = standalone_project(root / "elsewhere", suite)
    assert project.root == root / "elsewhere"
    assert project.reports == root / "elsewhere/reports"
    assert project.inside("../../prompt.txt", base=suite.parent) == root / "repo/prompt.txt"
    assert project.show(suite) == "../repo/suites/a/promptfooconfig.yml"
    assert project.is_hidden(root / "repo/.hidden/x")
    assert not project.is_hidden(suite)
    with pytest.raises(UsageError, match="is outside the project"):
        project.inside("../../../secret", base=suite.parent)


def test_without_a_repository_a_suite_reads_inside_its_own_directory(tmp_path: Path) -> None:
    folder = tmp_path.resolve() / "suites"
    folder.mkdir()
    suite = folder / "x.yaml"
    suite.write_text("")
    project = standalone_project(folder, suite)
    assert project.inside("x.txt") == folder / "x.txt"
    with pytest.raises(UsageError, match="is outside the project"):
        project.inside("../x.txt")


def test_a_suite_in_a_repository_s_copy_without_git_reads_inside_the_copy(tmp_path: Path) -> None:
    root = tmp_path.resolve() / "archive"
    (root / "suites/a").mkdir(parents=True)
    (root / "LICENSE").write_text("")
    (root / "suites/README.md").write_text("")
    suite = root / "suites/a/promptfooconfig.yaml"
    project = standalone_project(suite.parent, suite)
    assert project.inside("../../prompts/x.txt", base=suite.parent) == root / "prompts/x.txt"
    with pytest.raises(UsageError, match="is outside the project"):
        project.inside("../../../x.txt", base=suite.parent)


def test_a_home_directory_is_no_repository_s_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path.resolve()
    monkeypatch.setenv("HOME", str(home))
    (home / "README.md").write_text("")
    (home / "suites").mkdir()
    project = standalone_project(home, home / "suites/x.yaml")
    assert project.readable == home / "suites"
