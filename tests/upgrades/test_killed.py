"""An upgrade that is killed at any time continues: no answer is paid for twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import yaml
from support.upgrade_project import Planted, log_calls, make_upgrade_project

if TYPE_CHECKING:
    from pathlib import Path

    from support.scripted_provider import ScriptedProvider

COMMAND = (
    "upgrade",
    "m",
    "n",
    "--from-log",
    "30",
    "--judge",
    "judge-model",
    "--publish",
    "--json",
    "-j",
    "4",
    "--margin",
    "0.15",
)
IN_FLIGHT = 12


def start(root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "flowai", *COMMAND], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_kill_9_anywhere_loses_no_answer(root: Path, provider: ScriptedProvider) -> None:
    provider.answerer = Planted(lost={"chat": 0.01}, gained={"chat": 0.01, "talk": 0.01}, delay_s=0.005)
    project = make_upgrade_project(root, provider.base_url, {"chat": 150, "talk": 150}, more=", log_content: redacted")
    log_calls(project, "chat", [f"chat logged {number}" for number in range(40)])
    kills = 0
    for target in (12, 30, 60, 90, 120):
        process = start(root)
        while process.poll() is None and provider.request_count < target:
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()

    process = start(root)
    out, _ = process.communicate()

    report = json.loads(out)
    assert kills >= 3
    assert process.returncode == 0
    assert report["verdict"] in {"equal", "better"}
    assert report["kept_call_count"] > 0
    assert provider.request_count <= report["call_count"] + kills * (IN_FLIGHT + 2) + 20
    value = yaml.safe_load((root / "registry.yaml").read_text(encoding="utf-8"))
    assert value["rollout"]["candidate"] == "v2"
