"""The schema file says what the records say, and what the loader takes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from support.registry_projects import MINIMAL

from flowai.registry.schema import SCHEMA_FILE, registry_schema

OWN_REGISTRY = Path(__file__).resolve().parents[2] / "registry.yaml"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_file_matches_the_records() -> None:
    assert SCHEMA_FILE.read_text() == registry_schema(), "write registry_schema() to the file again"


def test_every_key_is_described() -> None:
    definitions = json.loads(SCHEMA_FILE.read_text())["$defs"]
    missing = [
        f"{record}.{name}"
        for record, schema in definitions.items()
        for name, field in schema["properties"].items()
        if "description" not in field
    ]
    assert missing == []


@pytest.mark.parametrize(
    "text", [OWN_REGISTRY.read_text(), MINIMAL, "extends: registry.yaml\nmodels: {big: {api_base: https://x}}\n"]
)
def test_right_registries_follow_it(validator: jsonschema.Draft202012Validator, text: str) -> None:
    validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text", ["models: {}", "schema_version: 1\nmodles: {}", "schema_version: 1\nfeatures: {f: {timeout: {total: 30}}}"]
)
def test_wrong_registries_do_not(validator: jsonschema.Draft202012Validator, text: str) -> None:
    assert not validator.is_valid(yaml.safe_load(text))
