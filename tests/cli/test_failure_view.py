"""Failed cases on the screen: groups, repeats, input beside the answer, every width."""

from __future__ import annotations

from typing import Any

import pytest
from support.report_samples import report, trial

from flowai.cli.failure_view import failure_lines
from flowai.cli.run_view import report_lines
from flowai.evals.reports import AssertionResult, Changes, Trial


def failing(case: str, reason: str = "$.urgency is not one of low, high", **facts: Any) -> Trial:
    check = AssertionResult(type="is-json", passed=False, score=0.0, reason=reason, place="evals/s.yaml:12")
    key = f"{case}:{facts.get('prompt')}:{facts.get('model')}:{facts.get('repeat')}"
    return trial(case, "fail", checks=(check,), key=key, **facts)


def lines_of(trials: list[Trial], width: int | None = None) -> list[str]:
    return list(failure_lines(trials, again="flowai eval --retry-errors", width=width))


def test_equal_failures_are_one_group() -> None:
    trials = [failing(f"case-{number:02d}", vars={"text": f"input {number}"}) for number in range(20)]
    first, second, third = lines_of([*trials, trial("fine")])
    assert first == "FAIL  20 cases: $.urgency is not one of low, high  evals/s.yaml:12"
    assert second.startswith("      case-00, case-01, ")
    assert second.endswith(" more")
    assert third == "      hello  <- input 0"


def test_a_group_on_several_models_counts_its_cases_once() -> None:
    trials = [failing(f"c{number}", model=model) for number in range(3) for model in ("m", "n")]
    first, second, *_ = lines_of(trials)
    assert first.startswith("FAIL  3 cases, 6 results: ")
    assert second == "      c0, c1, c2"


def test_different_reasons_stay_apart() -> None:
    shown = lines_of([failing("a"), failing("b", "word-count 214 > 150"), failing("c")])
    assert [line.split()[1] for line in shown if line.startswith("FAIL")] == ["a", "b", "c"]


def test_repeats_of_a_case_are_one_line() -> None:
    trials = [failing("a", repeat=0), failing("a", repeat=1), *(trial("a", key=str(n), repeat=n) for n in range(2, 5))]
    trials += [trial(f"b{number}", key=f"b{number}") for number in range(9)]
    (first, _) = lines_of(trials)
    assert first.startswith("FAIL  a 2/5 ")


def test_equal_errors_are_one_group_with_the_way_to_retry() -> None:
    first, second, third = lines_of([trial(f"e{number}", "error", key=str(number)) for number in range(12)])
    assert first == "ERROR 12 cases: openai: 429 slow down"
    assert second.startswith("      e0, e1, ")
    assert third == "      again: flowai eval --retry-errors"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = "a-rather-long-name-of-a-case-" * 4
    trials = [
        *(failing(f"{long}{number}", "x" * 300, vars={"text": "y" * 500}, output="z" * 500) for number in range(5)),
        failing(long, 'contains "bye"', vars={"a": "1", "b": "2"}),
        failing("short", "q" * 200),
        trial("down", "error"),
        *(trial(f"ok-{number}", prompt="prompts/p_v1", model="n", key=f"n{number}") for number in range(3)),
    ]
    changes = Changes(
        run_id="0412", regressions=tuple(f"s::case-{n}::p::m::0" for n in range(30)), fixes=(), shared_count=9
    )
    made = report(trials, changes=changes)
    shown = list(report_lines(made, again="flowai eval", place="reports/0007/report.json", width=width))
    assert max(map(len, shown)) <= max(width, 75), "prompts and models are not cut"
    assert max(map(len, shown[2:])) <= width
    assert any(line.startswith("since run 0412: 30 broke") for line in shown)
    assert "NOT DECIDED: ERRORS" in " ".join(shown[-4:])


def test_hostile_texts_move_no_cursor() -> None:
    hostile = "\x1b[2J\u202e evil \r\n"
    shown = "\n".join(lines_of([failing(hostile, hostile, vars={hostile: hostile}, output=hostile)]))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
