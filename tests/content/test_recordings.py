"""The recorded answers still fit prompts, cases and assertions: every suite replays with the known result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowai.cli.app import run

ROOT = Path(__file__).resolve().parents[2]

# passed, failed on SmolLM2-135M as recorded; a changed assertion or case changes these, and a review sees it
OUTCOMES = {
    "summary_v1": (35, 41),
    "summary_v2": (29, 47),
    "decision_node": (14, 54),
    "code_gen": (3, 16),
    "creative_writing": (4, 14),
    "suggest_colors": (0, 22),
    "flowchart_layout": (0, 19),
}


def replay(suite: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(["eval", f"evals/{suite}.yaml", "--replay", f"evals/recordings/{suite}.jsonl", "--json"])
    out, err = capsys.readouterr()
    assert code in (0, 1), err
    report: dict[str, Any] = json.loads(out)
    return code, report


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("FLOWAI_ENV", "FLOWAI_REGISTRY", "AI_MODEL_VERSION"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("suite", OUTCOMES)
def test_it_replays_with_the_known_result(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, report = replay(suite, capsys)
    totals = report["totals"]
    assert (totals["pass_count"], totals["fail_count"]) == OUTCOMES[suite]
    assert totals["error_count"] == 0
    assert totals["unscored_count"] == 0
    assert {trial["cache"] for trial in report["trials"]} == {"replay"}


def test_two_replays_have_the_same_bytes_except_times(capsys: pytest.CaptureFixture[str]) -> None:
    reports = []
    for _ in range(2):
        _, report = replay("summary_v2", capsys)
        for name in ("started_at", "elapsed_s", "concurrency_achieved"):
            del report[name]
        reports.append(json.dumps(report))
    assert reports[0] == reports[1]


def test_every_suite_but_smoke_is_recorded() -> None:
    suites = {path.stem for path in (ROOT / "evals").glob("*.yaml")} - {"smoke"}
    assert suites == set(OUTCOMES) == {path.stem for path in (ROOT / "evals" / "recordings").glob("*.jsonl")}
