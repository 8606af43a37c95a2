"""Imports prompt files of GitHub Models (`NAME.prompt.yml`).

Source: docs.github.com, "Storing prompts in GitHub repositories"; github.com/github/gh-models, cmd/eval (the text
evaluators ignore case, except `equals`; answers are stripped of white space at both ends).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowai.evals.importers.parameters import take_parameters
from flowai.evals.importers.project_files import (
    dataset_file,
    prompt_file,
    slug,
    suite_file,
    to_template,
    unique_ids,
    variable_name,
)
from flowai.evals.importers.records import ImportPlan, Omission

if TYPE_CHECKING:
    from flowai.evals.importers.export_file import ExportFile
    from flowai.evals.importers.project_files import Row

FORMAT = "GitHub Models"
_KEYS = frozenset({"name", "description", "model", "modelParameters", "messages", "testData", "evaluators",
                   "responseFormat", "jsonSchema"})  # fmt: skip
_VENDORS = {"openai": "openai", "azure-openai": "openai", "mistral-ai": "mistral", "cohere": "cohere",
            "deepseek": "deepseek", "xai": "xai"}  # fmt: skip
_OPENAI_NAME = re.compile(r"(gpt-|o\d|chatgpt)")
_RUBRICS = {
    "similarity": "The answer means the same as: {{expected}}",
    "relevance": "The answer addresses the question: {{input}}",
    "groundedness": "The answer states nothing that this text does not support: {{context}}",
    "coherence": "The answer is coherent: its sentences follow from each other",
    "fluency": "The answer is fluent: grammatical, and easy to read",
}
_REFERENCE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


def is_prompt_file(value: object) -> bool:
    """Return whether a document is a prompt file: messages with one of its other keys."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("messages"), list)
        and bool(value.keys() & (_KEYS - {"messages"}))
        and "prompts" not in value
    )


def read_plan(export: ExportFile, name: str | None) -> ImportPlan:
    """Build the plan of a prompt file: a prompt, and a suite if it has test data."""
    value: Row = export.value
    title = str(value.get("name") or export.path.name.partition(".")[0])
    chosen = name or slug(title)
    omissions = [Omission(file=export.name, key=str(key), reason="unknown key") for key in value.keys() - _KEYS]
    omissions.extend(
        Omission(file=export.name, key=key, reason="write `output: {schema: ...}` in the prompt's front matter")
        for key in ("responseFormat", "jsonSchema")
        if value.get(key) is not None and value[key] != "text"
    )
    model = _model(export, value.get("model"), omissions)
    messages = []
    for index, message in enumerate(value["messages"]):
        key = f"messages.{index}"
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise export.error("found no message, expected `role` and a text `content`", key)
        role = str(message.get("role")).lower()
        if role not in {"system", "user", "assistant", "developer"}:
            raise export.error(f"found role `{role}`, expected `system`, `user` or `assistant`", f"{key}.role")
        messages.append((role, to_template(message["content"], variable_name)))
    config = take_parameters(export, value.get("modelParameters"), "modelParameters", omissions)
    prompt = prompt_file(f"prompts/{chosen}_v1", messages, model=model, config=config)
    assertions = _assertions(export, value.get("evaluators"), omissions)
    data = value.get("testData")
    rows = _rows(export, data, chosen) if data else []
    if not rows:
        return ImportPlan(
            format=FORMAT, files=(prompt,), omissions=tuple(omissions), models=(model,) if model else (),
            target=prompt.path, notes=(f"write a suite in evals/ that names `prompts/{chosen}_v1`",),
        )  # fmt: skip
    suite = suite_file(
        chosen, description=str(value.get("description") or title), source=f"{FORMAT}: {title}",
        prompts=[prompt.path], providers=[model] if model else [], assertions=assertions, rows=rows,
    )  # fmt: skip
    return ImportPlan(
        format=FORMAT, files=(suite, dataset_file(chosen, rows), prompt), omissions=tuple(omissions),
        models=(model,) if model else (), target=suite.path,
    )  # fmt: skip


