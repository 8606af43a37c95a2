"""An export's directory: complete or missing, and no other files are touched."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from flowai.errors import InfrastructureError, UsageError
from flowai.finetune.export.output_directory import MANIFEST, open_output_directory

if TYPE_CHECKING:
    from pathlib import Path


def export(path: Path, text: str, *, replace: bool = False) -> None:
    with open_output_directory(path, name=path.name, replace=replace) as place:
        (place / MANIFEST).write_text("{}")
        (place / "train.jsonl").write_text(text)


def test_the_directory_is_complete_at_the_end_with_nothing_beside_it(tmp_path: Path) -> None:
    export(tmp_path / "deep" / "out", "one")
    assert (tmp_path / "deep" / "out" / "train.jsonl").read_text() == "one"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_a_failed_export_leaves_the_old_one_unchanged(tmp_path: Path) -> None:
    export(tmp_path / "out", "old")

    def fail() -> None:
        with open_output_directory(tmp_path / "out", name="out", replace=True) as place:
            (place / "train.jsonl").write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "train.jsonl").read_text() == "old"


def test_leftovers_of_a_killed_export_are_removed(tmp_path: Path) -> None:
    left = tmp_path / ".out.partial"
    (left / "deep").mkdir(parents=True)
    (left / "train.jsonl").write_text("half")
    export(tmp_path / "out", "new")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MANIFEST, "train.jsonl"]
    assert not left.exists()


def test_an_existing_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not an export, and not empty"):
        export(tmp_path / "mine", "new", replace=True)
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UsageError, match="not an export"):
        export(tmp_path / "file", "new", replace=True)
    export(tmp_path / "out", "old")
    with pytest.raises(UsageError, match="the directory has an export already"):
        export(tmp_path / "out", "new")
    export(tmp_path / "out", "new", replace=True)
    assert (tmp_path / "out" / "train.jsonl").read_text() == "new"
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_two_exports_to_one_directory_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    other = os.open(tmp_path / ".out.partial", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(InfrastructureError, match="another export writes to it"):
        export(tmp_path / "out", "new")
    os.close(other)
    export(tmp_path / "out", "new")


@pytest.mark.parametrize("link", ["out", ".out.partial"])
def test_a_planted_link_is_not_emptied(link: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("mine")
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / link).symlink_to(tmp_path / "home")
    with pytest.raises(InfrastructureError, match="is a symbolic link"):
        export(tmp_path / "sets" / "out", "one", replace=True)
    assert (tmp_path / "home" / "letter").read_text() == "mine"


def test_a_training_set_is_its_owner_s(tmp_path: Path) -> None:
    export(tmp_path / "sets" / "out", "one")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"sets": 0o700, "out": 0o700, MANIFEST: 0o600, "train.jsonl": 0o600}
