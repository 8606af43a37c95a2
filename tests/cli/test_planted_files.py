"""Commands in a checkout of a stranger's branch: planted caches, logs and links; and text that moves the cursor."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from support.planted_files import plant_diskcache, track_all
from support.sample_project import SUITE, case
from support.scripted_replies import Reply

from flowai.storage import own_files, tracked_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]


def forget_checks() -> None:
    """Do what a new process does."""
    own_files._untracked.clear()
    tracked_files._tracked_names.cache_clear()


def test_a_planted_cache_deletes_nothing_and_can_be_cleared(flowai: Flowai, project: SampleProject) -> None:
    victim = project.root.parent / "victim"
    victim.write_text("mine", encoding="utf-8")
    plant_diskcache(project.root / ".flowai/cache/cache.db", deletes="../../../victim")
    ran = flowai("eval")
    assert ran.code == 4
    assert "`flowai cache clear` deletes it" in ran.err
    assert flowai("cache", "clear").code == 0
    assert flowai("eval").code == 0
    assert victim.read_text(encoding="utf-8") == "mine"


def test_a_tracked_cache_cannot_make_the_gate_pass(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    flowai("eval")
    track_all(project.root)
    forget_checks()
    provider.asked.clear()
    ran = flowai("eval")
    assert ran.code == 4
    assert "git tracks this file" in ran.err
    assert flowai("eval", "--no-cache").code == 4, "its run log is tracked, too"


def test_a_tracked_run_log_is_not_resumed(flowai: Flowai, project: SampleProject) -> None:
    flowai("eval", "--no-cache")
    track_all(project.root)
    forget_checks()
    ran = flowai("eval", "--no-cache", "--retry-errors")
    assert ran.code == 4
    assert ".flowai/runs/0001/run.jsonl: git tracks this file" in ran.err


@pytest.mark.parametrize("value", ["true", "1", "TRUE"])
def test_ci_reads_no_cache_unless_told(
    value: str, flowai: Flowai, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    flowai("eval")
    asked = len(provider.asked)
    monkeypatch.setenv("CI", value)
    ran = flowai("eval")
    assert "cache off, because CI=true; --cache uses it\n" in ran.err
    assert len(provider.asked) == 2 * asked
    flowai("eval", "--cache")
    assert len(provider.asked) == 2 * asked
    assert "cache off" not in flowai("eval", "--no-cache").err
    assert "cache off" in flowai("ask", "chat", "--var", "text=x").err
    monkeypatch.setenv("CI", "")
    assert flowai("eval").err.count("cache off") == 0
    assert len(provider.asked) > 2 * asked, "--no-cache and ask called the model"


@pytest.mark.parametrize("link", [".flowai", ".flowai/runs", "reports", ".flowai/cache", ".flowai/events"])
def test_nothing_is_written_through_a_linked_directory(link: str, flowai: Flowai, project: SampleProject) -> None:
    outside = project.root.parent / "outside"
    outside.mkdir()
    (project.root / link).parent.mkdir(exist_ok=True)
    (project.root / link).symlink_to(outside)
    ran = flowai("eval")
    assert ran.code in {2, 4}
    assert ("is a symbolic link" if ran.code == 4 else "outside the project") in ran.err
    assert list(outside.iterdir()) == []


def test_a_linked_ledger_is_refused(flowai: Flowai, project: SampleProject) -> None:
    target = project.root.parent / "bashrc"
    target.write_text("", encoding="utf-8")
    (project.root / ".flowai/ledger").mkdir(parents=True)
    (project.root / ".flowai/ledger/default.jsonl").symlink_to(target)
    registry = project.root / "registry.yaml"
    text = registry.read_text(encoding="utf-8")
    one = "  v1: {chat: {prompt: prompts/echo_v1, model: m, params: {temperature: 0}}}\n"
    registry.write_text(text.replace(one, one + one.replace("v1: {chat", "v2: {chat")), encoding="utf-8")
    project.write("evals/smoke.yaml", SUITE)
    project.cases(case("one", metadata={"feature": "chat"}))
    ran = flowai("release", "publish", "v2")
    assert ran.code != 0
    assert "is a symbolic link" in ran.err + ran.out
    assert target.read_bytes() == b""


def test_files_with_content_are_their_owner_s(flowai: Flowai, project: SampleProject) -> None:
    flowai("eval", "--record", "evals/recordings/one.jsonl")
    flowai("eval")
    private = [*(project.root / ".flowai").rglob("*"), project.root / "evals/recordings/one.jsonl"]
    assert len(private) > 6
    for path in private:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert (project.root / "reports/0001/report.md").stat().st_mode & 0o044


HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\r\x00<b>"
RAW = ("\x1b", "\x07", "\x9b", "\u202e", "\x00")


def test_no_report_and_no_screen_has_raw_control_characters(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    project.write("evals/smoke.yaml", SUITE)
    project.cases(
        case("a' $(touch x)", metadata={"feature": "chat"}, text=HOSTILE),
        case("two", want=HOSTILE, metadata={"feature": "chat"}),
    )
    provider.answerer = lambda _: Reply(text=HOSTILE.replace("\x00", ""))
    flowai("eval", "--no-cache", "--html", "reports/page.html")
    screens = [flowai("eval", "--no-cache", *more) for more in ((), ("--json",))] + [flowai("smoke")]
    assert screens[2].code == 1, screens[2].err
    files = [path for path in (project.root / "reports").rglob("*") if path.suffix in {".md", ".xml", ".html"}]
    texts = [path.read_bytes().decode() for path in (*files, summary)]
    assert len(texts) >= 5
    for text in (*texts, *(screen.out for screen in screens), *(screen.err for screen in screens)):
        assert not any(char in text for char in RAW), ascii(text)
        assert "\r" not in text
    assert json.loads(screens[1].out)["trials"], "escaped JSON is JSON"
    assert any("'\\'' $(touch x)" in line for line in screens[2].out.splitlines())
