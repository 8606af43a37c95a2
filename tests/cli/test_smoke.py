"""`flowai smoke`: what blocks a deployment, what does not, and the output for CI systems."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from support.sample_project import PROMPT, REGISTRY
from support.scripted_provider import Asked, Reply

from flowai.events import CallEvent, read_events
from flowai.project import Project
from flowai.prompts import LockedRelease, PromptLibrary, PromptLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

SMOKE = """\
tests:
  - id: words
    vars: {text: one}
    assert: [{type: icontains, value: hello}]
    metadata: {feature: chat}
  - id: data
    vars: {text: two}
    metadata: {feature: facts}
"""
FACTS = """\
---
input: {schema: {text: string}}
output: {format: json, schema: {word: string}}
---
{{text}}
"""


def answer(asked: Asked) -> Reply:
    return Reply(text='{"word": "x"}' if "response_format" in asked.body else "hello")


@pytest.fixture(autouse=True)
def smoke_suite(project: SampleProject, provider: ScriptedProvider) -> None:
    registry = REGISTRY.replace("features:", "features:\n  facts: {{}}")
    registry = registry.replace(
        "temperature: 0}}}}}}", "temperature: 0}}}}, facts: {{prompt: prompts/facts_v1, model: m}}}}"
    )
    registry = registry.replace("current:", "  v2: {{extends: v1, chat: {{model: n}}}}\ncurrent:")
    project.write("registry.yaml", registry.format(base_url=provider.base_url))
    project.write("prompts/facts_v1.prompt", FACTS)
    project.write("evals/smoke.yaml", SMOKE)
    provider.answerer = answer


def test_a_good_release_may_be_deployed(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    ran = flowai("smoke")
    assert ran.code == 0, ran.out + ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "release v1 (current: v1)   backend m"
    assert lines[1].startswith("ok    words")
    assert lines[-2:] == ["2 passed, 0 failed, 0 errors   reports/smoke.xml", "READY TO DEPLOY"]
    assert ET.parse(project.root / "reports/smoke.xml").getroot().get("tests") == "2"  # noqa: S314 - our own document
    assert {asked.body["max_tokens"] for asked in provider.asked} == {50, 96}, "never more than 96 output tokens"
    events = list(read_events(project.root / ".flowai/events", on_unreadable=lambda line: pytest.fail(str(line))))
    assert {(event.origin, event.release) for event in events if isinstance(event, CallEvent)} == {("smoke", "v1")}


def test_answers_never_come_from_the_cache(flowai: Flowai, provider: ScriptedProvider) -> None:
    flowai("smoke")
    flowai("smoke")
    assert provider.request_count == 4


def test_another_release_and_the_candidate_of_a_rollout(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    assert flowai("smoke", "--release", "v2").out.startswith("release v2 (current: v1)   backend n, m")
    registry = (project.root / "registry.yaml").read_text()
    project.write("registry.yaml", registry + "rollout: {candidate: v2, stage: 5}\n")
    assert flowai("smoke").out.startswith("release v2 (current: v1)")
    assert "other" in {asked.body["model"] for asked in provider.asked}


def test_a_failed_assertion_blocks(flowai: Flowai, provider: ScriptedProvider) -> None:
    provider.answerer = None
    provider.default = Reply(text="hello {", finish_reason="length")
    ran = flowai("smoke")
    assert ran.code == 1
    assert "FAIL  data" in ran.out
    assert "is-json" in ran.out
    assert "evals/smoke.yaml:6" in ran.out
    assert "hint: finish_reason is length" in ran.out
    assert ran.out.splitlines()[-1] == "DEPLOY BLOCKED   again: flowai smoke --release v1 --filter-pattern 'data'"
    assert flowai("smoke", "--filter-pattern", "words").code == 0


def test_a_slow_answer_is_a_failure(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    project.write("registry.yaml", registry.replace("total: 5s", "total: 20s"))
    provider.answerer = lambda asked: (
        Reply(text="hello", chunk_delay_s=1.3) if "response_format" not in asked.body else answer(asked)
    )
    ran = flowai("smoke")
    assert ran.code == 1
    assert ("latency" in ran.out) is True


def test_an_unresponsive_model_is_infrastructure_decided_within_seconds(
    flowai: Flowai, provider: ScriptedProvider
) -> None:
    provider.answerer = lambda _: Reply(fault="silent")
    ran = flowai("smoke")
    assert ran.code == 4
    assert "no first token within 5 s" in ran.out
    assert "NOT CHECKED, DEPLOY BLOCKED" in ran.out


def test_a_dead_endpoint_names_itself(flowai: Flowai) -> None:
    ran = flowai("smoke", "--base-url", "http://127.0.0.1:9/v1")
    assert ran.code == 4
    assert "connection refused at 127.0.0.1:9" in ran.out


def test_a_custom_backend(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = (project.root / "registry.yaml").read_text()
    project.write("registry.yaml", registry.replace(provider.base_url, "http://127.0.0.1:9/v1"))
    monkeypatch.delenv("SCRIPTED_KEY")
    assert flowai("smoke", "--base-url", provider.base_url).code == 0
    assert {asked.headers["authorization"] for asked in provider.asked} == {"bearer none"}
    monkeypatch.setenv("FLOWAI_API_KEY", "key-of-the-backend")
    assert flowai("smoke", "--base-url", provider.base_url).code == 0
    assert provider.asked[-1].headers["authorization"] == "bearer key-of-the-backend"


def test_github_annotations_name_file_and_line(
    flowai: Flowai, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    provider.answerer = None
    provider.default = Reply(text="hello\n::error::owned")
    ran = flowai("smoke")
    annotations = [line for line in ran.out.splitlines() if line.startswith("::error")]
    assert len(annotations) == 1
    assert annotations[0].startswith("::error file=evals/smoke.yaml,line=6,title=smoke fail%3A data::is-json")
    assert (tmp_path / "summary.md").read_text().startswith("# smoke `v1`: GATE NOT MET")
    assert "::error" not in flowai("smoke", "--json").out.replace("\\n::error", "")


def test_json_is_one_document(flowai: Flowai, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    ran = flowai("smoke", "--json")
    assert json.loads(ran.out)["kind"] == "smoke"


def test_a_case_without_a_known_feature_is_named(flowai: Flowai, project: SampleProject) -> None:
    project.write("evals/smoke.yaml", SMOKE.replace("feature: facts", "feature: fact"))
    ran = flowai("smoke")
    assert ran.code == 3
    assert "evals/smoke.yaml:6" in ran.err
    assert "did you mean `facts`" in ran.err


def test_changed_bytes_of_a_published_release_are_refused(flowai: Flowai, project: SampleProject) -> None:
    found = Project(root=project.root, registry=project.root / "registry.yaml")
    digest = PromptLibrary(found).load("prompts/echo_v1").hash
    PromptLock().with_release("v1", LockedRelease(prompts={"prompts/echo_v1": digest})).write(found.prompts_lock)
    assert flowai("smoke").code == 0
    project.write("prompts/echo_v1.prompt", PROMPT.replace("Repeat", "Say"))
    ran = flowai("smoke")
    assert ran.code == 3
    assert "prompt `prompts/echo_v1` differs from the published release `v1`" in ran.err
    assert flowai("smoke", "--release", "v2").code == 0


# --- models that only a fallback would call ---


def with_fallbacks(project: SampleProject, models: str, chat: str) -> None:
    """Add models, and fallbacks of the feature `chat`."""
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    registry = registry.replace("features:\n", f"{models}features:\n").replace(
        "chat: {timeout", f"chat: {{{chat}, timeout"
    )
    project.write("registry.yaml", registry)


def spare(provider: ScriptedProvider, name: str, key: str = "SCRIPTED_KEY") -> str:
    place = f'api_base: "{provider.base_url}", provider: {name}'
    return f'  {name}: {{model: openai/{name}-1, {place}, api_key: "${{{key}}}"}}\n'


def test_fallback_models_are_tried_once_each_if_asked(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    with_fallbacks(project, spare(provider, "s") + spare(provider, "last"), "fallback: [n, s], degrade: {to: last}")
    provider.answerer = lambda asked: Reply(text="weak") if "-1" in asked.body["model"] else answer(asked)
    assert "fallback:" not in flowai("smoke").out
    provider.asked.clear()
    ran = flowai("smoke", "--fallbacks")
    assert ran.code == 0, ran.out + ran.err
    models = [asked.body["model"] for asked in provider.asked]
    assert sorted(models) == ["gpt-4o-mini", "gpt-4o-mini", "last-1", "other", "s-1"]
    assert [line.split()[1] for line in ran.out.splitlines()[1:6]] == [
        "words",
        "data",
        "fallback:n",
        "fallback:s",
        "fallback:last",
    ]
    assert ran.out.splitlines()[-1] == "READY TO DEPLOY"
    (prompt,) = {str(asked.body["messages"]) for asked in provider.asked if "-1" in asked.body["model"]}
    assert "Repeat the text." in prompt, "it gets a prompt of its feature"


def test_a_fallback_model_that_does_not_answer_blocks(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    with_fallbacks(project, spare(provider, "s"), "fallback: [s]")
    provider.answerer = lambda asked: Reply(status=500) if "-1" in asked.body["model"] else answer(asked)
    assert flowai("smoke").code == 0
    ran = flowai("smoke", "--fallbacks")
    assert ran.code == 4
    assert ran.out.splitlines()[-1] == (
        "NOT CHECKED, DEPLOY BLOCKED   again: flowai smoke --release v1 --fallbacks --filter-pattern 'fallback:s'"
    )
    provider.asked.clear()
    assert flowai("smoke", "--release", "v1", "--fallbacks", "--filter-pattern", "fallback:s").code == 4
    assert {asked.body["model"] for asked in provider.asked} == {"s-1"}


def test_a_last_resort_without_weights_blocks(flowai: Flowai, project: SampleProject) -> None:
    with_fallbacks(project, "  tiny: {model: local/tiny, file: models/none.gguf}\n", "degrade: {to: tiny}")
    ran = flowai("smoke", "--fallbacks")
    assert ran.code == 4, ran.out
    (line,) = [line for line in ran.out.splitlines() if "fallback:tiny" in line and line.startswith("ERROR")]
    assert "no file `models/none.gguf`" in line


def test_a_fallback_model_without_its_key_is_named_and_not_tried(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    spares = "".join(spare(provider, name, "NO_SUCH_KEY") for name in ("s", "t"))
    with_fallbacks(project, spares, "fallback: [s, t]")
    ran = flowai("smoke", "--fallbacks")
    assert ran.code == 0, ran.out + ran.err
    assert ran.out.splitlines()[1] == (
        "warning: fallback not tried: `s`, `t`: needs the variable `NO_SUCH_KEY`, which is not set"
    )


def test_a_backend_has_no_fallback_models(flowai: Flowai, provider: ScriptedProvider) -> None:
    ran = flowai("smoke", "--fallbacks", "--base-url", provider.base_url)
    assert ran.code == 2
    assert ran.err.startswith("error: --fallbacks and --base-url exclude each other")


def test_models_behind_one_address_are_warned_about(flowai: Flowai, project: SampleProject) -> None:
    with_fallbacks(project, "", "fallback: [n]")
    assert "warning: the models of `chat` are behind one address (`127.0.0.1:" in flowai("smoke").out


def test_a_daily_limit_without_a_price_blocks(flowai: Flowai, project: SampleProject) -> None:
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    project.write("registry.yaml", registry.replace("completion_tokens: 50", "completion_tokens: 50, usd_per_day: 1"))
    ran = flowai("smoke")
    assert ran.code == 3
    assert "registry.yaml:4: models.n.price: `chat` has `usd_per_day`, but the price of" in ran.err
