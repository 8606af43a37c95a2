"""The compare page in a real browser: filters, keys, labels, hostile answers, no request."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.page_checks import MIN_CONTRAST
from support.report_samples import report, trial

from flowai.evals.reports import AssertionResult, Changes, EarlierTrial, Report, Trial
from flowai.evals.reports.page.compare_page import to_html
from flowai.evals.reports.page.page_data import output_hash

if TYPE_CHECKING:
    from pathlib import Path

    from support.chromium import Browser

pytestmark = pytest.mark.browser

HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "<script>window.hacked=2</script>",
    "</script></pre></div><svg onload=window.hacked=3>",
    "<!--<script>",
    '"><iframe srcdoc="<script>parent.hacked=4</script>"></iframe>',
    "[x](javascript:window.hacked=5) ![y](http://evil.example/y.png)",
    "javascript:/*--></title></style></textarea></script><svg/onload='window.hacked=6'//",
    "<a href=javascript:alert(7)>here</a><style>*{display:none}</style><base href=//evil.example>",
    "__proto__",
    "\u202e reversed \u200b hidden \u2066 isolated",
]


def made_trial(case: str, outcome: str, model: str = "m", repeat: int = 0, **facts: Any) -> Trial:
    key = f"evals/s.yaml::{case}::prompts/p_v1::{model}::{repeat}"
    return trial(case, outcome, key=key, model=model, repeat=repeat, **facts)


def earlier(one: Trial, outcome: str, output: str | None = "hello") -> EarlierTrial:
    return EarlierTrial(key=one.key, run_id="0006", outcome=outcome, output=output)  # type: ignore[arg-type]


@pytest.fixture
def sample() -> Report:
    """Build a report of five cases on two models: one turned worse, one better, one is noise."""
    check = AssertionResult(type="contains", passed=False, score=0.0, reason='contains "x": found nothing', place="s:9")
    trials = [
        made_trial("calm", "pass", vars={"text": "a quiet day"}, tags=("short",)),
        made_trial("calm", "pass", "n"),
        made_trial("broken", "fail", output="the vote was not approved", checks=(check,), vars={"text": "a storm"}),
        made_trial("broken", "pass", "n"),
        made_trial("fixed", "pass", expected="hello there", output="hello you"),
        made_trial("late", "error", "n"),
    ]
    repeats = [made_trial("shaky", "pass", repeat=number, output="same") for number in range(4)]
    repeats.append(made_trial("shaky", "fail", repeat=4, output="other"))
    before = [
        earlier(trials[0], "pass"),
        earlier(trials[2], "pass", "the vote was approved"),
        earlier(trials[4], "fail"),
    ]
    before += [earlier(one, "pass") for one in repeats]
    changes = Changes(run_id="0006", regressions=(trials[2].key,), fixes=(trials[4].key,), shared_count=8)
    return report([*trials, *repeats], earlier=tuple(before), changes=changes)


def opened(browser: Browser, tmp_path: Path, made: Report, hash_: str = "") -> str:
    file = tmp_path / "compare.html"
    file.write_text(to_html(made), encoding="utf-8")
    address = f"file://{file}"
    browser.open(address + hash_)
    browser.wait_for("document.getElementById('detail') && document.getElementById('detail').children.length > 0")
    return address


def cases(browser: Browser) -> list[str]:
    found: list[str] = browser.evaluate("rows.map((index) => data.rows[index].case)")
    return found


def tab_names(browser: Browser) -> list[str]:
    found: list[str] = browser.evaluate("[...document.querySelectorAll('[data-tab]')].map((tab) => tab.textContent)")
    return found


def click(browser: Browser, selector: str) -> None:
    browser.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


def current_case(browser: Browser) -> str:
    return browser.text("#detail h2")


def test_tabs_filters_and_the_address(browser: Browser, tmp_path: Path, sample: Report) -> None:
    address = opened(browser, tmp_path, sample)
    assert tab_names(browser) == ["All 5", "Turned worse 1", "Turned better 1", "Noise 1", "Not passed 3"]
    click(browser, "[data-tab=worse]")
    assert cases(browser) == ["broken"]
    assert "tab=worse" in browser.evaluate("location.hash")
    click(browser, "[data-tab=all]")
    browser.press("/")
    browser.write("APPROVED")
    browser.wait_for("rows.length === 1")
    assert cases(browser) == ["broken"]
    browser.press("Escape")
    browser.evaluate("change({ q: '', outcome: 'error' })")
    assert cases(browser) == ["late"]
    browser.evaluate("change({ outcome: '', slice: 'short' })")
    assert cases(browser) == ["calm"]
    browser.evaluate("change({ slice: '', model: 'n' })")
    assert cases(browser) == ["calm", "broken", "late"]
    browser.open(address + "#tab=failing&q=storm")
    browser.wait_for("rows.length === 1")
    assert cases(browser) == ["broken"]
    assert browser.complaints == []
    assert [asked for asked in browser.requested if not asked.startswith("file://")] == []


def test_a_view_is_the_same_after_a_reload(browser: Browser, tmp_path: Path, sample: Report) -> None:
    opened(browser, tmp_path, sample, "#tab=failing&row=0%3Ashaky&diff=baseline")
    assert cases(browser) == ["broken", "late", "shaky"]
    assert current_case(browser) == "shaky"
    browser.reload()
    browser.wait_for("document.getElementById('detail')?.children.length > 0")
    assert current_case(browser) == "shaky"
    assert browser.evaluate("filters.diff") == "baseline"
    opened(browser, tmp_path, sample, "#tab=nonsense&outcome=x&model=gone&row=9:z&column=77&diff=q")
    assert len(cases(browser)) == 5
    assert browser.complaints == []


def test_keys_move_and_find_what_turned_worse(browser: Browser, tmp_path: Path, sample: Report) -> None:
    opened(browser, tmp_path, sample)
    assert current_case(browser) == "calm"
    browser.press("n")
    assert current_case(browser) == "broken"
    browser.press("j")
    assert current_case(browser) == "fixed"
    browser.press("k")
    browser.press("k")
    browser.press("k")
    assert current_case(browser) == "calm"
    browser.press("d")
    assert browser.evaluate("filters.diff") == "baseline"
    browser.press("j")
    assert browser.text("#detail ins").strip() == "not"
    browser.press("j")
    browser.press("d")
    assert browser.evaluate("filters.diff") == "expected"
    assert (browser.text("#detail del"), browser.text("#detail ins")) == ("there", "you")
    browser.press("d")
    assert browser.evaluate("document.querySelectorAll('#detail ins').length") == 0
    browser.press("?")
    browser.wait_for("document.getElementById('help').open")
    browser.press("j")
    browser.press("Escape")
    browser.wait_for("!document.getElementById('help').open")
    assert current_case(browser) == "fixed"


def test_repeats_reasons_and_the_rerun_command(browser: Browser, tmp_path: Path, sample: Report) -> None:
    opened(browser, tmp_path, sample, "#row=0%3Ashaky")
    heads = browser.evaluate(
        "[...document.querySelectorAll('.answer .badge:first-child')].map((one) => one.textContent)"
    )
    assert heads[0] == "\u2713 pass 4 of 5"
    assert "\u2717 fail 1 of 5" in heads
    assert browser.evaluate("document.querySelector('.row.current .badge').title") == "5 pass"
    assert browser.evaluate("document.querySelector('.row.current .turn').textContent") == "\u2248 noise"
    browser.press("n")
    browser.press("N")
    assert current_case(browser) == "broken"
    assert 'contains "x": found nothing' in browser.text(".reasons")
    command = browser.evaluate("document.querySelector('.command').value")
    assert command == "flowai eval evals/s.yaml --filter-pattern '^broken$' --model m"
    assert "run 0006" in browser.text(".baseline")
    assert "the vote was approved" in browser.text(".baseline pre")


def test_labels_are_kept_and_saved_as_a_file(browser: Browser, tmp_path: Path, sample: Report) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    opened(browser, tmp_path, sample, "#row=0%3Abroken")
    browser.save_downloads(downloads)
    browser.press("l")
    browser.press("f")
    browser.evaluate("document.querySelector('.label-form input').focus()")
    browser.write("says 'not'; <b>\u00e9</b>")
    browser.press("Enter")
    assert browser.text("#save") == "Save labels (1)"
    assert "labelled fail" in browser.text(".row.current")
    browser.reload()
    browser.wait_for("document.getElementById('detail')?.children.length > 0")
    assert browser.text("#save") == "Save labels (1)"
    browser.press("n")
    browser.press("k")
    browser.press("l")
    browser.press("p")
    browser.press("l")
    assert browser.evaluate("document.activeElement.dataset.label") == "pass"
    browser.evaluate("document.activeElement.blur()")
    browser.press("s")
    end_s = time.monotonic() + 20
    file = downloads / "labels-0007.jsonl"
    while not file.exists() and time.monotonic() < end_s:
        time.sleep(0.02)
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {
        "schema_version": 1,
        "run_id": "0007",
        "suite": "evals/s.yaml",
        "case": "broken",
        "prompt": "prompts/p_v1",
        "model": "m",
        "output_hash": output_hash("the vote was not approved"),
        "label": "fail",
        "note": "says 'not'; <b>\u00e9</b>",
    }
    assert [(line["case"], line["label"]) for line in lines] == [("broken", "fail"), ("calm", "pass")]
    browser.press("l")
    browser.press("p")
    assert browser.text("#save") == "Save labels (1)", "the same label again removes it"


def test_no_text_of_a_report_runs_or_sends_a_request(browser: Browser, tmp_path: Path) -> None:
    everything = "\n".join(HOSTILE)
    check = AssertionResult(
        type=everything, passed=False, score=0.5, reason=everything, place=everything, metric=HOSTILE[0]
    )
    trials = []
    for number, text in enumerate([everything, *HOSTILE]):
        facts: dict[str, Any] = dict.fromkeys(
            ("output", "description", "prompt_text", "expected", "finish_reason", "place"), text
        )
        facts |= {"vars": {text: text}, "metadata": {text: text}, "tags": (text,), "checks": (check,), "prompt": text}
        trials.append(trial(text, "fail", key=str(number), model=HOSTILE[number % 3], suite=text, **facts))
    before = tuple(
        EarlierTrial(key=one.key, run_id=HOSTILE[0], outcome="pass", output=f"{one.output}!", baseline=one.case)
        for one in trials
    )
    made = report(
        trials, earlier=before, target=everything, warnings=(everything,), suites=tuple(one.suite for one in trials)
    )
    address = opened(browser, tmp_path, made)
    for key in "jdjlddjnkdd":
        browser.press(key)
        browser.evaluate("document.activeElement.blur()")
    browser.evaluate("select(0, 0)")
    browser.press("d")
    assert "U+202E" in browser.text("#detail")
    assert "hacked" in browser.text("#detail .answer")
    browser.reload()
    browser.wait_for("document.getElementById('detail')?.children.length > 0")
    assert browser.evaluate("window.hacked") is None
    assert browser.evaluate("document.querySelectorAll('img, iframe, base, a, svg').length") <= 1
    assert browser.evaluate("({}).polluted") is None
    assert [asked for asked in browser.requested if asked.partition("#")[0] != address] == []
    assert browser.dialogs == []
    assert browser.complaints == []


def test_an_injected_script_would_not_run(browser: Browser, tmp_path: Path, sample: Report) -> None:
    opened(browser, tmp_path, sample)
    inject = "(() => { const one = document.createElement('script'); one.textContent = 'window.hacked = 1';"
    browser.evaluate(inject + " document.body.append(one); })()")
    browser.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked=2\">')")
    assert browser.evaluate("window.hacked") is None
    outside = "fetch('http://127.0.0.1:9/').then(() => 'went', error => 'stayed')"
    assert browser.evaluate(outside) == "stayed"
    assert any("Content Security Policy" in told for told in browser.complaints)


def test_ten_megabytes_and_ten_thousand_cases(browser: Browser, tmp_path: Path) -> None:
    trials = [made_trial(f"case {number}", "pass", vars={"n": str(number)}) for number in range(10_000)]
    trials.append(made_trial("huge", "fail", output="word " * 2_000_000))
    opened(browser, tmp_path, report(trials), "#tab=failing")
    assert "more characters" in browser.text(".answer pre")
    click(browser, "[data-tab=all]")
    assert browser.evaluate("rows.length") == 10_001
    assert browser.evaluate("document.querySelectorAll('#space .row').length") < 60
    browser.press("End")
    assert current_case(browser) == "huge"
    browser.wait_for("document.querySelector('.row.current .name').textContent === 'huge'")
    browser.evaluate("change({ q: '9999' })")
    assert cases(browser) == ["case 9999"]


def test_long_differences_end(browser: Browser, tmp_path: Path, sample: Report) -> None:
    opened(browser, tmp_path, sample)
    script = """(() => {
      const random = (seed) => { let x = seed; return () => (x = (x * 48271) % 2147483647) / 2147483647; };
      const words = (next, count) => Array.from({ length: count }, () => "w" + Math.floor(next() * 50)).join(" ");
      const problems = [];
      for (let seed = 1; seed < 200; seed++) {
        const next = random(seed);
        const before = words(next, Math.floor(next() * 30));
        const after = words(next, Math.floor(next() * 30));
        const parts = diffWords(before, after);
        const of = (kind) => parts.filter((part) => part.kind === "same" || part.kind === kind);
        const join = (kind) => of(kind).map((part) => part.text).join("");
        if (join("removed") !== before || join("added") !== after) problems.push(seed);
      }
      const started = performance.now();
      const long = [words(random(7), 5000), words(random(8), 5000)];
      const found = diffWords(...long);
      const kept = found.filter((part) => part.kind !== "added").map((part) => part.text).join("") === long[0];
      return { problems, kept, ms: performance.now() - started };
    })()"""
    told = browser.evaluate(script)
    assert told["problems"] == []
    assert told["kept"] is True
    assert told["ms"] < 20_000


def test_wide_tables_scroll_inside_the_page(browser: Browser, tmp_path: Path, sample: Report) -> None:
    group = msgspec.structs.replace(sample.groups[0], suite=f"evals/{'x' * 60}.yaml", model=f"openai/{'m' * 60}")
    opened(browser, tmp_path, msgspec.structs.replace(sample, groups=(group,)))
    browser.look(700, 900)
    browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth") <= 700


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 700])
def test_everything_can_be_read_and_reached(
    browser: Browser, tmp_path: Path, sample: Report, width: int, is_dark: bool
) -> None:
    opened(browser, tmp_path, sample, "#row=0%3Abroken&diff=baseline")
    browser.look(width, 900, is_dark=is_dark)
    browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(MIN_CONTRAST) >= 4.5
    unnamed = """[...document.querySelectorAll("button, input, select")].filter((node) =>
        !node.textContent.trim() && !node.getAttribute("aria-label")).length"""
    assert browser.evaluate(unnamed) == 0
