"""Reads suites: `evals/*.yaml` in promptfoo's keys, with flowai's own settings under `flowai:`.

Source of the keys: promptfoo, "Reference" (promptfoo.dev/docs/configuration/reference); docs/reference/suites.md lists
what is read and what differs.
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
    expect_list,
    expect_mapping,
    expect_text,
    inside,
    shown,
    want_number,
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
_NO_CODE = "flowai runs no code from suites"
_UNSUPPORTED = {
    "targets": "write `providers`",
    "scenarios": "write one test with lists in `vars`, or several tests",
    "derivedMetrics": _NO_CODE,
    "extensions": _NO_CODE,
    "nunjucksFilters": _NO_CODE,
    "transform": _NO_CODE,
    "evaluateOptions": "repeats stand in `flowai.repeats`; the rest are options of `flowai eval`",
    "commandLineOptions": "give them to `flowai eval`",
    "outputPath": "use `flowai eval --output FILE`",
    "writeLatestResults": "results always go to reports/",
    "sharing": "flowai sends results nowhere",
    "env": "keys belong in the environment or in .env",
    "tags": "note them in `description`",
    "metadata": "note it in `description`, or in a test's `metadata`",
    "redteam": "flowai has no red-team plugins",
    "tracing": "every call is in flowai's event log",
}


def load_suites(project: Project) -> list[Suite]:
    """Read all suites of a project, `evals/*.yaml`, in the order of their names.

    Returns:
        The suites; empty when there are none.

    Raises:
        SuiteError: as in `load_suite`.
        DatasetError: as in `load_suite`.
    """
    if not project.evals.is_dir():
        return []
    paths = (path for path in project.evals.iterdir() if path.suffix in {".yaml", ".yml"})
    return [load_suite(path, project) for path in sorted(paths) if not path.name.startswith(".")]


def load_suite(path: Path, project: Project) -> Suite:
    """Read one suite and its tables.

    Args:
        path: the file.
        project: where it lies.

    Returns:
        The suite; every case has an id of its own.

    Raises:
        SuiteError: missing, not YAML, an unknown or unsupported key, a wrong value, an unknown prompt, a duplicate id,
            a path outside the project.
        DatasetError: a table is missing or has a wrong row.
    """
    name = project.show(path)
    if not path.resolve().is_relative_to(project.root):
        hint = "flowai reads suites of its own project only; copy the file into it"
        raise SuiteError("lies outside the project", place=Place(file=name), hint=hint)
    document = read_yaml(path, name=name, kind=SuiteError)
    origin = SuiteFile(project=project, path=path.resolve(), name=name, kind=SuiteError, document=document)
    spot = YamlNode(origin=origin, line=1)
    suite = expect_mapping(document.value, spot)
    check_keys(suite, _SUITE_KEYS, spot, unsupported=_UNSUPPORTED)
    settings_spot = spot.at("flowai")
    settings = expect_mapping(suite.get("flowai") or {}, settings_spot)
    check_keys(settings, _SETTINGS, settings_spot, unsupported={"models": "write `providers`"})
    return Suite(
        path=name,
        description=expect_text(suite["description"], spot.at("description")) if "description" in suite else None,
        prompts=prompt_ids(suite["prompts"], spot.at("prompts")) if "prompts" in suite else (),
        models=model_names(suite["providers"], spot.at("providers")) if "providers" in suite else (),
        cases=_cases(suite, spot),
        feature=expect_text(settings["feature"], settings_spot.at("feature")) if "feature" in settings else None,
        repeats=_repeats(settings, settings_spot),
        gate=_gate(settings["gate"], settings_spot.at("gate")) if "gate" in settings else None,
        baseline=_baseline(settings, settings_spot),
    )


def _cases(suite: dict[str, Any], spot: YamlNode) -> tuple[Case, ...]:
    defaults = _defaults(suite["defaultTest"], spot.at("defaultTest")) if "defaultTest" in suite else Defaults()
    seen: dict[str, Case] = {}
    for test, place, name in _tests(suite, spot):
        for case in read_cases(test, place, defaults, name=name):
            first = seen.setdefault(case.id, case)
            if first is not case:
                raise place.error(
                    f"two cases have the id `{case.id}`: {first.place} and {case.place}",
                    hint="give one of them another `id`; without one it is made of the description",
                )
    return tuple(seen.values())


def _defaults(value: object, spot: YamlNode) -> Defaults:
    if not isinstance(value, str):
        return read_defaults(value, spot)
    path = inside(value, spot)
    name = spot.origin.project.show(path)
    document = read_yaml(path, name=name, kind=SuiteError)
    origin = SuiteFile(project=spot.origin.project, path=path, name=name, kind=SuiteError, document=document)
    return read_defaults(document.value, YamlNode(origin=origin, line=1))


def _tests(suite: dict[str, Any], spot: YamlNode) -> Iterator[tuple[object, YamlNode, str]]:
    """Give every test with its place and the id it has if it brings none."""
    here = spot.at("tests")
    value = suite.get("tests")
    if value is None or value == []:
        raise here.error(
            "no tests", hint="list them under `tests`, or name a table: `tests: file://../datasets/x.jsonl`"
        )
    if isinstance(value, str):
        yield from _table(value, here)
        return
    for index, part in enumerate(expect_list(value, here)):
        place = here.at(index)
        if isinstance(part, str):
            yield from _table(part, place)
        elif isinstance(part, dict) and "path" in part:
            raise place.error("`path` is not supported", hint=f"{_NO_CODE}; name a table as plain text: `file://...`")
        else:
            yield part, place, f"case-{index + 1}"


def _table(text: str, spot: YamlNode) -> Iterator[tuple[object, YamlNode, str]]:
    for path in dataset_paths(expect_text(text, spot), spot):
        for number, (test, place) in enumerate(read_tests(path, spot.origin.project), start=1):
            yield test, place, f"{path.stem}-{number}"


def _repeats(settings: dict[str, Any], spot: YamlNode) -> int:
    value = settings.get("repeats", 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise spot.at("repeats").error(f"found {shown(value)}; expected a whole number >= 1")
    return value


def _baseline(settings: dict[str, Any], spot: YamlNode) -> str | None:
    if "baseline" not in settings:
        return None
    here = spot.at("baseline")
    ids = prompt_ids(expect_text(settings["baseline"], here), here)
    if len(ids) != 1:
        raise here.error(f"matches {len(ids)} prompts; expected one")
    return ids[0]


def _gate(value: object, spot: YamlNode) -> Gate:
    gate = expect_mapping(value, spot)
    check_keys(gate, _GATE_KEYS, spot, unsupported={})
    if not gate:
        raise spot.error("an empty gate", hint="leave it out to ask that every case passes")
    asked: dict[str, Any] = {}
    for key, part in gate.items():
        here = spot.at(key)
        if key in _RATES:
            asked[key] = want_number(part, here, most=1)
        elif key in _DURATIONS:
            asked[_DURATIONS[key]] = _duration_ms(part, here)
        elif key == "cost_usd":
            asked[key] = want_number(part, here)
        else:
            metrics = expect_mapping(part, here)
            asked[key] = {name: want_number(least, here.at(name), most=1) for name, least in metrics.items()}
    return Gate(**asked)


def _duration_ms(value: object, spot: YamlNode) -> float:
    try:
        duration_ms = parse_duration_ms(value) if isinstance(value, str) else 0.0
    except ValueError:
        duration_ms = 0.0
    if duration_ms == 0:
        raise spot.error(f"found {shown(value)}; expected a duration", hint="such as `800ms`, `5s` or `1m`")
    return duration_ms
