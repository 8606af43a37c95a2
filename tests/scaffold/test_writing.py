"""Files of a new project: no race and no file system replaces what a user has."""

from __future__ import annotations

import errno
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from flowai.errors import FileWriteError
from flowai.scaffold.writing import create_file

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 100


@pytest.mark.parametrize("has_links", [True, False])
def test_of_writers_at_the_same_time_one_wins_and_the_others_leave_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_links: bool
) -> None:
    if not has_links:

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    texts = [letter * 10_000 for letter in "abcd"]
    with ThreadPoolExecutor(len(texts)) as pool:
        for number in range(ROUNDS):
            path = f"folder/{number}.yaml"
            found = list(pool.map(lambda text, path=path: create_file(tmp_path, path, text), texts))
            assert Counter(one.status for one in found) == {"wrote": 1, "left": 3}
            (winner,) = (text for text, one in zip(texts, found, strict=True) if one.status == "wrote")
            assert (tmp_path / path).read_text(encoding="utf-8") == winner
    assert len(list((tmp_path / "folder").iterdir())) == ROUNDS  # no temporary file stays


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(FileWriteError, match="No space left on device"):
        create_file(tmp_path, "registry.yaml", "text")
    assert not any(tmp_path.iterdir())
