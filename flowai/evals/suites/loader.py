"""Reads suites: `evals/*.yaml` with promptfoo's keys, and flowai's own settings under `flowai:`.

Source of the keys: promptfoo, "Reference" (promptfoo.dev/docs/configuration/reference); docs/reference/suites.md lists
the supported keys and the differences.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowai.errors import Place, SuiteError
from flowai.evals.gates.quarantine import FILE_NAME as QUARANTINE_FILE
from flowai.evals.suites.case_store import hold_cases
from flowai.evals.suites.cases import Defaults, read_cases, read_defaults
from flowai.evals.suites.files.code_refs import is_code_file
from flowai.evals.suites.files.environment import fill_environment, read_env
from flowai.evals.suites.files.json_references import dereference
from flowai.evals.suites.files.references import library_prompts
from flowai.evals.suites.gate_settings import read_gate
from flowai.evals.suites.options import read_evaluate, read_extensions, read_metrics, read_paths, read_tags
from flowai.evals.suites.prompts import default_prompt, read_prompts
from flowai.evals.suites.providers import read_graders, read_providers
from flowai.evals.suites.records import Suite
from flowai.evals.suites.tests import iterate_entries
from flowai.evals.suites.unknown_keys import warn_unknown
from flowai.evals.suites.yaml_reader import (
    LoadContext,
    SuiteFile,
    YamlNode,
    check_keys,
    check_size,
    describe,
    expect_mapping,
    expect_text,
    read_document,
    resolve_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.evals.suites.records import Case, SuitePrompt, SuiteProvider
    from flowai.project import Project

SUITE_SUFFIXES = (".yaml", ".yml", ".json")
_SUITE_KEYS = frozenset({
    "description", "prompts", "providers", "targets", "tests", "scenarios", "defaultTest", "env", "derivedMetrics",
    "evaluateOptions", "commandLineOptions", "extensions", "nunjucksFilters", "outputPath", "metadata", "tags",
    "flowai",
})  # fmt: skip
_SETTINGS = frozenset({"feature", "repeats", "gate", "baseline", "render_variables"})
_RED_TEAM = dict.fromkeys(("redteam", "plugins", "strategies"), "flowai has no red-team plugins")
"""Keys of red-team runs: an error in a suite that has no tests besides, else ignored."""
_IGNORED = {
    "$schema": "it is for editors",
    **dict.fromkeys(("assertionTemplates", "$defs", "definitions", "templates"), "only `$ref` reads it"),
    "writeLatestResults": "results are always written to reports/",
    "sharing": "flowai uploads no results",
    "tracing": "every call is in flowai's event log",
    "transform": "write it in `defaultTest.options` or at a provider",
    "version": "it has no meaning here",
    "author": "it is for people",
}
_SILENT = frozenset({"$schema", "assertionTemplates", "$defs", "definitions", "templates"})
_CODE_SUFFIXES = frozenset((".js", ".cjs", ".mjs", ".ts", ".cts", ".mts", ".py"))


def load_suites(project: Project, context: LoadContext | None = None) -> list[Suite]:
    """Read all suites of a project, `evals/*.yaml`, in the order of their names; errors as in `load_suite`."""
    if not project.evals.is_dir():
        return []
    paths = (
        path for path in project.evals.iterdir() if path.suffix in {".yaml", ".yml"} and path.name != QUARANTINE_FILE
    )
    return [load_suite(path, project, context) for path in sorted(paths) if not path.name.startswith(".")]


def load_suite(path: Path, project: Project, context: LoadContext | None = None) -> Suite:
    """Read one suite and its tables; every case has a unique id. Errors are SuiteError or, in a table, DatasetError."""
    node, suite = _open(path, project, context or LoadContext())
    if suite.get("nunjucksFilters"):
        hint = "write the filter's text into a variable, or make the prompt a function: `file://prompt.py:build`"
        raise node.at("nunjucksFilters").error("filters by code are not supported", hint=hint)
    settings_node = node.at("flowai")
    settings = expect_mapping(suite.get("flowai") or {}, settings_node)
    check_keys(settings, _SETTINGS, settings_node, unsupported={"models": "write `providers`"})
    models, targets = _providers(suite, node)
    feature = expect_text(settings["feature"], settings_node.at("feature")) if "feature" in settings else None
    prompts = _prompts(suite, node, is_bound=bool(models) and feature is None)
    own = tuple(prompt for prompt in prompts if prompt.kind != "library" or prompt.config)
    loading = node.file.context
    loading.has_own_prompts = any(prompt.kind != "library" for prompt in prompts)
    extensions = read_extensions(suite["extensions"], node.at("extensions")) if suite.get("extensions") else ()
    cases = hold_cases(_cases(suite, node))
    return Suite(
        path=node.file.name,
        description=_description(suite, node),
        prompts=tuple(dict.fromkeys(prompt.id for prompt in prompts)),
        models=models,
        cases=cases,
        feature=feature,
        repeats=_repeats(settings, settings_node),
        gate=read_gate(settings["gate"], settings_node.at("gate"), case_count=len(cases))
        if "gate" in settings
        else None,
        baseline=_baseline(settings, settings_node, own),
        prompt_sources=own,
        targets=targets,
        env=read_env(suite.get("env"), node.at("env")),
        derived_metrics=read_metrics(suite["derivedMetrics"], node.at("derivedMetrics"))
        if suite.get("derivedMetrics")
        else (),
        extensions=extensions,
        evaluate=read_evaluate(suite, node),
        output_paths=read_paths(suite["outputPath"], node.at("outputPath")) if suite.get("outputPath") else (),
        tags=read_tags(suite["tags"], node.at("tags")) if suite.get("tags") else {},
        folder=str(node.file.path.parent),
        grader=_grader(suite, node),
        renders_variables=_renders_variables(settings, settings_node),
        warnings=tuple(loading.warnings),
    )


def _open(path: Path, project: Project, context: LoadContext) -> tuple[YamlNode, dict[str, Any]]:
    """Read the file of a suite, with its references and the environment filled in, and without keys to ignore."""
    name = project.show(path)
    if not project.may_read(path.resolve()):
        hint = "flowai reads only suites of this project; copy the file into it"
        raise SuiteError("is outside the project", place=Place(file=name), hint=hint)
    if path.suffix.lower() in _CODE_SUFFIXES:
        hint = "write it as YAML or JSON; tests, prompts and providers may be code"
        raise SuiteError("a suite written as code is not supported", place=Place(file=name), hint=hint)
    if not path.is_file():
        found = "is a directory; expected a file" if path.is_dir() else "no such file"
        raise SuiteError(found, place=Place(file=name))
    loading = replace(context, warnings=[], folder=path.resolve().parent)
    start = YamlNode(
        file=SuiteFile(project=project, path=path.resolve(), name=name, kind=SuiteError, context=loading), line=1
    )
    check_size(path, start)
    file = read_document(path.resolve(), start, kind=SuiteError)
    node = YamlNode(file=file, line=1)
    suite = dereference(expect_mapping(file.document.value if file.document else None, node), node)
    suite = fill_environment(suite, node)
    silent = {key: part for key, part in suite.items() if key not in _SILENT and not key.startswith(("x-", "."))}
    tests = suite.get("tests") or suite.get("scenarios")
    if any(tests) if isinstance(tests, list) else tests:
        return node, warn_unknown(silent, _SUITE_KEYS, node, unsupported={}, ignored={**_IGNORED, **_RED_TEAM})
    return node, warn_unknown(silent, _SUITE_KEYS, node, unsupported=_RED_TEAM, ignored=_IGNORED)


def _description(suite: dict[str, Any], node: YamlNode) -> str | None:
    value = suite.get("description")
    return None if value is None else expect_text(value, node.at("description"))


def _providers(suite: dict[str, Any], node: YamlNode) -> tuple[tuple[str, ...], tuple[SuiteProvider, ...]]:
    if suite.get("targets") is not None and suite.get("providers") is not None:
        raise node.at("targets").error("`targets` and `providers` are the same", hint="remove one of the two")
    key = "targets" if suite.get("targets") is not None else "providers"
    return read_providers(suite[key], node.at(key)) if key in suite else ((), ())


def _prompts(suite: dict[str, Any], node: YamlNode, *, is_bound: bool) -> tuple[SuitePrompt, ...]:
    if suite.get("prompts") is not None:
        return read_prompts(suite["prompts"], node.at("prompts"))
    return (default_prompt(node),) if is_bound else ()


def _grader(suite: dict[str, Any], node: YamlNode) -> SuiteProvider | None:
    options = suite.get("commandLineOptions") or {}
    return read_graders(options.get("grader"), node.at("commandLineOptions", "grader")).get("grader")


def _renders_variables(settings: dict[str, Any], node: YamlNode) -> bool:
    value = settings.get("render_variables", True)
    if not isinstance(value, bool):
        raise node.at("render_variables").error(f"found {describe(value)}; expected true or false")
    return value


def _cases(suite: dict[str, Any], node: YamlNode) -> Iterator[Case]:
    late_names = _late_names(suite)
    defaults = Defaults(late_names=late_names)
    if suite.get("defaultTest") is not None:
        defaults = _defaults(suite["defaultTest"], node.at("defaultTest"), late_names)
    if suite.get("metadata") is not None:
        metadata = expect_mapping(suite["metadata"], node.at("metadata"))
        defaults = replace(defaults, metadata={**metadata, **defaults.metadata})
    for test, test_node, name in iterate_entries(suite, node):
        yield from read_cases(test, test_node, defaults, name=name)


def _late_names(suite: dict[str, Any]) -> frozenset[str]:
    """Return the variables that hold answers of earlier cases."""
    tests = suite.get("tests")
    names = {"_conversation"}
    for test in tests if isinstance(tests, list) else ():
        if isinstance(test, dict):
            options = test.get("options")
            stored = [test.get("storeOutputAs"), options.get("storeOutputAs") if isinstance(options, dict) else None]
            names.update(name for name in stored if isinstance(name, str))
    return frozenset(names)


def _defaults(value: object, node: YamlNode, late_names: frozenset[str]) -> Defaults:
    if not isinstance(value, str):
        return read_defaults(value, node, late_names=late_names)
    if is_code_file(value):
        raise node.error("defaults written as code are not supported", hint="write them as YAML or JSON")
    file = read_document(resolve_path(value, node), node)
    return read_defaults(
        file.document.value if file.document else None, YamlNode(file=file, line=1), late_names=late_names
    )


def _repeats(settings: dict[str, Any], node: YamlNode) -> int:
    value = settings.get("repeats", 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise node.at("repeats").error(f"found {describe(value)}; expected a whole number >= 1")
    return value


def _baseline(settings: dict[str, Any], node: YamlNode, own: tuple[SuitePrompt, ...]) -> str | None:
    if "baseline" not in settings:
        return None
    child = node.at("baseline")
    name = expect_text(settings["baseline"], child)
    if any(prompt.id == name for prompt in own):
        return name
    ids = library_prompts(name, child)
    if len(ids) != 1:
        raise child.error(f"matches {len(ids)} prompts; expected one")
    return ids[0]
