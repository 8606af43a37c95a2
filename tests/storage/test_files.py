"""Files: line numbers in errors, atomic replacement, appends that survive a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from flowai.errors import InfrastructureError, ProjectError
from flowai.storage.files import FileFingerprint, parse_yaml, read_fingerprints, read_json, read_text, write_atomic
from flowai.storage.jsonl import AppendLog, iterate_jsonl


def test_yaml_values_have_lines() -> None:
    document = parse_yaml("a: 1\nb:\n  - x\n  - c: 2\n", name="f.yaml")
    assert document.value == {"a": 1, "b": ["x", {"c": 2}]}
    assert str(document.location("b", 1, "c")) == "f.yaml:4: b.1.c"
    assert document.location("b", 1, "missing").line == 4, "a missing key points at its parent"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1\n", 3, "not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key"),
        ("a: !!python/object:os.system {}\n", 1, "could not determine a constructor"),
        ("a: 2020-99-99\n", 1, "not valid YAML"),
    ],
)
def test_yaml_errors_have_the_line(text: str, line: int | None, words: str) -> None:
    with pytest.raises(ProjectError, match=words) as caught:
        parse_yaml(text, name="f.yaml")
    assert caught.value.place is not None
    assert caught.value.place.file == "f.yaml"
    assert caught.value.place.line == line


@pytest.mark.slow
def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12))
    with pytest.raises(ProjectError, match="too many values"):
        parse_yaml(f"l0: &l0 [x]\n{levels}\n", name="bomb.yaml")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nversion_targets: &a [*a]", 2, "an alias is inside its own anchor"),
        ("a: &a {<<: *a}", 1, "an alias is inside its own anchor"),
        ("? &a {b: *a}\n: 1", 1, "an alias is inside its own anchor"),
        ("a: 1\nb: " + "[" * 100 + "]" * 100, 2, "more than 100 levels"),
        ("a: 1\nb: " + "{a: " * 900 + "1" + "}" * 900, 2, "more than 100 levels"),
        ("- " * 200_000 + "x", 1, "maximum nesting depth"),
        ("a: &a " + "[" * 60 + "]" * 60 + "\nb: " + "[" * 60 + "*a" + "]" * 60, 1, "more than 100 levels"),
        ("a: 1\nb: " + "9" * 5_000, 2, "a number of 5,000 characters"),
        ("a: 0x" + "f" * 50_000, 1, "a number of 50,002 characters"),
        ("a: 1" + ":59" * 20_000, 1, "a number of 60,001 characters"),
        ("a: 1\nb: 2024-13-45", 2, "`2024-13-45` is no timestamp: month must be in 1..12"),
        ("a: 1\nb: !!timestamp x", 2, "`x` is no timestamp"),
        ("a: 1\nb: !!bool x", 2, "`x` is no bool"),
        ('a: 1\nb: !!int ""', 2, "`` is no int"),
        ("a: 1\nb: !!set {a, b}", 2, "found the tag `!!set`"),
        ("a: 1\n? !!binary aGk=\n: 1", 2, "found the tag `!!binary`"),
        ("a: 1\n? [b]\n: 1", 2, "unhashable key"),
        ("a: 1\nb: \x00", 2, "control characters are not allowed"),
    ],
)
def test_hostile_yaml_is_a_project_error_with_a_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ProjectError) as caught:
        parse_yaml(text, name="f.yaml")
    assert (words in str(caught.value)) is True, str(caught.value)
    assert caught.value.place is not None
    assert caught.value.place.line == line


def test_aliases_beside_each_other_are_no_recursion() -> None:
    text = "a: &a {x: [1]}\nb: [*a, *a]\nc: {<<: *a, y: 2}\n"
    assert parse_yaml(text, name="f.yaml").value == {
        "a": {"x": [1]},
        "b": [{"x": [1]}, {"x": [1]}],
        "c": {"x": [1], "y": 2},
    }


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5_000])
def test_hostile_json_is_a_project_error(tmp_path: Path, value: str) -> None:
    (tmp_path / "a.json").write_text(value + "]" * (100_000 if value[0] == "[" else 0))
    with pytest.raises(ProjectError, match="not readable JSON"):
        read_json(tmp_path / "a.json", name="a.json")
    with pytest.raises(ProjectError, match=r"a\.json:1: not readable JSON"):
        list(iterate_jsonl(tmp_path / "a.json", name="a.json"))


def test_invalid_utf8_has_the_line(tmp_path: Path) -> None:
    file = tmp_path / "f.txt"
    file.write_bytes(b"one\ntwo \xff\n")
    with pytest.raises(ProjectError, match="0xff") as caught:
        read_text(file, name="f.txt")
    assert str(caught.value).startswith("f.txt:2")


def test_text_keeps_line_ends_without_the_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "f.txt"
    file.write_bytes(b"\xef\xbb\xbfa\r\nb\n")
    assert read_text(file) == "a\r\nb\n"


def test_json_errors_have_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text('{\n "a": }\n')
    with pytest.raises(ProjectError, match=r"f.json:2: not valid JSON: .* at column 7"):
        read_json(file, name="f.json")


def test_jsonl_errors_have_the_line_after_the_good_ones(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text('{"a": 1}\n\nnope\n')
    rows = iterate_jsonl(file, name="f.jsonl")
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(ProjectError, match=r"f\.jsonl:3"):
        next(rows)


def test_write_atomic_replaces_and_keeps_the_mode(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "f"
    write_atomic(file, "one")
    file.chmod(0o600)
    write_atomic(file, "two")
    assert file.read_text() == "two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["f"], "no temporary file stays"


def test_write_atomic_errors_name_the_file() -> None:
    with pytest.raises(InfrastructureError, match="cannot write") as caught:
        write_atomic(Path("/proc/nowhere/f"), "x")
    assert caught.value.hint


def test_a_full_disk_is_one_error_and_leaves_complete_lines() -> None:
    log = AppendLog.__new__(AppendLog)  # /dev/full cannot be opened read-write and truncated as a file can
    log.path = Path("/dev/full")
    log._encoder = msgspec.json.Encoder()
    log._descriptor = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(InfrastructureError, match="No space left"):
        log.append({"a": 1})
    log.close()


def test_a_torn_last_line_is_ended_before_the_next_record(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b'{"a":1}\n{"b":')
    with AppendLog(file) as log:
        log.append({"c": 3})
    assert file.read_bytes() == b'{"a":1}\n{"b":\n{"c":3}\n'


def test_kill_9_loses_no_acknowledged_line(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    script = (
        "import sys\nfrom pathlib import Path\nfrom flowai.storage.jsonl import AppendLog\n"
        f"log = AppendLog(Path({str(file)!r}))\n"
        "number = 0\n"
        "while True:\n    log.append({'n': number})\n    print(number, flush=True)\n    number += 1\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [int(next(process.stdout)) for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    kept = [row["n"] for _, row in iterate_jsonl(file)]
    assert set(acknowledged) <= set(kept)


def test_a_fingerprint_changes_when_a_file_is_written_replaced_or_removed(tmp_path: Path) -> None:
    path, missing = tmp_path / "a", tmp_path / "b"
    path.write_text("one")
    seen = [FileFingerprint.of(path)]
    path.write_text("three")
    seen.append(FileFingerprint.of(path))
    os.utime(path, ns=(1, 1))
    seen.append(FileFingerprint.of(str(path)))
    write_atomic(path, "three")
    os.utime(path, ns=(1, 1))
    seen.append(FileFingerprint.of(path))
    assert read_fingerprints([path, missing]) == {str(path): seen[-1]}
    path.unlink()
    seen.append(FileFingerprint.of(path))
    assert len(set(seen)) == 5
    assert seen[-1] is None
