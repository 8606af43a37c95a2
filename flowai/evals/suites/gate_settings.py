"""Reads `flowai: {gate: ...}` of a suite."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowai.evals.gates.sample_needs import unreachable
from flowai.evals.reports.records import Gate
from flowai.evals.suites.yaml_reader import (
    check_keys,
    describe,
    expect_list,
    expect_mapping,
    expect_number,
    expect_text,
)
from flowai.timestamps import parse_duration_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.evals.suites.yaml_reader import YamlNode

_OF = re.compile(r"(\d+) of (\d+)")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")
MAX_TRIALS = 100


def read_gate(value: object, node: YamlNode, *, case_count: int) -> Gate:
    """Read a gate; one that can never be met, or never fail, at its number of cases is refused."""
    gate = expect_mapping(value, node)
    check_keys(gate, GATE_KEYS, node, unsupported={})
    if not gate:
        raise node.error("an empty gate", hint="remove it to require that every case passes")
    fields: dict[str, Any] = {}
    for key, part in gate.items():
        fields |= _READERS[key](part, node.at(key))
    built = Gate(**fields)
    if built.stops_early and built.alpha is None and built.baseline is None:
        raise node.at("stop_early").error(
            "`stop_early` without `alpha` or `baseline`", hint="add `alpha: 0.05`: only a decision with confidence ends"
        )
    problem = unreachable(built, case_count)
    if problem is not None:
        raise node.error(problem, hint="add cases, or raise `margin` or `alpha`")
    return built


def _share(name: str, *, max_value: float = 1) -> Callable[[object, YamlNode], dict[str, Any]]:
    return lambda value, node: {name: expect_number(value, node, max_value=max_value)}


def _probability(name: str, *, below: float) -> Callable[[object, YamlNode], dict[str, Any]]:
    def read(value: object, node: YamlNode) -> dict[str, Any]:
        number = expect_number(value, node)
        if not 0 < number < below:
            raise node.error(f"found {describe(value)}; expected a number above 0 and below {below:g}")
        return {name: number}

    return read


def _duration(name: str) -> Callable[[object, YamlNode], dict[str, Any]]:
    def read(value: object, node: YamlNode) -> dict[str, Any]:
        try:
            duration_ms = parse_duration_ms(value) if isinstance(value, str) else 0.0
        except ValueError:
            duration_ms = 0.0
        if duration_ms == 0:
            raise node.error(f"found {describe(value)}; expected a duration", hint="such as `800ms`, `5s` or `1m`")
        return {name: duration_ms}

    return read


def _metrics(value: object, node: YamlNode) -> dict[str, Any]:
    metrics = expect_mapping(value, node)
    return {"metrics": {name: expect_number(minimum, node.at(name), max_value=1) for name, minimum in metrics.items()}}


def _passes(value: object, node: YamlNode) -> dict[str, Any]:
    match = _OF.fullmatch(value) if isinstance(value, str) else None
    needed, total = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= needed <= total <= MAX_TRIALS:
        raise node.error(f"found {describe(value)}; expected passed trials of all", hint="such as `2 of 3`")
    return {"passes_needed": needed, "max_trials": total}


def _errors(value: object, node: YamlNode) -> dict[str, Any]:
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is not None and float(match[1]) < 100:  # noqa: PLR2004 - percent
        return {"max_error_rate": float(match[1]) / 100}
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return {"max_error_count": value}
    raise node.error(f"found {describe(value)}; expected a number of trials or a share", hint="such as `3` or `2%`")


def _critical(value: object, node: YamlNode) -> dict[str, Any]:
    settings = expect_mapping(value, node)
    check_keys(settings, frozenset({"pass_rate", "tags"}), node, unsupported={})
    fields: dict[str, Any] = {}
    if "pass_rate" in settings:
        fields["critical_rate"] = expect_number(settings["pass_rate"], node.at("pass_rate"), max_value=1)
    if "tags" in settings:
        fields["critical_tags"] = _texts(settings["tags"], node.at("tags"))
    return fields


def _texts(value: object, node: YamlNode) -> tuple[str, ...]:
    texts = [expect_text(part, node.at(index)) for index, part in enumerate(expect_list(value, node))]
    return tuple(dict.fromkeys(texts))


def _flag(value: object, node: YamlNode) -> dict[str, Any]:
    if not isinstance(value, bool):
        raise node.error(f"found {describe(value)}; expected true or false")
    return {"stops_early": value}


_READERS: dict[str, Callable[[Any, YamlNode], dict[str, Any]]] = {
    "pass_rate": _share("pass_rate"),
    "json_valid_rate": _share("json_valid_rate"),
    "latency_p95": _duration("latency_p95_ms"),
    "ttft_p95": _duration("ttft_p95_ms"),
    "cost_usd": lambda value, node: {"cost_usd": expect_number(value, node)},
    "metrics": _metrics,
    "alpha": _probability("alpha", below=0.5),
    "power": _probability("power", below=1),
    "margin": _share("margin"),
    "baseline": lambda value, node: {"baseline": expect_text(value, node)},
    "passes": _passes,
    "stop_early": _flag,
    "errors": _errors,
    "slices": lambda value, node: {"slices": _texts(value, node)},
    "critical": _critical,
}
GATE_KEYS = frozenset(_READERS)
