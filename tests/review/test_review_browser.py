"""The review page in a real browser: keys, hostile text, undo, reload, and a server that is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.feedback_log import call_line, said_line, sentence, write_log
from support.page_checks import MIN_CONTRAST
from support.sample_project import SampleProject, make_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.chromium import Browser

pytestmark = pytest.mark.browser

HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "<script>window.hacked=2</script>",
    "</textarea></div><svg onload=window.hacked=3>",
    "{{constructor.constructor('window.hacked=4')()}} ${window.hacked=5} <%= 7*7 %>",
    '"><iframe srcdoc="<script>parent.hacked=6</script>"></iframe>',
    "[x](javascript:window.hacked=7) ![y](http://evil.example/y.png)",
    "javascript:/*--></title></style></textarea></script><svg/onload='window.hacked=8'//",
    "<a href=javascript:alert(9)>here</a><style>*{display:none}</style><base href=//evil.example>",
]


@pytest.fixture
def project(tmp_path: Path) -> SampleProject:
    return make_project(tmp_path / "project", "http://127.0.0.1:9/v1")


@contextmanager
def reviewing(project: SampleProject, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command on a free port; give the process and the address that it prints."""
    arguments = ["finetune", "review", "--feature", "chat", "--all", "--reviewer", "ann", "--no-browser", *options]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(project.root), "FLOWAI_PSEUDONYM_KEY": "a key of the tests"}
    process = subprocess.Popen(
        [sys.executable, "-m", "flowai", *arguments],
        cwd=project.root,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.fail(process.communicate()[1])
        yield process, process.stdout.readline().split()[0]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def log(project: SampleProject, lines: list[dict[str, Any]]) -> None:
    write_log(project.root / ".flowai" / "events", lines)


def accepted(*numbers: int) -> list[dict[str, Any]]:
    return [line for number in numbers for line in (call_line(number), said_line(number, "accepted"))]


def decisions(project: SampleProject) -> list[tuple[str, str]]:
    path = project.root / "finetune" / "chat" / "decisions.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(one["action"], one["pair"]) for one in map(json.loads, lines)]


def at(browser: Browser, position: int) -> None:
    """Wait until a pair is shown, and no action is running."""
    browser.wait_for(f"item !== null && item.position === {position} && !busy")


def test_a_complete_review_by_keyboard(browser: Browser, project: SampleProject) -> None:
    log(project, [*accepted(0, 1, 2), call_line(3), said_line(3, "edited", sentence(3).upper())])
    with reviewing(project) as (process, address):
        browser.open(address)
        at(browser, 0)
        assert browser.text("#progress") == "0 of 4 decided"
        browser.press("a")
        at(browser, 1)
        browser.press("n")
        browser.write("too long, says arj")  # keys in a field are no commands
        browser.press("Enter")
        browser.press("r")
        at(browser, 2)
        browser.press("e")
        browser.wait_for("document.activeElement.id === 'draft'")
        browser.write(" And so on, jar.")
        browser.press("Enter", ctrl=True)
        at(browser, 3)
        assert "only case, spacing or punctuation changed" in browser.text("#notes")
        assert browser.evaluate("document.querySelectorAll('#edit del, #edit ins').length") > 1
        browser.press("s")
        browser.wait_for("document.getElementById('status').textContent.includes('No other pair is open')")
        assert browser.text("#progress") == "4 of 4 decided"
        browser.press("k")
        at(browser, 2)
        assert browser.text("#own ins").strip() == "And so on, jar."
        browser.press("e")
        browser.write("not kept")
        browser.press("Escape")
        browser.press("j")
        at(browser, 3)
        browser.press("?")
        browser.wait_for("document.getElementById('help').open")
        browser.press("a")
        browser.press("Escape")
        browser.wait_for("!document.getElementById('help').open")
        assert browser.complaints == []
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert err == ""
        assert "3 pairs decided (accept 1, edit 1, reject 1)" in out
        assert "finetune/chat/decisions.jsonl" in out
    assert decisions(project) == [("accept", "c0"), ("reject", "c1"), ("edit", "c2"), ("skip", "c3")]
    lines = (project.root / "finetune" / "chat" / "decisions.jsonl").read_text().splitlines()
    assert json.loads(lines[1])["note"] == "too long, says arj"
    assert json.loads(lines[2])["text"] == sentence(2) + " And so on, jar."


def test_no_text_of_a_pair_runs_or_sends_a_request(browser: Browser, project: SampleProject) -> None:
    everything = "\n".join(HOSTILE)
    parts = [{"type": "text", "text": everything}, {"type": "image_url", "image_url": {"url": "http://evil.example/"}}]
    tool = {"id": "t", "type": "function", "function": {"name": HOSTILE[0], "arguments": json.dumps({"x": everything})}}
    messages = [
        {"role": "system", "content": everything},
        {"role": HOSTILE[1], "content": everything},
        {"role": "user", "content": parts, "name": HOSTILE[2]},
        {"role": "assistant", "content": None, "tool_calls": [tool]},
        {"role": "user", "content": "so? \u202e reversed \u200b hidden"},
    ]
    log(
        project,
        [
            call_line(0, call_id=HOSTILE[4], messages=messages, output=everything, prompt_id=HOSTILE[0], release=None),
            said_line(0, "edited", everything.replace("window", "self"), call_id=HOSTILE[4]),
            *accepted(1),
        ],
    )
    label = {
        "at": "2026-05-02T12:00:00Z",
        "pair": HOSTILE[4],
        "model": HOSTILE[0],
        "prompt_hash": "",
        "judgement": {"quality": 1, "category": HOSTILE[1], "correct": "no", "reason": everything},
    }
    other = {
        "at": "2026-05-02T12:00:00Z",
        "reviewer": "bob",
        "pair": HOSTILE[4],
        "action": "edit",
        "text": everything + "!",
        "note": everything,
    }
    project.write("finetune/chat/labels.jsonl", json.dumps(label) + "\n")
    project.write("finetune/chat/decisions.jsonl", json.dumps(other) + "\n")
    with reviewing(project) as (_, address):
        browser.open(address)
        at(browser, 0)
        browser.press("e")
        browser.write(everything)
        browser.press("Enter", ctrl=True)
        at(browser, 1)
        browser.press("k")
        at(browser, 0)
        for selector in ("#messages", "#output", "#edit-text", "#own-text", "#notes", "#others-list", "#facts"):
            assert "hacked" in browser.text(selector), selector
        assert HOSTILE[0] in browser.text("#notes")
        assert "U+202E" in browser.text("#messages")
        assert "U+200B" in browser.text("#messages")
        browser.reload()
        at(browser, 0)
        assert browser.evaluate("window.hacked") is None
        assert browser.evaluate("document.querySelectorAll('img, iframe, svg, script, base, a').length") == 1
        host = address.partition("/?")[0]
        assert [asked for asked in browser.requested if not asked.startswith(host + "/")] == []
        assert browser.dialogs == []
        assert browser.complaints == []


def test_an_injected_script_would_not_run(browser: Browser, project: SampleProject) -> None:
    log(project, accepted(0))
    with reviewing(project) as (_, address):
        browser.open(address)
        at(browser, 0)
        for attempt in ("document.body.innerHTML = '<p>x</p>'", "eval('1')", "new Function('1')()"):
            blocked = f"(() => {{ try {{ {attempt}; return false }} catch {{ return true }} }})()"
            assert browser.evaluate(blocked) is True, attempt
        outside = "fetch('http://127.0.0.1:9/').then(() => 'went', error => 'stayed')"
        assert browser.evaluate(outside) == "stayed"
        assert any("Content Security Policy" in told for told in browser.complaints)
        assert browser.evaluate("document.cookie") == "", "the page's own script cannot read the cookie"
        assert browser.cookies()[0]["sameSite"] == "Strict"
        assert "token" not in browser.evaluate("location.href")


def test_undo_returns_to_the_pair_and_reload_keeps_it(browser: Browser, project: SampleProject) -> None:
    log(project, accepted(0, 1, 2, 3))
    with reviewing(project) as (_, address):
        browser.open(address)
        at(browser, 0)
        for position in (1, 2):
            browser.press("a")
            at(browser, position)
        browser.press("u")
        at(browser, 1)
        assert browser.text("#progress") == "1 of 4 decided"
        browser.press("j")
        at(browser, 2)
        browser.press("j")
        at(browser, 3)
        browser.reload()
        at(browser, 3)
        assert browser.text("#position") == "Pair 4 of 4"
        browser.press("u")
        at(browser, 0)
        browser.press("u")
        browser.wait_for("document.getElementById('status').textContent === 'There is nothing to undo.'")
    assert [action for action, _ in decisions(project)] == ["accept", "accept", "undo", "undo"]


def test_a_killed_server_loses_nothing_that_the_page_counts(browser: Browser, project: SampleProject) -> None:
    log(project, accepted(*range(8)))
    with reviewing(project) as (process, address):
        browser.open(address)
        at(browser, 0)
        for position in (1, 2, 3):
            browser.press("a")
            at(browser, position)
        browser.press("r")
        process.kill()
        browser.press("a")
        browser.wait_for("!busy")
        browser.press("a")
        browser.wait_for("!document.getElementById('error').hidden")
        assert "the server has stopped" in browser.text("#error")
        counted = browser.evaluate("queue.decided_count")
    on_disk = [pair for _, pair in decisions(project)]
    assert on_disk[:3] == ["c0", "c1", "c2"]
    assert len(on_disk) >= counted
    with (project.root / "finetune" / "chat" / "decisions.jsonl").open("a") as stream:
        stream.write('{"at":"2026-05-02T00:')  # the machine died, too
    with reviewing(project) as (_, address):
        browser.open(address)
        browser.wait_for("item !== null && !busy")
        assert browser.evaluate("queue.decided_count") == len(on_disk)
        assert browser.evaluate("item.position") == len(on_disk)
        browser.press("a")
        at(browser, len(on_disk) + 1)


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 700])
def test_everything_can_be_read_and_reached(
    browser: Browser, project: SampleProject, width: int, is_dark: bool
) -> None:
    log(project, [call_line(0), said_line(0, "edited", f"{sentence(0).upper()} {LONG_WORD}")])
    with reviewing(project) as (_, address):
        browser.open(address)
        at(browser, 0)
        browser.look(width, 900, is_dark=is_dark)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate(MIN_CONTRAST) >= 4.5
        assert browser.evaluate(UNNAMED) == []
        browser.press("e")
        browser.wait_for("document.activeElement.id === 'draft'")
        inside = "(b => b.top >= 0 && b.bottom <= document.querySelector('footer').getBoundingClientRect().top)"
        assert browser.evaluate(f"{inside}(document.getElementById('save').getBoundingClientRect())")


LONG_WORD = "".join(f"{number * 7919:x}" for number in range(60))

UNNAMED = """
[...document.querySelectorAll("button, input, textarea, progress, section, main, dialog")]
  .filter((node) => !node.textContent.trim() && !node.labels?.length && !node.getAttribute("aria-labelledby"))
  .map((node) => node.outerHTML.slice(0, 80))
"""
