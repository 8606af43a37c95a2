"""`flowai postmortem`: which stretch, the screen, the files, the cases, and everything that may be missing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.incident_project import REGISTRY, Day, Facts, ledger_lines, write_log, write_project
from support.sample_project import Ran

from flowai.cli.app import run
from flowai.evals.suites.loader import load_suite
from flowai.project import Project

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    Flowai = Callable[..., Ran]

pytestmark = pytest.mark.slow  # reads large logs

HOSTILE = "</pre><script>alert(1)</script> \x1b[2J ```\n# owned | cell [link](http://x) \u202e"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("FLOWAI_ENV", "FLOWAI_REGISTRY", "AI_MODEL_VERSION"):
        monkeypatch.delenv(name, raising=False)
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def flowai(root: Path, capsys: pytest.CaptureFixture[str]) -> Flowai:  # noqa: ARG001 - stands in it
    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(("postmortem", *arguments))
        out, err = capsys.readouterr()
        return Ran(code=code, out=out, err=err)

    return call


def german_breaks(facts: Facts, rng: random.Random) -> None:
    """Answers to German requests are no JSON where the new prompt asks for it."""
    if rng.random() < 0.4:
        facts["text"] = f"die Bestellung {rng.randrange(10**6)} der Kundin ist nicht da und sie fragt"
        if facts["prompt_id"] == "prompts/extract_v2":
            facts |= {"json_valid": rng.random() < 0.3, "output": '{"total": 12'}


def log(root: Path, **changes: Any) -> Path:
    return write_log(root / ".flowai/events", Day(**{"breaks": german_breaks} | changes))


def report(root: Path, name: str = "2026-05-04-v2") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((root / f"reports/postmortem/{name}/report.json").read_bytes())
    return loaded


def test_the_newest_rollback_is_analysed_on_one_screen(flowai: Flowai, root: Path) -> None:
    log(root)
    ran = flowai()
    assert ran.code == 0, ran.out + ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "v2   2026-05-04T10:00:00Z to 2026-05-04T11:01:00Z   1,220 calls, 3,600 before"
    told = [line.split("  ") for line in lines[1:6]]
    assert [[word.strip() for word in parts if word.strip()][-2] for parts in told] == [
        "release",
        "first bad call",
        "more than usual",
        "rollback",
        "recovery",
    ]
    assert re.match(r"1  invalid JSON  prompt prompts/extract_v2, language German  +\d+ of \d+ \(\d+ %\)", lines[9])
    assert "changed  extract: prompt prompts/extract_v1 -> prompts/extract_v2" in lines
    assert any(line.startswith("todo  Fix the JSON of prompt prompts/extract_v2, language German;") for line in lines)
    assert lines[-2] == "1 FINDING  first: invalid JSON, prompt prompts/extract_v2, language German"
    assert lines[-1] == "reports/postmortem/2026-05-04-v2/report.md   report.html   report.json"
    assert len(lines) < 40
    assert max(len(line) for line in lines) <= 160


def test_the_report_file_is_complete(flowai: Flowai, root: Path) -> None:
    log(root)
    ran = flowai("--json", "-o", "mine.md")
    found = report(root)
    assert json.loads(ran.out) == found
    assert found["schema_version"] == 1
    assert found["release"] == "v2"
    assert found["serving"] == "v1"
    assert found["rollback_by"] == "bob@host"
    assert found["reason"] == "INC-7"
    finding = found["investigation"]["findings"][0]
    assert finding["baseline"]["count"] == 0
    assert finding["is_new"]
    assert 0 < finding["user_count"] <= finding["inside"]["failure_count"]
    assert found["investigation"]["impact"]["wasted_usd"] > 0
    assert found["texts"]["prompts/extract_v1 -> prompts/extract_v2"].count("\n-{{role") == 1
    text = (root / "mine.md").read_text()
    assert text == (root / "reports/postmortem/2026-05-04-v2/report.md").read_text()
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "## Timeline",
        "## Findings",
        "## All failures",
        "## Error messages",
        "## Changes of v2 from v1",
        "## Follow-ups",
    ]
    page = (root / "reports/postmortem/2026-05-04-v2/report.html").read_text()
    assert page.count("<svg ") == 1
    assert "recovery</text>" in page
    assert "<script" not in page


def test_a_time_range_can_be_given(flowai: Flowai, root: Path) -> None:
    log(root)
    assert flowai("--since", "2026-05-04T10:10", "--until", "2026-05-04T10:50").code == 0
    found = report(root)
    assert found["since"] == "2026-05-04T10:10:00Z"
    assert found["until"] == "2026-05-04T10:50:00Z"
    assert found["chosen_by"] == "--since"
    assert found["rollback_by"] is None
    assert "no rollback in this time range of the ledger" in found["warnings"]
    flowai("--since", "2026-05-04T10:10")
    assert report(root)["until"] == "2026-05-04T11:01:00Z", "the rollback ends it"
    assert flowai("--since", "2h", "--until", "3h").code == 2
    assert flowai("--since", "2126-01-01").code == 2
    assert flowai("--since", "soon").code == 2
    assert flowai("-o", "x.xml").code == 2


def test_only_one_feature(flowai: Flowai, root: Path) -> None:
    log(root)
    flowai("--feature", "chat")
    found = report(root)["investigation"]
    assert found["findings"] == []
    assert 0 < found["call_count"] < 1220
    ran = flowai("--feature", "chta")
    assert ran.code == 2
    assert ("did you mean `chat`" in ran.err) is True


def test_no_finding_is_not_reported_as_healthy(flowai: Flowai, root: Path) -> None:
    write_log(root / ".flowai/events", Day())
    ran = flowai()
    assert ran.code == 0
    assert "NO FINDING" in ran.out
    assert "this does not prove that nothing failed" in ran.out


@pytest.mark.parametrize("has_directory", [True, False])
def test_without_calls_the_timeline_is_still_reported(has_directory: bool, flowai: Flowai, root: Path) -> None:
    if has_directory:
        (root / ".flowai/events").mkdir(parents=True)
    ran = flowai("--add-cases")
    assert ran.code == 5
    assert "NO CALLS" in ran.out
    assert "warning: the log has no calls in this time range" in ran.out
    assert [moment["what"] for moment in report(root)["timeline"]] == ["release", "rollback"]
    assert not (root / "datasets").exists()


def test_without_a_rollback_since_is_required(flowai: Flowai, root: Path) -> None:
    ledger = root / ".flowai/ledger/default.jsonl"
    ledger.write_text(json.dumps(ledger_lines()[0]) + "\n")
    log(root)
    ran = flowai()
    assert ran.code == 5
    assert ("no rollback in the ledger" in ran.err) is True
    assert ("--since" in ran.err) is True
    ledger.unlink()
    assert flowai().code == 5
    assert flowai("--since", "2026-05-04T10:00", "--until", "2026-05-04T11:00").code == 0
    found = report(root)
    assert found["release"] == "v2", "the log tells which release is new"
    assert found["serving"] == "v1", "the log tells which release is new"
    assert "There was no rollback in this time range" in str(found["follow_ups"])


def test_a_release_can_be_named(flowai: Flowai, root: Path) -> None:
    log(root)
    assert flowai("--release", "v2").code == 0
    ran = flowai("--release", "v9")
    assert ran.code == 5
    assert ("no rollback of `v9`" in ran.err) is True
    ran = flowai("--release", "v9", "--since", "2026-05-04T10:00")
    assert ran.code == 0
    assert "warning: `v1` and `v9` cannot be compared" in ran.out


def test_a_damaged_ledger_and_steps_of_the_future_are_named(flowai: Flowai, root: Path) -> None:
    ledger = root / ".flowai/ledger/default.jsonl"
    late = {**ledger_lines()[1], "id": "late", "at": "2126-05-04T11:00:00Z"}
    ledger.write_text("garbage\n" + ledger.read_text() + json.dumps(late) + "\n" + '{"torn')
    log(root)
    ran = flowai()
    assert ran.code == 0
    assert "warning: .flowai/ledger/default.jsonl:1: not a line of the ledger" in ran.out
    assert "warning: .flowai/ledger/default.jsonl:5: not a line of the ledger" in ran.out
    assert "warning: skipped 1 step of the ledger in the future" in ran.out


def test_an_incomplete_log_is_reported(flowai: Flowai, root: Path) -> None:
    path = log(root)
    text = path.read_text()
    first = text.splitlines()[0]
    old = first.replace('"schema_version":1', '"schema_version":9').replace("call-1-", "call-9-")
    path.write_text(f"{text}{first}\n{old}\n" + '{"kind":"call"')
    ran = flowai()
    assert "warning: 1 line of the log could not be read" in ran.out
    assert "warning: 1 line of the log had an unknown schema version" in ran.out
    assert "warning: 1 line of the log repeated another one" in ran.out


def test_no_baseline_one_release_and_no_content_are_named(flowai: Flowai, root: Path) -> None:
    def one_release(facts: Facts, _: random.Random) -> None:
        facts["release"] = "v1"

    (root / ".flowai/ledger/default.jsonl").unlink()
    log(root, has_baseline=False, has_content=False, everywhere=one_release)
    ran = flowai("--since", "2026-05-04T10:00", "--until", "2026-05-04T11:00", "--add-cases")
    assert ran.code == 0
    assert "warning: no calls before the incident" in ran.out
    assert "warning: `v1` is the only release: there is no change between releases" in ran.out
    assert "warning: no content was kept" in ran.out
    assert "cannot be repeated: content was not kept" in ran.out
    assert not (root / "datasets").exists()


def test_alerts_and_reports_are_part_of_the_timeline(flowai: Flowai, root: Path) -> None:
    path = log(root)
    alert = {"kind": "alert", "schema_version": 1, "at": "2026-05-04T10:30:00Z", "cause": "auth", "message": HOSTILE}
    path.with_name("watch.jsonl").write_text(json.dumps(alert) + "\n")
    canary = root / "reports/canary/v2-30/report.json"
    canary.parent.mkdir(parents=True)
    canary.write_text(json.dumps({"candidate": "v2", "verdict": "rollback", "until": "2026-05-04T10:40:00Z"}))
    (canary.parent.parent / "v1-5").mkdir()
    (canary.parent.parent / "v1-5/report.json").write_text("{torn")
    ran = flowai()
    moments = {moment["what"]: moment for moment in report(root)["timeline"]}
    assert moments["alert"]["at"] == "2026-05-04T10:30:00Z"
    assert moments["canary report"]["detail"] == "v2-30: rollback"
    assert moments["alert"]["after_s"] > 1500
    assert "The first alert came after" in str(report(root)["follow_ups"])
    assert "\x1b" not in ran.out


def test_hostile_text_is_escaped_on_screen_and_in_reports(flowai: Flowai, root: Path) -> None:
    def hostile(facts: Facts, rng: random.Random) -> None:
        if facts["tenant"] == "t3" and rng.random() < 0.7:
            facts |= {"tenant": HOSTILE, "text": HOSTILE, "user_hash": f"u{rng.random()}"}
            facts |= {"error_class": "ServerError", "error_message": f"{HOSTILE} {rng.random()}"}

    log(root, breaks=hostile)
    ran = flowai("--add-cases")
    assert "failed" in ran.out
    text = (root / "reports/postmortem/2026-05-04-v2/report.md").read_text()
    page = (root / "reports/postmortem/2026-05-04-v2/report.html").read_text()
    for shown in (ran.out, text, page):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "<script" not in page
    assert page.count("<pre>") == page.count("</pre>")
    assert "\n# owned" not in re.sub(r"^(`{3,})\w*\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    outside = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in outside
    assert "[link](" not in outside


def test_secrets_are_in_no_output(flowai: Flowai, root: Path) -> None:
    key = "sk-proj-" + "a1B2" * 12

    def tells(facts: Facts, rng: random.Random) -> None:
        if facts["tenant"] == "t3" and rng.random() < 0.7:
            facts |= {"text": f"my key {key} and {rng.random()}", "finish_reason": "length"}
            facts["output"] = key

    log(root, breaks=tells)
    flowai("--add-cases")
    written = [path for name in ("reports", "datasets") for path in (root / name).rglob("*") if path.is_file()]
    assert len(written) >= 4
    assert not any(key.encode() in path.read_bytes() for path in written)


def test_cases_are_added_once_and_a_suite_loads_them(flowai: Flowai, root: Path) -> None:
    log(root)
    dataset = root / "datasets/extract-incident-2026-05-04.jsonl"
    ran = flowai("--add-cases")
    assert f"cases  datasets/{dataset.name}: 6 cases added" in ran.out
    rows = [json.loads(line) for line in dataset.read_text().splitlines()]
    assert {row["assert"][0]["type"] for row in rows} == {"is-json"}
    assert all(row["vars"]["text"].startswith("die Bestellung") for row in rows), "told from the prompt"
    assert not any("messages" in row["metadata"] for row in rows)
    dataset.write_text(dataset.read_text() + '{"id": "mine", "vars": {"text": "hello"}}')  # no line feed
    before = dataset.read_bytes()
    ran = flowai("--add-cases")
    assert "cases  6 cases existed already" in ran.out
    assert dataset.read_bytes() == before, "what is there is never changed"
    (root / "evals").mkdir()
    suite = root / "evals/incident.yaml"
    suite.write_text(f"prompts: [prompts/extract_v2]\nproviders: [mini]\ntests: file://../datasets/{dataset.name}\n")
    loaded = load_suite(suite, Project(root=root, registry=root / "registry.yaml"))
    assert len(loaded.cases) == 7


def test_a_prompt_that_changed_gives_cases_with_the_request(flowai: Flowai, root: Path) -> None:
    log(root)
    prompt = root / "prompts/extract_v2.prompt"
    prompt.write_text(prompt.read_text().replace("Version", "Edition"))
    ran = flowai("--add-cases")
    assert "6 cases with the variable `request` only" in ran.out
    (row, *_) = (
        json.loads(line) for line in (root / "datasets/extract-incident-2026-05-04.jsonl").read_text().splitlines()
    )
    assert list(row["vars"]) == ["request"]
    assert row["metadata"]["messages"][0] == {"role": "system", "content": "Version 2."}


def test_several_environments_need_a_name(flowai: Flowai, root: Path) -> None:
    (root / "registry.staging.yaml").write_text("extends: registry.yaml\ncurrent: v1\nevents: .flowai/staging\n")
    log(root)
    ran = flowai()
    assert ran.code == 2
    assert ("`staging`" in ran.err) is True
    assert flowai("--env", "default").code == 0
    ran = flowai("--env", "staging", "--since", "2026-05-04T10:00")
    assert ran.code == 5
    assert ran.out.startswith("the log in staging" if "the log in" in ran.out else "v")


def test_an_invalid_registry_is_an_error(flowai: Flowai, root: Path) -> None:
    (root / "registry.yaml").write_text(REGISTRY.replace("schema_version: 1", "schema_version: 7"))
    assert flowai().code == 3
