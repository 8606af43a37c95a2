"""`flowai rollback` when half of the world is away: it does what it can with the other half, and says so."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from support.redis_server import RedisServer
from support.release_project import ROLLING, STEADY, release_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.sample_project import Ran

    Command = Callable[..., Ran]

DONE, USAGE, PROJECT, INFRASTRUCTURE = 0, 2, 3, 4


def test_an_unreachable_state_store_does_not_block_the_registry_change(place: Path, rollback: Command) -> None:
    project = release_project(place, more=["state: redis://127.0.0.1:9/0"])
    ran = rollback()
    assert ran.code == INFRASTRUCTURE
    assert project.keys()["current"] == "v1"
    assert "FAILED   live overlay" in ran.out
    again = rollback()
    assert again.code == INFRASTRUCTURE, "the ledger knows that it is done"
    assert project.keys()["bad"] == ["v2"], "the ledger knows that it is done"
    assert len(project.entries()) == 1
    finished = rollback("--state", ".flowai")
    assert finished.code == DONE, "the same command tells the processes when they can be reached"
    overlay = project.overlay()
    assert overlay is not None
    assert overlay.serving == "v1"
    assert overlay.bad == ("v2",)
    assert len(project.entries()) == 1


@pytest.mark.parametrize("broken", ["models: [", "current: v9\n", "\x00"])
def test_a_broken_registry_does_not_block_the_overlay(
    place: Path, rollback: Command, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setattr("flowai.releases.fleet.CONFIRM_TIMEOUT_S", 0.05)
    project = release_project(place)
    project.beat(release="v1", candidate="v2")
    project.write("registry.yaml", broken)
    ran = rollback()
    assert ran.code == INFRASTRUCTURE
    overlay = project.overlay()
    assert overlay is not None
    assert overlay.serving == "v1"
    assert overlay.bad == ("v2",)
    assert overlay.ends_rollout_of == "v2"
    assert "FAILED   registry.yaml" in ran.out
    assert rollback().code == INFRASTRUCTURE
    assert project.overlay() == overlay


def test_a_broken_registry_without_live_processes_is_an_error(place: Path, rollback: Command) -> None:
    project = release_project(place)
    project.beat()
    project.write("registry.yaml", "models: [")
    ran = rollback()
    assert ran.code == PROJECT, ran.err
    assert ("registry.yaml:" in ran.err) is True, ran.err
    assert ("--to RELEASE" in ran.err) is True, ran.err
    assert project.overlay() is None


def test_a_manually_changed_current_after_a_rollback_is_reported(place: Path, rollback: Command) -> None:
    project = release_project(place)
    rollback()
    text = (place / "registry.yaml").read_text().replace("current: v1", "current: v3")
    project.write("registry.yaml", text)
    ran = rollback()
    assert "`current` is `v3`, but the rollback to `v1` stays active" in ran.out
    assert project.keys()["current"] == "v3", "what a person wrote stays"


@pytest.mark.service
def test_a_frozen_redis_times_out_within_seconds(place: Path, rollback: Command) -> None:
    with RedisServer(password="pass-word-123456") as server:
        project = release_project(place, more=[f"state: {server.url}"])
        server.freeze()
        ran = rollback()
        assert ran.code == INFRASTRUCTURE
        assert project.keys()["current"] == "v1"
        assert "pass-word-123456" not in ran.out + ran.err
        server.thaw()
        assert rollback().code == DONE


def test_without_registry_and_state_the_registry_s_error_is_shown(place: Path, rollback: Command) -> None:
    release_project(place).write("registry.yaml", "models: [")
    ran = rollback()
    assert ran.code == PROJECT
    assert ("registry.yaml" in ran.err) is True


def test_a_read_only_registry_does_not_fail_it(place: Path, rollback: Command) -> None:
    project = release_project(place)
    (place / "registry.yaml").chmod(0o444)
    ran = rollback()
    assert ran.code == DONE
    assert "read-only, unchanged" in ran.out
    assert "was not changed here" in ran.out
    assert project.keys()["current"] == "v2"
    overlay = project.overlay()
    assert overlay is not None
    assert overlay.serving == "v1"
    assert rollback().code == DONE
    assert project.overlay() == overlay


def test_an_unwritable_outbox_is_only_a_warning(place: Path, rollback: Command) -> None:
    project = release_project(place, more=["version_targets: ['dotenv:.env']"])
    project.project.outbox.mkdir(parents=True)
    project.write(".flowai/ledger", "a file where a directory should be")
    ran = rollback()
    assert ran.code == DONE
    assert "PENDING  ledger" in ran.out
    assert "PENDING  outbox" in ran.out
    assert project.keys()["current"] == "v1"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    directory = tmp_path / "web"
    directory.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(5)


def test_from_a_shell_without_a_checkout(tmp_path: Path, place: Path, rollback: Command, web: str) -> None:
    project = release_project(tmp_path / "web")
    project.write("registry.prod.yaml", f"extends: registry.yaml\nversion_targets: ['dotenv:.env']\n{ROLLING}")
    state = str(tmp_path / "shared")
    for named in (["--registry", f"{web}/registry.prod.yaml"], ["--registry", f"{web}/registry.yaml", "--env", "prod"]):
        ran = rollback(*named, "--state", state)
        assert ran.code == DONE, ran.err + ran.out
    assert "v2 -> v1: already rolled back" in ran.out
    assert "fetched, unchanged" in ran.out
    assert "AI_MODEL_VERSION" not in ran.out, "its .env is not here"
    assert list(place.iterdir()) == [], "nothing is left where the person stands"
    away = rollback("--registry", f"{web}/registry.prod.yaml")
    assert away.code == INFRASTRUCTURE
    assert ("--state redis://" in away.out + away.err) is False
    assert "NOTHING CHANGED" in away.out


def test_a_registry_by_path(tmp_path: Path, place: Path, rollback: Command) -> None:  # noqa: ARG001 - stands there
    project = release_project(tmp_path / "elsewhere")
    assert rollback("--registry", str(project.root / "registry.yaml")).code == DONE
    assert project.keys()["current"] == "v1"


def test_a_registry_that_cannot_be_fetched(rollback: Command) -> None:
    ran = rollback("--registry", "http://ann:secret-word-1234@127.0.0.1:9/registry.yaml", "--state", "s")
    assert "secret-word-1234" not in ran.out + ran.err
    assert ran.code in (USAGE, INFRASTRUCTURE)


def test_the_environment_of_a_registry_by_path_is_the_one_of_its_file(
    tmp_path: Path,
    place: Path,  # noqa: ARG001 - stands there
    rollback: Command,
) -> None:
    project = release_project(tmp_path / "elsewhere")
    project.write("registry.prod.yaml", f"extends: registry.yaml\n{ROLLING}")
    named = ("--registry", str(project.root / "registry.prod.yaml"))
    assert rollback(*named, "--env", "staging").code == USAGE
    assert rollback(*named).code == DONE
    assert (project.overlay("prod") is not None) is True
    assert project.overlay("") is None
    assert project.keys("registry.prod.yaml")["bad"] == ["v2"]
    assert project.keys()["current"] == "v2"


def test_without_a_registry_the_overlay_is_written(
    place: Path, rollback: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowai.releases.fleet.CONFIRM_TIMEOUT_S", 0.05)
    project = release_project(tmp_path / "elsewhere")
    state = ("--state", str(project.root / ".flowai"))
    nobody = rollback(*state, "--to", "v1", "--force")
    assert nobody.code == PROJECT
    assert ("nor a live process can be read" in nobody.err) is True
    assert project.overlay() is None, "nothing is claimed"
    project.beat(release="v2")
    for named in ((), ("--registry", "gone.yaml"), ("--registry", "s3://bucket/registry.yaml")):
        ran = rollback(*named, *state, "--to", "v1", "--force")
        assert ran.code == INFRASTRUCTURE, ran
        assert ("FAILED   registry.yaml" in ran.out) is True, ran
    overlay = project.overlay()
    assert overlay is not None
    assert overlay.release == "v1"
    assert overlay.bad == ("v2",)
    assert overlay.epoch == 1
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("path", ["drips", "junk", "endless", "around", "elsewhere", "with a blank", "none"])
def test_a_misbehaving_server_does_not_block_the_rollback(
    place: Path,
    rollback: Command,
    bad_web: str,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    monkeypatch.setattr("flowai.releases.registry_source.FETCH_TIMEOUT_S", 0.2)
    monkeypatch.setattr("flowai.releases.registry_source.MAX_BYTES", 1 << 16)
    monkeypatch.setattr("flowai.releases.fleet.CONFIRM_TIMEOUT_S", 0.05)
    project = release_project(place)
    project.beat(release="v1", candidate="v2")
    ran = rollback("--registry", f"{bad_web}/{path}", "--state", str(place / ".flowai"))
    assert ran.code == INFRASTRUCTURE, ran
    assert ("done     live overlay" in ran.out) is True, ran
    overlay = project.overlay()
    assert overlay is not None
    assert overlay.bad == ("v2",)


@pytest.fixture
def bad_web() -> Iterator[str]:
    """A server that never gives a registry."""
    over = threading.Event()

    class Bad(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/junk":
                self.wfile.write(b"hello\r\n\r\n")
            elif self.path in ("/around", "/elsewhere"):
                self.send_response(302)
                self.send_header("Location", "/around" if self.path == "/around" else "file:///etc/hostname")
                self.end_headers()
            elif self.path in ("/drips", "/endless"):
                self.send_response(200)
                self.end_headers()
                with suppress(OSError):
                    while not over.wait(0.05 if self.path == "/drips" else 0):
                        self.wfile.write(b"#" * (1 if self.path == "/drips" else 4096))
            else:
                self.send_error(404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Bad) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        over.set()
        server.shutdown()
        thread.join(5)


def test_an_invalid_url_is_a_usage_error(rollback: Command) -> None:
    ran = rollback("--registry", "http://[bad")
    assert ran.code == USAGE
    assert ("URL cannot be read" in ran.err) is True


# --- no room, and nobody who watches ---

FULL = """
import resource, sys
from flowai.cli.app import run

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file takes another byte; a pipe does
sys.exit(run(["rollback", "--reason", "INC-1"]))
"""


def test_a_full_disk_changes_nothing_and_is_reported(place: Path, rollback: Command) -> None:
    project = release_project(place, STEADY)
    project.beat(release="v2")
    before = (place / "registry.yaml").read_bytes()
    ran = subprocess.run([sys.executable, "-c", FULL], cwd=place, capture_output=True, text=True, check=False)
    assert ran.returncode == INFRASTRUCTURE, ran
    assert "FAILED   registry.yaml" in ran.stdout
    assert "NOTHING CHANGED" in ran.stdout
    assert "git commit" not in ran.stdout
    assert (place / "registry.yaml").read_bytes() == before
    assert project.overlay() is None
    assert project.entries() == ()
    rollback()
    assert project.keys()["current"] == "v1", "with room again, it leaves what it would have left"


@pytest.mark.service
def test_a_full_disk_does_not_block_the_overlay(place: Path, rollback: Command) -> None:
    with RedisServer() as server:
        project = release_project(place, STEADY, shared=server.url)
        ran = subprocess.run([sys.executable, "-c", FULL], cwd=place, capture_output=True, text=True, check=False)
        assert ran.returncode == INFRASTRUCTURE, ran
        assert "V1 SERVES WHERE REACHABLE" in ran.stdout
        overlay = project.overlay()
        assert rollback().code == DONE
        assert project.keys()["bad"] == ["v2"]
        assert project.overlay() == overlay
        assert len(project.entries()) == 1


@pytest.mark.parametrize("stdout", ["closed", "full", "left"])
def test_a_closed_stdout_does_not_stop_the_rollback(place: Path, stdout: str) -> None:
    project = release_project(place, ROLLING)
    command = f"{sys.executable} -m flowai rollback"
    way = {"closed": f"{command} >&-", "full": f"{command} >/dev/full", "left": f"({command}; echo $? >code) | true"}
    done = subprocess.run(["sh", "-c", way[stdout]], cwd=place, capture_output=True, text=True, check=False)
    code = done.returncode if stdout != "left" else int((place / "code").read_text())
    assert code == DONE
    assert done.stderr == ""
    assert project.keys().get("rollout") is None
    assert project.keys()["bad"] == ["v2"]
    assert len(project.entries()) == 1


def test_without_state_and_ledger_the_retry_command_is_shown(place: Path, rollback: Command) -> None:
    project = release_project(place, shared="redis://127.0.0.1:9/0")
    project.write(".flowai/ledger", "a file where a directory should be")
    ran = rollback()
    assert ran.code == INFRASTRUCTURE
    assert ("as `flowai rollback --to v1`, or it rolls back `v1` too" in ran.out) is True
    assert "the same command" not in ran.out
    again = rollback("--to", "v1")
    assert again.code == INFRASTRUCTURE, "nobody could be asked"
    assert ("V1 SERVES." in again.out) is False, "nobody could be asked"
    assert project.keys() == {"current": "v1", "history": ["v0", "v1", "v2"], "bad": ["v2"]}


def test_processes_confirm_a_target_that_serves_already(place: Path, rollback: Command) -> None:
    project = release_project(place)
    project.beat("library-good", release="v2")
    assert rollback("--to", "v2").code == DONE
    project.beat("serve-other", release="v1")
    ran = rollback("--to", "v2")
    assert ran.code == INFRASTRUCTURE
    assert ("unconfirmed: serve-other" in ran.out) is True
    assert project.overlay() is None
