"""Reads `options` of a test, and the options of the whole suite (`evaluateOptions`, `derivedMetrics`, `extensions`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.suites.code_refs import code, code_file
from flowai.evals.suites.providers import read_graders
from flowai.evals.suites.records import CaseOptions, DerivedMetric, EvaluateOptions
from flowai.evals.suites.unknown_keys import refuse_misspelt
from flowai.evals.suites.yaml_reader import (
    FILE_PREFIX,
    check_keys,
    describe,
    expect_list,
    expect_mapping,
    expect_number,
    expect_text,
    read_reference,
)

if TYPE_CHECKING:
    from flowai.evals.suites.records import CodeRef
    from flowai.evals.suites.yaml_reader import YamlNode

_SWITCHES = frozenset({"disableVarExpansion", "disableDefaultAsserts", "runSerially", "disableConversationVar"})
_TEXTS = {"prefix": "prefix", "suffix": "suffix", "storeOutputAs": "store_output_as"}
_CODE = {"transform": "transform", "postprocess": "transform", "transformVars": "transform_vars"}
OPTION_KEYS = frozenset({*_SWITCHES, *_TEXTS, *_CODE, "provider", "rubricPrompt", "repeat", "factuality"})
_COUNTS = {"maxConcurrency": "max_concurrency", "repeat": "repeats"}
_MILLISECONDS = {"delay": "delay_s", "timeoutMs": "timeout_s", "maxEvalTimeMs": "max_duration_s"}
EVALUATE_KEYS = frozenset({*_COUNTS, *_MILLISECONDS, "cache"})


def read_options(value: object, node: YamlNode) -> dict[str, Any]:
    """Read `options` of a test or of `defaultTest`: fields of `CaseOptions`, and switches by promptfoo's names."""
    if value is None:
        return {}
    options = expect_mapping(value, node)
    found: dict[str, Any] = {}
    config: dict[str, Any] = {}
    for key, part in options.items():
        child = node.at(key)
        if part is None:
            continue
        if key in _SWITCHES:
            if not isinstance(part, bool):
                raise child.error(f"found {describe(part)}; expected true or false")
            found[key] = part
        elif key in _TEXTS:
            found[_TEXTS[key]] = part if isinstance(part, str) else expect_text(part, child)
        elif key in _CODE:
            found.setdefault(_CODE[key], code(expect_text(part, child), child))
        elif key == "provider":
            found.update(read_graders(part, child))
        elif key == "factuality":
            found["factuality"] = {
                name: expect_number(score, child.at(name), max_value=1)
                for name, score in expect_mapping(part, child).items()
            }
        elif key == "rubricPrompt":
            found["rubric_prompt"] = read_rubric(part, child)
        elif key == "repeat":
            found["repeats"] = _count(part, child)
        else:
            refuse_misspelt(key, OPTION_KEYS, node)
            config[key] = part
    return {**found, "config": config} if config else found


def build_options(defaults: dict[str, Any], own: dict[str, Any]) -> CaseOptions:
    """Build the options of a case; its own win over the defaults."""
    merged = {**defaults, **own}
    is_serial = merged.get("runSerially", False)
    fields = {key: value for key, value in merged.items() if key not in _SWITCHES}
    return CaseOptions(**fields, is_serial=is_serial)


def read_rubric(value: object, node: YamlNode) -> Any:  # noqa: ANN401 - a text or messages
    """Read a rubric's template: a text, messages, or a file with either."""
    if isinstance(value, str) and value.startswith(FILE_PREFIX):
        return read_reference(value, node)
    return value


def _count(value: object, node: YamlNode) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise node.error(f"found {describe(value)}; expected a whole number >= 1")
    return value


def read_evaluate(suite: dict[str, Any], node: YamlNode) -> EvaluateOptions:
    """Read `evaluateOptions`, and from `commandLineOptions` what means the same there."""
    fields: dict[str, Any] = {}
    for name in ("commandLineOptions", "evaluateOptions"):
        if suite.get(name) is None:
            continue
        child = node.at(name)
        options = expect_mapping(suite[name], child)
        for key, part in options.items():
            if part is None:
                continue
            if key in _COUNTS:
                fields[_COUNTS[key]] = _count(part, child.at(key))
            elif key in _MILLISECONDS:
                fields[_MILLISECONDS[key]] = expect_number(part, child.at(key)) / 1000
            elif key == "cache" and isinstance(part, bool):
                fields["uses_cache"] = part
            elif key != "grader":
                refuse_misspelt(key, EVALUATE_KEYS, child)
                child.at(key).warn(f"`{key}` is ignored: pass it to `flowai eval`, if it has such an option")
    return EvaluateOptions(**fields)


def read_metrics(value: object, node: YamlNode) -> tuple[DerivedMetric, ...]:
    """Read `derivedMetrics`."""
    metrics = []
    for index, part in enumerate(expect_list(value, node)):
        child = node.at(index)
        fields = expect_mapping(part, child)
        check_keys(fields, ("name", "value", "description"), child, unsupported={})
        text = expect_text(str(fields.get("value") or ""), child.at("value"))
        metrics.append(
            DerivedMetric(
                name=expect_text(fields.get("name"), child.at("name")),
                value=code_file(text, child.at("value")) if text.startswith(FILE_PREFIX) else text,
            )
        )
    return tuple(metrics)


def read_extensions(value: object, node: YamlNode) -> tuple[CodeRef, ...]:
    """Read `extensions`: files of hooks, each with the name of its function."""
    values = [value] if isinstance(value, str) else expect_list(value, node)
    return tuple(code_file(expect_text(part, node.at(index)), node.at(index)) for index, part in enumerate(values))


def read_paths(value: object, node: YamlNode) -> tuple[str, ...]:
    """Read `outputPath`: one or several."""
    values = [value] if isinstance(value, str) else expect_list(value, node)
    return tuple(expect_text(part, node.at(index)) for index, part in enumerate(values))


def read_tags(value: object, node: YamlNode) -> dict[str, str]:
    """Read `tags` of the suite."""
    tags = expect_mapping(value, node)
    return {name: part if isinstance(part, str) else msgspec.json.encode(part).decode() for name, part in tags.items()}
