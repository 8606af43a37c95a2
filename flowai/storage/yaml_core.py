"""YAML 1.2's core schema on PyYAML's parser, which reads YAML 1.1: `no`, `12:30` and `1_000` are texts, `012` is 12.

Dates are texts; `<<` merges. Suites are read by it, the registry is not.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yaml.nodes import ScalarNode

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_MERGE = re.compile(r"<<\Z")
_RESOLVERS = (
    (f"{_TAG}null", _NULL, ("~", "n", "N", "")),
    (f"{_TAG}bool", _BOOL, tuple("tTfF")),
    (f"{_TAG}int", _INT, tuple("-+0123456789")),
    (f"{_TAG}float", _FLOAT, tuple("-+0123456789.")),
    (f"{_TAG}merge", _MERGE, ("<",)),
)
_BASES = {"0o": 8, "0x": 16}


@cache
def core_loader() -> Any:  # noqa: ANN401 - a class that is made from PyYAML's fastest parser
    """Return the loader class."""
    import yaml  # some commands never read YAML

    resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, starts in _RESOLVERS:
        for start in starts:
            resolvers.setdefault(start, []).append((tag, pattern))
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    constructors = {
        **base.yaml_constructors,
        f"{_TAG}null": lambda _loader, _node: None,
        f"{_TAG}bool": lambda _loader, node: node.value.lower() == "true",
        f"{_TAG}int": _integer,
        f"{_TAG}float": _float,
        f"{_TAG}timestamp": lambda _loader, node: node.value,
    }
    return type("CoreLoader", (base,), {"yaml_implicit_resolvers": resolvers, "yaml_constructors": constructors})


def _integer(_loader: object, node: ScalarNode) -> int:
    text = str(node.value)
    base = _BASES.get(text[:2], 10)
    return int(text[2:], base) if base != 10 else int(text)  # noqa: PLR2004 - the decimal system


def _float(_loader: object, node: ScalarNode) -> float | str:
    text = str(node.value)
    if text.lower().endswith((".inf", ".nan")):
        return float(text.lower().replace(".", ""))
    value = float(text)
    return text if math.isinf(value) else value
