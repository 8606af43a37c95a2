"""`flowai eval` with baselines, repeats of failing cases, early stop and quarantine: through the real command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.sample_project import SUITE, case
from support.scripted_provider import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

CASES = 60


@pytest.fixture
def many(project: SampleProject) -> SampleProject:
    """A project with sixty cases."""
    project.cases(*[case(f"c{number:02d}") for number in range(CASES)])
    return project


def gate(project: SampleProject, settings: str, *, tests: str = "") -> None:
    """Give the suite a gate."""
    project.write(
        "evals/echo.yaml", SUITE.replace("{feature: chat}", f"{{feature: chat, gate: {settings}}}").replace(
            "\nflowai", f"\n{tests}flowai"
        )
    )  # fmt: skip


def failing(*names: str) -> Callable[[Asked], Reply]:
    """Answer some cases wrongly."""

    def answer(asked: Asked) -> Reply:
        text = asked.body["messages"][-1]["content"]
        return Reply(text="wrong" if any(name in text for name in names) else "hello world")

    return answer


def answers_of(*texts: str, name: str) -> Callable[[Asked], Reply]:
    """Answer one case with one text after the other, the others correctly."""
    left = list(texts)

    def answer(asked: Asked) -> Reply:
        is_chosen = name in asked.body["messages"][-1]["content"]
        return Reply(text=left.pop(0) if is_chosen and left else "hello world")

    return answer


def test_a_run_is_compared_with_the_last_one(flowai: Flowai, many: SampleProject, provider: ScriptedProvider) -> None:
    assert flowai("eval", "--no-cache").code == 0
    provider.answerer = failing("c00", "c01", "c02", "c03", "c04", "c05")
    ran = flowai("eval", "--no-cache", "--baseline", "last")
    assert ran.code == 1, ran.err
    assert "-10.0 [" in ran.out
    assert "points of pass_rate against run 0001: 6 worse, 0 better, p 0.016, n = 60" in ran.out
    assert "worse: c00, c01" in ran.out
    report = many.report("0002")
    assert report["comparison"][0]["method"] == "McNemar's exact test"
    assert report["comparison"][0]["passed"] is False
    assert "The gate is not met: -10.0" in report["decision"]["sentence"]
    for name in ("report.md", "junit.xml"):
        assert "6 worse, 0 better" in (many.root / "reports/0002" / name).read_text()


def test_an_undecided_comparison_is_shown_as_that(flowai: Flowai, project: SampleProject) -> None:
    project.cases(*[case(f"c{number:03d}") for number in range(100)])
    flowai("eval")
    ran = flowai("eval", "--baseline", "last", "--max-calls", "20", "--no-cache")
    assert ran.code == 5
    verdict = " ".join(ran.out.split())
    assert "INCONCLUSIVE pass_rate against run 0001 0 [" in verdict
    assert "limit at least -0.05, n = 20; needs about 405 more cases" in verdict


def test_an_undecided_comparison_exits_5_and_says_what_it_needs(
    flowai: Flowai, many: SampleProject, provider: ScriptedProvider
) -> None:
    flowai("eval", "--no-cache")
    provider.answerer = failing("c00")
    ran = flowai("eval", "--no-cache", "--baseline", "0001")
    assert ran.code == 5
    assert "more cases" in ran.out
    assert many.report("0002")["comparison"][0]["needed_case_count"] > CASES


def test_the_same_answers_meet_the_gate(flowai: Flowai, many: SampleProject) -> None:
    flowai("eval")
    ran = flowai("eval", "--baseline", "last")
    assert ran.code == 0
    assert "0 worse, 0 better, p 1, n = 60" in ran.out
    assert many.report("0002")["decision"]["verdict"] == "pass"


def test_too_few_cases_are_refused_before_any_call(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    flowai("eval")
    count = len(provider.asked)
    ran = flowai("eval", "--no-cache", "--baseline", "last")
    assert ran.code == 2
    assert "with 2 cases and alpha 0.05 it can never exclude a loss of more than 0.05" in ran.err
    assert "it needs 52" in ran.err
    assert len(provider.asked) == count
    gate(project, "{pass_rate: 0.95, alpha: 0.05}")
    ran = flowai("eval", "--no-cache")
    assert ran.code == 3
    assert "evals/echo.yaml:4" in ran.err
    assert "it can never be met, even if every case passes; it needs 63" in ran.err


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("nothing", 2, "neither `last`, a run, a release, a prompt nor a file"),
        ("last", 5, "no earlier run on this target is finished"),
        ("0009", 5, "no run 0009 is finished"),
        ("main.jsonl", 2, "there is no baseline `evals/baselines/main.jsonl`"),
        ("../x.jsonl", 2, "outside the project"),
        ("prompts/echo_v1", 2, "is the candidate itself"),
        ("v1", 2, "is the candidate itself"),
    ],
)
def test_a_wrong_baseline_is_an_error_before_any_call(
    flowai: Flowai, many: SampleProject, provider: ScriptedProvider, name: str, code: int, words: str
) -> None:
    ran = flowai("eval", "--baseline", name)
    assert ran.code == code
    assert words in ran.err
    assert provider.asked == []
    assert not (many.root / "reports").exists()


def test_a_baseline_is_written_in_a_fixed_order_and_compared_with(
    flowai: Flowai, many: SampleProject, provider: ScriptedProvider
) -> None:
    ran = flowai("eval", "--write-baseline", "main")
    assert "baseline written: 60 cases: 60 new, 0 gone, 0 better, 0 worse" in ran.out
    path = many.root / "evals/baselines/main.jsonl"
    first = path.read_bytes()
    line = json.loads(first.splitlines()[0])
    assert line == {
        "suite": "evals/echo.yaml",
        "case": "c00",
        "prompt": "prompts/echo_v1",
        "model": "m",
        "pass_count": 1,
        "trial_count": 1,
        "called_model": "openai/gpt-4o-mini",
        "served_model": "scripted-1",
        "prompt_hash": many.report("0001")["trials"][0]["prompt_hash"][:16],
        "request_hash": many.report("0001")["trials"][0]["request_hash"],
        "case_hash": line["case_hash"],
    }
    assert len({json.loads(text)["case_hash"] for text in first.splitlines()}) == 60
    flowai("eval", "--write-baseline", "main", "--no-cache", "-j", "1")
    assert path.read_bytes() == first
    provider.answerer = failing("c07")
    ran = flowai("eval", "--no-cache", "--baseline", "main", "--write-baseline", "main")
    assert "against evals/baselines/main.jsonl: 1 worse, 0 better" in ran.out
    assert "60 cases: 0 new, 0 gone, 0 better, 1 worse" in ran.out
    assert "worse   c07  1/1 -> 0/1  (prompts/echo_v1, m)" in ran.out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "an empty baseline"),
        ("{}\n", "main.jsonl:1"),
        ("nonsense\n", "is not JSON"),
        ('{"suite":"s","case":"a","prompt":"p","model":"m","pass_count":2,"trial_count":1}\n', "2 passed of 1 trials"),
        ('{"suite":"s","case":"a","prompt":"p","model":"m","pass_count":1,"trial_count":1}\n' * 2, "is there twice"),
    ],
)
def test_a_wrong_baseline_file_names_its_line(flowai: Flowai, many: SampleProject, content: str, words: str) -> None:
    many.write("evals/baselines/main.jsonl", content)
    ran = flowai("eval", "--baseline", "main")
    assert ran.code == 3
    assert words in ran.err


def test_failing_cases_are_run_again_and_called_flaky(
    flowai: Flowai, many: SampleProject, provider: ScriptedProvider
) -> None:
    gate(many, "{pass_rate: 1, passes: 2 of 3}")
    provider.answerer = answers_of("wrong", name="c05")
    ran = flowai("eval", "--no-cache")
    assert ran.code == 0, ran.out
    assert len(provider.asked) == CASES + 2
    assert "flaky: c05 passed 2 of 3" in ran.out
    provider.answerer = answers_of("wrong", "wrong", name="c05")
    ran = flowai("eval", "--no-cache")
    assert ran.code == 1
    assert "flaky: c05 passed 1 of 3; flaky in 1 earlier run too" in ran.out
    ledger = [json.loads(line) for line in (many.root / ".flowai/flakes.jsonl").read_text().splitlines()]
    assert [(line["run_id"], line["case"], line["pass_count"]) for line in ledger] == [
        ("0001", "c05", 2),
        ("0002", "c05", 1),
    ]


def test_the_option_runs_failing_cases_again(flowai: Flowai, many: SampleProject, provider: ScriptedProvider) -> None:
    provider.answerer = answers_of("wrong", name="c05")
    ran = flowai("eval", "--no-cache", "--retry-failing", "4")
    assert ran.code == 0
    assert len(provider.asked) == CASES + 4
    assert "flaky: c05 passed 4 of 5" in ran.out
    assert many.report("0001")["flaky"][0]["trial_count"] == 5


def test_the_run_stops_as_soon_as_the_result_is_certain(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(*[case(f"c{number:03d}", want="nothing like it") for number in range(200)])
    gate(project, "{pass_rate: 0.9, alpha: 0.05, stop_early: true}")
    ran = flowai("eval", "--no-cache", "-j", "1")
    assert ran.code == 1
    assert "stopped because the result is certain" in ran.err
    assert len(provider.asked) < 20
    found = project.report("0001")["decision"]["checks"][0]
    assert found["passed"] is False
    assert found["case_count"] == len(provider.asked)
    assert flowai("eval", "--no-cache", "--resume").code == 5, "the run is finished"


@pytest.mark.usefixtures("many")
def test_a_limit_of_calls_is_kept(flowai: Flowai, provider: ScriptedProvider) -> None:
    ran = flowai("eval", "--no-cache", "--max-calls", "7")
    assert ran.code == 5
    assert len(provider.asked) == 7
    assert "stopped at the limit of calls (--max-calls): 7 of 60 trials were run" in ran.err
    ran = flowai("eval", "--no-cache", "--resume")
    assert ran.code == 0
    assert len(provider.asked) == CASES


def test_a_run_that_its_limit_of_calls_reordered_is_continued(
    flowai: Flowai, many: SampleProject, provider: ScriptedProvider
) -> None:
    gate(many, "{pass_rate: 0.9, alpha: 0.05, margin: 0.05}")
    ran = flowai("eval", "--no-cache", "--max-calls", "8")
    assert ran.code == 5
    assert "INCONCLUSIVE  pass_rate 1 [" in ran.out, "an interval, and no false comparison such as `1 < 0.9`"
    assert "limit at least 0.9, n = 8; needs about" in ran.out
    assert flowai("eval", "--no-cache", "--resume").code == 0
    assert len(provider.asked) == CASES


def test_slices_and_critical_tags_that_no_case_has_are_warned_about(flowai: Flowai, many: SampleProject) -> None:
    gate(many, "{pass_rate: 0.8, slices: [langauge], critical: {tags: [safty]}}")
    ran = flowai("eval")
    assert ran.code == 0
    assert "slice `langauge` of the gate: no case of this run has this tag or metadata" in ran.err
    assert "critical cases of the gate: no case of this run has one of the tags `safty`" in ran.err


def test_a_baseline_of_other_cases_is_refused_before_any_call(
    flowai: Flowai, many: SampleProject, provider: ScriptedProvider
) -> None:
    assert flowai("eval", "--write-baseline", "main").code == 0
    file = many.root / "evals" / "baselines" / "main.jsonl"
    many.write("evals/baselines/other.jsonl", file.read_text(encoding="utf-8").replace("echo.yaml", "gone.yaml"))
    count = len(provider.asked)
    ran = flowai("eval", "--no-cache", "--baseline", "other")
    assert ran.code == 2
    assert "baseline evals/baselines/other.jsonl has no result of a case of evals/echo.yaml" in ran.err
    assert "it has results of evals/gone.yaml" in ran.err
    assert len(provider.asked) == count


def test_the_baseline_is_run_beside_the_candidate(
    flowai: Flowai, many: SampleProject, provider: ScriptedProvider
) -> None:
    many.write("prompts/echo_v2.prompt", (many.root / "prompts/echo_v1.prompt").read_text().replace("Repeat", "Say"))
    many.write("evals/echo.yaml", SUITE.replace("echo_v1", "echo_v2"))

    def answer(asked: Asked) -> Reply:
        system, user = (message["content"] for message in asked.body["messages"])
        return Reply(text="wrong" if "Say" in system and "c0" in user else "hello world")

    provider.answerer = answer
    ran = flowai("eval", "--no-cache", "--ab", "--baseline", "prompts/echo_v1", "-j", "1")
    assert ran.code == 1
    assert len(provider.asked) == 2 * CASES
    systems = ["Say" in asked.body["messages"][0]["content"] for asked in provider.asked]
    assert all(sum(systems[number : number + 2]) == 1 for number in range(0, 2 * CASES, 2)), "call by call"
    assert "10 worse, 0 better" in ran.out
    later = flowai("eval", "--baseline", "v1", "prompts/echo_v2")
    assert "against `v1` in run 0001: 10 worse" in later.out
    assert flowai("eval", "--ab").code == 2
    assert flowai("eval", "--ab", "--baseline", "last").code == 2


def test_the_gate_is_compared_with_itself(flowai: Flowai, many: SampleProject, provider: ScriptedProvider) -> None:
    ran = flowai("eval", "--no-cache", "--aa", "20")
    assert len(provider.asked) == 2 * CASES
    assert "20 comparisons of the run with itself: 0 worse, 0 undecided; limits flipped in 0 (0.0 %)" in ran.out
    seen: dict[str, int] = {}

    def answer(asked: Asked) -> Reply:
        text: str = asked.body["messages"][-1]["content"]
        seen[text] = seen.get(text, 0) + 1
        return Reply(text="wrong" if seen[text] == 1 and "c1" in text else "hello world")

    provider.answerer = answer
    flowai("eval", "--no-cache", "--aa", "20")
    found = many.report("0002")["self_comparison"]
    assert found["round_count"] == 20
    assert found["red_count"] == 0 or found["undecided_count"] > 0
    assert found["single_case_count"] == 0


def test_quarantine_leaves_out_a_case_until_its_date(
    flowai: Flowai, many: SampleProject, provider: ScriptedProvider
) -> None:
    provider.answerer = failing("c05")
    entry = "- {{suite: evals/echo.yaml, case: c05, reason: known, until: {until}}}\n"
    many.write("evals/quarantine.yaml", entry.format(until="2999-01-31"))
    ran = flowai("eval")
    assert ran.code == 0, ran.out
    assert "in quarantine: evals/echo.yaml::c05" in ran.out
    many.write("evals/quarantine.yaml", entry.format(until="2020-01-31"))
    ran = flowai("eval")
    assert ran.code == 1
    assert "evals/quarantine.yaml:1: the quarantine of `c05` ended on 2020-01-31; the case counts again" in ran.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: 1\n", "expected a list of entries"),
        ("- x\n", "expected an entry"),
        ("- {suite: s, case: a, reason: r}\n", "no `until`"),
        ("- {suite: s, case: a, reason: r, until: soon}\n", "found `soon`, expected a date"),
        ("- {suite: s, case: a, reason: r, until: 2999-01-01, why: x}\n", "unknown key `why`"),
        ("- {suite: s, case: a, reason: '', until: 2999-01-01}\n", "expected a text"),
    ],
)
def test_a_wrong_quarantine_names_its_line(flowai: Flowai, many: SampleProject, content: str, words: str) -> None:
    many.write("evals/quarantine.yaml", content)
    ran = flowai("eval")
    assert ran.code == 3
    assert words in ran.err
    assert "evals/quarantine.yaml:1" in ran.err


def test_critical_cases_and_slices_of_a_suite(flowai: Flowai, many: SampleProject, provider: ScriptedProvider) -> None:
    rows: list[dict[str, Any]] = [
        case(f"c{number:02d}", metadata={"language": "nl" if number < 6 else "en"}, critical=number == 30)
        for number in range(CASES)
    ]
    rows[40]["tags"] = ["safety"]
    many.cases(*rows)
    gate(many, "{pass_rate: 0.8, slices: [language], critical: {tags: [safety]}}")
    provider.answerer = failing("c20", "c30", "c40")
    ran = flowai("eval", "--no-cache", "--comment", "comment.md")
    assert ran.code == 1
    assert "critical cases 0 < 1" in ran.out
    comment = (many.root / "comment.md").read_text(encoding="utf-8")
    assert "`The gate is not met: critical cases 0, limit at least 1, n = 2.`" in comment
    assert comment.index("**FAIL** `c40`") < comment.index("**FAIL** `c20`"), "critical cases first, by tag too"
    provider.answerer = failing("c00", "c30")
    ran = flowai("eval", "--no-cache")
    assert "critical cases 0.5 < 1" in ran.out
    assert "no loss shown: slice `language=nl` 83 % of 6 cases" in ran.out
    provider.answerer = failing("c00", "c01", "c02", "c03", "c04")
    ran = flowai("eval", "--no-cache")
    assert ran.code == 1
    assert "WORSE: slice `language=nl` 17 % of 6 cases" in ran.out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{alpha: 0.5}", "expected a number above 0 and below 0.5"),
        ("{margin: 2}", "margin"),
        ("{passes: 3 of 2}", "expected passed trials of all"),
        ("{passes: 2}", "expected passed trials of all"),
        ("{errors: many}", "expected a number of trials or a share"),
        ("{errors: 100%}", "expected a number of trials or a share"),
        ("{stop_early: true}", "`stop_early` without `alpha` or `baseline`"),
        ("{pass_rate: 1, alpha: 0.05}", "no number of cases is enough"),
        ("{baseline: last, margin: 0}", "no number of cases is enough"),
        ("{slices: language}", "slices"),
        ("{critical: {floor: 1}}", "floor"),
    ],
)
def test_a_wrong_gate_names_its_key(flowai: Flowai, many: SampleProject, settings: str, words: str) -> None:
    gate(many, settings)
    ran = flowai("eval")
    assert ran.code == 3
    assert words in ran.err
    assert "evals/echo.yaml:4" in ran.err


def test_errors_within_the_budget_are_no_losses(
    flowai: Flowai, many: SampleProject, provider: ScriptedProvider
) -> None:
    def answer(asked: Asked) -> Reply:
        down = "c05" in asked.body["messages"][-1]["content"]
        return Reply(status=400, error={"message": "odd"}) if down else Reply()

    provider.answerer = answer
    assert flowai("eval", "--no-cache").code == 4
    gate(many, "{pass_rate: 1, errors: 1}")
    assert flowai("eval", "--no-cache").code == 0
    ran = flowai("eval", "--no-cache", "--write-baseline", "main")
    assert ran.code == 5
    assert "the baseline was not written: 1 cases have no result, the first is `c05`" in ran.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--margin", "2"), "--margin: found 2.0, expected 0 to 1"),
        (("--max-calls", "0"), "--max-calls: found 0, expected 1 or more"),
        (("--retry-failing", "-1"), "--retry-failing: found -1, expected 0 to 99"),
        (("--aa", "100000"), "--aa: found 100000, expected 0 to 10,000"),
        (("--write-baseline", "../x"), "is not a name of a baseline"),
    ],
)
def test_numbers_of_the_gates_options_have_ranges(flowai: Flowai, words: tuple[str, ...], expected: str) -> None:
    ran = flowai("eval", *words)
    assert ran.code == 2
    assert expected in ran.err
