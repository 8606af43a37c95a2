"""What is loaded when, and what it does to the process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from flowai.providers.openai.response_format import is_strict

MAX_EQUAL_CHUNKS = 1_000_000_000
"""Whether LiteLLM was imported before or not; equal chunks of a stream are an answer."""
HEAVY = ("litellm", "openai", "httpx", "aiohttp", "pydantic", "asyncio", "xllamacpp", "tiktoken")


def in_fresh_interpreter(script: str) -> Any:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "work",
    [
        "import flowai.providers",
        "from flowai.storage.strict_json import json_problem; json_problem('{}')",
        "from flowai.providers import PriceTable; assert PriceTable().price('openai/gpt-4o-mini')",
    ],
)
def test_the_package_loads_nothing_heavy(work: str) -> None:
    loaded = in_fresh_interpreter(f"{work}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))")
    assert not set(HEAVY) & set(loaded)


def test_a_client_that_has_not_called_has_not_loaded_litellm() -> None:
    script = (
        "from flowai.providers import create_client\nfrom flowai.redaction import Redactor\n"
        "create_client(redactor=Redactor())\n"
        "import json, sys\nprint(json.dumps(sorted(sys.modules)))"
    )
    assert not (set(HEAVY) - {"asyncio"}) & set(in_fresh_interpreter(script))


def state_after_load(before: str, *, shared_process: bool) -> dict[str, Any]:
    script = f"""
import asyncio, gc, json, logging, os, warnings
warnings.simplefilter("ignore")
{before}
from flowai.providers.litellm.adapter import load
async def session():
    library = await load(shared_process={shared_process})
    await library.aclose()
    return library.module
module = asyncio.run(session())
print(json.dumps({{
    "frozen": gc.get_freeze_count() > 100_000, "collecting": gc.isenabled(), "counts": not module.disable_token_counter,
    "level": logging.getLogger("LiteLLM").level, "table": os.environ["LITELLM_LOCAL_MODEL_COST_MAP"],
    "equal_chunks": module.REPEATED_STREAMING_CHUNK_LIMIT,
}}))
"""
    state: dict[str, Any] = in_fresh_interpreter(script)
    return state


def test_in_its_own_process_litellm_is_silent_and_frozen_for_the_garbage_collector() -> None:
    state = state_after_load("", shared_process=False)
    assert state == {
        "frozen": True,
        "collecting": True,
        "counts": False,
        "level": 50,
        "table": "True",
        "equal_chunks": MAX_EQUAL_CHUNKS,
    }


def test_a_host_application_s_litellm_is_unchanged() -> None:
    before = "os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'true'\nimport litellm\ngc.disable()"
    state = state_after_load(before, shared_process=True)
    assert state == {
        "frozen": False,
        "collecting": False,
        "counts": True,
        "level": 0,
        "table": "true",
        "equal_chunks": MAX_EQUAL_CHUNKS,
    }


STRICT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (STRICT, True),
        ({**STRICT, "required": []}, False),
        ({**STRICT, "additionalProperties": True}, False),
        ({"type": "array", "items": STRICT}, True),
        ({"anyOf": [STRICT, {"type": "object"}]}, False),
        ({"type": "string"}, True),
    ],
)
def test_strict_mode_is_requested_only_for_schemas_that_allow_it(schema: dict[str, Any], *, strict: bool) -> None:
    assert is_strict(schema) is strict
