"""The semantic cache with the real MiniLM of the extra `semantic`: both gates on a sample of the pairs."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from support.cached_responses import ANSWER, lookup
from support.question_pairs import near_misses, paraphrases

from flowai.cache.embedder import LocalEmbedder, local_embedder_missing
from flowai.cache.response_cache import open_response_cache
from flowai.registry.records import CachePolicy

if TYPE_CHECKING:
    from pathlib import Path

    from support.question_pairs import Pair

pytestmark = [
    pytest.mark.slow,  # loads PyTorch and the model
    pytest.mark.skipif(local_embedder_missing() is not None, reason="needs the extra `semantic`"),
    # torch asks swig for its types while it is imported
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def hit_count(pairs: list[Pair], directory: Path) -> int:
    """Keep an answer to the first of each pair, and ask the second."""

    async def play() -> int:
        rng = random.Random(1)  # noqa: S311 - for jitter
        embedder = LocalEmbedder()
        cache = open_response_cache(state=".flowai", directory=directory, embedder=embedder, rng=rng)
        await embedder.embed(["loads the model"])
        count = 0
        for number, pair in enumerate(pairs):  # a variable of its own keeps each pair to itself
            await cache.store(lookup(pair.one, number=number, threshold=CachePolicy().threshold), ANSWER)
            await cache.flush()
            count += (
                await cache.find_similar(lookup(pair.other, number=number, threshold=CachePolicy().threshold))
                is not None
            )
        assert cache.semantic_error is None
        await cache.aclose()
        return count

    return asyncio.run(play())


@pytest.mark.timeout(400)  # torch alone takes some seconds, on a busy machine a minute
def test_paraphrases_hit_and_near_misses_do_not_at_the_default_threshold(tmp_path: Path) -> None:
    same = [pair for pair in paraphrases() if pair.kind != "by hand"][::18]
    other = near_misses()[::41]
    assert hit_count(same, tmp_path / "same") >= 0.6 * len(same)
    assert hit_count(other, tmp_path / "other") == 0


def test_it_prints_nothing_and_reaches_no_network(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("it opened a connection")

    monkeypatch.setattr("socket.socket.connect", refuse)

    async def play() -> list[int]:
        embedder = LocalEmbedder()
        readiness = [embedder.is_ready]
        vectors = await embedder.embed(["one text", "another"])
        readiness.append(embedder.is_ready)
        assert readiness == [False, True], "asking begins to load it"
        await embedder.aclose()
        await embedder.aclose()
        return [len(vector) for vector in vectors]

    assert asyncio.run(play()) == [384, 384]
    assert capfd.readouterr() == ("", "")
