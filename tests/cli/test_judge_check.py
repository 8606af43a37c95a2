"""`flowai judge check`: the measured error of a judge, over real HTTP, and judges and labels that are no good."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from support.judge_project import REGISTRY, WITH_CONTEXT, answer_of, verdicts
from support.scripted_provider import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

SUITE = "evals/labelled.yaml"


def case(number: int, label: str | None, output: str | None = None, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "description": f"c{number}",
        "vars": {"input": f"question {number}", "context": f"fact {number}"},
        "providerOutput": output or f"answer {number} {label}",
        "assert": [{"type": "llm-rubric", "value": "is right"}],
        **changes,
    }
    if label is not None:
        made["metadata"] = {"label": label}
    return made


def set_up(project: SampleProject, provider: ScriptedProvider, cases: list[dict[str, Any]], judge: str = "") -> None:
    project.write("registry.yaml", REGISTRY.format(url=provider.base_url, judge=judge))
    project.write("prompts/judge_v1.prompt", WITH_CONTEXT)
    project.write(SUITE, json.dumps({"prompts": ["{{input}}"], "providers": ["echo"], "tests": cases}))


def labelled(sound: int = 30, faulty: int = 30) -> list[dict[str, Any]]:
    return [
        *(case(i, "pass") for i in range(sound)),
        *(case(i, "fail") for i in range(faulty)),
    ]


def check(flowai: Flowai, *options: str) -> tuple[Ran, dict[str, Any]]:
    ran = flowai("judge", "check", SUITE, "--json", *options)
    return ran, json.loads(ran.out)["judges"][0] if ran.out else {}


def calibration(project: SampleProject, name: str = "llm-rubric") -> Path:
    return project.root / "evals" / "judges" / f"{name}.json"


def test_a_judge_without_error(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider, labelled())
    provider.answerer = verdicts(lambda text: text.endswith("pass"))
    ran, judge = check(flowai)
    assert ran.code == 0, ran
    assert judge["counts"] == {
        "true_positive_count": 30,
        "false_negative_count": 0,
        "true_negative_count": 30,
        "false_positive_count": 0,
    }
    assert (judge["kappa"], judge["base_rate"], judge["constant_accuracy"]) == (1.0, 0.5, 0.5)
    assert judge["true_positive_rate"]["low"] == pytest.approx(0.884, abs=0.001)  # Clopper and Pearson, 30 of 30
    assert judge["consistency"]["same"]["value"] == 1.0
    assert judge["calls_per_answer"] == 1.0
    written = json.loads(calibration(project).read_bytes())
    assert written["counts"] == judge["counts"]
    assert (written["name"], written["judge_hash"]) == ("llm-rubric", judge["judge_hash"])
    assert len(judge["judge_hash"]) == 16


def test_the_hash_follows_prompt_model_and_rubric(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    provider.answerer = verdicts(lambda text: text.endswith("pass"))
    hashes = []
    for judge, change in (("", None), ("", "prompt"), ("jury: {models: [a, b, c]}", None), ("", "rubric"), ("", None)):
        cases = labelled(2, 2)
        if change == "rubric":
            for one in cases:
                one["assert"][0]["value"] = "is polite"
        set_up(project, provider, cases, judge)
        if change == "prompt":
            project.write("prompts/judge_v1.prompt", WITH_CONTEXT + "Be strict.\n")
        hashes.append(check(flowai, "--repeats", "1")[1]["judge_hash"])
    assert hashes[0] == hashes[-1]
    assert len(set(hashes)) == 4


def test_a_constant_judge_is_below_the_floor_and_looks_no_better(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, labelled(60, 20))
    provider.answerer = verdicts(lambda _: True)
    ran, judge = check(flowai)
    assert ran.code == 1
    assert judge["status"] == "below_floor"
    assert (judge["accuracy"], judge["constant_accuracy"], judge["base_rate"]) == (0.75, 0.75, 0.25)
    assert judge["kappa"] == 0.0
    assert judge["youden"]["value"] == 0.0
    assert calibration(project).is_file()


@pytest.mark.parametrize(
    ("sound", "faulty", "expected"),
    [
        (30, 8, "12 more answers labelled `fail` are needed (found 8, expected 20)"),
        (30, 0, "20 more answers labelled `fail` are needed (found 0, expected 20): without one, its true positive"),
        (0, 30, "without one, its true negative rate is unknown"),
    ],
)
def test_too_few_labels_are_counted(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, sound: int, faulty: int, expected: str
) -> None:
    set_up(project, provider, labelled(sound, faulty))
    provider.answerer = verdicts(lambda text: text.endswith("pass"))
    ran, judge = check(flowai)
    assert ran.code == 5
    assert expected in judge["status_reason"]
    assert not calibration(project).exists()


def test_without_any_label_nothing_is_asked(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider, [case(i, None) for i in range(3)])
    ran = flowai("judge", "check", SUITE)
    assert (ran.code, provider.request_count) == (5, 0)
    assert "no answer of evals/labelled.yaml is labelled: 3 without a label" in ran.err


def test_a_judge_that_answers_prose_is_no_judge(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, labelled())
    provider.default = Reply(text="I would say that this is a fine answer.")
    ran, judge = check(flowai)
    assert ran.code == 1
    assert judge["unscored_count"] == 60
    assert judge["unscored_reasons"] == [{"reason": "no JSON object in the reply ...", "count": 60}]
    assert "gave no readable verdict on 60 of 60 answers" in judge["status_reason"]
    assert judge["true_positive_rate"]["value"] is None


def test_a_judge_that_is_down_is_no_verdict_about_it(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, labelled())
    provider.default = Reply(status=500)
    ran, judge = check(flowai)
    assert ran.code == 4
    assert judge["status"] == "judge_down"
    assert judge["failed_call_count"] == 60
    assert not calibration(project).exists()


def test_a_judge_that_contradicts_itself_is_seen(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, labelled())
    rng = random.Random(7)  # noqa: S311 - a coin
    provider.answerer = lambda _: Reply(text=json.dumps({"pass": rng.random() < 0.5}))
    _, judge = check(flowai, "-j", "1")
    same = judge["consistency"]["same"]
    assert same["total_count"] == 50
    assert 0.1 < same["value"] < 0.45  # a coin says the same three times in a quarter of the cases


def test_people_who_disagree_are_left_out_and_counted(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    from flowai.evals.reports.page.page_data import output_hash

    set_up(project, provider, labelled(25, 25))
    other = {"output_hash": output_hash("answer 3 pass"), "label": "fail", "reviewer": "ann"}
    second = {"output_hash": output_hash("answer 4 fail"), "label": "fail", "reviewer": "ann"}
    project.write("labels.jsonl", json.dumps(other) + "\n" + json.dumps(second) + "\n")
    provider.answerer = verdicts(lambda text: text.endswith("pass"))
    ran, judge = check(flowai, "--labels", "labels.jsonl")
    assert ran.code == 0
    assert (judge["labels"]["disputed_count"], judge["labels"]["pass_count"], judge["labels"]["fail_count"]) == (
        1,
        24,
        25,
    )


def test_labels_of_the_compare_page_join_the_answers_of_a_run(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    from flowai.evals.reports.page.page_data import output_hash

    cases = [{k: v for k, v in case(i, None).items() if k != "providerOutput"} for i in range(40)]
    set_up(project, provider, cases)
    provider.answerer = verdicts(lambda text: int(text.split()[-1]) < 20)
    assert flowai("eval", SUITE).code == 1
    lines = [
        {
            "schema_version": 1,
            "run_id": "0001",
            "suite": SUITE,
            "case": f"c{i}",
            "prompt": "p",
            "model": "echo",
            "output_hash": output_hash(f"question {i}"),
            "label": "pass" if i < 20 else "fail",
            "note": "",
        }
        for i in range(40)
    ]
    project.write("labels-0001.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    ran, judge = check(flowai, "--run", "last", "--labels", "labels-0001.jsonl")
    assert ran.code == 0, ran
    assert judge["counts"]["true_positive_count"] == judge["counts"]["true_negative_count"] == 20


def test_a_judge_that_prefers_the_first_answer_is_seen(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, labelled())
    single = verdicts(lambda text: text.endswith("pass"))

    def answer(asked: Asked) -> Reply:
        return Reply(text='{"index": 0}') if "Answer 1:" in asked.body["messages"][-1]["content"] else single(asked)

    provider.answerer = answer
    _, judge = check(flowai)
    position = judge["position"]
    assert position["pair_count"] == 20
    assert (position["same_choice"]["value"], position["first_chosen"]["value"], position["right"]["value"]) == (
        0.0,
        1.0,
        0.5,
    )


def test_a_judge_that_follows_the_length_is_seen(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    cases = [case(i, "pass" if i % 2 else "fail", output="word " * (1 + i)) for i in range(60)]
    set_up(project, provider, cases)
    provider.answerer = verdicts(lambda text: text.count("word") > 30)
    ran, judge = check(flowai)
    assert ran.code == 1
    assert judge["length"]["verdict"]["low"] > 0.5
    assert judge["length"]["label"]["low"] < 0 < judge["length"]["label"]["high"]


def test_the_fact_check_sees_the_context_and_is_called_hallucination(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    cases = labelled()
    for one in cases:
        del one["assert"]
    set_up(project, provider, cases)
    provider.answerer = verdicts(lambda text: text.endswith("pass"))
    ran, judge = check(flowai)
    assert (ran.code, judge["name"]) == (0, "hallucination")
    assert "fact 0" in provider.asked[0].body["messages"][-1]["content"]
    assert calibration(project, "hallucination").is_file()


def test_recorded_verdicts_are_the_same_measurement(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, labelled())
    provider.answerer = verdicts(lambda text: text.endswith("pass"))
    first = check(flowai, "--record", "verdicts.jsonl", "--repeats", "1")[1]
    count = provider.request_count
    ran, second = check(flowai, "--replay", "verdicts.jsonl", "--repeats", "1")
    assert (ran.code, provider.request_count) == (0, count)
    assert second["counts"] == first["counts"]
    assert second["position"] == first["position"]


def test_screen_and_markdown(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider, labelled())
    provider.answerer = verdicts(lambda text: text.endswith("pass") or "1" in text)
    ran = flowai("judge", "check", SUITE, "-o", "judge.md", "-o", "judge.json")
    assert ran.code in {0, 1}
    assert "true positive rate" in ran.out
    assert "a constant judge: 50.0 %" in ran.out
    markdown = (project.root / "judge.md").read_text()
    assert "| true negative rate" in markdown
    assert json.loads((project.root / "judge.json").read_bytes())["schema_version"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ((SUITE, "--name", "tone"), 2, "has no judge `tone`"),
        (("evals/none.yaml",), 3, "evals/none.yaml"),
        ((SUITE, "-o", "judge.txt"), 2, "found ending `.txt`"),
        ((SUITE, "--labels", "bad.jsonl"), 3, "bad.jsonl:1"),
    ],
)
def test_wrong_arguments_are_named(
    flowai: Flowai,
    project: SampleProject,
    provider: ScriptedProvider,
    arguments: tuple[str, ...],
    code: int,
    expected: str,
) -> None:
    set_up(project, provider, labelled(2, 2))
    project.write("bad.jsonl", '{"output_hash": "a", "label": "good"}\n')
    ran = flowai("judge", "check", *arguments)
    assert ran.code == code, ran
    assert expected in ran.err


def test_a_wrong_label_is_named_with_its_line(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, [case(1, "good")])
    ran = flowai("judge", "check", SUITE)
    assert ran.code == 3
    assert 'found `metadata.label: "good"`, expected `pass` or `fail`' in ran.err
    assert answer_of({"messages": [{"content": "Answer: <untrusted-1>x</untrusted-1>"}]}) == "x"


def verdict_file(project: SampleProject) -> list[str]:
    return [str(path) for path in (project.root / ".flowai" / "judges").glob("*.jsonl")]


def test_a_check_stops_before_max_cost_and_the_same_command_continues_it(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, labelled())
    right = verdicts(lambda text: text.endswith("pass"))
    provider.answerer = right
    ran, judge = check(flowai, "--max-cost", "0.0007", "-j", "1")
    first_count = provider.request_count
    assert ran.code == 5, ran
    assert judge["status"] == "stopped"
    assert 5 < first_count < 200
    assert f"at --max-cost $0.0007: {first_count} of 200 verdicts, $0.000" in judge["status_reason"]
    assert not calibration(project).exists()
    assert len(verdict_file(project)) == 1
    assert "run it again to continue" in flowai("judge", "check", SUITE, "--max-cost", "0").out
    assert provider.request_count == first_count
    ran, judge = check(flowai)
    assert (ran.code, judge["status"]) == (0, "above_floor")
    assert provider.request_count == 200  # 60 answers, 50 of them three times, 20 pairs in both orders
    assert judge["counts"]["true_positive_count"] == judge["counts"]["true_negative_count"] == 30
    assert verdict_file(project) == []
    check(flowai)
    assert provider.request_count == 400  # a complete check asks anew


def test_failed_calls_of_a_judge_that_was_down_are_made_again(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, labelled())
    right = verdicts(lambda text: text.endswith("pass"))
    provider.answerer = lambda asked: right(asked) if "2" in answer_of(asked.body) else Reply(status=400)
    options = ("--repeats", "1", "--pairs", "0")
    ran, judge = check(flowai, *options)
    assert (ran.code, judge["status"]) == (4, "judge_down")
    before = provider.request_count
    provider.answerer = right
    assert check(flowai, *options)[0].code == 0
    assert provider.request_count - before == judge["failed_call_count"]


def test_max_cost_needs_a_price(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider, labelled(2, 2))
    registry = REGISTRY.format(url=provider.base_url, judge="").replace("model: a,", "model: m,")
    project.write("registry.yaml", registry)
    ran = flowai("judge", "check", SUITE, "--max-cost", "1")
    assert (ran.code, provider.request_count) == (2, 0)
    assert "--max-cost needs the price of the judge `judge (m)`" in ran.err


def pair(number: int, label: str = "A", better: str = "good", worse: str = "bad") -> dict[str, Any]:
    texts = (f"{better} {number}", f"{worse} {number}")
    return {
        "description": f"p{number}{label}",
        "vars": {"input": f"question {number}"},
        "providerOutput": dict(zip("AB", texts if label == "A" else texts[::-1], strict=True)),
        "metadata": {"label": label},
    }


def pairs(count: int = 30, ties: int = 0) -> list[dict[str, Any]]:
    made = [pair(i, label) for label in "AB" for i in range(count)]
    return made + [pair(100 + i, label, worse="good as well") for label in "AB" for i in range(ties)]


def prefers_good(asked: Asked) -> Reply:
    first, second = asked.body["messages"][-1]["content"].split("First answer:")[1].split("Second answer:")
    if ("good" in first) == ("good" in second):
        return Reply(text='{"better": "equal"}')
    return Reply(text=json.dumps({"better": "first" if "good" in first else "second"}))


def test_labelled_pairs_measure_the_judge_that_compares(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, pairs())
    provider.answerer = prefers_good
    ran, judge = check(flowai, "--judge", "b")
    assert ran.code == 0, ran
    assert (judge["name"], judge["judge"], judge["status"]) == ("preference", "b", "above_floor")
    assert judge["counts"]["true_positive_count"] == judge["counts"]["true_negative_count"] == 30
    assert provider.request_count == 120  # both orders
    assert {asked.body["model"] for asked in provider.asked} == {"b"}
    assert judge["position"]["same_choice"]["value"] == 1.0
    written = json.loads(calibration(project, "preference").read_bytes())
    assert written["judge_hash"] == judge["judge_hash"]
    screen = flowai("judge", "check", SUITE, "--judge", "b").out
    assert "30 judged B, 0 judged A" in screen
    assert check(flowai)[1]["judge_hash"] != judge["judge_hash"]  # of the feature `judge`: another model


def test_a_tie_is_half_a_preference_and_a_position_is_none(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, pairs(20, ties=10))
    provider.answerer = prefers_good
    counts = check(flowai)[1]["counts"]
    assert (counts["true_positive_count"], counts["false_negative_count"]) == (25, 5)
    assert (counts["true_negative_count"], counts["false_positive_count"]) == (25, 5)
    provider.answerer = lambda _: Reply(text='{"better": "first"}')
    ran, judge = check(flowai)
    assert (ran.code, judge["youden"]["value"]) == (1, 0.0)
    assert judge["position"]["first_chosen"]["value"] == 1.0


def test_pairs_and_answers_of_a_suite_are_measured_apart(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider, [*labelled(20, 20), *pairs(20)])
    right = verdicts(lambda text: text.endswith("pass"))
    provider.answerer = lambda asked: (
        prefers_good(asked) if "First answer" in asked.body["messages"][-1]["content"] else right(asked)
    )
    ran = flowai("judge", "check", SUITE, "--json")
    assert ran.code == 0, ran
    assert [judge["name"] for judge in json.loads(ran.out)["judges"]] == ["llm-rubric", "preference"]
    count = provider.request_count
    assert check(flowai, "--name", "preference")[1]["labels"]["pass_count"] == 20
    assert provider.request_count == count + 80


@pytest.mark.parametrize(
    ("cases", "options", "code", "expected"),
    [
        ([pair(1) | {"metadata": {"label": "C"}}], (), 3, 'found `metadata.label: "C"`, expected `A` or `B`'),
        ([case(1, "pass")], ("--name", "preference"), 2, "has no labelled pair"),
        (pairs(1), ("--judge", "nothing"), 2, "nothing"),
        (pairs(1), ("--max-cost", "-1"), 2, "--max-cost: found -1, expected 0 or more"),
        (pairs(1), ("--max-cost", "1", "--judge", "m"), 2, "--max-cost needs the price of the judge `m`"),
    ],
)
def test_wrong_pairs_are_named(
    flowai: Flowai,
    project: SampleProject,
    provider: ScriptedProvider,
    cases: list[dict[str, Any]],
    options: tuple[str, ...],
    code: int,
    expected: str,
) -> None:
    set_up(project, provider, cases)
    ran = flowai("judge", "check", SUITE, *options)
    assert (ran.code, provider.request_count) == (code, 0), ran
    assert expected in ran.err


def test_too_few_pairs_are_counted(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider, [pair(i) for i in range(20)])
    provider.answerer = prefers_good
    ran, judge = check(flowai)
    assert ran.code == 5
    assert "20 more answers labelled `B` are needed" in judge["status_reason"]


def test_a_grader_that_only_the_assertions_name_compares_pairs_too(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    own: dict[str, Any] = {"assert": [{"type": "llm-rubric", "value": "is right", "provider": "b"}]}
    cases = [case(number, label, **own) for label in ("pass", "fail") for number in range(20)]
    set_up(project, provider, cases)
    text = (project.root / "registry.yaml").read_text()
    project.write(
        "registry.yaml", text.replace("    judge: {prompt: prompts/judge_v1, model: a, params: {temperature: 0}}\n", "")
    )
    provider.answerer = lambda asked: (
        Reply(text='{"index": 0}')
        if "Answer 1" in str(asked.body["messages"])
        else Reply(text=json.dumps({"pass": " pass" in str(asked.body["messages"]), "score": 1, "reason": ""}))
    )
    ran, judge = check(flowai, "--repeats", "1")
    assert ran.code == 0, ran
    assert (judge["position"]["pair_count"], judge["position"]["unread_count"]) == (20, 0)
