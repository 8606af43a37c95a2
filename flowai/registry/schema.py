"""JSON Schema of registry.yaml, for editors that complete and check it while people write."""

from __future__ import annotations

from pathlib import Path

from flowai.registry.records import RegistryFile
from flowai.storage.json_schema import as_text, json_schema

SCHEMA_FILE = Path(__file__).with_name("registry.schema.json")


def registry_schema() -> str:
    """Give the text of the schema file, as it ships beside this module."""
    schema = json_schema(RegistryFile)
    definitions = schema["$defs"]
    # a release holds its bindings without a key around them, which no record can say
    definitions["Release"] = {
        "title": "Release",
        "description": definitions["Release"]["description"],
        "type": "object",
        "properties": {"extends": {"type": "string", "description": "release whose bindings it starts from"}},
        "additionalProperties": {"$ref": "#/$defs/BindingEntry"},
    }
    whole = definitions["RegistryFile"]
    for name, schema_of_key in whole["properties"].items():
        if name != "schema_version" and {"type": "null"} not in schema_of_key.get("anyOf", ()):
            # a key with nothing behind it is read as if it were not there
            description = schema_of_key.pop("description")
            whole["properties"][name] = {"anyOf": [schema_of_key, {"type": "null"}], "description": description}
    # an environment's file says only what differs, so only the version can be asked for; the loader asks for the rest
    for name in ("ModelEntry", "Degrade", "Experiment", "ServeKey", "RegistryFile"):
        definitions[name].pop("required")
    whole["anyOf"] = [{"required": ["schema_version"]}, {"required": ["extends"]}]
    return as_text({"title": "flowai registry", **schema})
