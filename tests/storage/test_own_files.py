"""Files that flowai owns: links, foreign owners and tracked files are refused; only their owner can read them."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.planted_files import track_all

from flowai.errors import InfrastructureError
from flowai.storage.files import write_atomic
from flowai.storage.jsonl import AppendLog
from flowai.storage.own_files import check_no_link, check_own_file
from flowai.storage.sqlite_files import connect_own_database
from flowai.storage.tracked_files import is_tracked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def append(path: Path) -> None:
    with AppendLog(path) as log:
        log.append({"a": 1})


def write(path: Path) -> None:
    write_atomic(path, "new")


def open_base(path: Path) -> None:
    connect_own_database(path, timeout_s=0.1, hint="delete it").close()


@pytest.mark.parametrize("use", [append, write, open_base])
def test_nothing_is_written_through_a_link(use: Callable[[Path], None], tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "directory").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "directory")
    for path in (tmp_path / "link", tmp_path / "linked" / "file"):
        with pytest.raises(InfrastructureError, match="is a symbolic link") as caught:
            use(path)
        assert caught.value.hint is not None
    assert target.read_text(encoding="utf-8") == "mine"
    assert list((tmp_path / "directory").iterdir()) == []


def test_a_link_anywhere_within_a_project_is_refused(tmp_path: Path) -> None:
    project, outside = tmp_path / "project", tmp_path / "outside"
    (outside / "deep" / "deeper").mkdir(parents=True)
    (outside / "deep" / "registry.yaml").touch()  # a planted project does not end the check
    project.mkdir()
    (project / "registry.yaml").touch()
    (project / "reports").symlink_to(outside)
    with pytest.raises(InfrastructureError, match="project/reports: is a symbolic link"):
        write(project / "reports" / "deep" / "deeper" / "report.md")
    (tmp_path / ".flowai").symlink_to(outside)
    with pytest.raises(InfrastructureError, match="is a symbolic link"):
        append(tmp_path / ".flowai" / "deep" / "deeper" / "log.jsonl")


def test_links_above_a_project_are_the_user_s(tmp_path: Path) -> None:
    (tmp_path / "real" / "project" / ".flowai").mkdir(parents=True)
    (tmp_path / "real" / "project" / "registry.yaml").touch()
    (tmp_path / "home").symlink_to(tmp_path / "real")
    check_no_link(tmp_path / "home" / "project" / ".flowai" / "ledger" / "prod.jsonl")


def test_a_pipe_is_refused_before_it_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.jsonl")
    with pytest.raises(InfrastructureError, match="is a device, pipe or socket"):
        append(tmp_path / "log.jsonl")


@pytest.fixture(params=[0o022, 0o027, 0o077, 0o277])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def test_private_files_are_their_owner_s_and_reports_follow_the_umask(umask: int, tmp_path: Path) -> None:
    append(tmp_path / "log.jsonl")
    assert mode_of(tmp_path / "log.jsonl") == 0o600 & ~umask
    if umask & 0o200:
        return  # an unreadable directory helps nobody
    open_base(tmp_path / "new" / "base.db")
    assert mode_of(tmp_path / "new") == 0o700 & ~umask
    assert mode_of(tmp_path / "new" / "base.db") == 0o600 & ~umask
    write_atomic(tmp_path / "state.json", "{}", is_private=True)
    assert mode_of(tmp_path / "state.json") == 0o600 & ~umask
    write(tmp_path / "report.md")
    assert mode_of(tmp_path / "report.md") == 0o666 & ~umask
    (tmp_path / "report.md").chmod(0o640)
    write(tmp_path / "report.md")
    assert mode_of(tmp_path / "report.md") == 0o640, "replacing keeps the rights"


@pytest.mark.parametrize("index_version", [2, 4])
def test_tracked_files_are_found_in_every_kind_of_index(index_version: int, tmp_path: Path) -> None:
    for name in (".flowai/cache/cache.db", ".flowai/ledger/prod.jsonl", "a/.flowai/other.db", "z.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    track_all(tmp_path, index_version=index_version)
    (tmp_path / ".flowai/mine.db").touch()
    tracked = [".flowai/cache/cache.db", ".flowai/ledger/prod.jsonl", "a/.flowai/other.db", "z.txt"]
    assert all(is_tracked(tmp_path / name, below=".flowai") for name in tracked)
    others = (".flowai/mine.db", ".flowai/cache", "other.db")
    assert not any(is_tracked(tmp_path / name, below=".flowai") for name in others)


def test_a_worktree_s_index_is_read_and_case_is_ignored(tmp_path: Path) -> None:
    main, tree = tmp_path / "main", tmp_path / "tree"
    (main / ".FlowAI").mkdir(parents=True)
    (main / ".FlowAI" / "State.db").touch()
    track_all(main)
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for words in ((*identity, "commit", "-qm", "x"), ("worktree", "add", "-q", str(tree))):
        subprocess.run(["git", "-C", str(main), *words], check=True, capture_output=True)
    assert is_tracked(tree / ".flowai" / "state.db", below=".flowai")
    assert not is_tracked(tree / ".flowai" / "state.db2", below=".flowai")


def test_a_log_that_git_tracks_is_refused_and_a_recording_is_not(tmp_path: Path) -> None:
    append(tmp_path / ".flowai" / "outbox.jsonl")
    append(tmp_path / "evals" / "recordings" / "one.jsonl")
    track_all(tmp_path)
    append(tmp_path / "evals" / "recordings" / "one.jsonl")
    from flowai.storage import own_files, tracked_files  # as a new process

    own_files._untracked.clear()
    tracked_files._tracked_names.cache_clear()
    with pytest.raises(InfrastructureError, match="git tracks this file") as caught:
        append(tmp_path / ".flowai" / "outbox.jsonl")
    assert "git rm --cached" in (caught.value.hint or "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_user_s_file_is_refused_unless_it_is_shared(tmp_path: Path) -> None:
    open_base(tmp_path / "base.db")
    os.chown(tmp_path / "base.db", 12345, -1)
    with pytest.raises(InfrastructureError, match="belongs to another user"):
        open_base(tmp_path / "base.db")
    check_own_file(tmp_path / "base.db", "", is_shared=True)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON x BEGIN DELETE FROM x; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE VIRTUAL TABLE f USING fts5(a)",
    ],
)
def test_a_schema_that_runs_by_itself_is_refused(statement: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "base.db")) as base:
        base.execute("CREATE TABLE x (a)")
        base.execute(statement)
    with pytest.raises(InfrastructureError, match="which flowai does not write"):
        open_base(tmp_path / "base.db")


def test_a_journal_that_names_another_file_deletes_nothing(tmp_path: Path) -> None:
    open_base(tmp_path / "base.db")
    victim = tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    name = str(victim).encode()
    end = name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + bytes.fromhex("d9d505f920a163d7")
    header = bytes.fromhex("d9d505f920a163d7") + bytes(4) + bytes(4) + (1).to_bytes(4, "big")
    header += (512).to_bytes(4, "big") + (4096).to_bytes(4, "big")
    (tmp_path / "base.db-journal").write_bytes(header.ljust(512, b"\x00") + bytes(4) + end)
    with pytest.raises(InfrastructureError, match="names another file to delete"):
        open_base(tmp_path / "base.db")
    assert victim.exists()
