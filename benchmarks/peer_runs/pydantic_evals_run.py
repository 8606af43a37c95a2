"""The cases of `eval_run.py` with pydantic-evals and OpenAI's client: CASES BASE_URL CONCURRENCY REPORT."""

import json
import sys
from dataclasses import dataclass

from openai import AsyncOpenAI
from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import Contains, Evaluator, EvaluatorContext


@dataclass
class WordCount(Evaluator[str, str, None]):
    """At most so many words."""

    max_count: int = 50

    def evaluate(self, ctx: EvaluatorContext[str, str, None]) -> bool:
        """Return whether the answer is short enough."""
        return len(ctx.output.split()) <= self.max_count


def main() -> None:
    """Evaluate and write the report."""
    path, base_url, concurrency, report_file = sys.argv[1:]
    with open(path, encoding="utf-8") as lines:
        cases = [Case(name=row["id"], inputs=row["vars"]["text"]) for row in map(json.loads, lines)]
    client = AsyncOpenAI(base_url=base_url, api_key="scripted-key-0123456789", max_retries=0)

    async def ask(text: str) -> str:
        answer = await client.chat.completions.create(
            model="gpt-4o-mini",
            temperature=0,
            max_tokens=50,
            messages=[{"role": "system", "content": "Repeat the text."}, {"role": "user", "content": text}],
        )
        return answer.choices[0].message.content or ""

    dataset = Dataset[str, str, None](name="bench", cases=cases, evaluators=[Contains(value="hello"), WordCount()])
    report = dataset.evaluate_sync(ask, max_concurrency=int(concurrency), progress=False)
    rows = [
        {"id": case.name, "output": case.output, "ok": all(a.value for a in case.assertions.values())}
        for case in report.cases
    ]
    assert len(rows) == len(cases) and not report.failures
    with open(report_file, "w", encoding="utf-8") as file:
        json.dump(rows, file)


main()
