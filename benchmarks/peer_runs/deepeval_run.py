"""The cases of `eval_run.py` with deepeval's metrics and OpenAI's client: CASES BASE_URL CONCURRENCY REPORT."""

import asyncio
import json
import os
import sys

os.environ["DEEPEVAL_TELEMETRY_OPT_OUT"] = "YES"
from deepeval import evaluate
from deepeval.evaluate import AsyncConfig, CacheConfig, DisplayConfig
from deepeval.metrics import BaseMetric
from deepeval.test_case import LLMTestCase
from openai import AsyncOpenAI


class Checked(BaseMetric):
    """A metric by code."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.threshold = 1.0
        self.async_mode = True
        self.include_reason = False

    def measure(self, test_case: LLMTestCase, *_: object, **__: object) -> float:
        """Return 1 for a passed check."""
        output = test_case.actual_output or ""
        passed = "hello" in output if self.name == "contains" else len(output.split()) <= 50
        self.score = float(passed)
        self.success = passed
        return self.score

    async def a_measure(self, test_case: LLMTestCase, *_: object, **__: object) -> float:
        """Return 1 for a passed check."""
        return self.measure(test_case)

    def is_successful(self) -> bool:
        """Return whether the last check passed."""
        return bool(self.success)

    @property
    def __name__(self) -> str:
        return self.name


async def answers(texts: list[str], base_url: str, concurrency: int) -> list[str]:
    """Ask once for every text."""
    client = AsyncOpenAI(base_url=base_url, api_key="scripted-key-0123456789", max_retries=0)
    gate = asyncio.Semaphore(concurrency)

    async def ask(text: str) -> str:
        async with gate:
            answer = await client.chat.completions.create(
                model="gpt-4o-mini",
                temperature=0,
                max_tokens=50,
                messages=[{"role": "system", "content": "Repeat the text."}, {"role": "user", "content": text}],
            )
            return answer.choices[0].message.content or ""

    return await asyncio.gather(*map(ask, texts))


def main() -> None:
    """Ask, evaluate and write the report."""
    path, base_url, concurrency, report_file = sys.argv[1:]
    with open(path, encoding="utf-8") as lines:
        texts = [json.loads(line)["vars"]["text"] for line in lines]
    outputs = asyncio.run(answers(texts, base_url, int(concurrency)))
    cases = [LLMTestCase(input=text, actual_output=output) for text, output in zip(texts, outputs, strict=True)]
    result = evaluate(
        test_cases=cases,
        metrics=[Checked("contains"), Checked("word-count")],
        async_config=AsyncConfig(run_async=True, max_concurrent=int(concurrency)),
        display_config=DisplayConfig(show_indicator=False, print_results=False),
        cache_config=CacheConfig(write_cache=False, use_cache=False),
    )
    assert len(result.test_results) == len(cases)
    with open(report_file, "w", encoding="utf-8") as file:
        json.dump([{"input": row.input, "ok": row.success} for row in result.test_results], file)


main()
