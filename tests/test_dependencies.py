"""Every import under flowai/ is declared in pyproject.toml; deptry, run by `make check`, sees when it is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def _deptry(place: Path, source: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("deptry")
    (place / "flowai").mkdir()
    (place / "flowai" / "module.py").write_text(source)
    (place / "pyproject.toml").write_text(PYPROJECT.read_text())
    command = [sys.executable, "-m", "deptry", "flowai", "--no-ansi", "--ignore", "DEP002"]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


def test_declared_imports_pass(tmp_path: Path) -> None:
    done = _deptry(tmp_path, "import msgspec\nimport flowai.errors\n")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("multidict", "it is a transitive dependency"),
        ("hypothesis", "declared as a dev dependency"),
        ("no_such_package", "missing from the dependency definitions"),
    ],
)
def test_an_undeclared_import_fails(tmp_path: Path, package: str, said: str) -> None:
    done = _deptry(tmp_path, f"import {package}\n")
    assert done.returncode == 1
    assert f"'{package}' imported but {said}" in done.stderr
