"""The requests of `eval_run.py` as a loop over `litellm.acompletion`: CASES BASE_URL CONCURRENCY."""

import asyncio
import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

litellm.suppress_debug_info = True


async def main() -> None:
    """Ask once for every case."""
    cases, base_url, concurrency = sys.argv[1:]
    with open(cases, encoding="utf-8") as lines:
        texts = [json.loads(line)["vars"]["text"] for line in lines]
    gate = asyncio.Semaphore(int(concurrency))

    async def ask(text: str) -> None:
        async with gate:
            await litellm.acompletion(
                model="openai/gpt-4o-mini",
                api_base=base_url,
                api_key="scripted-key-0123456789",
                max_retries=0,
                temperature=0,
                max_tokens=50,
                messages=[{"role": "system", "content": "Repeat the text."}, {"role": "user", "content": text}],
            )

    await asyncio.gather(*map(ask, texts))


asyncio.run(main())
