"""Adding an entry and taking one out: every other byte stays, whatever the file looks like, or nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.registry_projects import MINIMAL, project_of

from flowai.errors import InfrastructureError, RegistryError
from flowai.registry import load_registry
from flowai.registry.writer import EntryEdit, edit_entries
from flowai.registry.yaml_edit import add_entry, remove_entry
from flowai.storage.files import parse_yaml

if TYPE_CHECKING:
    from pathlib import Path

NEW = {"extends": "a", "chat": {"prompt": "p", "params": {"temperature": 0.5, "stop": ["\n", "é#: x"], "seed": 1e-7}}}
BLOCK = """\
x: 1
map:  # names
  # the first
  a: {b: 1}  # one

  # the second
  c:
    d: |
      text
# end
y: 2
"""


@pytest.mark.parametrize(
    ("text", "entry", "left"),
    [
        (BLOCK, "a", BLOCK.replace("  a: {b: 1}  # one\n", "")),
        (BLOCK, "c", BLOCK.replace("  c:\n    d: |\n      text\n", "")),
        ("map:  # one\n  a: 1\ny: 2\n", "a", "map: {}  # one\ny: 2\n"),
        ("map:\n  a:\n    - 1\n    # inside\n    - 2", "a", "map: {}\n"),
        ("map: {a: 1}\ny: 2\n", "a", "map: {}\ny: 2\n"),
        ("map: {a: 1, b: {c: 2}, d: 3}\n", "b", "map: {a: 1, d: 3}\n"),
        ("map: {a: 1, b: {c: 2}}  # both\n", "b", "map: {a: 1}  # both\n"),
        ("map:\r\n  a: 1\r\n  b: 2\r\n", "a", "map:\r\n  b: 2\r\n"),
        ('map:\n  "a": 1\n  b: "x"\n', "a", 'map:\n  b: "x"\n'),
    ],
)
def test_an_entry_is_removed(text: str, entry: str, left: str) -> None:
    assert remove_entry(text, "map", entry, name="it") == left


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        (BLOCK, BLOCK[: BLOCK.index("# end")] + "  n:\n    extends: a\n    chat: {", "}\n# end\ny: 2\n"),
        ("map: {a: 1}  # one\ny: 2\n", "map: {a: 1, n: {extends: a, chat: {", "}}  # one\ny: 2\n"),
        ("map:\n  a: 1", "map:\n  a: 1\n  n:\n    extends: a\n", "}\n"),
        ("map:\r\n    a: 1\r\ny: 2\r\n", "map:\r\n    a: 1\r\n    n:\r\n      extends: a\r\n", "}\r\ny: 2\r\n"),
    ],
)
def test_an_entry_is_added_in_the_maps_own_style(text: str, begins: str, ends: str) -> None:
    added = add_entry(text, "map", "n", NEW, name="it")
    assert added.startswith(begins)
    assert added.endswith(ends)
    assert parse_yaml(added, name="it").value["map"]["n"] == NEW


names = st.text("abcdefgh0123456789_.-", min_size=1, max_size=6).filter(lambda name: name[0] not in "_.-")
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, width=32) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    entries=st.dictionaries(names, st.dictionaries(names, values, min_size=1, max_size=3), min_size=1, max_size=4),
    new=st.dictionaries(names, values, min_size=1, max_size=3),
    is_flow=st.booleans(),
    data=st.data(),
)
def test_an_added_entry_is_read_back_and_removed(
    entries: dict[str, dict[str, object]], new: dict[str, object], is_flow: bool, data: st.DataObject
) -> None:
    import yaml

    text = f"x: 1\nmap: {'' if is_flow else chr(10)}"
    body = yaml.safe_dump(entries, default_flow_style=is_flow, allow_unicode=True, sort_keys=False)
    text += body if is_flow else "".join(f"  {line}\n" for line in body.splitlines())
    text += "y: 2\n"
    before = parse_yaml(text, name="it").value
    added = add_entry(text, "map", "zz", new, name="it")
    assert parse_yaml(added, name="it").value == {**before, "map": {**before["map"], "zz": new}}
    assert remove_entry(added, "map", "zz", name="it") == text
    gone = data.draw(st.sampled_from(sorted(entries)))
    rest = {name: value for name, value in before["map"].items() if name != gone}
    assert parse_yaml(remove_entry(text, "map", gone, name="it"), name="it").value == {**before, "map": rest}


def test_an_edit_that_makes_the_registry_invalid_is_undone(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    wrong = EntryEdit(key="releases", name="v9", value={"extends": "nowhere"}, same_file_as="v1")
    with pytest.raises(RegistryError, match="nowhere"):
        edit_entries(project, lambda _: (wrong,), env=None, environ={})
    assert project.registry.read_text() == MINIMAL


def test_a_byte_order_mark_is_kept(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    project.registry.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    new = EntryEdit(key="releases", name="v9", value={"extends": "v1"}, same_file_as="v1")
    assert edit_entries(project, lambda _: (new,), env=None, environ={}) == ("registry.yaml",)
    assert project.registry.read_bytes().startswith(b"\xef\xbb\xbfschema_version")
    assert load_registry(project, env=None, environ={}).release("v9").extends == "v1"


def test_an_anchor_that_others_use_is_not_removed(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    anchored = MINIMAL.replace("releases:\n", "releases:\n  v8: &all {extends: v1}\n  v9: *all\n")
    project.registry.write_text(anchored)
    with pytest.raises(RegistryError, match="cannot be changed"):
        edit_entries(project, lambda _: (EntryEdit(key="releases", name="v8"),), env=None, environ={})
    assert project.registry.read_text() == anchored


def test_a_file_without_write_permission_is_unchanged(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    project.registry.chmod(0o444)
    new = EntryEdit(key="releases", name="v9", value={"extends": "v1"}, same_file_as="v1")
    with pytest.raises(InfrastructureError, match="read-only"):
        edit_entries(project, lambda _: (new,), env=None, environ={})
    assert project.registry.read_text() == MINIMAL
