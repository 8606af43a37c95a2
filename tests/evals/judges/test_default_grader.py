"""Which model grades where a suite names none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sample_project import REGISTRY, make_project

from flowai.evals.judges import default_embedder, default_grader, default_moderator
from flowai.evals.judges.default_grader import DEFAULT_EMBEDDER, DEFAULT_GRADERS
from flowai.project import find_project
from flowai.providers import Endpoint, PriceTable
from flowai.providers.endpoint_price import price_of
from flowai.registry import load_registry

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.registry import Registry


def registry(root: Path, text: str = "") -> Registry:
    project = make_project(root, "http://127.0.0.1:9")
    if text:
        project.write("registry.yaml", text)
        project.write("prompts/judge_v1.prompt", "{{output}}")
    return load_registry(find_project(project.root, {}), env=None, environ={"SCRIPTED_KEY": "k"})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"OPENAI_API_KEY": ""}, None),
        ({"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}, "openai/"),
        ({"ANTHROPIC_API_KEY": "k"}, "anthropic/"),
        ({"GOOGLE_API_KEY": "k"}, "gemini/"),
        ({"MISTRAL_API_KEY": "k"}, "mistral/"),
    ],
)
def test_the_first_provider_with_a_key_grades(tmp_path: Path, environ: dict[str, str], expected: str | None) -> None:
    grader = default_grader(registry(tmp_path), "v1", environ)
    assert (grader is None) if expected is None else (grader is not None and str(grader.model).startswith(expected))


def test_the_feature_judge_outranks_keys(tmp_path: Path) -> None:
    text = REGISTRY.format(base_url="http://127.0.0.1:9")
    text = text.replace("features:\n", "features:\n  judge: {}\n")
    text = text.replace(
        "  v1: {chat:", "  v1: {judge: {prompt: prompts/judge_v1, model: n, params: {temperature: 0.5}}, chat:"
    )
    grader = default_grader(registry(tmp_path, text), "v1", {"OPENAI_API_KEY": "k"})
    assert grader is not None
    assert (grader.model, grader.params) == ("n", {"temperature": 0.5})


def test_without_a_release_keys_decide(tmp_path: Path) -> None:
    assert default_grader(registry(tmp_path), None, {"OPENAI_API_KEY": "k"}) is not None


@pytest.mark.parametrize("choose", [default_embedder, default_moderator])
def test_openai_s_key_embeds_and_moderates(choose: object) -> None:
    assert callable(choose)
    assert choose({}) is None
    assert choose({"OPENAI_API_KEY": "k"}) is not None


@pytest.mark.parametrize("model", [*DEFAULT_GRADERS, DEFAULT_EMBEDDER])
def test_each_default_has_a_price(model: str) -> None:
    assert price_of(Endpoint(name=model, model=model, provider="x"), PriceTable()) is not None
