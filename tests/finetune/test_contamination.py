"""Evaluation cases are found in any layout and after edits; texts that are only similar are kept."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from random import Random

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.planted_contamination import KINDS, planted
from support.training_rows import make_pair

from flowai.finetune.dedup.contamination import ContaminationHit, ContaminationIndex, EvalText
from flowai.finetune.dedup.infix_distance import min_substring_edits
from flowai.finetune.dedup.shingles import letters

DATASETS = Path(__file__).resolve().parents[2] / "datasets"
NOTICE = (
    "The office will be closed on Friday 14 June while the fire doors are replaced. Please work from home; the "
    "building opens again on Monday."
)
EDITED = {"letters", "words", "letters inside", "words inside"}


def leaks_of(*texts: str) -> ContaminationIndex:
    return ContaminationIndex(
        EvalText(suite="evals/a.yaml", id=str(number), text=text) for number, text in enumerate(texts)
    )


def reason(leak: ContaminationHit | None) -> str | None:
    return None if leak is None else leak.reason


def our_cases() -> list[EvalText]:
    found = []
    for path in sorted(DATASETS.iterdir()):
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as stream:
                found += [
                    EvalText(suite=path.name, id=row["__id"], text=row["theme"]) for row in csv.DictReader(stream)
                ]
        elif path.suffix in {".jsonl", ".yaml"}:
            whole = path.read_text(encoding="utf-8")
            rows = (
                [json.loads(line) for line in whole.splitlines()] if path.suffix == ".jsonl" else yaml.safe_load(whole)
            )
            texts = [(row["id"], str(text)) for row in rows for text in row.get("vars", {}).values()]
            found += [EvalText(suite=path.name, id=name, text=text) for name, text in texts if "file://" not in text]
    return found


def exercises(shared_data: Path) -> list[dict[str, str]]:
    return [
        json.loads(line) for line in (shared_data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NOTICE, "leak_exact"),
        (f"  {NOTICE}\n", "leak_exact"),
        (NOTICE.upper().replace(" ", "\n"), "leak_normalised"),
        ("\u200b".join(NOTICE.rstrip(".")), "leak_normalised"),
        (f"Sum this up, please: <data>{NOTICE}</data>", "leak_substring"),
        (NOTICE[20:110], "leak_substring"),
        (NOTICE.replace("Friday", "Thursday"), "leak_near"),
        (f"Again: {NOTICE.replace('fire', 'big')} Thanks.", "leak_near"),
        (NOTICE[:30], None),
        ("Please work from home.", None),
        ("The library will be closed on Tuesday 3 May while the roof is repaired. It opens again on Wednesday.", None),
        ("", None),
    ],
)
def test_a_leak_is_named_by_how_it_was_found(text: str, expected: str | None) -> None:
    assert reason(leaks_of(NOTICE).find(text)) == expected


def test_the_first_of_equal_cases_is_named_whatever_their_order() -> None:
    cases = [EvalText(suite=suite, id=name, text=NOTICE) for suite in ("b.yaml", "a.yaml") for name in ("2", "1")]
    for order in (cases, cases[::-1]):
        leak = ContaminationIndex(order).find(NOTICE)
        assert leak is not None
        assert leak.case.suite == "a.yaml"
        assert leak.case.id == "1"


def test_short_cases_do_not_exclude_half_of_the_data() -> None:
    leaks = leaks_of("hi", "ok 👍", "", "🐕", "JavaScript", "Postponed.", "a quiet forest")
    assert [case.text for case in leaks.too_short] == ["hi", "ok 👍", "", "🐕"]
    for harmless in ("hi", "Hi!", "Write it in JavaScript, please.", "The talk was postponed.", "a forest", "🐕"):
        assert leaks.find(harmless) is None, harmless
    assert reason(leaks.find("postponed")) == "leak_normalised"
    assert reason(leaks.find("3 colors. Theme: a quiet forest")) == "leak_substring"


def test_every_text_of_a_pair_is_searched() -> None:
    leaks = leaks_of(NOTICE)
    ask = {"role": "user", "content": "Go on."}
    arguments = {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps({"text": NOTICE})}}
    for pair in (
        make_pair(({"role": "system", "content": NOTICE}, ask)),
        make_pair(({"role": "user", "content": [{"type": "text", "text": NOTICE}]},)),
        make_pair(({"role": "assistant", "content": None, "tool_calls": [arguments]}, ask)),
        make_pair((ask,), output=NOTICE),
        make_pair((ask,), edit=NOTICE),
    ):
        assert leaks.find_in(pair) is not None
    assert leaks.find_in(make_pair((ask,))) is None


def test_cases_in_other_scripts_are_found() -> None:
    chinese = "收到订单后检查库存。如果有货,当天发出;如果没有,通知客户。"
    hindi = "अगर दरवाज़ा बंद है तो घंटी बजाएँ, नहीं तो सीधे अंदर आएँ।"
    leaks = leaks_of(chinese, hindi, "Le colis part le jour même, à moins que la commande n'arrive après midi.")
    assert reason(leaks.find(f"请总结:{chinese}")) == "leak_substring"
    assert reason(leaks.find(chinese.replace("库", "仓"))) == "leak_near"
    assert reason(leaks.find(hindi + " 12")) == "leak_substring"
    assert (
        reason(leaks.find("le colis part le jour meme a moins que la commande n\u2019arrive apres midi"))
        == "leak_normalised"
    )
    assert leaks.find("请在星期四之前把药品存放在一号仓库。") is None


def test_a_long_passage_of_a_long_case_is_a_leak() -> None:
    log = (DATASETS / "long" / "harbour_log.txt").read_text(encoding="utf-8")
    leaks = ContaminationIndex([EvalText(suite="s", id="log", text=log)])
    unrelated = "Nothing of this is in any log; it only makes the message longer. " * 40
    assert reason(leaks.find(unrelated + log[5_000:5_300] + unrelated)) == "leak_substring"
    assert reason(leaks.find(log[9_000:9_090])) == "leak_substring"
    assert leaks.find(unrelated) is None


def test_a_message_of_a_megabyte_is_searched_to_its_end() -> None:
    leaks = leaks_of(NOTICE)
    filler = "a b c d e f g 1 2 3 " * 50_000
    assert leaks.find(filler) is None
    assert reason(leaks.find(filler + NOTICE)) == "leak_substring"
    assert reason(leaks_of(NOTICE, "a" * 300).find("a" * 1_000_000)) == "leak_substring"


def test_a_suite_made_from_one_template_still_finds_its_cases() -> None:
    frame = "What is the sum of {} and {} when both are written as decimal numbers?"
    leaks = leaks_of(*(frame.format(a, a * 7 + 1_000_000) for a in range(1_500)))
    assert reason(leaks.find("Tell me: " + frame.format(77, 77 * 7 + 1_000_000))) == "leak_substring"
    assert leaks.find("Tell me what the weather is going to be like in Bergen this week.") is None


def test_our_own_cases_are_found_and_nothing_else_is_removed_for_them(shared_data: Path) -> None:
    cases = our_cases()
    leaks = ContaminationIndex(cases)
    random = Random(20)  # noqa: S311 - a sample
    tasks = exercises(shared_data)
    others = [task[part] for task in tasks for part in ("question", "answer")]
    assert [text for text in others if leaks.find(text)] == []
    for kind in KINDS:
        least = 40 if kind in EDITED else 12  # below, one word or letter is more than a twentieth
        long_enough = [case.text for case in cases if len(letters(case.text)) >= least and " " in case.text.strip()]
        copies = [planted(kind, text, random, random.choice(others)) for text in long_enough]
        missed = [copy for copy in copies if leaks.find(copy) is None]
        assert len(missed) <= (0.01 * len(copies) if kind in EDITED else 0), (kind, missed)


def test_planted_exercises_are_found_and_unrelated_ones_stay(shared_data: Path) -> None:
    tasks = [task["question"] for task in exercises(shared_data)]
    asked, others = tasks[:660], tasks[660:]
    leaks = leaks_of(*asked)
    random = Random(21)  # noqa: S311 - a sample
    for kind in KINDS:
        copies = [planted(kind, text, random, random.choice(others)) for text in asked[::3]]
        missed = [copy for copy in copies if leaks.find(copy) is None]
        assert len(missed) <= (0.01 * len(copies) if kind in EDITED else 0), (kind, missed)
    assert len([text for text in others if leaks.find(text)]) <= 0.005 * len(others)  # some exercises are twins


@pytest.mark.slow  # searches very long texts
def test_endless_texts_in_every_case_need_bounded_time() -> None:
    leaks = leaks_of(*(f"{'0' * 15} and then comes number {number * 7919}" for number in range(900)))
    assert leaks.find("0" * 200_000 + "\ud800") is None
    assert reason(leaks.find("0" * 40_000 + " and then comes number 79190")) == "leak_substring"


@given(st.text(max_size=300), st.lists(st.text(max_size=120), max_size=6))
def test_any_text_is_searched_and_a_case_is_found_in_itself(text: str, cases: list[str]) -> None:
    leaks = leaks_of(*cases)
    leaks.find(text)
    for case in cases:
        if len(letters(case)) >= 8:
            assert reason(leaks.find(case)) == "leak_exact"


@given(st.text("abc", max_size=10), st.text("abc", max_size=14))
def test_edits_are_counted_as_by_the_table(pattern: str, text: str) -> None:
    row = [0] * (len(text) + 1)
    for number, letter in enumerate(pattern, start=1):
        above, row = row, [number]
        for at, other in enumerate(text):
            row.append(min(above[at + 1] + 1, row[-1] + 1, above[at] + (letter != other)))
    assert min_substring_edits(pattern, text) == min(row)
