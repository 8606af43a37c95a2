"""What a feature uses in a release or an arm, and the models it may fall back on, tiers spelled out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.registry_projects import MINIMAL, project_of

from flowai.errors import UsageError
from flowai.registry import ModelChain, arm_binding, binding, features_of, load_registry, model_chain

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.registry import Registry

TIERED = """\
schema_version: 1
models:
  a1: {model: openai/a1}
  a2: {model: openai/a2}
  b1: {model: openai/b1}
  b2: {model: openai/b2}
  c1: {model: openai/c1}
tiers: {premium: [a1, a2], standard: [b1, b2], bulk: [c1]}
features:
  f: {FEATURE}
releases:
  v1:
    f: {prompt: prompts/a_v1, model: MODEL, params: {temperature: 0, seed: 1}}
experiments:
  e:
    feature: f
    goal: save_rate
    arms:
      A: {}
      B: {prompt: prompts/a_v2, model: standard, params: {seed: 2}}
      C: {model: c1}
"""


def registry_of(directory: Path, text: str = MINIMAL) -> Registry:
    return load_registry(project_of(directory, text), env=None, environ={})


def tiered(directory: Path, *, model: str, feature: str = "") -> Registry:
    return registry_of(directory, TIERED.replace("MODEL", model).replace("FEATURE", feature))


def test_a_binding_inherits_missing_keys(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    found = binding(registry, "v3", "summarization")
    assert found.prompt == "prompts/summary_v2"
    assert found.model == "small"
    assert found.release == "v3"
    assert found.entry == registry.models["small"]
    assert found.tier is None
    assert found.params == {"temperature": 0, "seed": 2}
    assert binding(registry, "v1", "summarization").params == {"temperature": 0, "seed": 1}
    assert binding(registry, "v3", "code_gen").prompt == "prompts/code_gen_v1"
    assert features_of(registry, "v3") == ("summarization", "code_gen")


def test_unknown_names_are_wrong_usage_with_a_suggestion(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, MINIMAL.replace("  code_gen: {}", "  code_gen: {}\n  idle: {}"))
    for release, feature, hint in (("v1", "sumarization", "did you mean `summarization`?"), ("v9", "code_gen", "`v1`")):
        with pytest.raises(UsageError) as caught:
            binding(registry, release, feature)
        assert hint in (caught.value.hint or "")
    with pytest.raises(UsageError, match="release `v1` binds no `idle`"):
        binding(registry, "v1", "idle")
    with pytest.raises(UsageError, match="no model `bgi`"):
        registry.model("bgi")


def test_a_tier_means_its_first_model(tmp_path: Path) -> None:
    found = binding(tiered(tmp_path, model="standard"), "v1", "f")
    assert found.model == "b1"
    assert found.entry.model == "openai/b1"
    assert found.tier == "standard"


LAST = "degrade: {to: c1, disclaimer: weak}"
LADDERS = [
    ("alone", "a1", "", ("a1",), None),
    ("fallbacks in order", "a1", "fallback: [b2, b1]", ("a1", "b2", "b1"), None),
    ("a tier's others come right after its first", "standard", "fallback: [a1]", ("b1", "b2", "a1"), None),
    ("a tier among the fallbacks", "a1", "fallback: [standard, c1]", ("a1", "b1", "b2", "c1"), None),
    ("each model once", "standard", "fallback: [b2, premium, b1, a2]", ("b1", "b2", "a1", "a2"), None),
    ("the last resort stays last", "a1", f"fallback: [c1, b1], {LAST}", ("a1", "b1"), "c1"),
    ("a tier as the last resort", "a1", "degrade: {to: bulk}", ("a1",), "c1"),
    ("no model stands below itself", "c1", f"fallback: [b1], {LAST}", ("c1", "b1"), None),
    ("the next of the tier does", "b1", "degrade: {to: standard}", ("b1",), "b2"),
]


@pytest.mark.parametrize(
    ("model", "feature", "models", "degrade"), [row[1:] for row in LADDERS], ids=[row[0] for row in LADDERS]
)
def test_the_fallback_chain_has_each_model_once(
    tmp_path: Path, model: str, feature: str, models: tuple[str, ...], degrade: str | None
) -> None:
    registry = tiered(tmp_path, model=model, feature=feature)
    found = model_chain(registry, binding(registry, "v1", "f"))
    assert found.models == models
    assert found.degrade == degrade
    assert (found.disclaimer is None) == (degrade is None)


def test_the_last_resort_brings_its_disclaimer(tmp_path: Path) -> None:
    registry = tiered(tmp_path, model="a1", feature=LAST)
    assert model_chain(registry, binding(registry, "v1", "f")) == ModelChain(
        models=("a1",), degrade="c1", disclaimer="weak"
    )


def test_an_arm_overrides_the_release_s_binding(tmp_path: Path) -> None:
    registry = tiered(tmp_path, model="a1", feature="fallback: [c1]")
    plain = binding(registry, "v1", "f")
    assert arm_binding(registry, plain, "e", "A") == plain
    found = arm_binding(registry, plain, "e", "B")
    assert found.prompt == "prompts/a_v2"
    assert found.model == "b1"
    assert found.entry.model == "openai/b1"
    assert found.tier == "standard"
    assert found.params == {"temperature": 0, "seed": 2}
    assert found.release == "v1"
    assert model_chain(registry, found).models == ("b1", "b2", "c1")


def test_a_model_in_an_arm_ends_the_releases_tier(tmp_path: Path) -> None:
    registry = tiered(tmp_path, model="premium")
    found = arm_binding(registry, binding(registry, "v1", "f"), "e", "C")
    assert model_chain(registry, found).models == ("c1",)


def test_unknown_experiments_and_arms_are_wrong_usage(tmp_path: Path) -> None:
    registry = tiered(tmp_path, model="a1")
    plain = binding(registry, "v1", "f")
    with pytest.raises(UsageError, match="no experiment `x`"):
        arm_binding(registry, plain, "x", "A")
    with pytest.raises(UsageError, match="experiment `e` has no arm `D`"):
        arm_binding(registry, plain, "e", "D")
