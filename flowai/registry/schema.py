"""JSON Schema of registry.yaml, for completion and checks in editors."""

from __future__ import annotations

from pathlib import Path

from flowai.registry.records import RegistryFile
from flowai.storage.json_schema import as_text, json_schema

SCHEMA_FILE = Path(__file__).with_name("registry.schema.json")


def registry_schema() -> str:
    """Build the text of `registry.schema.json`."""
    schema = json_schema(RegistryFile)
    definitions = schema["$defs"]
    # a release has its bindings as direct keys, which a record cannot express
    definitions["Release"] = {
        "title": "Release",
        "description": definitions["Release"]["description"],
        "type": "object",
        "properties": {"extends": {"type": "string", "description": "release whose bindings it inherits"}},
        "additionalProperties": {"$ref": "#/$defs/BindingEntry"},
    }
    file_schema = definitions["RegistryFile"]
    for name, schema_of_key in file_schema["properties"].items():
        if name != "schema_version" and {"type": "null"} not in schema_of_key.get("anyOf", ()):
            # a key without a value is read as absent
            description = schema_of_key.pop("description")
            file_schema["properties"][name] = {"anyOf": [schema_of_key, {"type": "null"}], "description": description}
    # an environment's file contains only differences, so the schema requires only the version; the loader checks more
    for name in ("ModelEntry", "Degrade", "Experiment", "ServeKey", "RegistryFile"):
        definitions[name].pop("required")
    file_schema["anyOf"] = [{"required": ["schema_version"]}, {"required": ["extends"]}]
    return as_text({"title": "flowai registry", **schema})
