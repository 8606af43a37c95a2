"""`flowai eval` whose gate depends on a judge: corrected by its measured error, or shown and not judged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.judge_project import REGISTRY, WITH_CONTEXT, answer_of
from support.scripted_replies import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

LABELLED, SUITE = "evals/labelled.yaml", "evals/gated.yaml"
RUBRIC = {"type": "llm-rubric", "value": "is right"}


def suite(cases: list[dict[str, Any]], **flowai: Any) -> str:
    return json.dumps(
        {"prompts": ["{{input}}"], "providers": ["echo"], "tests": cases, **({"flowai": flowai} if flowai else {})}
    )


def answered(
    name: str, *, extra: list[dict[str, Any]] | None = None, rubric: dict[str, Any] = RUBRIC
) -> dict[str, Any]:
    return {
        "description": name,
        "vars": {"input": name, "context": "a fact"},
        "providerOutput": name,
        "assert": [rubric, *(extra or [])],
    }


def erring(asked: Asked) -> Reply:
    """Judge with TPR 0.8 and TNR 0.9: every fifth faulty answer passes, every tenth sound one does not."""
    number, label = answer_of(asked.body).split()[-2:]
    is_sound = label == "sound"
    is_wrong = int(number) % (10 if is_sound else 5) == 0
    return Reply(text=json.dumps({"pass": is_sound != is_wrong}))


def answers(sound: int, faulty: int) -> list[dict[str, Any]]:
    return [
        *(answered(f"answer {number} sound") for number in range(sound)),
        *(answered(f"answer {number} faulty") for number in range(faulty)),
    ]


@pytest.fixture
def judged(project: SampleProject, provider: ScriptedProvider) -> SampleProject:
    """A project whose judge is measured: 40 of 50 faulty answers flagged, 45 of 50 sound ones passed."""
    project.write("registry.yaml", REGISTRY.format(url=provider.base_url, judge=""))
    project.write("prompts/judge_v1.prompt", WITH_CONTEXT)
    labelled = [case | {"metadata": {"label": "pass" if case["vars"]["input"].endswith("sound") else "fail"}}
                for case in answers(50, 50)]  # fmt: skip
    project.write(LABELLED, suite(labelled))
    provider.answerer = erring
    return project


def limit(project: SampleProject, run: str, metric: str = "pass_rate") -> dict[str, Any]:
    checks: list[dict[str, Any]] = project.report(run)["decision"]["checks"]
    return next(check for check in checks if check["metric"] == metric)


def test_a_measured_judge_s_pass_rate_is_corrected(flowai: Flowai, judged: SampleProject) -> None:
    judged.write(SUITE, suite(answers(90, 10), gate={"pass_rate": 0.88}))
    before = flowai("eval", SUITE)
    assert before.code == 1, before  # 81 of 90 and 2 of 10 pass: 0.83 as judged
    assert limit(judged, "0001")["observed"] == pytest.approx(0.83)
    assert flowai("judge", "check", LABELLED, "--repeats", "1").code == 0
    after = flowai("eval", SUITE)
    assert after.code == 0, after
    found = limit(judged, "0002")
    assert found["observed"] == pytest.approx(0.9)
    assert 0.7 < found["low"] < 0.85
    assert 0.95 < found["high"] <= 1
    assert found["note"].startswith("corrected by the judge's calibration of ")
    assert found["note"].endswith(", 0.83 as judged")
    assert "0.83 as judged" in (judged.root / "reports/0002/report.md").read_text()


def test_with_confidence_the_error_of_the_labels_counts_too(flowai: Flowai, judged: SampleProject) -> None:
    flowai("judge", "check", LABELLED, "--repeats", "1")
    judged.write(SUITE, suite(answers(90, 10), gate={"pass_rate": 0.88, "alpha": 0.05}))
    ran = flowai("eval", SUITE)
    assert ran.code == 5, ran
    assert limit(judged, "0001")["passed"] is None
    judged.write(SUITE, suite(answers(40, 60), gate={"pass_rate": 0.88, "alpha": 0.05}))
    assert flowai("eval", SUITE).code == 1


def test_a_judge_that_changed_since_is_shown_and_decides_nothing(flowai: Flowai, judged: SampleProject) -> None:
    flowai("judge", "check", LABELLED, "--repeats", "1")
    judged.write("prompts/judge_v1.prompt", WITH_CONTEXT.replace("Judge.", "Judge strictly."))
    judged.write(SUITE, suite(answers(90, 10), gate={"pass_rate": 0.5}))
    ran = flowai("eval", SUITE)
    assert ran.code == 5, ran
    assert "shown, not judged: prompt or model of the judge changed" in limit(judged, "0001")["note"]
    assert "shown, not judged" in ran.out


def test_a_judge_below_the_floor_decides_nothing(flowai: Flowai, judged: SampleProject) -> None:
    text = (judged.root / "registry.yaml").read_text()
    judged.write("registry.yaml", text + "policies: {judging: {min_youden: 0.9}}\n")
    assert flowai("judge", "check", LABELLED, "--repeats", "1").code == 1
    judged.write(SUITE, suite(answers(20, 0)))
    assert flowai("eval", SUITE).code == 5
    assert "0.70, 0.90 required" in limit(judged, "0001")["note"]


def test_another_rubric_is_another_property(flowai: Flowai, judged: SampleProject) -> None:
    flowai("judge", "check", LABELLED, "--repeats", "1")
    other = [answered(f"answer {number} sound", rubric={**RUBRIC, "value": "is kind"}) for number in range(1, 9)]
    judged.write(SUITE, suite(other))
    assert flowai("eval", SUITE).code == 0
    assert limit(judged, "0001")["note"] is None


def test_checks_by_code_beside_the_judge_s_leave_the_pass_rate_as_it_is(flowai: Flowai, judged: SampleProject) -> None:
    rubric = {**RUBRIC, "metric": "right"}
    labelled = [answered(f"answer {number} {label}", rubric=rubric)
                | {"metadata": {"label": "pass" if label == "sound" else "fail"}}
                for number in range(50) for label in ("sound", "faulty")]  # fmt: skip
    judged.write(LABELLED, suite(labelled))
    flowai("judge", "check", LABELLED, "--repeats", "1")
    code = [{"type": "contains", "value": "answer"}]
    cases = [answered(f"answer {number} {label}", extra=code, rubric=rubric)
             for count, label in ((90, "sound"), (10, "faulty")) for number in range(count)]  # fmt: skip
    judged.write(SUITE, suite(cases, gate={"pass_rate": 0.8, "metrics": {"right": 0.88}}))
    ran = flowai("eval", SUITE)
    assert ran.code == 0, ran
    assert limit(judged, "0001")["observed"] == pytest.approx(0.83)
    assert limit(judged, "0001")["note"] is None
    assert limit(judged, "0001", "metrics.right")["observed"] == pytest.approx(0.9)


def test_a_difference_is_corrected_too(flowai: Flowai, judged: SampleProject) -> None:
    flowai("judge", "check", LABELLED, "--repeats", "1")
    judged.write(SUITE, suite(answers(90, 10)))
    flowai("eval", SUITE)
    worse = answers(90, 10)
    for number in range(40, 90):  # the same cases, other answers
        worse[number]["providerOutput"] = f"answer {number} faulty"
    judged.write(SUITE, suite(worse, gate={"pass_rate": 0, "baseline": "last"}))
    ran = flowai("eval", SUITE)
    assert ran.code == 1, ran
    found = judged.report("0002")["comparison"][0]
    assert found["passed"] is False
    assert found["difference"] == pytest.approx(-0.5)  # -35 points as judged: TPR + TNR - 1 is 0.7
    assert found["low"] < -0.5 < found["high"] < 0
    assert found["note"].endswith("-35.0 points as judged")


def test_a_calibration_can_be_required(flowai: Flowai, judged: SampleProject) -> None:
    text = (judged.root / "registry.yaml").read_text()
    judged.write("registry.yaml", text + "policies: {judging: {require_calibration: true}}\n")
    judged.write(SUITE, suite([answered("answer 1 sound")]))
    ran = flowai("eval", SUITE)
    assert ran.code == 5, ran
    assert "is not calibrated" in limit(judged, "0001")["note"]
