"""Editing: only flowai's own keys change, every other byte stays, and no change is lost."""

from __future__ import annotations

import difflib
import fcntl
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.registry_projects import MINIMAL, project_of

from flowai.errors import InfrastructureError, RegistryError, UsageError
from flowai.registry import Rollout, load_registry
from flowai.registry.writer import LOCK_LIMIT_S, ManagedKeys, edit_registry
from flowai.registry.yaml_edit import replace_value
from flowai.storage.files import parse_yaml

OWN_REGISTRY = Path(__file__).resolve().parents[2] / "registry.yaml"
STARTED = datetime(2026, 5, 2, 8, tzinfo=UTC)


def change(**keys: Any) -> Any:
    return lambda own: msgspec.structs.replace(own, **keys)


def test_an_edit_changes_the_keys_and_returns_the_registry(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    rollout = Rollout(candidate="v3", stage=5, started_at=STARTED)
    registry = edit_registry(
        project, change(current="v2", history=("v1", "v2"), bad=("v1",), rollout=rollout), env=None, environ={}
    )
    assert registry.current == "v2"
    assert registry.history == ("v1", "v2")
    assert registry.bad == ("v1",)
    assert registry.rollout == rollout
    expected = MINIMAL.replace("current: v1\nhistory: [v1]\n", "current: v2\nhistory: [v1, v2]\n")
    expected += "bad: [v1]\nrollout: {candidate: v3, stage: 5, started_at: 2026-05-02T08:00:00Z}\n"
    assert project.registry.read_text() == expected
    edit_registry(project, change(rollout=None), env=None, environ={})
    assert project.registry.read_text().endswith("bad: [v1]\nrollout: null\n")


def test_the_edit_receives_the_current_keys(tmp_path: Path) -> None:
    seen: list[ManagedKeys] = []

    def look(own: ManagedKeys) -> ManagedKeys:
        seen.append(own)
        return own

    project = project_of(tmp_path)
    before = project.registry.stat()
    edit_registry(project, look, env=None, environ={})
    after = project.registry.stat()
    assert seen == [ManagedKeys(current="v1", history=("v1",))]
    # not the time of the last access: a read may change it
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "nothing changed, nothing written"


def test_the_environments_file_is_edited_where_one_is_chosen(tmp_path: Path) -> None:
    project = project_of(tmp_path, prod="extends: registry.yaml\n# production\n")
    edit_registry(project, change(history=("v1", "v2")), env="prod", environ={})
    assert (tmp_path / "registry.prod.yaml").read_text() == "extends: registry.yaml\n# production\nhistory: [v1, v2]\n"
    edit_registry(project, change(current="v2"), env=None, environ={"FLOWAI_ENV": "prod"})
    assert (tmp_path / "registry.prod.yaml").read_text().endswith("current: v2\n")
    assert project.registry.read_text() == MINIMAL


def test_a_rollout_of_the_base_can_be_ended_in_the_environment(tmp_path: Path) -> None:
    project = project_of(tmp_path, MINIMAL + "rollout: {candidate: v2}\n", prod="extends: registry.yaml\n")
    assert edit_registry(project, change(rollout=None), env="prod", environ={}).rollout is None
    assert load_registry(project, env=None, environ={}).rollout == Rollout(candidate="v2")


def test_an_unknown_release_or_a_wrong_registry_changes_nothing(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    for keys in ({"current": "v9"}, {"history": ("v9",)}, {"bad": ("v9",)}, {"rollout": Rollout(candidate="v9")}):
        with pytest.raises(UsageError, match="no release `v9`"):
            edit_registry(project, change(**keys), env=None, environ={})
    assert project.registry.read_text() == MINIMAL
    project.registry.write_text(MINIMAL + "modles: {}\n")
    with pytest.raises(RegistryError, match="unknown key `modles`"):
        edit_registry(project, change(current="v2"), env=None, environ={})


def test_the_repositorys_own_registry_keeps_all_but_two_lines(tmp_path: Path) -> None:
    text = OWN_REGISTRY.read_text()
    project = project_of(tmp_path, text)
    edit_registry(project, change(current="v2", history=("v1", "v2")), env=None, environ={})
    changed = [
        line for line in difflib.ndiff(text.splitlines(), project.registry.read_text().splitlines()) if line[0] in "+-"
    ]
    assert changed == ["- current: v1", "+ current: v2", "- history: [v1]", "+ history: [v1, v2]"]


LAYOUTS = [
    ("comment behind", "current: v1   # live\n", "current: v2   # live\n"),
    ("single quotes", "current: 'v1'\n", "current: 'v2'\n"),
    ("double quotes", 'current: "v1" # x\n', 'current: "v2" # x\n'),
    ("nothing", "current:   # none yet\n", "current: v2   # none yet\n"),
    ("nothing at the end", "current:", "current: v2"),
    ("null", "current: ~\n", "current: v2\n"),
    ("in between", "current: v1\n\n# note 🎉\nx: é\n", "current: v2\n\n# note 🎉\nx: é\n"),
    ("carriage returns", "x: 1\r\ncurrent: v1 # é\r\n", "x: 1\r\ncurrent: v2 # é\r\n"),
    ("next line", "current:\n  v1\n", "current:\n  v2\n"),
    ("added", "x: 1", "x: 1\ncurrent: v2\n"),
    ("added after carriage returns", "x: 1\r\n", "x: 1\r\ncurrent: v2\r\n"),
    ("added before the end mark", "x: 1\n...\n", "x: 1\ncurrent: v2\n...\n"),
    ("added in an indented map", "  x: 1\n  # end\n", "  x: 1\n  # end\n  current: v2\n"),
    (
        "a key inside is another",
        "a: {current: v0}\nb:\n  current: v0\n",
        "a: {current: v0}\nb:\n  current: v0\ncurrent: v2\n",
    ),
]


@pytest.mark.parametrize(("before", "after"), [row[1:] for row in LAYOUTS], ids=[row[0] for row in LAYOUTS])
def test_a_name_is_replaced_in_its_place(before: str, after: str) -> None:
    assert replace_value(before, "current", "v2", name="registry.yaml") == after


LISTS = [
    ("flow", "h: [v1]  # x\n", "h: [v1, v2]  # x\n"),
    ("flow over lines", "h: [\n  v1,  # first\n]\n", "h: [\n  v1, v2,  # first\n]\n"),
    ("block", "h:\n  - v1  # first\n# end\nx: 1\n", "h:\n  - v1  # first\n  - v2\n# end\nx: 1\n"),
    ("block under its key", "h:\n- v1\nx: 1\n", "h:\n- v1\n- v2\nx: 1\n"),
    ("block without an end of line", "h:\n  - v1", "h:\n  - v1\n  - v2\n"),
    ("empty", "h: []\n", "h: [v1, v2]\n"),
    ("other items", "h:\n- v0\n# end\n", "h:\n  [v1, v2]\n# end\n"),
    ("quoted", "h: ['v1']\n", "h: ['v1', v2]\n"),
]


@pytest.mark.parametrize(("before", "after"), [row[1:] for row in LISTS], ids=[row[0] for row in LISTS])
def test_a_list_grows_in_its_own_style(before: str, after: str) -> None:
    assert replace_value(before, "h", ["v1", "v2"], name="registry.yaml") == after


@pytest.mark.parametrize("name", ["1.0", "1", "no", "null", "2026-05-02", "1e3", "0x10"])
def test_an_ambiguous_name_is_quoted(name: str) -> None:
    for text in ("current: v1\n", "x: 1\n", "current: 'v1'\n"):
        assert parse_yaml(replace_value(text, "current", name, name="r"), name="r").value["current"] == name


def test_a_file_in_braces_cannot_be_added_to(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="is in braces"):
        edit_registry(
            project_of(tmp_path, '{"schema_version": 1, "releases": {"v1": {}}}\n'),
            change(current="v1"),
            env=None,
            environ={},
        )


def test_an_anchor_used_elsewhere_is_not_removed(tmp_path: Path) -> None:
    text = MINIMAL.replace("current: v1\nhistory: [v1]", "current: &live v1\nhistory: [*live]")
    project = project_of(tmp_path, text)
    with pytest.raises(RegistryError, match="cannot be changed without changing other text"):
        edit_registry(project, change(current="v2"), env=None, environ={})
    assert project.registry.read_text() == text


def test_a_byte_order_mark_and_the_file_s_mode_are_kept(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    project.registry.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    project.registry.chmod(0o640)
    edit_registry(project, change(current="v2"), env=None, environ={})
    assert project.registry.read_bytes() == b"\xef\xbb\xbf" + MINIMAL.replace("current: v1", "current: v2").encode()
    assert project.registry.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text(MINIMAL)
    project = project_of(tmp_path)
    project.registry.unlink()
    project.registry.symlink_to("real.yaml")
    edit_registry(project, change(current="v2"), env=None, environ={})
    assert project.registry.is_symlink()
    assert "current: v2" in (tmp_path / "real.yaml").read_text()


def test_a_failed_write_leaves_the_file_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = project_of(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(InfrastructureError, match="No space left"):
        edit_registry(project, change(current="v2"), env=None, environ={})
    assert project.registry.read_text() == MINIMAL
    assert [path.name for path in tmp_path.iterdir()] == ["registry.yaml"]


# --- any file ---

names = st.sampled_from(["v1", "v2", "v3", "1.0", "no"])
comments = st.sampled_from(["", "  # live", " # é 🎉", "\t# tab"])
scalars = st.builds("{}{}".format, st.sampled_from(["v1", "'v1'", '"v1"', "~", ""]), comments).map(
    lambda text: f" {text}"
)
flows = st.builds(" [{}]{}".format, st.lists(st.sampled_from(["v1", "'v2'"]), max_size=3).map(", ".join), comments)
blocks = st.builds(
    lambda indent, items, comment: comment + "".join(f"\n{indent}- {item}{comment}" for item in items),
    st.sampled_from(["", "  ", "    "]),
    st.lists(st.sampled_from(["v1", '"v2"']), min_size=1, max_size=3),
    comments,
)
maps = st.sampled_from(
    [" {candidate: v1, stage: 5}", "\n  candidate: v1\n  stage: 5  # five", " {candidate: v1,\n   stage: 5}", " null"]
)
own = st.one_of(
    st.builds("current:{}".format, scalars),
    st.builds("history:{}".format, st.one_of(flows, blocks)),
    st.builds("bad:{}".format, st.one_of(flows, blocks)),
    st.builds("rollout:{}".format, maps),
)
others = st.sampled_from(
    [
        "# a comment",
        "",
        "features: {a: {current: v0}}",
        "text: |-\n  current: v0\n\n  # not a comment",
        "'quoted key': 'é'",
        "list:\n- a\n-   b",
        "x: {a:\n 1}",
        "odd: '\u2028 line'",
    ]
)
values = st.one_of(
    st.tuples(st.just("current"), names),
    st.tuples(st.sampled_from(["history", "bad"]), st.lists(names, max_size=4)),
    st.tuples(st.just("rollout"), st.none() | st.builds(lambda name: {"candidate": name, "stage": 25}, names)),
)


@given(
    parts=st.lists(st.one_of(own, others), min_size=1, max_size=8, unique_by=lambda part: part.partition(":")[0]),
    edit=values,
    ending=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_only_the_key_s_lines_change_in_any_layout(
    parts: list[str], edit: tuple[str, Any], ending: str, *, last: bool
) -> None:
    key, value = edit
    lines = ["schema_version: 1", *parts]
    at = next((number for number, part in enumerate(lines) if part.startswith(f"{key}:")), len(lines))

    def joined(some: list[str]) -> str:
        return "".join(f"{part}\n" for part in some).replace("\n", ending)

    text = joined(lines) if last else joined(lines).removesuffix(ending)
    after = replace_value(text, key, value, name="registry.yaml")
    assert parse_yaml(after, name="after").value == {**parse_yaml(text, name="before").value, key: value}
    before, behind = text if at == len(lines) else joined(lines[:at]), joined(lines[at + 1 :])
    behind = behind if last else behind.removesuffix(ending)
    assert after.startswith(before)
    assert after.endswith(behind)
    new = after[len(before) : len(after) - len(behind)]
    assert new.removeprefix(ending).startswith(f"{key}:")
    assert new.count("\n") == new.count(ending)


# --- many writers ---

WRITER = """
import sys, msgspec
from pathlib import Path
from flowai.project import Project
from flowai.registry.writer import edit_registry
root = Path(sys.argv[1])
project = Project(root=root, registry=root / "registry.yaml")
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 10):
    edit_registry(
        project, lambda own: msgspec.structs.replace(own, bad=(*own.bad, f"r{number}")), env=None, environ={}
    )
"""


def test_two_concurrent_processes_lose_no_change(tmp_path: Path) -> None:
    releases = "".join(f"  r{number}: {{extends: v1}}\n" for number in range(20))
    project = project_of(tmp_path, MINIMAL.replace("current: v1", f"{releases}current: v1"))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), first], cwd=tmp_path) for first in ("0", "10")
    ]
    for writer in writers:
        assert writer.wait(timeout=60) == 0
    registry = load_registry(project, env=None, environ={})
    assert sorted(registry.bad) == sorted(f"r{number}" for number in range(20))
    assert [name for name in registry.bad if int(name[1:]) < 10] == [f"r{number}" for number in range(10)]


# --- a lock that somebody keeps ---


class Clock:
    """Gives a time that moves on by itself, a second at each look."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


def test_a_lock_held_by_another_process_is_a_timeout_error(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    clock = Clock()
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InfrastructureError, match="has held the lock") as failed:
            edit_registry(project, change(current="v2"), env=None, environ={}, clock_s=clock)
    finally:
        os.close(held)
    assert failed.value.hint is not None
    assert LOCK_LIMIT_S <= clock.now_s <= LOCK_LIMIT_S + 3
    assert project.registry.read_text() == MINIMAL
    assert edit_registry(project, change(current="v2"), env=None, environ={}, clock_s=clock).current == "v2"
