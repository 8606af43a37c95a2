"""Files that a stranger's branch could bring: caches, links, and the repository around them."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def track_all(root: Path, *, index_version: int = 2) -> None:
    """Make a directory a repository that tracks all its files."""
    for arguments in (("init", "-q"), ("add", "-Af", "."), ("update-index", f"--index-version={index_version}")):
        subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)


def plant_diskcache(file: Path, *, deletes: str) -> None:
    """Write a cache as the diskcache library keeps it, with an expired entry whose value is in another file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as base:
        base.executescript(
            """
            CREATE TABLE Settings (key TEXT NOT NULL UNIQUE, value);
            CREATE TABLE Cache (
                rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL, expire_time REAL, access_time REAL,
                access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0,
                filename TEXT, value BLOB
            );
            CREATE TRIGGER Settings_count_insert AFTER INSERT ON Cache FOR EACH ROW BEGIN
                UPDATE Settings SET value = value + 1 WHERE key = 'count'; END;
            """
        )
        base.execute(
            "INSERT INTO Cache (key, raw, store_time, expire_time, size, mode, filename)"
            " VALUES ('entry/x', 1, ?, ?, 9, 2, ?)",
            (time.time() - 100, time.time() - 50, deletes),
        )
        base.commit()
