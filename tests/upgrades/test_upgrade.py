"""`flowai upgrade` through the real command, against a provider with planted differences."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml
from support.upgrade_project import Planted, make_upgrade_project, write_suite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from support.sample_project import Ran
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]


def report_of(ran: Ran) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(ran.out)
    return report


def features_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["feature"]: item for item in report["features"]}


def test_each_feature_gets_its_verdict_and_nothing_changes(
    root: Path, provider: ScriptedProvider, flowai: Flowai
) -> None:
    provider.answerer = Planted(
        lost={"same": 0.01, "bad": 0.3}, gained={"same": 0.01, "good": 0.3}, refuses="temperature", new_tokens=30
    )
    project = make_upgrade_project(root, provider.base_url, {"same": 300, "bad": 300, "good": 300, "bare": 0})
    before = (root / "registry.yaml").read_text(encoding="utf-8")

    ran = flowai("upgrade", "m", "n", "--json")

    report = report_of(ran)
    found = features_of(report)
    assert ran.code == 1
    assert {name: item["verdict"] for name, item in found.items()} == {
        "same": "equal",
        "bad": "worse",
        "good": "better",
        "bare": "undecided",
    }
    assert report["verdict"] == "worse"
    assert found["bare"]["reason"] == "no suite uses `prompts/bare_v1`"
    assert found["bad"]["evidence"][0]["worst"][0]["new_output"] == "nope"
    assert found["bad"]["evidence"][0]["worst"][0]["old_output"] == "hello there"
    assert any("times as long" in text for text in found["same"]["findings"])
    assert any("costs" in text for text in found["same"]["findings"])
    assert found["same"]["parameters"][0]["name"] == "temperature"
    assert found["same"]["parameters"][0]["effect"] == "removed"
    assert "+    same: {model: n, params: {temperature: null}}" in report["registry_diff"]
    assert report["registry_changes"] == "none"
    assert (root / "registry.yaml").read_text(encoding="utf-8") == before
    for ending in ("json", "md", "html"):
        assert (project.root / "reports" / "upgrade" / "m-n" / f"report.{ending}").is_file()
    assert report["call_count"] < 1_400  # of 1,800: it stops when it is certain
    assert (
        provider.request_count <= report["call_count"] + 1 + 3 * 8
    )  # the refused probe, and calls that a stop cuts off


def test_a_dry_run_calls_nothing_and_says_calls_and_cost(
    root: Path, provider: ScriptedProvider, flowai: Flowai
) -> None:
    make_upgrade_project(root, provider.base_url, {"chat": 40})

    ran = flowai("upgrade", "m", "n", "--dry-run", "--json")

    report = report_of(ran)
    assert ran.code == 0
    assert provider.request_count == 0
    assert report["features"][0]["suite_call_count"] == 80
    assert report["call_count"] == 82
    assert report["cost_usd"] > 0
    assert not (root / "reports").exists()


def test_the_new_release_is_written_only_on_request(root: Path, provider: ScriptedProvider, flowai: Flowai) -> None:
    provider.answerer = Planted()
    make_upgrade_project(root, provider.base_url, {"chat": 200})

    ran = flowai("upgrade", "m", "n", "--write", "--json")

    assert ran.code == 0
    assert report_of(ran)["registry_changes"] == "written"
    value = yaml.safe_load((root / "registry.yaml").read_text(encoding="utf-8"))
    assert value["releases"]["v2"] == {"extends": "v1", "chat": {"model": "n"}}
    assert "rollout" not in value
    again = flowai("upgrade", "m", "n", "--write", "--json")
    assert report_of(again)["candidate"] == "v2"


def test_a_litellm_name_gets_an_entry(
    root: Path, provider: ScriptedProvider, flowai: Flowai, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    make_upgrade_project(root, provider.base_url, {"chat": 5})

    ran = flowai("upgrade", "m", "openai/gpt-4o-mini", "--dry-run", "--json")

    report = report_of(ran)
    assert report["new"]["is_new_entry"] is True
    assert "+  gpt-4o-mini:" in report["registry_diff"]
    assert "+    chat: {model: gpt-4o-mini}" in report["registry_diff"]


def test_publish_starts_the_rollout(root: Path, provider: ScriptedProvider, flowai: Flowai) -> None:
    provider.answerer = Planted()
    make_upgrade_project(root, provider.base_url, {"chat": 200})

    ran = flowai("upgrade", "m", "n", "--publish")

    value = yaml.safe_load((root / "registry.yaml").read_text(encoding="utf-8"))
    assert ran.code == 0, ran.err
    assert value["rollout"]["candidate"] == "v2"
    assert value["current"] == "v1"
    assert "v2 is being rolled out" in ran.out
    count = provider.request_count
    again = flowai("upgrade", "m", "n", "--publish")  # as after a kill: nothing is done twice
    assert again.code == 0
    assert provider.request_count - count < 10


def test_a_worse_feature_is_never_published_without_force(
    root: Path, provider: ScriptedProvider, flowai: Flowai
) -> None:
    provider.answerer = Planted(lost={"bad": 0.3})
    make_upgrade_project(root, provider.base_url, {"good": 200, "bad": 200})
    before = (root / "registry.yaml").read_text(encoding="utf-8")

    ran = flowai("upgrade", "m", "n", "--publish")

    assert ran.code == 1
    assert "NOT PUBLISHED  worse: bad" in ran.out
    assert (root / "registry.yaml").read_text(encoding="utf-8") == before
    assert flowai("upgrade", "m", "n", "--publish", "--force").code == 2
    forced = flowai("upgrade", "m", "n", "--publish", "--force", "--reason", "retired tomorrow")
    assert forced.code == 1
    ledger = "".join(path.read_text(encoding="utf-8") for path in (root / ".flowai" / "ledger").iterdir())
    assert "bad worse (forced); retired tomorrow" in ledger


def test_a_release_that_smoke_refuses_is_taken_back(root: Path, provider: ScriptedProvider, flowai: Flowai) -> None:
    provider.answerer = Planted()
    project = make_upgrade_project(root, provider.base_url, {"chat": 200})
    project.write(
        "evals/smoke.yaml",
        "tests:\n  - {id: a, metadata: {feature: chat}, vars: {text: x}, assert: [{type: contains, value: never}]}\n",
    )
    before = (root / "registry.yaml").read_text(encoding="utf-8")

    ran = flowai("upgrade", "m", "n", "--publish")

    assert ran.code == 1
    assert "NOT PUBLISHED  smoke: fail" in ran.out
    assert (root / "registry.yaml").read_text(encoding="utf-8") == before


def test_a_slice_that_the_gate_names_makes_the_feature_worse(
    root: Path, provider: ScriptedProvider, flowai: Flowai
) -> None:
    project = make_upgrade_project(root, provider.base_url, {"chat": 200})
    write_suite(project, "chat", 200, gate=", gate: {slices: [size], margin: 0.3}")
    odd = {f"chat {number}" for number in range(1, 60, 2)}  # 30 of the 100 long ones
    planted = Planted()

    class Sliced(Planted):
        def difference(self, text: str) -> int:
            return -1 if text in odd else planted.difference(text)

    provider.answerer = Sliced()

    report = report_of(flowai("upgrade", "m", "n", "--json"))

    item = report["features"][0]
    assert item["verdict"] == "worse"
    assert [found["name"] for found in item["slices"]] == ["size=long"]


def test_the_limit_of_cost_ends_the_run(root: Path, provider: ScriptedProvider, flowai: Flowai) -> None:
    provider.answerer = Planted(lost={"chat": 0.02}, gained={"chat": 0.02})
    make_upgrade_project(root, provider.base_url, {"chat": 400})

    ran = flowai("upgrade", "m", "n", "--max-cost", "0.002", "--json")

    report = report_of(ran)
    assert ran.code == 5
    assert report["cost_usd"] <= 0.0022
    assert "--max-cost" in " ".join(report["features"][0]["findings"])


def test_a_baseline_replaces_calls_of_the_old_model(root: Path, provider: ScriptedProvider, flowai: Flowai) -> None:
    provider.answerer = Planted(lost={"chat": 0.3})
    make_upgrade_project(root, provider.base_url, {"chat": 100})
    assert flowai("eval", "prompts/chat_v1", "--write-baseline", "main").code == 0
    provider.asked.clear()

    ran = flowai("upgrade", "m", "n", "--baseline", "main", "--json")

    assert ran.code == 1
    assert {asked.body["model"] for asked in provider.asked} == {"new-1"}
