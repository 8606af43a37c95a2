"""Editing: any text that a registry may hold is read back unchanged, and what YAML cannot hold is refused as that."""

from __future__ import annotations

import math
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.registry_projects import MINIMAL, project_of

from flowai.errors import RegistryError, UsageError
from flowai.registry import load_registry
from flowai.registry.fields import NAME, TYPE_DESCRIPTIONS
from flowai.registry.writer import EntryEdit, edit_entries, edit_registry
from flowai.registry.yaml_edit import add_entry, replace_value
from flowai.storage.files import parse_yaml

if TYPE_CHECKING:
    from flowai.registry.records import Registry

LAYOUTS = [
    "x: 1\n",
    "key: v1  # live\nx: 1\n",
    "key: 'v1'\nx: 1\n",
    'key: "v1" # live\nx: 1\n',
    "x: 1\r\nkey:\r\n",
    "key:\n  v1\nx: 1\n",
    "key: {a: 1}\nx: 1\n",
]
LISTS = ["h: [v1]\nx: 1\n", "h:\n  - v1  # first\nx: 1\n", "h:\n- v1", "h: []\n", "x: 1\n"]
HARD = "\0\x07\t\n\r\x1b \"#%&'*,-.:=?@[\\]`{|}~\x7f\x80\x85\x9f\xa0\xad\u2028\u2029\ufeff\ufffe\uffff🎉\U0010ffff"
texts = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(HARD)))
keys = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(HARD)), max_size=90)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


def value_of(text: str) -> Any:
    return parse_yaml(text, name="it").value


@settings(deadline=None)
@given(layout=st.sampled_from(LAYOUTS), text=texts)
def test_any_text_is_read_back_unchanged(layout: str, text: str) -> None:
    after = replace_value(layout, "key", text, name="it")
    assert value_of(after) == {**value_of(layout), "key": text}


@settings(deadline=None)
@given(layout=st.sampled_from(LISTS), more=st.lists(texts, max_size=4))
def test_any_text_of_a_list_is_read_back_unchanged(layout: str, more: list[str]) -> None:
    before = value_of(layout)
    wanted = [*(before.get("h") or ()), *more]
    assert value_of(replace_value(layout, "h", wanted, name="it")) == {**before, "h": wanted}


@settings(deadline=None)
@given(
    layout=st.sampled_from(["map:\n  a: 1\n", "map: {a: 1}\n"]),
    entry=keys.filter(lambda key: key != "a"),
    value=st.dictionaries(keys, values, max_size=3),
)
def test_any_entry_is_read_back_unchanged(layout: str, entry: str, value: dict[str, object]) -> None:
    assert value_of(add_entry(layout, "map", entry, value, name="it")) == {"map": {"a": 1, entry: value}}


def test_a_long_key_is_read_back_unchanged() -> None:
    for key in ("k" * 1500, "\x85" * 300, "🎉\n" * 200):
        value = {"params": {key: {key: [{key: 1, "b": 2}]}}}
        assert value_of(add_entry("map: {a: 1}\n", "map", "n", value, name="it")) == {"map": {"a": 1, "n": value}}
        assert value_of(add_entry("map:\n  a: 1\n", "map", "n", value, name="it")) == {"map": {"a": 1, "n": value}}


@pytest.mark.slow  # edits hundreds of files
def test_every_character_of_unicode_is_read_back_unchanged() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    for start in range(0, len(characters), 4096):
        text = "".join(characters[start : start + 4096])
        for layout in ("x: 1\n", "key: 'v1'\n"):
            assert value_of(replace_value(layout, "key", text, name="it"))["key"] == text


@pytest.mark.parametrize("code", [0xD800, 0xDBFF, 0xDC00, 0xDFFF])
def test_text_that_yaml_cannot_represent_is_refused(code: int) -> None:
    text = f"a{chr(code)}b"
    expected = rf"U\+{code:04X}, expected text that UTF-8 can encode"
    with pytest.raises(RegistryError, match=expected) as failed:
        replace_value("x: 1\n", "key", text, name="registry.yaml")
    assert failed.value.place is not None
    assert failed.value.place.file == "registry.yaml"
    assert failed.value.place.key == "key"
    for value in ({"params": {"stop": [text]}}, {"params": {"stop": {text: 1}}}):
        with pytest.raises(RegistryError, match=expected) as failed:
            add_entry("map: {a: 1}\n", "map", "n", value, name="registry.yaml")
        assert failed.value.place is not None
        assert failed.value.place.key == "map.n.params.stop"


# --- whole registries ---


@settings(deadline=None, max_examples=40)
@given(stop=st.lists(texts, max_size=3), other=st.dictionaries(keys, values, max_size=2))
def test_a_new_release_keeps_its_texts(stop: list[str], other: dict[str, object]) -> None:
    params = {"stop": stop, "metadata": other}
    edit = EntryEdit(
        key="releases", name="n", value={"extends": "v1", "code_gen": {"params": params}}, same_file_as="v1"
    )
    with tempfile.TemporaryDirectory() as directory:
        project = project_of(Path(directory))
        edit_entries(project, lambda _: (edit,), env=None, environ={})
        registry = load_registry(project, env=None, environ={})
    assert registry.releases["n"].bindings["code_gen"].params == params


@settings(deadline=None, max_examples=40)
@given(name=st.from_regex(NAME).filter(lambda name: name not in ("v1", "v2", "v3")))
def test_any_valid_release_name_can_be_a_managed_key(name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        project = project_of(Path(directory))
        new = EntryEdit(key="releases", name=name, value={"extends": "v1"}, same_file_as="v1")
        edit_entries(project, lambda _: (new,), env=None, environ={})
        registry = edit_registry(
            project,
            lambda own: msgspec.structs.replace(own, current=name, history=(*own.history, name), bad=("v3",)),
            env=None,
            environ={},
        )
    assert registry.current == name
    assert registry.history == ("v1", name)
    assert registry.bad == ("v3",)


def test_a_name_has_no_line_break_at_its_end(tmp_path: Path) -> None:
    assert all(re.search(shape, "v1\n") is None for shape in TYPE_DESCRIPTIONS)
    with pytest.raises(RegistryError, match="expected a name of letters"):
        load_registry(project_of(tmp_path, MINIMAL.replace("  v3: ", '  "v3\\n": ')), env=None, environ={})


def test_a_nan_elsewhere_in_the_file_does_not_block_an_edit(tmp_path: Path) -> None:
    text = MINIMAL.replace("{seed: 2}", "{seed: .nan}")
    project = project_of(tmp_path, text)
    edited = edit_registry(project, lambda own: msgspec.structs.replace(own, current="v2"), env=None, environ={})
    assert edited.current == "v2"

    def adopt(registry: Registry) -> tuple[EntryEdit, ...]:
        bound = msgspec.to_builtins(registry.releases["v2"].bindings["summarization"])
        bound["params"] = {"seed": math.nan, "stop": ["\x85"]}
        return (
            EntryEdit(key="releases", name="n", value={"extends": "v2", "summarization": bound}, same_file_as="v2"),
        )

    edit_entries(project, adopt, env=None, environ={})
    params = load_registry(project, env=None, environ={}).releases["n"].bindings["summarization"].params
    assert math.isnan(params["seed"])
    assert params["stop"] == ["\x85"]


def test_an_unknown_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no release"):
        edit_registry(
            project_of(tmp_path), lambda own: msgspec.structs.replace(own, current="\x85"), env=None, environ={}
        )
