"""A project in a temporary directory, made of the texts a test gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.project import Project

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL = """\
schema_version: 1
models:
  small: {model: local/small, file: weights.gguf}
  big: {model: openai/gpt-4o, api_key: "${OPENAI_API_KEY}", tier: premium}
tiers: {premium: [big], bulk: [small]}
features:
  summarization:
    fallback: [big]
  code_gen: {}
releases:
  v1:
    summarization: {prompt: prompts/summary_v1, model: small, params: {temperature: 0, seed: 1}}
    code_gen: {prompt: prompts/code_gen_v1, model: big}
  v2:
    extends: v1
    summarization: {prompt: prompts/summary_v2, params: {seed: 2}}
  v3: {extends: v2}
current: v1
history: [v1]
"""


def project_of(directory: Path, registry: str = MINIMAL, **environments: str) -> Project:
    """Write registry.yaml, and registry.prod.yaml for `prod=...`, byte for byte."""
    root = directory.resolve()
    (root / "registry.yaml").write_bytes(registry.encode())
    for name, text in environments.items():
        (root / f"registry.{name}.yaml").write_bytes(text.encode())
    return Project(root=root, registry=root / "registry.yaml")
