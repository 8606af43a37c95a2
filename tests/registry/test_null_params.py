"""A null parameter of a release is not sent, whatever the prompt and inherited bindings set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowai.gateway.plan import build_request
from flowai.project import Project
from flowai.prompts import PromptLibrary
from flowai.providers import Endpoint
from flowai.registry import binding, load_registry

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY = """\
schema_version: 1
models: {m: {model: openai/gpt-4o-mini}}
features: {chat: {budget: {completion_tokens: 50}}}
releases:
  v1: {chat: {prompt: prompts/a_v1, model: m, params: {temperature: 0, top_p: 0.5}}}
  v2: {extends: v1, chat: {params: {temperature: null, seed: null}}}
current: v1
"""
PROMPT = "---\nconfig: {temperature: 0.7, seed: 4, stop: END}\n---\nhello\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "registry.yaml").write_text(REGISTRY, encoding="utf-8")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a_v1.prompt").write_text(PROMPT, encoding="utf-8")
    return Project(root=tmp_path, registry=tmp_path / "registry.yaml")


@pytest.mark.parametrize(
    ("release", "sent"),
    [
        ("v1", {"temperature": 0, "top_p": 0.5, "seed": 4, "stop": "END", "max_tokens": 50}),
        ("v2", {"top_p": 0.5, "stop": "END", "max_tokens": 50}),
    ],
)
def test_a_null_parameter_is_not_sent(project: Project, release: str, sent: dict[str, object]) -> None:
    registry = load_registry(project, env=None, environ={})
    bound = binding(registry, release, "chat")
    prompt = PromptLibrary(project).load(bound.prompt)
    endpoint = Endpoint(name="m", model="openai/gpt-4o-mini", provider="openai")

    request = build_request(prompt, {}, endpoint, params=bound.params, feature=registry.feature("chat"))

    assert request.params == sent
