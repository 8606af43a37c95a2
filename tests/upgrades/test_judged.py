"""Suites that a judge grades: its measured error translates the margin, and a judge that changed decides nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted_provider import Asked, Reply
from support.upgrade_project import JUDGE_MODEL, Planted, make_upgrade_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

LABELLED = "evals/labelled.yaml"
CHECKS = {"assert": [{"type": "llm-rubric", "value": "greets"}], "options": {"provider": "judge-model"}}


def judged(asked: Asked) -> Reply:
    """Answer as the models, and as a judge that flags every second answer without a greeting."""
    if asked.body["model"] != JUDGE_MODEL:
        return Planted()(asked)
    text = str(asked.body["messages"][-1]["content"])
    is_seen = "nope even" not in text
    return Reply(text=json.dumps({"pass": "nope" not in text or not is_seen, "reason": "x"}))


@pytest.fixture
def project(root: Path, provider: ScriptedProvider, flowai: Flowai) -> SampleProject:
    """A project whose feature is graded by a judge with a TPR of .75."""
    made = make_upgrade_project(root, provider.base_url, {"chat": 150})
    made.write(
        "evals/chat.yaml",
        json.dumps(
            {
                "prompts": ["prompts/chat_v1"],
                "defaultTest": CHECKS,
                "tests": ["file://../datasets/chat.jsonl"],
                "flowai": {"feature": "chat", "gate": {"pass_rate": 0, "margin": 0.1}},
            }
        ),
    )
    answers = [("hello there", "pass")] * 40 + [("nope odd", "fail")] * 30 + [("nope even", "fail")] * 10
    cases = [
        {
            "description": f"c{number}",
            "vars": {"text": "x"},
            "providerOutput": f"{answer} {number}",
            "metadata": {"label": label},
            **CHECKS,
        }
        for number, (answer, label) in enumerate(answers)
    ]
    made.write(LABELLED, json.dumps({"prompts": ["{{text}}"], "providers": ["echo"], "tests": cases}))
    provider.answerer = judged
    assert flowai("judge", "check", LABELLED, "--repeats", "1").code == 0
    return made


def evidence(project: SampleProject) -> dict[str, Any]:
    report = json.loads((project.root / "reports/upgrade/m-n/report.json").read_bytes())
    found: dict[str, Any] = report["features"][0]["evidence"][0]
    return found


def test_the_margin_is_what_the_judge_shows_of_a_loss(flowai: Flowai, project: SampleProject) -> None:
    ran = flowai("upgrade", "m", "n")
    assert ran.code == 0, ran
    found = evidence(project)
    assert (found["verdict"], found["judged"]) == ("equal", True)
    assert 0.05 < found["margin"] < 0.075
    assert found["note"].startswith("by the judge's error, a loss of 10 points shows as ")


def test_a_judge_that_changed_is_shown_and_decides_nothing(flowai: Flowai, project: SampleProject) -> None:
    text = (project.root / "registry.yaml").read_text()
    project.write("registry.yaml", text.replace(f"openai/{JUDGE_MODEL}", f"openai/{JUDGE_MODEL}b"))
    ran = flowai("upgrade", "m", "n")
    assert ran.code == 5, ran
    found = evidence(project)
    assert found["judged"] is False
    assert found["note"].startswith("shown, not judged: prompt or model of the judge changed")
    assert "shown, not judged" in ran.out
