"""The compare page as a file: it loads nothing, runs only its own script, and is safe and small with any answers.

Its behaviour in a browser: `test_compare_page_browser.py`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_samples import report, trial

from flowai.evals.reports import AssertionResult, Changes, EarlierTrial, Gate, Trial
from flowai.evals.reports.gate_records import SliceResult
from flowai.evals.reports.markdown_report import to_markdown
from flowai.evals.reports.page.compare_page import to_html
from flowai.evals.reports.page.page_data import output_hash

HOSTILE = (
    "</pre></style></script><!--<script>alert(1)</script><img src=x onerror=alert(1)> \x1b[2J \x00 \ud800 &lt; \"'"
)
VOID = {"meta"}


class Page(HTMLParser):
    """Parses a page: elements, attributes, texts; refuses tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.texts["script"][0])
        return found


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_nothing_is_loaded_and_only_its_own_script_runs() -> None:
    page = Page(to_html(report([trial(), trial("b", "fail"), trial("c", "error")], Gate(pass_rate=0.9))))
    style, (_, script) = page.texts["style"][0], page.texts["script"]
    (policy,) = [attributes["content"] for tag, attributes in page.elements if "http-equiv" in attributes]
    assert policy == (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    assert {tag for tag, _ in page.elements}.isdisjoint({"link", "img", "iframe", "object", "base", "form"})
    named = {name: value or "" for _, attributes in page.elements for name, value in attributes.items()}
    assert {"src", "href", "style"}.isdisjoint(named)
    assert not any(name.startswith("on") for name in named)
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "XMLHttpRequest"):
        assert sink not in script


