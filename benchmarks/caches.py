"""Caches: the cost of a hit beside LiteLLM's own caches, and the questions that the semantic cache treats as equal.

A hit: from the request to the answer, in process, 300 at a time, interleaved pairs. Then MiniLM's cosine over pairs of
questions made by rule (`tests/support/question_pairs.py`), with and without the second gate: the share of paraphrases
that get the earlier answer, and how many near misses wrongly would.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowai.cache.embedder import LocalEmbedder, local_embedder_missing
from flowai.cache.equivalence.compare import find_mismatch
from flowai.cache.response_cache import build_cache_query, open_response_cache
from flowai.cache.vector_math import VectorTable, normalised_bytes
from flowai.providers import Completion, Endpoint, Request
from flowai.registry.records import CachePolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

HEADER = ("what", "flowai", "peer", "ratio", "how")
TESTS = Path(__file__).resolve().parents[1] / "tests"
HITS_COUNT = 300
PAIRS_COUNT = 11
THRESHOLDS = (0.80, 0.85, 0.90, 0.93, 0.95, 0.97, 0.99)
EXERCISES_COUNT = 300

MESSAGES = (
    {"role": "system", "content": "You help customers."},
    {"role": "user", "content": "How do I reset it? " * 20},
)
ANSWER = Completion(
    text="Open the settings, choose security, and follow the steps. " * 8,
    model="openai/gpt-4o-mini",
    served_model="gpt-4o-mini-2024-07-18",
    provider="openai",
    finish_reason="stop",
    input_tokens=120,
    output_tokens=100,
    cost_usd=0.0001,
    latency_ms=900.0,
    ttft_ms=None,
)
REQUEST = Request(
    endpoint=Endpoint(name="m", model="openai/gpt-4o-mini", provider="openai"),
    messages=MESSAGES,
    params={"temperature": 0},
)


async def _seconds(hit: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Time HITS_COUNT hits one after the other: wall, CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(HITS_COUNT):
        await hit()
    return time.perf_counter() - wall, time.process_time() - cpu


async def _ours(
    named_state: str, directory: Path
) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
    rng = random.Random(1)  # noqa: S311 - repeatable
    cache = open_response_cache(state=named_state, directory=directory, embedder=None, rng=rng)
    policy = CachePolicy()

    async def hit() -> None:
        asked = build_cache_query(
            REQUEST, feature="f", prompt_hash="h", tenant="t", policy=policy, variables={"text": "x"}
        )
        if await cache.find_exact(asked) is None:
            raise AssertionError("no hit")

    asked = build_cache_query(REQUEST, feature="f", prompt_hash="h", tenant="t", policy=policy, variables={"text": "x"})
    await cache.store(asked, ANSWER)
    return hit, cache.aclose


async def _theirs(settings: dict[str, Any]) -> Callable[[], Awaitable[None]]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it downloads its prices
    import litellm  # noqa: TID251 - it is the peer
    from litellm.caching.caching import Cache  # noqa: TID251 - as above

    cache = Cache(**settings)
    call: dict[str, Any] = {"model": "openai/gpt-4o-mini", "messages": list(MESSAGES), "temperature": 0}
    message = litellm.Message(content=ANSWER.text, role="assistant")
    answer = litellm.ModelResponse(choices=[litellm.Choices(message=message, finish_reason="stop")])
    await cache.async_add_cache(answer.model_dump_json(), **call)

    async def hit() -> None:
        if await cache.async_get_cache(**call) is None:
            raise AssertionError("no hit")

    return hit


async def _pairs(what: str, named_state: str, directory: Path, peer: dict[str, Any]) -> tuple[str, ...]:
    ours, close = await _ours(named_state, directory / "ours")
    theirs = await _theirs(peer)
    await _seconds(ours)
    await _seconds(theirs)
    pairs = [(await _seconds(ours), await _seconds(theirs)) for _ in range(PAIRS_COUNT)]
    await close()
    mine = statistics.median(pair[0][0] for pair in pairs)
    peers = statistics.median(pair[1][0] for pair in pairs)
    ratio = statistics.median(pair[0][0] / pair[1][0] for pair in pairs)
    cpu = statistics.median(pair[0][1] for pair in pairs)
    how = f"wall per hit, medians of {PAIRS_COUNT} interleaved pairs of {HITS_COUNT}; CPU {_ms(cpu)}"
    return (what, _ms(mine), f"LiteLLM's cache {_ms(peers)}", f"{ratio:.2f}x", how)


def _ms(seconds: float) -> str:
    return f"{seconds / HITS_COUNT * 1000:.3f} ms"


def _hits() -> list[tuple[str, ...]]:
    from support.redis_server import RedisServer

    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        peer: dict[str, Any] = {"type": "disk", "disk_cache_dir": str(directory / "theirs")}
        rows.append(asyncio.run(_pairs("exact hit on disk", ".flowai", directory, peer)))
        try:
            server = RedisServer()
        except FileNotFoundError as error:
            return [*rows, ("exact hit on Redis", "", f"skipped: {error}", "", "")]
        with server:
            peer = {"type": "redis", "host": "127.0.0.1", "port": str(server.port)}
            rows.append(asyncio.run(_pairs("exact hit on Redis", server.url, directory, peer)))
    return rows


def _search() -> tuple[str, ...]:
    rng = random.Random(2)  # noqa: S311 - repeatable
    table = VectorTable(384)
    vectors = [normalised_bytes([rng.gauss(0, 1) for _ in range(384)]) or b"" for _ in range(2000)]
    for number in range(20_000):
        table.add(number, vectors[number % len(vectors)])
    times = []
    for vector in vectors[:50]:
        began = time.perf_counter()
        table.nearest(vector, above=0.95, max_count=8)
        times.append(time.perf_counter() - began)
    return ("search 20,000 vectors of 384", f"{statistics.median(times) * 1000:.2f} ms", "", "", "wall, median of 50")


def _curves() -> list[tuple[str, ...]]:
    from support.question_pairs import changed_exercises, near_misses, paraphrases

    missing = local_embedder_missing()
    if missing is not None:
        return [("semantic curves", "", f"skipped: {missing}", "", "")]
    same = [pair for pair in paraphrases() if pair.kind != "by hand"]
    by_hand = [pair for pair in paraphrases() if pair.kind == "by hand"]
    other = [*near_misses(), *changed_exercises(random.Random(1))[:EXERCISES_COUNT]]  # noqa: S311 - repeatable
    sets = (same, by_hand, other)
    texts = sorted({text for pairs in sets for pair in pairs for text in (pair.one, pair.other)})
    vectors = dict(zip(texts, asyncio.run(_vectors(texts)), strict=True))
    scored = [
        [
            (_cosine(vectors[pair.one], vectors[pair.other]), find_mismatch(pair.one, pair.other) is None)
            for pair in pairs
        ]
        for pairs in sets
    ]
    rows: list[tuple[str, ...]] = []
    for threshold in THRESHOLDS:
        near = [[agrees for cosine, agrees in pairs if cosine > threshold] for pairs in scored]
        gated = [sum(agreeing) for agreeing in near]
        shares = [
            f"{gated[at] / len(sets[at]):.0%} (cosine alone {len(near[at]) / len(sets[at]):.0%})" for at in range(2)
        ]
        rows.append(
            (
                f"threshold {threshold:.2f}",
                f"{shares[0]} of {len(same)} paraphrases by rule hit",
                f"{shares[1]} of {len(by_hand)} by hand",
                f"{gated[2]} false hits",
                f"of {len(other)} near misses; cosine alone {len(near[2])}",
            )
        )
    return rows


async def _vectors(texts: Sequence[str]) -> Sequence[Sequence[float]]:
    embedder = LocalEmbedder()
    found = await embedder.embed(texts)
    await embedder.aclose()
    return found


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    table = VectorTable(len(one))
    table.add(0, normalised_bytes(one) or b"")
    near = table.nearest(normalised_bytes(other) or b"", above=0.0, max_count=1)
    return near[0][1] if near else 0.0


def rows() -> list[tuple[str, ...]]:
    """Measure and return one row per comparison; cells as in HEADER."""
    sys.path.insert(0, str(TESTS))
    return [*_hits(), _search(), *_curves()]


def main() -> None:
    """Print the rows as Markdown."""
    for row in (HEADER, ("---",) * len(HEADER), *rows()):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
