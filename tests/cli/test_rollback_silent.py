"""`flowai rollback` and processes that fell silent: named until they are known to be gone."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.redis_server import RedisServer
from support.release_project import ReleaseProject, release_project

from flowai.state.machine import machine_id, process_start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.sample_project import Ran

    Command = Callable[..., Ran]

DONE, INFRASTRUCTURE = 0, 4


@pytest.fixture(params=["files", pytest.param("redis", marks=pytest.mark.service)])
def project(request: pytest.FixtureRequest, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleaseProject]:
    monkeypatch.setattr("flowai.releases.fleet.CONFIRM_TIMEOUT_S", 0.05)
    monkeypatch.setattr("flowai.releases.fleet.ANNOUNCE_LIMIT_S", 0.0)  # each test's store is new
    if request.param == "files":
        yield release_project(place)
        return
    with RedisServer() as server:
        yield release_project(place, shared=server.url)


def names_left(project: ReleaseProject) -> list[str]:
    async def read() -> list[str]:
        state = project.state()
        found = [process.process for process in await state.processes("")]
        await state.aclose()
        return found

    return asyncio.run(read())


def test_a_process_that_fell_silent_without_goodbye_is_named(project: ReleaseProject, rollback: Command) -> None:
    rollback()
    project.beat("library-good", release="v1", overlay_epoch=1)
    project.beat("serve-cut-off", lifetime_s=0, release="v2")
    ran = rollback()
    assert ran.code == INFRASTRUCTURE
    assert "1 of 2 confirm v1" in ran.out
    assert "silent: process serve-cut-off on h1 (pid 7) has been silent for" in ran.out
    assert "it may still serve v2; it counts as gone in 24 h" in ran.out
    assert "NOT CONFIRMED BY 1 OF 2 PROCESSES" in ran.out
    assert project.keys()["current"] == "v1", "the rest is done all the same"
    assert rollback().code == INFRASTRUCTURE, "still there"


def test_a_machine_that_is_dead_is_dismissed_by_name(project: ReleaseProject, rollback: Command) -> None:
    rollback()
    project.beat("library-good", release="v1", overlay_epoch=1)
    project.beat("serve-burnt", lifetime_s=0)
    ran = rollback("--ignore-process", "serve-burnt", "--ignore-process", "serve-typo")
    assert ran.code == DONE, ran.out
    assert "V1 SERVES EVERYWHERE" in ran.out
    assert "no silent process `serve-typo` is known" in ran.out
    assert names_left(project) == ["library-good"]
    assert rollback().code == DONE, "it is forgotten"


def test_a_live_process_cannot_be_ignored(project: ReleaseProject, rollback: Command) -> None:
    project.beat("serve-deaf")
    ran = rollback("--ignore-process", "serve-deaf")
    assert ran.code == INFRASTRUCTURE
    assert "unconfirmed: serve-deaf" in ran.out


def test_a_silent_process_that_confirmed_before_is_no_doubt(project: ReleaseProject, rollback: Command) -> None:
    rollback()
    project.beat("serve-followed", lifetime_s=0, release="v1", overlay_epoch=1)
    assert rollback().code == DONE


def test_a_silent_process_counts_where_nothing_is_rolled_back_too(project: ReleaseProject, rollback: Command) -> None:
    project.beat("serve-cut-off", lifetime_s=0, release="v1")
    ran = rollback("--to", "v2")
    assert ran.code == INFRASTRUCTURE
    assert "it may still serve v1" in ran.out
    assert rollback("--to", "v2", "--ignore-process", "serve-cut-off").code == DONE


@pytest.mark.parametrize("lifetime_s", [0, 60], ids=["silent", "just killed"])
def test_a_killed_process_of_this_machine_blocks_no_rollback(
    project: ReleaseProject, rollback: Command, lifetime_s: float
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        here: dict[str, Any] = {"host": socket.gethostname(), "machine": machine_id(), "pid": child.pid}
        project.beat("serve-killed", lifetime_s=lifetime_s, process_start=process_start(child.pid), **here)
        assert rollback().code == INFRASTRUCTURE, "it lives"
        child.kill()  # not reaped yet: a zombie serves nothing
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        ran = rollback()
        assert ran.code == DONE, ran.out
        assert names_left(project) == []


def test_a_later_process_with_its_pid_is_not_mistaken_for_it(project: ReleaseProject, rollback: Command) -> None:
    here: dict[str, Any] = {"host": socket.gethostname(), "machine": machine_id(), "pid": os.getpid()}
    project.beat("serve-before", lifetime_s=0, process_start="1", **here)
    assert rollback().code == DONE


@pytest.mark.parametrize("machine", ["", "another-boot/pid:[1]"])
def test_a_pid_of_another_machine_says_nothing(project: ReleaseProject, rollback: Command, machine: str) -> None:
    project.beat("serve-elsewhere", lifetime_s=0, machine=machine, pid=2**22 + 1, process_start="1")
    assert rollback().code == INFRASTRUCTURE
