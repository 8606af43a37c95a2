"""Files and formats: YAML, JSON, JSONL and JSON Schema; each module is imported by its name."""
