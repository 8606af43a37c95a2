"""`flowai cache`: what it holds, what it saved, and emptying it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sample_project import Ran, SampleProject

    Flowai = Callable[..., Ran]


def test_an_unused_cache_is_empty_and_stays_unmade(flowai: Flowai, project: SampleProject) -> None:
    ran = flowai("cache", "stats")
    assert (ran.code, ran.out) == (0, "exact cache   0 entries   0 B on disk\n")
    assert not (project.root / ".flowai").exists()


def test_it_tells_what_was_saved_by_feature(flowai: Flowai) -> None:
    flowai("eval")
    flowai("eval")
    lines = flowai("cache", "stats").out.splitlines()
    assert lines[0].startswith("exact cache   2 entries   ")
    assert " ".join(lines[1].split()) == "feature entries hits misses hit rate tokens saved saved time saved"
    assert lines[2].split()[:6] == ["chat", "2", "2", "2", "50.0", "%"]
    stats = json.loads(flowai("cache", "stats", "--json").out)
    assert stats["features"]["chat"]["saved_tokens"] == 24
    assert stats["features"]["chat"]["saved_s"] > 0


def test_clearing_empties_it(flowai: Flowai) -> None:
    flowai("eval")
    assert flowai("cache", "clear").out == "cleared 2 entries\n"
    assert json.loads(flowai("cache", "stats", "--json").out)["entry_count"] == 0
    assert json.loads(flowai("cache", "clear", "--json").out) == {"cleared_count": 0}
