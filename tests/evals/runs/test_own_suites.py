"""Suites without a registry: found, planned and paired with their prompts and providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowai.errors import ProjectError, SuiteError, UsageError
from flowai.evals.runs.plan import Selection, plan_trials
from flowai.evals.runs.resolver import TargetResolver, endpoint_models
from flowai.evals.suites.yaml_reader import LoadContext
from flowai.workspace.workspace import CommandContext, open_workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flowai.evals.runs.plan import PlannedTrial, SuiteTarget

SUITE = """\
prompts:
  - {label: "short:a", raw: "A {{v}}"}
  - {label: "short:b", raw: "B {{v}}"}
  - {label: long, raw: "L {{v}}"}
providers:
  - openai:gpt-4o-mini
  - {id: echo, prompts: [long]}
  - {id: openai:gpt-4o, label: cold, config: {temperature: 0}}
"""


def resolve(folder: Path, target: str | None, *, models: Sequence[str] = ()) -> list[SuiteTarget]:
    context = CommandContext(directory=folder, environ={}).for_suite(target)
    workspace = open_workspace(context, models=models)
    resolver = TargetResolver(
        workspace.project,
        workspace.registry,
        workspace.library,
        release=workspace.release,
        models=models,
        loading=LoadContext(environ=workspace.environ),
    )
    return resolver.resolve(target)


def plan(folder: Path, text: str, *, models: Sequence[str] = ()) -> list[PlannedTrial]:
    (folder / "promptfooconfig.yaml").write_text(text)
    return list(plan_trials(resolve(folder, None, models=models), Selection()))


def pairs(trials: list[PlannedTrial]) -> list[tuple[str, str, str]]:
    return [(trial.case.id, trial.target.prompt, trial.target.model) for trial in trials]


def test_every_prompt_is_tried_on_every_provider_that_it_is_for(tmp_path: Path) -> None:
    trials = plan(tmp_path, SUITE + "tests: [{vars: {v: 1}}]\n")
    assert pairs(trials) == [
        ("case-1", "short:a", "openai/gpt-4o-mini"),
        ("case-1", "short:a", "cold"),
        ("case-1", "short:b", "openai/gpt-4o-mini"),
        ("case-1", "short:b", "cold"),
        ("case-1", "long", "openai/gpt-4o-mini"),
        ("case-1", "long", "echo"),
        ("case-1", "long", "cold"),
    ]
    cold = trials[1].target
    assert cold.source is not None
    assert (cold.source.template, cold.params, cold.endpoint_model) == ("A {{v}}", {"temperature": 0}, "openai/gpt-4o")
    assert endpoint_models(resolve(tmp_path, None)) == {"openai/gpt-4o-mini", "openai/gpt-4o"}


def test_a_test_may_choose_prompts_providers_and_repeats(tmp_path: Path) -> None:
    trials = plan(
        tmp_path,
        SUITE
        + """tests:
  - {id: group, prompts: [short], providers: [cold]}
  - {id: star, prompts: ["short:*"], providers: ["openai:gpt-4o-mini"]}
  - {id: own, prompts: [long], provider: echo}
  - {id: twice, prompts: [long], providers: [echo], options: {repeat: 2}}
""",
    )
    assert sorted(pairs(trials)) == [
        ("group", "short:a", "cold"),
        ("group", "short:b", "cold"),
        ("own", "long", "echo"),
        ("star", "short:a", "openai/gpt-4o-mini"),
        ("star", "short:b", "openai/gpt-4o-mini"),
        ("twice", "long", "echo"),
        ("twice", "long", "echo"),
    ]


def test_models_of_the_command_line_replace_the_providers(tmp_path: Path) -> None:
    trials = plan(tmp_path, SUITE + "tests: [{vars: {v: 1}}]\n", models=["anthropic/claude-haiku-4-5"])
    assert {trial.target.model for trial in trials} == {"anthropic/claude-haiku-4-5"}
    assert all(trial.target.provider is None for trial in trials)


def test_a_suite_is_named_from_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites/x.yml").write_text("prompts: [a]\nproviders: [echo]\n")
    (item,) = resolve(tmp_path, "suites/x.yml")
    assert item.suite.path == "suites/x.yml"
    assert item.targets[0].provider is not None


def test_a_suite_of_a_project_may_be_anywhere_in_it(tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text("schema_version: 1\ncurrent: r1\nreleases: {r1: {}}\n")
    (tmp_path / "team").mkdir()
    (tmp_path / "team/x.json").write_text('{"prompts": ["a"], "providers": ["echo"]}')
    (item,) = resolve(tmp_path, "team/x.json")
    assert item.suite.path == "team/x.json"


def test_an_empty_directory_says_what_is_missing(tmp_path: Path) -> None:
    for target in (None, "nope.yaml", "prompts/x_v1"):
        with pytest.raises(ProjectError, match=r"no `registry\.yaml`"):
            resolve(tmp_path, target)


def test_a_suite_without_providers_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"promptfooconfig\.yaml: providers: no model to try `prompt-1` on"):
        plan(tmp_path, "prompts: [a]\ntests: [{}]\n")


def test_a_name_that_is_no_model_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "promptfooconfig.yaml").write_text("prompts: [a]\nproviders: [gpt4]\n")
    context = CommandContext(directory=tmp_path, environ={}).for_suite(None)
    with pytest.raises(UsageError, match="no model `gpt4`"):
        open_workspace(context).with_models(endpoint_models(resolve(tmp_path, None)))