def test_it_has_the_figures_of_the_markdown_report() -> None:
    made = report(
        [trial(), trial("b", "fail"), trial("c", "error")],
        Gate(pass_rate=0.9, latency_p95_ms=500, metrics={"tone": 0.5}),
        changes=Changes(run_id="0006", regressions=("evals/s.yaml::b::prompts/p_v1::m::0",), fixes=(), shared_count=2),
        warnings=("the clock went back",),
    )
    page = Page(to_html(made))
    tables = [line for line in to_markdown(made).splitlines() if line.startswith("|") and "---" not in line]
    rows = [tuple(html.unescape(cell).strip() for cell in line.strip("|").split("|")) for line in tables]
    figures = list(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert [row for row in rows if len(row) == 2] == [("figure", "value"), *figures]
    cells = [cell for row in rows if len(row) > 2 for cell in row]
    shown = [*page.texts["th"], *page.texts["td"]]
    assert all(shown.count(cell) >= cells.count(cell) for cell in cells)
    headings = [line.removeprefix("## ") for line in to_markdown(made).splitlines() if line.startswith("## ")]
    assert page.texts["h2"][:2] == [heading for heading in headings if heading in ("Gate", "Prompts and models")]
    assert page.texts["h1"] == ["eval prompts/p_v1"]
    assert "Warning: the clock went back" in page.texts["p"]
    assert "1 turned worse" in page.texts["p"][0]


@pytest.mark.parametrize(
    ("trials", "word"),
    [
        ([trial()], "\u2713 GATE MET"),
        ([trial("b", "fail")], "\u2717 GATE NOT MET"),
        ([trial("c", "error")], "! NOT DECIDED: ERRORS"),
        ([trial("d", "unscored")], "? INCONCLUSIVE"),
    ],
)
def test_the_verdict_is_in_words(trials: list[Trial], word: str) -> None:
    page = Page(to_html(report(trials)))
    assert page.texts["strong"][0] == word


def test_the_verdict_has_n_and_an_interval_and_names_unmet_limits() -> None:
    trials = [trial(str(number), "pass" if number < 37 else "fail") for number in range(40)]
    sentence = Page(to_html(report(trials, Gate(pass_rate=0.95)))).texts["p"][0]
    # Source: Clopper-Pearson for 37 of 40, R's binom.test
    assert "Pass rate 92.5 % (95 % interval 79.6 % to 98.4 %, n = 40)." in sentence
    assert "pass_rate: 0.925 is below 0.95." in sentence


def test_repeats_are_no_cases() -> None:
    trials = [trial(str(case), repeat=repeat, key=f"{case}:{repeat}") for case in range(4) for repeat in range(5)]
    assert "n = 4)" in Page(to_html(report(trials))).texts["p"][0]


def test_failing_cases_can_be_read_without_scripts() -> None:
    made = report([trial(), trial("u", "unscored"), trial("e", "error"), trial("f", "fail")])
    text = to_html(made)
    inside = Page(text.split("<noscript>", 1)[1].split("</noscript>", 1)[0])
    assert inside.texts["h3"] == [" f", " e", " u"]
    assert inside.texts["li"] == ['contains "x"', "openai: 429 slow down"]
    assert "\nhello" in inside.texts["pre"]
    assert text.index("DECIDED") < text.index("<noscript>")


def test_hostile_texts_remain_text() -> None:
    check = AssertionResult(type="contains", passed=False, score=0.0, reason=HOSTILE, place=HOSTILE, metric=HOSTILE)
    facts = dict.fromkeys(
        ("key", "place", "prompt", "model", "finish_reason", "output", "description", "prompt_text", "expected"),
        HOSTILE,
    )
    values: dict[str, Any] = {"vars": {HOSTILE: HOSTILE, "b": [HOSTILE]}, "metadata": {HOSTILE: HOSTILE}}
    bad = trial(HOSTILE, "fail", checks=(check,), tags=(HOSTILE,), **facts, **values)
    good = msgspec.structs.replace(bad, outcome="pass", key="other", case="other", tags=())
    changes = Changes(run_id=HOSTILE, baseline=HOSTILE, regressions=(HOSTILE, "gone"), fixes=(), shared_count=1)
    earlier = EarlierTrial(key=HOSTILE, run_id=HOSTILE, baseline=HOSTILE, outcome="pass", output=HOSTILE + "!")
    text = to_html(
        report(
            [bad, good],
            target=HOSTILE,
            changes=changes,
            against_baseline=(changes,),
            warnings=(HOSTILE,),
            earlier=(earlier,),
        )
    )
    text.encode()
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2
    assert "img" not in tags
    assert "\x1b" not in text
    assert "\x00" not in text
    assert text.count("</script>") == 2
    assert text.count("<!--") == 0
    assert HOSTILE in page.data["texts"]


@given(st.text(alphabet=st.characters(codec=None)))
def test_the_data_has_every_answer_unchanged(output: str) -> None:
    made = to_html(report([trial(outcome="fail", output=output)]))
    made.encode()
    found = Page(made).data
    (answer,) = found["rows"][0]["cells"][0]["answers"]
    assert found["texts"][answer["text"]] == output


def test_an_endless_answer_is_cut_and_says_so() -> None:
    output = "x" * 10_000_000
    text = to_html(report([trial(outcome="fail", output=output)]))
    found = Page(text).data
    (answer,) = found["rows"][0]["cells"][0]["answers"]
    assert found["left_out"][str(answer["text"])] == 10_000_000 - 20_000
    assert answer["hash"] == output_hash(output)
    assert len(text) < 150_000


@pytest.mark.parametrize("character", ["x", "<", "\x01", "\u4e2d", "\u200b"])
def test_a_thousand_cases_stay_below_five_megabytes(character: str) -> None:
    long = character * 3_000

    def build(case: int, model: str) -> tuple[Trial, EarlierTrial]:
        facts: dict[str, Any] = {"vars": {"text": f"{case} {long}"}, "prompt_text": f"Summarise {case} {long}"}
        key = f"evals/s.yaml::{case}::prompts/p_v1::{model}::0"
        facts |= {"output": f"{case} {model} {long}", "key": key, "model": model, "expected": f"{case}: {long}"}
        return trial(str(case), "fail", **facts), EarlierTrial(
            key=key, run_id="6", outcome="pass", output=f"{case} b {long}"
        )

    pairs = [build(case, model) for case in range(1_000) for model in ("m", "n")]
    made = report([one for one, _ in pairs], earlier=tuple(two for _, two in pairs))
    assert len(to_html(made).encode()) <= 5_000_000


def test_repeats_are_folded_and_identical_answers_counted_once() -> None:
    trials = [trial(repeat=repeat, key=str(repeat), output="same") for repeat in range(4)]
    trials.append(trial(outcome="fail", repeat=4, key="4", output="other"))
    data = Page(to_html(report(trials))).data
    (row,) = data["rows"]
    (cell,) = row["cells"]
    assert cell["counts"] == [4, 1, 0, 0]
    assert [(answer["count"], data["texts"][answer["text"]]) for answer in cell["answers"]] == [
        (4, "same"),
        (1, "other"),
    ]
    assert data["texts"].count("same") == 1


@pytest.mark.parametrize(
    ("before", "now", "turn"),
    [
        ("p", "f", "worse"),
        ("f", "p", "better"),
        ("p", "p", None),
        ("ppppp", "ppppf", "noise"),
        ("ppppp", "fffff", "worse"),
        ("ppp", "fff", "worse"),
        ("ffppp", "ppppp", "noise"),
        ("p" * 20, "f" * 10 + "p" * 10, "worse"),
        ("p", "e", None),
        ("e", "f", None),
    ],
)
def test_turned_worse_better_or_noise(before: str, now: str, turn: str | None) -> None:
    words: dict[str, Any] = {"p": "pass", "f": "fail", "e": "error"}
    trials = [trial("a", words[one], repeat=number, key=str(number)) for number, one in enumerate(now)]
    earlier: Any = tuple(
        EarlierTrial(key=str(number), run_id="0006", outcome=words[one]) for number, one in enumerate(before)
    )
    (row,) = Page(to_html(report(trials, earlier=earlier))).data["rows"]
    assert row["cells"][0].get("turn") == turn


def test_without_earlier_trials_the_changes_say_what_turned() -> None:
    key = "evals/s.yaml::b::prompts/p_v1::m::0"
    changes = Changes(run_id="0006", regressions=(key,), fixes=("evals/s.yaml::gone",), shared_count=2)
    data = Page(to_html(report([trial(), trial("b", "fail")], changes=changes))).data
    assert [row["cells"][0].get("turn") for row in data["rows"]] == [None, "worse"]


def test_a_case_that_was_not_tried_on_a_model_has_no_cell() -> None:
    trials = [trial("a"), trial("b", key="b", model="n")]
    data = Page(to_html(report(trials))).data
    assert [[cell is None for cell in row["cells"]] for row in data["rows"]] == [[False, True], [True, False]]


def test_slices_of_tags_and_metadata_have_intervals() -> None:
    trials = [
        trial(
            str(number),
            "fail" if number < 5 else "pass",
            tags=("long",) if number < 10 else (),
            metadata={"lang": lang},
        )
        for number, lang in enumerate(["de", "en"] * 10)
    ]
    page = Page(to_html(report(trials)))
    rows = [tuple(page.texts["td"][start : start + 5]) for start in range(len(page.texts["td"]))]
    assert ("long", "10", "50.0 %", "18.7 % to 81.3 %", "10") in rows
    assert any(row[0] == "lang=de" and row[1] == "10" for row in rows)
    assert Page(to_html(report(trials))).data["slices"] == ["long", "lang=de", "lang=en"]


def test_a_field_with_a_value_per_case_is_no_slice() -> None:
    trials = [trial(str(number), metadata={"id": str(number)}) for number in range(30)]
    assert Page(to_html(report(trials))).data["slices"] == []


def test_the_plot_has_axes_labels_and_its_numbers_in_a_table() -> None:
    trials = [trial("a"), trial("a", "fail", key="b", model="n", cost_usd=0.004, latency_ms=2_000.0)]
    earlier = (EarlierTrial(key="b", run_id="0006", outcome="pass", output="x", cost_usd=0.002, latency_ms=900.0),)
    page = Page(to_html(report(trials, earlier=earlier)))
    kinds = [attributes.get("class") for tag, attributes in page.elements if tag == "circle"]
    assert kinds == ["point", "point", "earlier"]
    assert [text for text in page.texts["text"] if text in ("1", "2", "2b")] == ["1", "2", "2b"]
    assert any("mean cost per answer" in text for text in page.texts["text"])
    assert "prompts/p_v1 (run 0006)" in page.texts["td"]


def test_without_a_price_the_plot_is_by_latency() -> None:
    trials = [trial("a", cost_usd=None), trial("a", key="b", model="n", cost_usd=None)]
    assert "median latency" in Page(to_html(report(trials))).texts["text"]


def test_equal_reports_give_equal_pages() -> None:
    assert to_html(report([trial()])) == to_html(report([trial()]))


def test_no_trials_give_a_page() -> None:
    assert "Nothing was judged." in Page(to_html(report([]))).texts["p"][0]


def test_words_of_the_script_name_no_missing_element() -> None:
    script = Page(to_html(report([trial()]))).texts["script"][1]
    asked = set(re.findall(r'\$\("([a-z-]+)"\)', script))
    assert asked <= {*re.findall(r'\.id = "([a-z-]+)"', script), "app", "data"}


def test_the_gates_slices_are_shown_without_a_baseline_too() -> None:
    item = SliceResult(
        suite="evals/s.yaml",
        name="language=nl",
        case_count=6,
        pass_rate=0.5,
        low=0.2,
        high=0.8,
        p_value=0.04,
        passed=False,
    )
    page = to_html(report([trial(), trial("b", "fail")], slices=(item,)))
    assert "Slices of the gate" in page
    assert "language=nl" in page
