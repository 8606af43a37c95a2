"""`flowai secrets scan` on real files and repositories: finds every shape, shows none, raises few false alarms."""

from __future__ import annotations

import io
import json
import os
import random
import re
import string
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from flowai.cli.app import run
from flowai.redaction.patterns import SECRET_PATTERNS, spell_out
from flowai.secrets.scan import ScanOptions, scan
from flowai.secrets.text_search import OVERLAP_CHARS, PART_BYTES, SecretSearch

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sk-proj-" + "Zx8Q2mN4vB6kL0pR1tY3uW5eA7sD9fG"
TABLES = {"patterns.py", "key_shapes.py"}
"""Files with an example of each shape."""
OTHER_KEY = "gsk_" + "4fGh7Jk2Lm9Np3Qr6St8Vw5Xy1Zb0Cd4fGh7Jk2Lm9Np3Qr6"
STRONGER_EXAMPLES = {"header": "Authorization: Basic dXNlcjpzM2NyZXQtcGFzcy05" + "Ng=="}
"""The table's own is `user:password`, which is a placeholder in code."""


def git(root: Path, *arguments: str) -> None:
    names = ("-c", "user.name=Ann", "-c", "user.email=ann@mail.test", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", root, *names, *arguments], check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [*os.environ]:
        if name.startswith("GIT_") or name in {"FLOWAI_ENV", "FLOWAI_REGISTRY"}:
            monkeypatch.delenv(name)
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def repository(root: Path) -> Path:
    git(root, "init", "-q")
    return root


@pytest.fixture
def scanned(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    def call(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = run(["secrets", "scan", "--json", *arguments])
        out, err = capsys.readouterr()
        assert KEY not in out + err
        assert OTHER_KEY not in out + err
        return code, json.loads(out) if out else {"error": err}

    return call


def places(report: dict[str, Any]) -> list[str]:
    return [f"{each['file']}:{each['line']}:{each['column']} {each['shape']}" for each in report["findings"]]


@pytest.mark.parametrize("shape", SECRET_PATTERNS, ids=lambda shape: f"{shape.name}-{shape.provider}")
def test_every_shape_is_found(shape: Any) -> None:
    text = STRONGER_EXAMPLES.get(shape.name) or spell_out(shape)
    for line in (text, f"x = '{text}'", f'{{"value": "{text}"}}', f"export VALUE={text}"):
        assert list(SecretSearch().stream(io.BytesIO(f"first\n{line}\nlast\n".encode()))), line


def test_random_keys_of_25_providers_are_all_found() -> None:
    generator = random.Random(4)  # noqa: S311 - invented keys
    letters, hexadecimal = string.ascii_letters + string.digits, "0123456789abcdef"
    shapes = {
        "sk-": (letters, 48), "sk-proj-": (letters, 64), "sk-ant-api03-": (letters, 95), "sk-or-v1-": (hexadecimal, 64),
        "AIzaSy": (letters, 33), "gsk_": (letters, 52), "hf_": (letters, 34), "r8_": (letters, 37),
        "xai-": (letters, 80), "pplx-": (letters, 48), "tgp_v1_": (letters, 43), "csk-": (letters, 48),
        "nvapi-": (letters, 64), "pa-": (letters, 43), "jina_": (letters, 60), "pcsk_": (letters, 70),
        "tvly-": (letters, 32), "lsv2_pt_": (hexadecimal, 42), "dapi": (hexadecimal, 32),
        "AKIA": (string.ascii_uppercase, 16),
        "ghp_": (letters, 36), "github_pat_": (letters, 82), "glpat-": (letters, 20), "sk_live_": (letters, 24),
        "npm_": (letters, 36), "dop_v1_": (hexadecimal, 64), "fw_": (letters, 24), "GOCSPX-": (letters, 28),
        "AZURE_API_KEY=": (hexadecimal, 32), "MISTRAL_API_KEY=": (letters, 32), "COHERE_API_KEY=": (letters, 40),
    }  # fmt: skip
    assert len(shapes) > 25
    missed = []
    for prefix, (alphabet, length) in shapes.items():
        for _ in range(200):
            key = f"{prefix}{''.join(generator.choice(alphabet) for _ in range(length - 1))}7"
            if not list(SecretSearch().stream(io.BytesIO(f"k: {key}\n".encode()))):
                missed.append(key)
    assert missed == []


@pytest.mark.parametrize("shape", SECRET_PATTERNS, ids=lambda shape: f"{shape.name}-{shape.provider}")
def test_a_mask_shows_nothing_but_the_public_prefix(shape: Any) -> None:
    (found, *_) = SecretSearch().stream(io.BytesIO((STRONGER_EXAMPLES.get(shape.name) or spell_out(shape)).encode()))
    shown = re.sub(r"\.\.\. \(\d+ characters\)\Z", "", found.masked)
    assert shown in {""} | {hint for each in SECRET_PATTERNS for hint in each.hints}


def test_names_placeholders_and_hashes_are_no_findings() -> None:
    text = """\
token = self.tokenizer2.encode_batch(texts)
api_key = os.environ["OPENAI_API_KEY_2"]
OPENAI_API_KEY=sk-your-key-here-0123456789
OPENAI_API_KEY=${OPENAI_API_KEY_2026}
password: changeme123
DATABASE_URL=postgresql://user:password@localhost:5432/app
<a class="sk-estimator-doc-link-2 sk-container-id-17-table">
Authorization: Bearer $TOKEN_2
"integrity": "sha512-zymm5+u+sCsSWyD9qNaejV3DFvhCKclKdizYaJUuHA83RLjb7nSuGnddCHGv0hk+KY7BMAlsWeK4Ueg6EV6XQg=="
if text.startswith("-----BEGIN RSA PRIVATE KEY-----"):
    secret_key_2 = aws_secret_access_key_of(model_2024_11_20)
"""
    assert list(SecretSearch().stream(io.BytesIO(text.encode()))) == []


def test_this_packages_code_docs_and_lock_files_raise_one_false_alarm_per_10_000_lines_at_most() -> None:
    top = Path(__file__).parents[2]
    line_count, found = 0, []
    for folder in ("flowai", "docs", "requirements", "benchmarks"):
        for path in sorted((top / folder).rglob("*")):
            if path.suffix in {".py", ".md", ".json", ".txt", ".lock", ".toml", ".yaml"} and path.name not in TABLES:
                content = path.read_bytes()
                line_count += content.count(b"\n")
                found += [(path, each.line, each.shape) for each in SecretSearch().stream(io.BytesIO(content))]
    assert line_count > 100_000
    assert len(found) <= line_count / 10_000, found


def test_tracked_and_staged_files_and_logs_are_searched_and_nothing_else(
    repository: Path, scanned: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    (repository / ".gitignore").write_text(".flowai/\nignored.txt\n")
    (repository / "registry.yaml").write_text("schema_version: 1\n")
    (repository / "tracked.py").write_text(f"a = 1\nkey = '{KEY}'\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "one")
    (repository / "staged.txt").write_text(f"{OTHER_KEY}\n")
    git(repository, "add", "staged.txt")
    (repository / "staged.txt").write_text("no key any more\n")
    (repository / "ignored.txt").write_text(KEY)
    events = repository / ".flowai" / "events" / "2026-05-01"
    events.mkdir(parents=True)
    (events / "a.jsonl").write_text(json.dumps({"text": KEY}) + "\n")
    code, report = scanned()
    assert code == 1
    assert places(report) == [
        "tracked.py:2:8 openai",
        ".flowai/events/2026-05-01/a.jsonl:1:11 openai",
        "staged.txt:1:1 groq",
    ]
    assert [each["place"] for each in report["findings"]] == ["file", "file", "staged"]
    assert report["findings"][0]["masked"] == "sk-... (39 characters)"
    assert places(scanned("--staged")[1]) == ["staged.txt:1:1 groq"]
    assert scanned("--staged", "tracked.py")[0] == 0
    assert places(scanned("tracked.py")[1]) == ["tracked.py:2:8 openai"]
    assert places(scanned(".")[1]) == ["tracked.py:2:8 openai"]
    assert scanned("--exclude", "tracked.*", "--exclude", ".flowai/*", "--exclude", "staged*")[0] == 0


def test_a_first_commit_is_searched_before_there_is_one(
    repository: Path, scanned: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    (repository / "odd name\n[1].txt").write_text(KEY)
    git(repository, "add", ".")
    code, report = scanned("--staged")
    assert code == 1
    assert report["findings"][0]["file"] == "odd name\n[1].txt"


def test_a_dotenv_that_git_tracks_or_others_read_is_a_finding(
    repository: Path, scanned: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    dotenv = repository / ".env"
    dotenv.write_text(f"OPENAI_API_KEY={KEY}\n")
    dotenv.chmod(0o600)
    (repository / ".env.example").write_text("OPENAI_API_KEY=\n")
    git(repository, "add", ".env.example")
    assert scanned()[0] == 0  # not tracked, and its owner's alone: keys belong there
    dotenv.chmod(0o644)
    code, report = scanned()
    assert code == 1
    assert [(each["kind"], each["hint"]) for each in report["findings"]] == [("env_readable", "`chmod 600 .env`")]
    dotenv.chmod(0o600)
    git(repository, "add", "-f", ".env")
    kinds = [each["kind"] for each in scanned()[1]["findings"]]
    assert kinds == ["secret", "env_tracked"]
    assert [each["kind"] for each in scanned("--staged")[1]["findings"]] == ["secret", "env_tracked"]


def test_plain_folders_are_searched_without_git(root: Path, scanned: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    (root / "logs").mkdir()
    (root / "logs" / "a.log").write_text(f"ok\n  token {KEY}\n")
    (root / "picture.bin").write_bytes(b"\x00\x01" + KEY.encode())
    (root / "windows.txt").write_text(f"key={KEY}", encoding="utf-16")
    (root / "linked").symlink_to("logs/a.log")
    code, report = scanned()
    assert code == 1
    assert places(report) == ["windows.txt:1:5 openai", "logs/a.log:2:9 openai"]
    assert report["skipped"] == [{"file": "picture.bin", "reason": "binary"}]
    assert not report["is_repository"]
    assert scanned("missing")[0] == 2
    assert scanned("--staged")[0] == 2


def test_an_allowed_line_is_no_finding(root: Path, scanned: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    (root / "a.py").write_text(f"KEY = '{KEY}'  # flowai:allow-secret\nOTHER = '{OTHER_KEY}'\n")
    assert places(scanned("a.py")[1]) == ["a.py:2:10 groq"]


def test_huge_files_are_named_and_not_read(root: Path) -> None:
    with (root / "huge.log").open("wb") as file:
        file.truncate(3 * 1024 * 1024)
    report = scan(ScanOptions(directory=root, max_file_bytes=2 * 1024 * 1024))
    assert [(each.file, each.reason) for each in report.skipped] == [("huge.log", "3 MiB, more than 2 MiB")]


@pytest.mark.parametrize("separator", ["\n", " "])
@pytest.mark.parametrize("at", [0, 1, PART_BYTES - 20, PART_BYTES, PART_BYTES - OVERLAP_CHARS - 10, 2 * PART_BYTES - 5])
def test_a_secret_on_the_edge_of_a_part_is_found_once_at_its_place(at: int, separator: str) -> None:
    before = (("x" * 9 + separator) * (at // 10 + 1))[:at]
    before = before[:-1] + separator if before else ""
    text = f"{before}{KEY}{separator}{'y z ' * 300_000}"
    (found,) = SecretSearch().stream(io.BytesIO(text.encode()))
    line = before.count("\n") + 1
    assert (found.line, found.column, found.shape) == (line, at - before.rfind("\n"), "openai")


def test_a_log_of_many_megabytes_is_searched_in_parts() -> None:
    line = b'{"event": "call", "text": "nothing to see here", "at": "2026-05-01T00:00:00Z"}\n'

    class Endless(io.RawIOBase):
        """Sixteen megabytes, never in memory at once; then a key."""

        def __init__(self) -> None:
            self.left = 16
            self.largest = 0

        def read(self, size: int = -1) -> bytes:
            assert 0 < size <= PART_BYTES
            self.left -= 1
            return line * (size // len(line)) if self.left > 0 else KEY.encode() if self.left == 0 else b""

    found = list(SecretSearch().stream(Endless()))  # type: ignore[arg-type]  # only read
    assert [(each.line, each.column) for each in found] == [(15 * (PART_BYTES // len(line)) + 1, 1)]


def test_the_hook_of_other_repositories_runs_a_command_that_exists() -> None:
    (hook,) = yaml.safe_load((Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "flowai secrets scan"
    assert hook["id"] == "flowai-secrets-scan"


def test_the_screen_names_place_and_shape(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "a.py").write_text(f"KEY = '{KEY}'\n")
    assert run(["secrets", "scan", "a.py"]) == 1
    out = capsys.readouterr().out
    assert "a.py:1:8: openai sk-... (39 characters)" in out
    assert "hint: revoke it at the provider" in out
    assert "1 finding in 1 file, 48 B" in out
    assert KEY not in out
