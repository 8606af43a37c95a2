"""`flowai drift`: a committed baseline is run again, through the real command, against a scripted provider."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from support.sample_project import case
from support.scripted_provider import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

CASES = 120
GOOD, WRONG = Reply(), Reply(text="wrong")


@pytest.fixture
def nightly(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> SampleProject:
    """A project with a baseline of 120 cases, of which every fourth fails."""
    project.cases(*[case(f"c{number:03d}") for number in range(CASES)])
    provider.answerer = failing(lambda number: number % 4 == 0)
    ran = flowai("eval", "--no-cache", "--write-baseline", "nightly")
    assert ran.code == 1, ran.err
    provider.asked.clear()
    return project


def failing(is_wrong: Callable[[int], bool], **changes: Any) -> Callable[[Asked], Reply]:
    """Answer the cases with some numbers wrongly."""

    def answer(asked: Asked) -> Reply:
        number = int(asked.body["messages"][-1]["content"].rpartition("c")[2])
        return Reply(text="wrong" if is_wrong(number) else "hello world", **changes)

    return answer


def newest(project: SampleProject) -> dict[str, Any]:
    return project.report(max(path.name for path in (project.root / "reports").iterdir()))


def baseline_lines(project: SampleProject) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.root / "evals/baselines/nightly.jsonl").read_text().splitlines()]


def write_lines(project: SampleProject, lines: list[dict[str, Any]]) -> None:
    project.write("evals/baselines/nightly.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def test_the_same_model_has_not_drifted_and_the_run_stops_early(
    flowai: Flowai, nightly: SampleProject, provider: ScriptedProvider
) -> None:
    ran = flowai("drift")
    assert ran.code == 0, ran.err
    (line,) = ran.out.splitlines()
    assert line.startswith("NOT DRIFTED  m on prompts/echo_v1 against nightly: +0.0 points [")
    assert "a shift of 10.0 points would have been found" in line
    assert len(provider.asked) < 3 * CASES
    report = newest(nightly)
    assert (report["kind"], report["target"]) == ("drift", "drift nightly")
    (result,) = report["drift"]
    assert (result["verdict"], result["is_early"], result["direction"]) == ("not_drifted", True, None)


@pytest.mark.parametrize(
    ("is_wrong", "direction", "points"),
    [(lambda number: number % 4 in (0, 1), "worse", "-2"), (lambda _: False, "better", "+2")],
)
def test_a_model_that_changed_has_drifted_either_way(
    flowai: Flowai,
    nightly: SampleProject,
    provider: ScriptedProvider,
    is_wrong: Callable[[int], bool],
    direction: str,
    points: str,
) -> None:
    provider.answerer = failing(is_wrong)
    ran = flowai("drift", "nightly", "-o", "drift.html", "-o", "drift.md")
    assert ran.code == 1, ran.err
    assert ran.out.startswith(f"DRIFTED  m on prompts/echo_v1 against nightly: {direction}, {points}")
    (result,) = newest(nightly)["drift"]
    assert (result["verdict"], result["direction"]) == ("drifted", direction)
    assert result["p_value"] < 0.01
    assert "drift nightly" in (nightly.root / "drift.html").read_text()
    assert "# drift `drift nightly`: DRIFTED" in (nightly.root / "drift.md").read_text()


def test_names_of_the_provider_that_changed_are_told_and_are_no_drift(
    flowai: Flowai, nightly: SampleProject, provider: ScriptedProvider
) -> None:
    write_lines(nightly, [line | {"fingerprint": "fp_1"} for line in baseline_lines(nightly)])
    provider.answerer = failing(lambda number: number % 4 == 0, model="scripted-2", fingerprint="fp_2")
    ran = flowai("drift")
    assert ran.code == 0, ran.err
    assert "served model scripted-1 -> scripted-2" in ran.out
    assert "fingerprint fp_1 -> fp_2" in ran.out
    flowai("eval", "--no-cache", "--write-baseline", "nightly")
    assert {(line["served_model"], line["fingerprint"]) for line in baseline_lines(nightly)} == {("scripted-2", "fp_2")}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(status=401), "AuthError"),
        (Reply(status=500), "500"),
        (Reply(fault="close_before_headers"), "most often"),
    ],
)
def test_a_run_that_cannot_be_read_is_an_error_and_no_drift(
    flowai: Flowai, nightly: SampleProject, provider: ScriptedProvider, reply: Reply, words: str
) -> None:
    provider.answerer = lambda _: reply
    ran = flowai("drift")
    assert ran.code == 4, ran.out
    assert ran.out.startswith("NOT READ: ERRORS  nightly could not be read: ")
    assert words in ran.out
    assert newest(nightly)["decision"]["verdict"] == "error"
    assert len(provider.asked) < 2 * CASES


def test_some_errors_are_accepted_up_to_the_share(
    flowai: Flowai, nightly: SampleProject, provider: ScriptedProvider
) -> None:
    assert len(baseline_lines(nightly)) == CASES
    good = failing(lambda number: number % 4 == 0)

    def answer(asked: Asked) -> Reply:
        is_broken = asked.body["messages"][-1]["content"].endswith("7")
        return Reply(status=500) if is_broken else good(asked)

    provider.answerer = answer
    assert flowai("drift").code == 4
    ran = flowai("drift", "--max-errors", "0.2")
    assert ran.code == 0, ran.out


def test_few_cases_are_undecided_and_the_number_that_decides_is_named(
    flowai: Flowai, nightly: SampleProject, provider: ScriptedProvider
) -> None:
    write_lines(nightly, baseline_lines(nightly)[:12])
    ran = flowai("drift")
    assert ran.code == 5, ran.out
    assert ran.out.startswith("UNDECIDED  ")
    (result,) = newest(nightly)["drift"]
    assert result["needed_case_count"] > 12
    assert f"needs about {result['needed_case_count']:,} cases" in ran.out
    assert len(provider.asked) == 36


def test_json_is_one_document_and_the_answers_are_never_cached(
    flowai: Flowai, nightly: SampleProject, provider: ScriptedProvider
) -> None:
    flowai("eval")
    provider.asked.clear()
    ran = flowai("drift", "--json")
    report = json.loads(ran.out)
    assert report["drift"][0]["verdict"] == "not_drifted"
    assert report["totals"]["cached_count"] == 0
    assert len(provider.asked) >= report["totals"]["trial_count"] > 0
    assert nightly.root.exists()


def test_max_cost_stops_the_run_undecided(flowai: Flowai, nightly: SampleProject, provider: ScriptedProvider) -> None:
    registry = (nightly.root / "registry.yaml").read_text()
    nightly.write("registry.yaml", registry.replace("api_key:", "price: {input: 1000, output: 1000}, api_key:"))
    ran = flowai("drift", "--max-cost", "0.2")
    assert ran.code == 5, ran.err
    assert "stopped by --max-cost" in ran.err
    assert 0 < len(provider.asked) < 40


def edit_model(project: SampleProject) -> None:
    registry = (project.root / "registry.yaml").read_text()
    project.write("registry.yaml", registry.replace("openai/gpt-4o-mini", "openai/another"))


def edit_prompt(project: SampleProject) -> None:
    prompt = (project.root / "prompts/echo_v1.prompt").read_text()
    project.write("prompts/echo_v1.prompt", prompt.replace("Repeat", "Do repeat"))


def drop_cases(project: SampleProject) -> None:
    project.cases(case("another"))


def edit_assertions(project: SampleProject) -> None:
    project.cases(*[case(f"c{number:03d}", want="other") for number in range(CASES)])


def empty(project: SampleProject) -> None:
    project.write("evals/baselines/nightly.jsonl", "")


def other_suite(project: SampleProject) -> None:
    write_lines(project, [line | {"suite": "evals/gone.yaml"} for line in baseline_lines(project)])


def other_model(project: SampleProject) -> None:
    write_lines(project, [line | {"model": "gone"} for line in baseline_lines(project)])


def other_prompt(project: SampleProject) -> None:
    write_lines(project, [line | {"prompt": "prompts/gone_v1"} for line in baseline_lines(project)])


def second(project: SampleProject) -> None:
    project.write("evals/baselines/weekly.jsonl", json.dumps(baseline_lines(project)[0]) + "\n")


def none(project: SampleProject) -> None:
    (project.root / "evals/baselines/nightly.jsonl").unlink()


@pytest.mark.parametrize(
    ("change", "words", "hint"),
    [
        (edit_model, "is of openai/gpt-4o-mini, and `m` is now openai/another", "--write-baseline nightly"),
        (edit_prompt, "the prompt `prompts/echo_v1` has changed since the baseline", "a change of yours, not drift"),
        (drop_cases, "no case of the baseline `nightly` can be compared on `m`: 120 no longer in the suite", "eval"),
        (edit_assertions, "120 variables or assertions changed", "--write-baseline nightly"),
        (empty, "an empty baseline", "--write-baseline"),
        (other_suite, "is of the suite `evals/gone.yaml`, which does not exist", "--write-baseline nightly"),
        (other_model, "is of the model `gone`, which neither the registry nor `evals/echo.yaml` has", "flowai eval"),
        (other_prompt, "is of `prompts/gone_v1` on `m`, on which `evals/echo.yaml` has no case", "flowai eval"),
        (second, "several baselines in evals/baselines/", "nightly, weekly"),
        (none, "no baseline to compare with", "flowai eval TARGET --no-cache --repeat 5 --write-baseline NAME"),
    ],
)
def test_a_wrong_baseline_is_named_before_any_call(
    flowai: Flowai,
    nightly: SampleProject,
    provider: ScriptedProvider,
    change: Callable[[SampleProject], None],
    words: str,
    hint: str,
) -> None:
    change(nightly)
    ran = flowai("drift")
    assert ran.code == 3, ran.out
    assert words in ran.err
    assert hint in ran.err
    assert provider.asked == []


def test_an_unknown_name_lists_the_baselines(flowai: Flowai, nightly: SampleProject) -> None:
    ran = flowai("drift", "nihgtly")
    assert ran.code == 3
    assert "no baseline `nihgtly` in evals/baselines/" in ran.err
    assert "did you mean `nightly`?" in ran.err
    assert nightly.root.exists()


def test_changed_and_missing_cases_are_left_out_by_name(flowai: Flowai, nightly: SampleProject) -> None:
    kept = [case(f"c{number:03d}") for number in range(2, CASES)]
    nightly.cases(case("c001", want="something else"), *kept, case("new"))
    ran = flowai("drift")
    assert ran.code == 0, ran.err
    assert "1 case of nightly left out, no longer in the suite: c000" in ran.err
    assert "1 case of nightly left out, variables or assertions changed: c001" in ran.err
    assert "not in the baseline `nightly`, not run: 1 case" in ran.err
    left_out = newest(nightly)["drift"][0]["left_out"]
    assert [item["case"] for item in left_out] == ["c000", "c001"]


def test_cases_that_only_moved_in_their_file_are_not_changed(flowai: Flowai, nightly: SampleProject) -> None:
    nightly.cases(*[case(f"c{number:03d}") for number in reversed(range(CASES))])
    ran = flowai("drift")
    assert ran.code == 0, ran.err
    assert "left out" not in ran.err


def test_a_baseline_of_an_older_version_is_read(flowai: Flowai, nightly: SampleProject) -> None:
    old = ("suite", "case", "prompt", "model", "pass_count", "trial_count")
    write_lines(nightly, [{name: line[name] for name in old} for line in baseline_lines(nightly)])
    ran = flowai("drift")
    assert ran.code == 0, ran.err
    assert "`nightly` does not say what was asked" in ran.err


def test_a_baseline_for_models_that_the_suite_does_not_name(
    flowai: Flowai, nightly: SampleProject, provider: ScriptedProvider
) -> None:
    flowai("eval", "-m", "m", "-m", "n", "--no-cache", "--write-baseline", "nightly")
    provider.asked.clear()
    ran = flowai("drift")
    assert ran.code == 0, ran.err
    assert {asked.body["model"] for asked in provider.asked} == {"gpt-4o-mini", "other"}
    results = newest(nightly)["drift"]
    assert [(result["model"], result["alpha"]) for result in results] == [("m", 0.005), ("n", 0.005)]


def test_quarantined_cases_are_left_out(flowai: Flowai, nightly: SampleProject) -> None:
    nightly.write("evals/quarantine.yaml", "- {suite: evals/echo.yaml, case: c003, reason: r, until: 2999-01-31}\n")
    ran = flowai("drift")
    assert ran.code == 0, ran.err
    assert "left out, in quarantine: c003" in ran.err


@pytest.mark.parametrize(
    "options", [("--margin", "0"), ("--margin", "1"), ("--repeat", "0"), ("--max-errors", "1"), ("--max-cost", "-1")]
)
def test_wrong_options_are_refused(flowai: Flowai, nightly: SampleProject, options: tuple[str, str]) -> None:
    ran = flowai("drift", *options)
    assert ran.code == 2
    assert options[0] in ran.err
    assert nightly.root.exists()


def test_a_few_unreliable_nights_are_no_alarm(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    rng = random.Random(7)  # noqa: S311 - a simulation
    project.cases(*[case(f"c{number:03d}") for number in range(60)])
    provider.answerer = lambda _: WRONG if rng.random() < 0.2 else GOOD
    flowai("eval", "--no-cache", "--repeat", "3", "--write-baseline", "nightly")
    assert {flowai("drift", "--margin", "0.2").code for _ in range(3)} <= {0, 5}
    provider.answerer = lambda _: WRONG if rng.random() < 0.6 else GOOD
    assert flowai("drift", "--margin", "0.2").code == 1


def test_a_fingerprint_comes_through_litellm_too(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    registry = (project.root / "registry.yaml").read_text()
    project.write("registry.yaml", registry.replace("openai/gpt-4o-mini,", "openai/gpt-4o-mini, transport: litellm,"))
    provider.default = Reply(fingerprint="fp_2")
    assert flowai("eval", "--no-cache", "--write-baseline", "nightly").code == 0
    assert {line["fingerprint"] for line in baseline_lines(project)} == {"fp_2"}
