"""Reads suites: `evals/*.yaml` with promptfoo's keys, and flowai's own settings under `flowai:`.

Source of the keys: promptfoo, "Reference" (promptfoo.dev/docs/configuration/reference); docs/reference/suites.md lists
the supported keys and the differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.errors import Place, SuiteError
from flowai.evals.reports.records import Gate
from flowai.evals.suites.cases import Defaults, read_cases, read_defaults
from flowai.evals.suites.datasets import read_tests
from flowai.evals.suites.records import Suite
from flowai.evals.suites.references import dataset_paths, model_names, prompt_ids
from flowai.evals.suites.yaml_reader import (
    SuiteFile,
    YamlNode,
    check_keys,
    describe,
    expect_list,
    expect_mapping,
    expect_number,
    expect_text,
    resolve_path,
)
from flowai.storage.files import read_yaml
from flowai.timestamps import parse_duration_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.evals.suites.records import Case
    from flowai.project import Project

_SUITE_KEYS = frozenset({"description", "prompts", "providers", "tests", "defaultTest", "flowai"})
_SETTINGS = frozenset({"feature", "repeats", "gate", "baseline"})
_RATES = frozenset({"pass_rate", "json_valid_rate"})
_DURATIONS = {"latency_p95": "latency_p95_ms", "ttft_p95": "ttft_p95_ms"}
_GATE_KEYS = frozenset({*_RATES, *_DURATIONS, "cost_usd", "metrics"})
_NO_CODE = "flowai executes no code from suites"
_UNSUPPORTED = {
    "targets": "write `providers`",
    "scenarios": "write one test with lists in `vars`, or several tests",
    **dict.fromkeys(("derivedMetrics", "extensions", "nunjucksFilters", "transform"), _NO_CODE),
    "evaluateOptions": "set `flowai.repeats`; pass the rest as options of `flowai eval`",
    "commandLineOptions": "pass them to `flowai eval`",
    "outputPath": "use `flowai eval --output FILE`",
    "writeLatestResults": "results are always written to reports/",
    "sharing": "flowai uploads no results",
    "env": "set keys in the environment or in .env",
    "tags": "write them in `description`",
    "metadata": "write it in `description`, or in a test's `metadata`",
    "redteam": "flowai has no red-team plugins",
    "tracing": "every call is in flowai's event log",
}


def load_suites(project: Project) -> list[Suite]:
    """Read all suites of a project, `evals/*.yaml`, in the order of their names; errors as in `load_suite`."""
    if not project.evals.is_dir():
        return []
    paths = (path for path in project.evals.iterdir() if path.suffix in {".yaml", ".yml"})
    return [load_suite(path, project) for path in sorted(paths) if not path.name.startswith(".")]


def load_suite(path: Path, project: Project) -> Suite:
    """Read one suite and its tables; every case has a unique id. Errors are SuiteError or, in a table, DatasetError."""
    name = project.show(path)
    if not path.resolve().is_relative_to(project.root):
        hint = "flowai reads only suites of this project; copy the file into it"
        raise SuiteError("is outside the project", place=Place(file=name), hint=hint)
    document = read_yaml(path, name=name, kind=SuiteError)
    file = SuiteFile(project=project, path=path.resolve(), name=name, kind=SuiteError, document=document)
    node = YamlNode(file=file, line=1)
    suite = expect_mapping(document.value, node)
    check_keys(suite, _SUITE_KEYS, node, unsupported=_UNSUPPORTED)
    settings_node = node.at("flowai")
    settings = expect_mapping(suite.get("flowai") or {}, settings_node)
    check_keys(settings, _SETTINGS, settings_node, unsupported={"models": "write `providers`"})
    return Suite(
        path=name,
        description=expect_text(suite["description"], node.at("description")) if "description" in suite else None,
        prompts=prompt_ids(suite["prompts"], node.at("prompts")) if "prompts" in suite else (),
        models=model_names(suite["providers"], node.at("providers")) if "providers" in suite else (),
        cases=_cases(suite, node),
        feature=expect_text(settings["feature"], settings_node.at("feature")) if "feature" in settings else None,
        repeats=_repeats(settings, settings_node),
        gate=_gate(settings["gate"], settings_node.at("gate")) if "gate" in settings else None,
        baseline=_baseline(settings, settings_node),
    )


def _cases(suite: dict[str, Any], node: YamlNode) -> tuple[Case, ...]:
    defaults = _defaults(suite["defaultTest"], node.at("defaultTest")) if "defaultTest" in suite else Defaults()
    seen: dict[str, Case] = {}
    for test, test_node, name in _tests(suite, node):
        for case in read_cases(test, test_node, defaults, name=name):
            first = seen.setdefault(case.id, case)
            if first is not case:
                raise test_node.error(
                    f"two cases have the id `{case.id}`: {first.place} and {case.place}",
                    hint="set a different `id`; without `id` it is made from the description",
                )
    return tuple(seen.values())


def _defaults(value: object, node: YamlNode) -> Defaults:
    if not isinstance(value, str):
        return read_defaults(value, node)
    path = resolve_path(value, node)
    name = node.file.project.show(path)
    document = read_yaml(path, name=name, kind=SuiteError)
    file = SuiteFile(project=node.file.project, path=path, name=name, kind=SuiteError, document=document)
    return read_defaults(document.value, YamlNode(file=file, line=1))


def _tests(suite: dict[str, Any], node: YamlNode) -> Iterator[tuple[object, YamlNode, str]]:
    child = node.at("tests")
    value = suite.get("tests")
    if value is None or value == []:
        raise child.error(
            "no tests", hint="list them under `tests`, or name a table: `tests: file://../datasets/x.jsonl`"
        )
    if isinstance(value, str):
        yield from _table(value, child)
        return
    for index, part in enumerate(expect_list(value, child)):
        test_node = child.at(index)
        if isinstance(part, str):
            yield from _table(part, test_node)
        elif isinstance(part, dict) and "path" in part:
            raise test_node.error(
                "`path` is not supported", hint=f"{_NO_CODE}; name a table as plain text: `file://...`"
            )
        else:
            yield part, test_node, f"case-{index + 1}"


def _table(text: str, node: YamlNode) -> Iterator[tuple[object, YamlNode, str]]:
    for path in dataset_paths(expect_text(text, node), node):
        for number, (test, test_node) in enumerate(read_tests(path, node.file.project), start=1):
            yield test, test_node, f"{path.stem}-{number}"


def _repeats(settings: dict[str, Any], node: YamlNode) -> int:
    value = settings.get("repeats", 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise node.at("repeats").error(f"found {describe(value)}; expected a whole number >= 1")
    return value


def _baseline(settings: dict[str, Any], node: YamlNode) -> str | None:
    if "baseline" not in settings:
        return None
    child = node.at("baseline")
    ids = prompt_ids(expect_text(settings["baseline"], child), child)
    if len(ids) != 1:
        raise child.error(f"matches {len(ids)} prompts; expected one")
    return ids[0]


def _gate(value: object, node: YamlNode) -> Gate:
    gate = expect_mapping(value, node)
    check_keys(gate, _GATE_KEYS, node, unsupported={})
    if not gate:
        raise node.error("an empty gate", hint="remove it to require that every case passes")
    limits: dict[str, Any] = {}
    for key, part in gate.items():
        child = node.at(key)
        if key in _RATES:
            limits[key] = expect_number(part, child, max_value=1)
        elif key in _DURATIONS:
            limits[_DURATIONS[key]] = _duration_ms(part, child)
        elif key == "cost_usd":
            limits[key] = expect_number(part, child)
        else:
            metrics = expect_mapping(part, child)
            limits[key] = {
                name: expect_number(minimum, child.at(name), max_value=1) for name, minimum in metrics.items()
            }
    return Gate(**limits)


def _duration_ms(value: object, node: YamlNode) -> float:
    try:
        duration_ms = parse_duration_ms(value) if isinstance(value, str) else 0.0
    except ValueError:
        duration_ms = 0.0
    if duration_ms == 0:
        raise node.error(f"found {describe(value)}; expected a duration", hint="such as `800ms`, `5s` or `1m`")
    return duration_ms
