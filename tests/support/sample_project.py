"""A small project on disk whose model is a scripted provider, for tests of commands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY = """\
schema_version: 1
models:
  m: {{model: openai/gpt-4o-mini, api_base: "{base_url}", api_key: "${{SCRIPTED_KEY}}"}}
  n: {{model: openai/other, api_base: "{base_url}", api_key: "${{SCRIPTED_KEY}}"}}
features:
  chat: {{timeout: {{first_token: 30s, total: 90s}}, budget: {{completion_tokens: 50}}}}
releases:
  v1: {{chat: {{prompt: prompts/echo_v1, model: m, params: {{temperature: 0}}}}}}
current: v1
history: [v1]
"""
PROMPT = """\
---
input: {schema: {text: string}}
---
{{role "system"}}Repeat the text.
{{role "user"}}{{text}}
"""
SUITE = """\
prompts: [prompts/echo_v1]
tests:
  - file://../datasets/echo.jsonl
flowai: {feature: chat}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """Exit status and output of a command."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleProject:
    """Files of the project."""

    root: Path

    def write(self, path: str, text: str) -> None:
        """Write a file of the project."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def cases(self, *cases: dict[str, Any]) -> None:
        """Replace the dataset."""
        self.write("datasets/echo.jsonl", "".join(json.dumps(case) + "\n" for case in cases))

    def report(self, run_id: str) -> dict[str, Any]:
        """Read the JSON report of a run."""
        loaded: dict[str, Any] = json.loads((self.root / "reports" / run_id / "report.json").read_bytes())
        return loaded

    def everything_written(self) -> bytes:
        """Return the bytes of every file of the project."""
        return b"\n".join(path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file())


def case(case_id: str, want: str = "hello", text: str | None = None, **changes: Any) -> dict[str, Any]:
    """Build a case whose answer must contain a word."""
    return {
        "id": case_id,
        "vars": {"text": text or f"text of {case_id}"},
        "assert": [{"type": "contains", "value": want}],
    } | changes


def make_project(root: Path, base_url: str) -> SampleProject:
    """Write the project: one prompt, one suite, two cases."""
    project = SampleProject(root=root.resolve())
    project.write("registry.yaml", REGISTRY.format(base_url=base_url))
    project.write("prompts/echo_v1.prompt", PROMPT)
    project.write("evals/echo.yaml", SUITE)
    project.cases(case("one"), case("two"))
    return project
