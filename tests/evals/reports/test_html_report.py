"""The HTML page: one file that loads and runs nothing, has the Markdown's content, and is safe with hostile output."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_samples import report, trial

from flowai.evals.reports import AssertionResult, Changes, Gate, Trial
from flowai.evals.reports.html_report import to_html
from flowai.evals.reports.markdown_report import to_markdown

HOSTILE = "</pre></style><script>alert(1)</script><img src=x onerror=alert(1)> \x1b[2J \x00 \ud800 &lt; \"'"
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


def test_nothing_is_loaded_and_nothing_runs() -> None:
    page = Page(to_html(report([trial(), trial("b", "fail"), trial("c", "error")], Gate(pass_rate=0.9))))
    metas = [attributes for tag, attributes in page.elements if tag == "meta"]
    policy = {"http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'"}
    assert policy in metas
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "img", "iframe", "object", "base", "form"})
    named = {name: value or "" for _, attributes in page.elements for name, value in attributes.items()}
    assert "src" not in named
    assert not any(name.startswith("on") for name in named)
    assert "url(" not in page.texts["style"][0]
    assert "@import" not in page.texts["style"][0]
    assert "prefers-color-scheme: dark" in page.texts["style"][0]


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
    assert sorted(cells) == sorted([*page.texts["th"], *page.texts["td"]])
    headings = [line.removeprefix("## ") for line in to_markdown(made).splitlines() if line.startswith("## ")]
    assert [re.sub(r" \(\d+\)$", "", text) for text in page.texts["h2"][:-1]] == headings
    assert page.texts["h1"] == ["eval prompts/p_v1"]
    assert any("NOT DECIDED: ERRORS" in text for text in page.texts["p"])
    assert "Warning: the clock went back" in page.texts["p"]


@pytest.mark.parametrize(
    ("trials", "word"),
    [([trial()], "GATE MET"), ([trial("b", "fail")], "GATE NOT MET"), ([trial("d", "unscored")], "INCONCLUSIVE")],
)
def test_the_verdict_is_in_words(trials: list[Trial], word: str) -> None:
    page = Page(to_html(report(trials)))
    assert page.texts["p"][0].split(maxsplit=1)[1] == word


def test_unpassed_trials_come_first_and_open() -> None:
    made = report([trial(), trial("u", "unscored"), trial("e", "error"), trial("f", "fail")])
    page = Page(to_html(made))
    assert page.texts["h3"] == [" f", " e", " u"]
    assert page.texts["summary"] == [" a"]
    text = to_html(made)
    assert text.index("<details") > text.rindex("<article")


def test_changes_link_to_their_trials() -> None:
    key = "evals/s.yaml::b::prompts/p_v1::m::0"
    changes = Changes(run_id="0006", regressions=(key,), fixes=("evals/s.yaml::gone",), shared_count=2)
    page = Page(to_html(report([trial(), trial("b", "fail")], changes=changes)))
    (link,) = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    targets = {f"#{attributes['id']}": tag for tag, attributes in page.elements if "id" in attributes}
    assert targets[str(link)] == "article"


def test_hostile_texts_remain_text() -> None:
    check = AssertionResult(type="contains", passed=False, score=0.0, reason=HOSTILE, place=HOSTILE, metric=HOSTILE)
    facts = dict.fromkeys(("key", "place", "prompt", "model", "finish_reason", "output"), HOSTILE)
    bad = trial(HOSTILE, "fail", checks=(check,), **facts)
    good = msgspec.structs.replace(bad, outcome="pass", key="other")
    changes = Changes(
        run_id=HOSTILE, baseline=HOSTILE, regressions=(HOSTILE, "gone" + HOSTILE), fixes=(), shared_count=1
    )
    text = to_html(report([bad, good], target=HOSTILE, changes=changes, warnings=(HOSTILE,)))
    text.encode()
    page = Page(text)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "img"})
    assert "\x1b" not in text
    assert "\x00" not in text


@given(st.text(min_size=1))
def test_an_answer_is_shown_unchanged(output: str) -> None:
    shown = Page(to_html(report([trial(outcome="fail", output=output)]))).texts["pre"][0]
    assert shown[0] == "\n", "the line feed that parsers drop"
    for found, expected in zip(shown[1:], output, strict=True):
        assert found in (expected, "\ufffd")


def test_an_endless_answer_is_cut_and_says_so() -> None:
    page = Page(to_html(report([trial(outcome="fail", output="x" * 20_500)])))
    assert len(page.texts["pre"][0]) == 20_001
    assert "500 more characters in report.json" in page.texts["p"]


def test_equal_reports_give_equal_pages() -> None:
    assert to_html(report([trial()])) == to_html(report([trial()]))