def _model(export: ExportFile, model: object, omissions: list[Omission]) -> str | None:
    if model is None:
        return None
    if not isinstance(model, str) or not model.strip():
        raise export.error("found no model's name", "model")
    vendor, slash, rest = model.strip().partition("/")
    if not slash:
        vendor, rest = ("openai" if _OPENAI_NAME.match(vendor) else ""), vendor
    provider = _VENDORS.get(vendor.lower(), "github")
    named = f"{provider}/{rest if provider != 'github' or not slash else model.strip()}"
    omissions.append(
        Omission(
            file=export.name,
            key="model",
            reason=f"GitHub served `{model}`; the suite names `{named}`, with a key of that provider",
        )
    )
    return named


def _rows(export: ExportFile, data: Any, name: str) -> list[Row]:  # noqa: ANN401 - from a file
    if not isinstance(data, list):
        raise export.error("found no list of cases", "testData")
    rows = []
    for index, case in enumerate(data):
        if not isinstance(case, dict):
            raise export.error("found no case, expected a mapping of variables", f"testData.{index}")
        rows.append({"id": "", "vars": {variable_name(str(key)): value for key, value in case.items()}})
    for row, case_id in zip(rows, unique_ids((case.get("id") for case in data), name), strict=True):
        row["id"] = case_id
    return rows


def _assertions(export: ExportFile, evaluators: Any, omissions: list[Omission]) -> list[Row]:  # noqa: ANN401 - from a file
    if evaluators is None:
        return []
    if not isinstance(evaluators, list):
        raise export.error("found no list of evaluators", "evaluators")
    found = []
    for index, evaluator in enumerate(evaluators):
        key = f"evaluators.{index}"
        if not isinstance(evaluator, dict):
            raise export.error("found no evaluator", key)
        assertions = _assertion(export, evaluator, key, omissions)
        metric = str(evaluator.get("name") or "").strip()
        found += [assertion | ({"metric": metric} if metric and "{{" not in metric else {}) for assertion in assertions]
    return found


def _assertion(export: ExportFile, evaluator: Row, key: str, omissions: list[Omission]) -> list[Row]:
    def omit(reason: str) -> None:
        omissions.append(Omission(file=export.name, key=key, reason=reason))

    text, uses, judge = evaluator.get("string"), evaluator.get("uses"), evaluator.get("llm")
    if isinstance(text, dict):
        checks = [
            check for operation, value in text.items() if (check := _text_check(str(operation), value)) is not None
        ]
        if not checks:
            omit(f"unknown text evaluator `{', '.join(map(str, text))}`")
        return checks
    if isinstance(uses, str):
        name = uses.removeprefix("github/")
        if name not in _RUBRICS or name == uses:
            omit(f"unknown evaluator `{uses}`")
            return []
        omit(f"`{uses}` has prompts of its own; the judge gets a rubric instead, so that its scores can differ")
        return [{"type": "llm-rubric", "value": _RUBRICS[name]}]
    if isinstance(judge, dict) and isinstance(judge.get("prompt"), str):
        choices = judge.get("choices")
        listed = [c for c in (choices if isinstance(choices, list) else []) if isinstance(c, dict)]
        scores = "; ".join(f"`{c.get('choice')}` scores {c.get('score')}" for c in listed)
        prompts = [part for part in (judge.get("systemPrompt"), judge["prompt"]) if isinstance(part, str)]
        rubric = re.sub(r"\{\{\s*completion\s*\}\}", "(the output)", "\n\n".join(prompts))
        omit("the judge gets the evaluator's prompt as a rubric, so that its scores can differ")
        return [{"type": "llm-rubric", "value": f"{rubric}\n\n{scores}".strip()}]
    omit("an evaluator without `string`, `llm` or `uses`")
    return []


def _text_check(operation: str, value: object) -> Row | None:
    if not isinstance(value, str) or not value:
        return None
    if operation == "equals":
        return {"type": "equals", "value": value}
    if operation == "contains":
        return {"type": "icontains", "value": value}
    has_variable = _REFERENCE.search(value) is not None
    plain = {"startsWith": "starts-with", "endsWith": "ends-with"}.get(operation)
    if plain is None:
        return None
    if has_variable:  # its value would have to be escaped in a pattern
        return {"type": plain, "value": value}
    escaped = re.escape(value)
    return {"type": "regex", "value": f"(?i)^\\s*{escaped}" if plain == "starts-with" else f"(?i){escaped}\\s*$"}
