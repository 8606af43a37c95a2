"""Prompts on disk: ids, partials, reloading, bad input, and the lock file."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from flowai.errors import PromptError
from flowai.prompts import LockedRelease, PromptLibrary, PromptLock, entry_hash

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.project import Project


def write(project: Project, name: str, text: str) -> Path:
    path = project.prompts / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def test_ids_and_files_correspond(project: Project) -> None:
    single = write(project, "summary_v1.prompt", "one {{text}}")
    held = write(project, "summary_v2/detailed.prompt", "two {{> tone}}")
    write(project, "summary_v2/_tone.prompt", "kindly")
    nested = write(project, "team/code_v1.prompt", "three {{> tone}}")
    write(project, "_tone.prompt", "briefly")
    library = PromptLibrary(project)

    assert library.ids() == ["prompts/summary_v1", "prompts/summary_v2", "prompts/team/code_v1"]
    assert [library.id_of(path) for path in (single, held, held.parent, nested)] == [
        "prompts/summary_v1",
        "prompts/summary_v2",
        "prompts/summary_v2",
        "prompts/team/code_v1",
    ]
    assert library.load("prompts/summary_v2").id == "prompts/summary_v2"
    assert library.load("prompts/summary_v2").path == held
    assert library.load("prompts/summary_v2").render({}).messages[0].text == "two kindly"
    assert library.load("prompts/team/code_v1").render({}).messages[0].text == "three briefly"


def test_a_prompt_is_parsed_again_only_when_a_file_changes(project: Project) -> None:
    path = write(project, "a_v1.prompt", "a {{> p}}")
    partial = write(project, "_p.prompt", "old")
    library = PromptLibrary(project)
    first = library.load("prompts/a_v1")
    assert library.load("prompts/a_v1") is first

    partial.write_text("newer", encoding="utf-8")
    second = library.load("prompts/a_v1")
    assert second.render({}).messages[0].text == "a newer"
    assert second.hash != first.hash

    path.write_text("b {{> p}}", encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert library.load("prompts/a_v1").render({}).messages[0].text == "b newer"


def test_unknown_prompts_name_the_nearest(project: Project) -> None:
    write(project, "summary_v1.prompt", "x")
    library = PromptLibrary(project)

    with pytest.raises(PromptError, match="no prompt `prompts/sumary_v1`") as caught:
        library.load("prompts/sumary_v1")
    assert "did you mean `prompts/summary_v1`?" in (caught.value.hint or "")
    with pytest.raises(PromptError) as ending:
        library.load("prompts/summary_v1.prompt")
    assert ending.value.hint == "an id has no suffix: `prompts/summary_v1`"


@pytest.mark.parametrize("prompt_id", ["../secret", "/etc/passwd", "prompts/../../secret", "prompts/link_v1"])
def test_a_prompt_outside_the_project_is_refused(prompt_id: str, project: Project) -> None:
    secret = project.root.parent / "secret.prompt"
    secret.write_text("x", encoding="utf-8")
    (project.prompts / "link_v1.prompt").symlink_to(secret)

    with pytest.raises(PromptError, match="outside the project"):
        PromptLibrary(project).load(prompt_id)


@pytest.mark.parametrize("prompt_id", ["", ".", "prompts", "prompts/\0", "x" * 5000, "prompts/" + "y" * 300])
def test_an_invalid_id_is_one_clear_error(prompt_id: str, project: Project) -> None:
    with pytest.raises(PromptError):
        PromptLibrary(project).load(prompt_id)


def test_a_partial_outside_the_project_is_not_found(project: Project) -> None:
    (project.root.parent / "_secret.prompt").write_text("x", encoding="utf-8")
    write(project, "a_v1.prompt", '{{> "../../secret"}}')

    with pytest.raises(PromptError, match="no partial"):
        PromptLibrary(project).load("prompts/a_v1")


def test_invalid_bytes_are_reported_with_their_line(project: Project) -> None:
    (project.prompts / "a_v1.prompt").write_bytes(b"fine\n\xff\xfe")

    with pytest.raises(PromptError, match="not UTF-8") as caught:
        PromptLibrary(project).load("prompts/a_v1")
    assert str(caught.value.place) == "prompts/a_v1.prompt:2"


def test_a_directory_holds_exactly_one_prompt(project: Project) -> None:
    library = PromptLibrary(project)
    write(project, "a_v1/_p.prompt", "x")
    with pytest.raises(PromptError, match="found none"):
        library.load("prompts/a_v1")
    write(project, "a_v1/one.prompt", "x")
    write(project, "a_v1/two.prompt", "x")
    with pytest.raises(PromptError, match=r"found `one.prompt`, `two.prompt`"):
        library.load("prompts/a_v1")
    write(project, "a_v1.prompt", "x")
    with pytest.raises(PromptError, match="a file and a directory"):
        library.load("prompts/a_v1")


def test_other_files_have_no_id(project: Project) -> None:
    library = PromptLibrary(project)
    for name, what in [("_p.prompt", "partial"), ("notes.txt", "not a prompt file")]:
        with pytest.raises(PromptError, match=what):
            library.id_of(write(project, name, "x"))
    with pytest.raises(PromptError, match="outside"):
        library.id_of(project.root.parent / "x.prompt")


def test_loading_refuses_a_template_its_schema_contradicts(project: Project) -> None:
    write(project, "a_v1.prompt", "---\ninput: {schema: {text: string}}\n---\n{{txt}}")

    with pytest.raises(PromptError, match="uses `txt`"):
        PromptLibrary(project).load("prompts/a_v1")


def test_the_lock_is_written_sorted_and_read_back(project: Project) -> None:
    locked = LockedRelease(prompts={"prompts/b_v1": "22", "prompts/a_v1": "11"}, models={"m": "33"})
    lock = PromptLock.read(project.prompts_lock).with_release("v2", locked).with_release("v1", LockedRelease())

    lock.write(project.prompts_lock)

    assert PromptLock.read(project.prompts_lock) == lock
    text = project.prompts_lock.read_text(encoding="utf-8")
    assert text.index('"v1"') < text.index('"v2"')
    assert text.index("a_v1") < text.index("b_v1")
    assert text.endswith("}\n")


def test_the_lock_lists_changes() -> None:
    locked = LockedRelease(prompts={"prompts/a_v1": "11", "prompts/b_v1": "22"}, models={"m": "33", "n": "44"})
    lock = PromptLock().with_release("v1", locked)

    changes = lock.changes(prompts={"prompts/a_v1": "99", "prompts/b_v1": None, "other": "1"}, models={"m": "33"})

    assert [(change.kind, change.name, change.locked, change.current) for change in changes] == [
        ("prompt", "prompts/a_v1", "11", "99"),
        ("prompt", "prompts/b_v1", "22", None),
    ]
    assert lock.changes(prompts={"prompts/a_v1": "11"}, models={"n": "44"}) == []


def test_a_locked_release_never_changes() -> None:
    lock = PromptLock().with_release("v1", LockedRelease(prompts={"p": "1"}))

    assert lock.with_release("v1", LockedRelease(prompts={"p": "1"})) == lock
    with pytest.raises(PromptError, match="`v1` is locked with different"):
        lock.with_release("v1", LockedRelease(prompts={"p": "2"}))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "not a lock file"),
        ('{"releases": []}', "not a lock file"),
        ('{"relases": {}}', "not a lock file"),
        ('{"schema_version": 9}', "schema version 9; expected 1"),
    ],
)
def test_a_broken_lock_is_one_clear_error(text: str, what: str, project: Project) -> None:
    project.prompts_lock.write_text(text, encoding="utf-8")

    with pytest.raises(PromptError, match=what) as caught:
        PromptLock.read(project.prompts_lock)
    assert caught.value.hint


def test_an_entry_s_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert entry_hash({"a": 1, "b": "x"}) == entry_hash({"b": "x", "a": 1}) != entry_hash({"a": 2, "b": "x"})


def test_a_typed_render_imports_no_jsonschema(project: Project) -> None:
    write(project, "a_v1.prompt", "---\ninput: {schema: {text: string, n?: integer}}\n---\n{{text}}{{n}}")
    script = (
        "import sys; from pathlib import Path\n"
        "from flowai.project import Project; from flowai.prompts import PromptLibrary\n"
        "root = Path(sys.argv[1]); project = Project(root=root, registry=root / 'registry.yaml')\n"
        "PromptLibrary(project).load('prompts/a_v1').render({'text': 'x'})\n"
        "print([name for name in ('jsonschema', 'jinja2', 'litellm', 'pandas') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script, str(project.root)], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
