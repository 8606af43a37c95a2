"""Four models on the same questions: pass counts equal the published labels, and each pair gets the right verdict.

GSM8K's example solutions (`example_model_solutions.jsonl` of openai/grade-school-math) are read from beside the
checkout, if they are there; a generated file of the same form is always tried.
"""

from __future__ import annotations

import json
import random
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from support.sample_project import REGISTRY, SUITE
from support.scripted_provider import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

MODELS = {"6b_finetuning": 0.2, "6b_verification": 0.4, "175b_finetuning": 0.36, "175b_verification": 0.56}
"""Names in the file, and about the share of correct solutions."""
ALPHA, MARGIN = 0.05, 0.05


def generated() -> list[dict[str, Any]]:
    """Return questions with a right or wrong solution of each model."""
    rng = random.Random(11)  # noqa: S311 - a simulation
    rows = []
    for number in range(300):
        answer, ease = rng.randint(2, 90_000), rng.random() - 0.5
        row: dict[str, Any] = {"question": f"Question {number}?", "ground_truth": f"It is so.\nA: {answer}"}
        for model, rate in MODELS.items():
            is_correct = rng.random() < rate + ease / 2
            row[model] = {
                "is_correct": is_correct,
                "solution": f"Let me see.\nA: {answer:,}" if is_correct else f"Let me see.\nA: {answer}1",
            }
        rows.append(row)
    return rows


def published(shared_data: Path) -> list[dict[str, Any]]:
    """Return GSM8K's example solutions."""
    path = shared_data / "gsm8k" / "example_model_solutions.jsonl"
    if not path.is_file():
        pytest.skip(f"{path.name} of openai/grade-school-math is not in shared/data/gsm8k beside the checkout")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_generated_solutions(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    check(flowai, project, provider, generated())


def test_gsm8k_solutions(flowai: Flowai, project: SampleProject, provider: ScriptedProvider, shared_data: Path) -> None:
    check(flowai, project, provider, published(shared_data))


def check(flowai: Flowai, project: SampleProject, provider: ScriptedProvider, rows: list[dict[str, Any]]) -> None:
    """Evaluate every model, compare every pair, and compare both with the labels and with scipy."""
    from scipy.stats import binomtest

    write_project(project, provider, rows)
    for model in MODELS:
        correct = sum(row[model]["is_correct"] for row in rows)
        ran = flowai("eval", "--model", model, "--write-baseline", model, "-o", f"{model}.json")
        report = json.loads((project.root / f"{model}.json").read_bytes())
        assert report["totals"]["pass_count"] == correct, ran.err
        assert report["totals"]["fail_count"] == len(rows) - correct
    for candidate, baseline in permutations(MODELS, 2):
        flowai("eval", "--model", candidate, "--baseline", baseline, "-o", "pair.json")
        (found,) = json.loads((project.root / "pair.json").read_bytes())["comparison"]
        lost = sum(row[baseline]["is_correct"] > row[candidate]["is_correct"] for row in rows)
        gained = sum(row[baseline]["is_correct"] < row[candidate]["is_correct"] for row in rows)
        p_value = binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue
        assert (found["worse_count"], found["better_count"]) == (lost, gained)
        assert found["p_value"] == pytest.approx(p_value, abs=1e-9)
        loss = (lost - gained) / len(rows)
        if p_value <= ALPHA and loss > 2 * MARGIN:
            assert found["passed"] is False, f"{candidate} is worse than {baseline}"
        elif loss < -MARGIN:
            assert found["passed"] is True, f"{candidate} is better than {baseline}"
        else:
            assert found["passed"] is not False or p_value <= ALPHA


def write_project(project: SampleProject, provider: ScriptedProvider, rows: list[dict[str, Any]]) -> None:
    """Write a suite of the questions, and let the provider answer with the models' solutions."""
    models = "".join(
        f'  {model}: {{model: openai/{model}, api_base: "{provider.base_url}", api_key: "${{SCRIPTED_KEY}}"}}\n'
        for model in MODELS
    )
    registry = REGISTRY.format(base_url=provider.base_url)
    project.write("registry.yaml", registry.replace("models:\n", f"models:\n{models}"))
    project.write("evals/echo.yaml", SUITE)
    cases = []
    for number, row in enumerate(rows):
        digits = row["ground_truth"].rpartition("A: ")[2].strip().replace(",", "")
        expected = ",?".join(digits).replace(".", r"\.")
        pattern = rf"(?m)^A: {expected}\s*$"
        cases.append(
            {
                "id": f"q{number:04d}",
                "vars": {"text": row["question"]},
                "assert": [{"type": "regex", "value": pattern}],
            }
        )
    project.cases(*cases)
    known = {row["question"]: row for row in rows}

    def answer(asked: Asked) -> Reply:
        row = known[asked.body["messages"][-1]["content"]]
        return Reply(text=row[asked.body["model"]]["solution"])

    provider.answerer = answer
