"""`flowai release publish` with smoke as it really runs: against a model, through the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.release_project import ReleaseProject
from support.sample_project import REGISTRY
from support.scripted_replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

SMOKE = """\
tests:
  - id: words
    vars: {text: one}
    assert: [{type: icontains, value: hello}]
    metadata: {feature: chat}
"""


@pytest.mark.parametrize(
    ("reply", "code", "smoke"),
    [(Reply(text="hello"), 0, "pass"), (Reply(text="bye"), 1, None), (Reply(status=500), 4, None)],
    ids=["good", "wrong answer", "no answer"],
)
def test_smoke_decides(
    flowai: Callable[..., Ran],
    project: SampleProject,
    provider: ScriptedProvider,
    reply: Reply,
    code: int,
    smoke: str | None,
) -> None:
    registry = REGISTRY.replace("current:", "  v2: {{extends: v1, chat: {{model: n}}}}\ncurrent:")
    project.write("registry.yaml", registry.format(base_url=provider.base_url))
    project.write("evals/smoke.yaml", SMOKE)
    provider.default = reply
    ran = flowai("release", "publish", "v2")
    assert ran.code == code, ran.out + ran.err
    assert {asked.body["model"] for asked in provider.asked} == {"other"}, "the candidate's own model was asked"
    found = ReleaseProject(root=project.root)
    assert [entry.evidence for entry in found.entries()] == ([{"smoke": smoke}] if smoke else [])
    assert ("rollout" in found.keys()) is (smoke is not None)  # noqa: SIM118 - a method


@pytest.mark.parametrize("option", [(), ("--no-fallbacks",)], ids=["fallbacks", "without"])
def test_fallback_models_are_tried_unless_switched_off(
    flowai: Callable[..., Ran], project: SampleProject, provider: ScriptedProvider, option: tuple[str, ...]
) -> None:
    registry = REGISTRY.replace("current:", "  v2: {{extends: v1, chat: {{model: n}}}}\ncurrent:")
    registry = registry.replace("chat: {{timeout", "chat: {{fallback: [m], timeout")
    project.write("registry.yaml", registry.format(base_url=provider.base_url))
    project.write("evals/smoke.yaml", SMOKE)
    provider.answerer = lambda asked: Reply(text="hello") if asked.body["model"] == "other" else Reply(status=500)
    ran = flowai("release", "publish", "v2", *option)
    if option:
        assert ran.code == 0, ran.out + ran.err
    else:
        assert ran.code == 4, ran.out + ran.err
        assert ran.out.splitlines()[-2:] == [
            "NOT PUBLISHED  smoke: error   reports/smoke.xml",
            "retry: flowai smoke --release v2 --fallbacks",
        ]
