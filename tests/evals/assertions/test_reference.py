"""The reference names every type, and its examples compile unchanged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowai.evals.assertions import compile_checks
from flowai.evals.assertions.comparison import compile_comparisons
from flowai.evals.assertions.services import CheckServices
from flowai.evals.suites.assertion_types import CODE_TYPES, SUPPORTED_TYPES
from flowai.evals.suites.loader import load_suite
from flowai.evals.suites.records import iterate_assertions
from flowai.project import Project

ANY: Any = object()
REFERENCE = Path(__file__).parents[3] / "docs/reference/assertions.md"


@pytest.fixture
def examples(tmp_path: Path) -> str:
    blocks = re.findall(r"```yaml\n(.*?)```", REFERENCE.read_text(), re.DOTALL)
    assertions = [assertion for block in blocks for assertion in yaml.safe_load(block)]
    suite = {"tests": [{"vars": {"expected": "Paris"}, "assert": assertions}]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(suite))
    return str(tmp_path / "x.yaml")


def test_every_type_has_an_example_that_can_be_checked(examples: str) -> None:
    path = Path(examples).resolve()
    suite = load_suite(path, Project(root=path.parent, registry=path.parent / "registry.yaml"))
    assertions = suite.cases[0].assertions
    assert {assertion.type for assertion in iterate_assertions(assertions)} == SUPPORTED_TYPES
    services = CheckServices(code=ANY, models=ANY, webhooks=ANY)  # nothing is called
    compiled = compile_checks([item for item in assertions if item.type not in CODE_TYPES], services=services)
    comparisons = compile_comparisons(suite.cases[0], services)
    assert len(compiled) + len(comparisons) >= len(assertions) - len(CODE_TYPES)


def test_every_type_is_in_the_table() -> None:
    text = REFERENCE.read_text()
    assert [name for name in sorted(SUPPORTED_TYPES) if f"| [`{name}`](#" not in text] == []
