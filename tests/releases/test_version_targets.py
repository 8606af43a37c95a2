"""Version targets: only AI_MODEL_VERSION changes in a file, and commands get the release without a shell."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from flowai.errors import FlowaiError
from flowai.releases.version_targets import short_name, write_version


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "AI_MODEL_VERSION=v1\n"),
        ("", "AI_MODEL_VERSION=v1\n"),
        ("A=1", "A=1\nAI_MODEL_VERSION=v1\n"),
        ("AI_MODEL_VERSION=v2\nB=2\n", "AI_MODEL_VERSION=v1\nB=2\n"),
        ('  export AI_MODEL_VERSION = "v2" # why\r\nB=2\r\n', "  export AI_MODEL_VERSION =v1\r\nB=2\r\n"),
        ("AI_MODEL_VERSION=v2\nAI_MODEL_VERSION=v3", "AI_MODEL_VERSION=v1\nAI_MODEL_VERSION=v1"),
        (
            "MY_AI_MODEL_VERSION=x\n#AI_MODEL_VERSION=y\n",
            "MY_AI_MODEL_VERSION=x\n#AI_MODEL_VERSION=y\nAI_MODEL_VERSION=v1\n",
        ),
    ],
)
def test_a_dotenv_file_keeps_its_other_lines(tmp_path: Path, before: str | None, after: str) -> None:
    if before is not None:
        (tmp_path / ".env").write_bytes(before.encode())
    write_version("dotenv:.env", "v1", root=tmp_path, environ={})
    assert (tmp_path / ".env").read_bytes().decode() == after


def test_a_dotenv_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    real = tmp_path / "real.env"
    real.write_text("S=secret\n")
    real.chmod(0o600)
    (tmp_path / ".env").symlink_to(real)
    write_version("dotenv:.env", "v1", root=tmp_path, environ={})
    assert (tmp_path / ".env").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert ("AI_MODEL_VERSION=v1" in real.read_text()) is True


def test_an_up_to_date_file_is_not_written(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("AI_MODEL_VERSION=v1\n")
    inode = (tmp_path / ".env").stat().st_ino
    write_version("dotenv:.env", "v1", root=tmp_path, environ={})
    assert (tmp_path / ".env").stat().st_ino == inode


def test_a_command_gets_the_release_in_three_ways_and_no_shell(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "open('told', 'w').write('|'.join([*sys.argv[1:], os.environ['AI_MODEL_VERSION'], sys.stdin.read()]))"
    )
    (tmp_path / "tell.py").write_text(script)
    write_version(
        f"command:{sys.executable} tell.py 'a b' {{version}};$(id)",
        "v1",
        root=tmp_path,
        environ={"PATH": os.environ["PATH"]},
    )
    assert (tmp_path / "told").read_text() == "a b|v1;$(id)|v1|v1\n"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("command:false", "exited with status 1"),
        ("command:no-such-program-here", "cannot be run"),
        ("command:'", "cannot be parsed"),
        ("command: ", "has no program"),
        ("dotenv:.", "directory"),
        ("aws-secretsmanager:x", "expected `dotenv:` or `command:`"),
    ],
)
def test_failures_have_a_reason(tmp_path: Path, target: str, says: str) -> None:
    with pytest.raises(FlowaiError, match=says):
        write_version(target, "v1", root=tmp_path, environ={"PATH": os.environ["PATH"]})


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowai.releases.version_targets.COMMAND_TIMEOUT_S", 0.3)
    (tmp_path / "hang.sh").write_text("sleep 60 & echo $! > child; wait\n")
    with pytest.raises(FlowaiError, match="took longer"):
        write_version("command:sh hang.sh", "v1", root=tmp_path, environ={"PATH": os.environ["PATH"]})
    status = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    last_moment_s = time.monotonic() + 20
    while is_running(status):  # a busy kernel ends it a moment later
        assert time.monotonic() < last_moment_s
        time.sleep(0.01)


def is_running(status: Path) -> bool:
    try:
        return status.read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_short_name_shows_no_arguments() -> None:
    assert short_name("command:vercel env --token abc") == "command:vercel"
    assert short_name("dotenv:.env") == "dotenv:.env"
