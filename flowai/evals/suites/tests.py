"""Reads `tests` and `scenarios`: tests in place, tables, files, and tests that code makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.evals.suites.code_refs import code_file, is_code_file
from flowai.evals.suites.datasets import iterate_tests
from flowai.evals.suites.references import dataset_paths
from flowai.evals.suites.unknown_keys import warn_unknown
from flowai.evals.suites.yaml_reader import (
    FILE_PREFIX,
    YamlNode,
    describe,
    expect_list,
    expect_mapping,
    expect_text,
    read_document,
    resolve_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TestEntry = tuple[object, YamlNode, str]
"""A test, its location, and its id if it has none of its own."""

_SCENARIO_KEYS = frozenset({"description", "config", "tests"})
_MERGED_KEYS = ("vars", "options", "metadata")
MAX_GENERATED_COUNT = 100_000


def iterate_entries(suite: dict[str, Any], node: YamlNode) -> Iterator[TestEntry]:
    """Yield every test of a suite, those of its scenarios last."""
    value, child = suite.get("tests"), node.at("tests")
    if value is None or value == []:
        if suite.get("scenarios"):
            yield from _scenarios(suite["scenarios"], node.at("scenarios"))
            return
        if node.file.context.has_own_prompts:
            yield {}, node, "case-1"
            return
        raise child.error(
            "no tests", hint="list them under `tests`, or name a table: `tests: file://../datasets/x.jsonl`"
        )
    yield from _tests(value, child)
    if suite.get("scenarios"):
        yield from _scenarios(suite["scenarios"], node.at("scenarios"))


def _tests(value: object, node: YamlNode, *, prefix: str = "case") -> Iterator[TestEntry]:
    if isinstance(value, str):
        yield from _named(value, node)
        return
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        yield from _generated(value, node)
        return
    for index, part in enumerate(expect_list(value, node)):
        child = node.at(index)
        if isinstance(part, str):
            yield from _named(part, child)
        elif isinstance(part, dict) and "path" in part:
            yield from _generated(part, child)
        else:
            yield part, child, f"{prefix}-{index + 1}"


def _named(text: str, node: YamlNode) -> Iterator[TestEntry]:
    name = expect_text(text, node)
    if is_code_file(name):
        yield from _generated({"path": name}, node)
        return
    for path in dataset_paths(name, node):
        for number, (test, test_node) in enumerate(iterate_tests(path, node.file.project, node.file.context), start=1):
            yield test, test_node, f"{path.stem}-{number}"


def _generated(entry: dict[str, Any], node: YamlNode) -> Iterator[TestEntry]:
    """Yield the tests that code returns, or those of a table that is named as a mapping."""
    path = expect_text(entry["path"], node.at("path"))
    if not is_code_file(path):
        yield from _named(path, node)
        return
    generator = code_file(path, node)
    run = node.file.context.run_code
    if run is None:
        raise node.error(
            f"tests that code makes need code to be run: `{path[:80]}`",
            hint="run the suite without `--no-code`, or write the tests to a JSONL file",
        )
    config = entry.get("config")
    arguments = [] if config is None else [_loaded(config, node.at("config"))]
    tests = expect_list(run(generator, arguments), node)
    if len(tests) > MAX_GENERATED_COUNT:
        raise node.error(f"the code made {len(tests):,} tests; at most {MAX_GENERATED_COUNT:,} are allowed")
    for number, test in enumerate(tests, start=1):
        if not isinstance(test, dict):
            raise node.error(f"test {number} of the code is {describe(test)}; expected a mapping")
        yield test, node, f"case-{number}"


def _loaded(value: object, node: YamlNode) -> object:
    """Replace `file://` values of a generator's configuration by the content of the files."""
    if isinstance(value, str) and value.startswith(FILE_PREFIX) and value.endswith((".yaml", ".yml", ".json")):
        document = read_document(resolve_path(value, node), node).document
        return document.value if document else None
    if isinstance(value, dict):
        return {key: _loaded(part, node.at(key)) for key, part in value.items()}
    return [_loaded(part, node.at(index)) for index, part in enumerate(value)] if isinstance(value, list) else value


def _scenarios(value: object, node: YamlNode) -> Iterator[TestEntry]:
    """Yield each test of each scenario once per entry of its `config`."""
    for part, child in _parts(value, node):
        scenario = warn_unknown(expect_mapping(part, child), _SCENARIO_KEYS, child, unsupported={}, ignored={})
        number = child.keys[-1] if child.keys and isinstance(child.keys[-1], int) else 0
        entries = list(_parts(scenario.get("config") or [{}], child.at("config")))
        tests = list(_tests(scenario["tests"], child.at("tests"))) if scenario.get("tests") else [({}, child, "case-1")]
        for index, (entry, entry_node) in enumerate(entries, start=1):
            settings = expect_mapping(entry, entry_node)
            for test, test_node, name in tests:
                merged = _merge(settings, expect_mapping(test, test_node))
                yield merged, test_node, f"scenario-{number + 1}-{index}-{name}"


def _parts(value: object, node: YamlNode) -> Iterator[tuple[object, YamlNode]]:
    """Yield the elements of a list, of which some or all may be in files."""
    if isinstance(value, str):
        file = read_document(resolve_path(value, node), node)
        yield from _parts(file.document.value if file.document else None, YamlNode(file=file, line=1))
        return
    if isinstance(value, dict):
        yield value, node
        return
    for index, part in enumerate(expect_list(value, node)):
        child = node.at(index)
        if isinstance(part, str):
            yield from _parts(part, child)
        else:
            yield part, child


def _merge(settings: dict[str, Any], test: dict[str, Any]) -> dict[str, Any]:
    """Return a test over the settings of its scenario; variables are merged, assertions are added."""
    merged = {**settings, **test}
    for key in _MERGED_KEYS:
        first, second = settings.get(key), test.get(key)
        if isinstance(first, dict) and isinstance(second, dict):
            merged[key] = {**first, **second}
    assertions = [*(settings.get("assert") or []), *(test.get("assert") or [])]
    return {**merged, "assert": assertions} if assertions else merged
