"""`flowai upgrade --adapt`: a model rewrites the prompt, cases that it never saw decide."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.scripted_provider import Asked, Reply
from support.upgrade_project import BAD, GOOD, JUDGE_MODEL, NEW_MODEL, make_upgrade_project

from flowai.prompts.draft import next_version, template_of, with_template
from flowai.upgrades.adaptation.adapt import is_training

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

COUNT = 300
GENERAL = '{{role "system"}}Feature chat. Take care.\n{{role "user"}}{{text}}'
ADAPT = ("upgrade", "m", "n", "--adapt", "judge-model", "--json")


class Models:
    """The new model needs a hint in its prompt; the third model writes templates."""

    def __init__(self, template: str, *, is_right: Callable[[str, str], bool]) -> None:
        self._template = template
        self._is_right = is_right

    def __call__(self, asked: Asked) -> Reply:
        model, messages = asked.body["model"], asked.body["messages"]
        if model == JUDGE_MODEL:
            return Reply(text=json.dumps({"template": self._template}), usage=(100, 50))
        text = str(messages[-1]["content"])
        if model == NEW_MODEL and "OK" not in text and not self._is_right(str(messages[0]["content"]), text):
            return Reply(text=BAD)
        return Reply(text=GOOD)


def item_of(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.out)["features"][0]
    return found


def test_a_prompt_that_helps_is_proposed_as_a_new_version(
    root: Path, provider: ScriptedProvider, flowai: Flowai
) -> None:
    provider.answerer = Models(GENERAL, is_right=lambda system, _: "Take care" in system)
    make_upgrade_project(root, provider.base_url, {"chat": COUNT})
    before = (root / "prompts" / "chat_v1.prompt").read_bytes()

    ran = flowai(*ADAPT)

    item, report = item_of(ran), json.loads(ran.out)
    assert ran.code == 0
    assert item["verdict"] == "equal"
    assert item["proposed_prompt"] == "prompts/chat_v2.prompt"
    assert "+    chat: {prompt: prompts/chat_v2, model: n}" in report["registry_diff"]
    assert [found["judged"] for found in item["evidence"]] == [False, True]
    assert (root / "reports/upgrade/m-n/prompts/chat_v2.prompt").is_file()
    assert not (root / "prompts" / "chat_v2.prompt").exists()
    shown = [str(asked.body["messages"]) for asked in provider.asked if asked.body["model"] == JUDGE_MODEL]
    held_out = [number for number in range(COUNT) if not is_training(("evals/chat.yaml", f"c{number}"))]
    assert shown
    assert not any(f"Input: chat {number}\\n" in text for text in shown for number in held_out)

    count = provider.request_count
    written = flowai(*ADAPT, "--write")

    assert written.code == 0
    assert provider.request_count - count <= 2
    assert "Take care" in (root / "prompts" / "chat_v2.prompt").read_text(encoding="utf-8")
    assert (root / "prompts" / "chat_v1.prompt").read_bytes() == before
    again = flowai(*ADAPT, "--write")
    assert item_of(again)["proposed_prompt"] == "prompts/chat_v2.prompt"
    assert sorted(path.name for path in (root / "prompts").iterdir()) == ["chat_v1.prompt", "chat_v2.prompt"]
    assert json.loads(again.out)["candidate"] == "v2"
    value = yaml.safe_load((root / "registry.yaml").read_text(encoding="utf-8"))
    assert value["releases"]["v2"]["chat"] == {"prompt": "prompts/chat_v2", "model": "n"}


def test_a_prompt_that_only_knows_the_training_cases_is_not_proposed(
    root: Path, provider: ScriptedProvider, flowai: Flowai
) -> None:
    def is_right(system: str, text: str) -> bool:
        return "Take care" in system and is_training(("evals/chat.yaml", f"c{text.rsplit(maxsplit=1)[-1]}"))

    provider.answerer = Models(GENERAL, is_right=is_right)
    make_upgrade_project(root, provider.base_url, {"chat": COUNT})

    ran = flowai(*ADAPT, "--write")

    assert ran.code == 1
    assert item_of(ran)["verdict"] == "worse"
    assert "prompts/chat_v2" not in json.loads(ran.out)["registry_diff"]
    assert not (root / "prompts" / "chat_v2.prompt").exists()


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ('{{role "user"}}no variable', "it lost text"),
        ("{{#if text}}", "is better on the training cases"),
        (GENERAL.replace("Take care", "As before"), "passes 0 of"),
        ("", "wrote no template"),
    ],
)
def test_a_template_that_cannot_be_used_is_named(
    template: str, says: str, root: Path, provider: ScriptedProvider, flowai: Flowai
) -> None:
    provider.answerer = Models(template, is_right=lambda system, _: "Take care" in system)
    make_upgrade_project(root, provider.base_url, {"chat": 100})

    item = item_of(flowai(*ADAPT))

    assert item["verdict"] == "worse"
    assert says in " ".join(item["findings"])


def test_versions_and_templates_of_drafts() -> None:
    text = "# why\n---\nconfig: {temperature: 0}\n---\n\nhello {{name}}\n"

    assert template_of(text) == "hello {{name}}"
    assert with_template(text, "bye {{name}}\n\n") == "# why\n---\nconfig: {temperature: 0}\n---\n\nbye {{name}}\n"
    assert next_version("prompts/a_v2", ["prompts/a_v2", "prompts/a_v3"]) == "prompts/a_v4"
    assert next_version("prompts/a", []) == "prompts/a_v2"
