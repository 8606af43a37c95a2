"""Reads entries of a ZIP archive within limits, also those packed with Zstandard, which Python's `zipfile` cannot.

No entry is ever written under its own name, so that a name with a path in it has no effect.
"""

from __future__ import annotations

import struct
import tempfile
import zipfile
import zlib
from typing import TYPE_CHECKING

from flowai.errors import DatasetError, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from duckdb import DuckDBPyConnection

MAX_ENTRIES = 100_000
MAX_ENTRY_BYTES = 64 << 20
MAX_TOTAL_BYTES = 2 << 30
"""Limit of all entries together that are read."""
_ZSTANDARD = 93
_MEMORY_LIMIT = "512MB"
_UNPACK = (
    "SELECT json FROM read_json_objects(?, format = 'unstructured', compression = 'zstd', maximum_object_size = ?)"
)
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")


class ZipEntries:
    """The entries of an archive by name; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._connection: DuckDBPyConnection | None = None
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise self._error(f"not a readable ZIP archive: {error}") from None
        self._entries = {entry.filename: entry for entry in self._archive.infolist()}
        if len(self._entries) > MAX_ENTRIES:
            raise self._error(f"found {len(self._entries):,} entries, expected at most {MAX_ENTRIES:,}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()
        if self._connection is not None:
            self._connection.close()

    def names(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that begin with a prefix, in the order of the archive."""
        return (name for name in self._entries if name.startswith(prefix))

    def read(self, name: str) -> bytes:
        """Return the content of an entry, or raise DatasetError."""
        entry = self._entries.get(name)
        if entry is None:
            raise self._error("no such entry in the archive", name)
        if entry.flag_bits & 1:
            raise self._error("the entry is encrypted", name)
        if max(entry.file_size, entry.compress_size) > MAX_ENTRY_BYTES:
            raise self._too_large(name)
        try:
            content = self._unpack_zstandard(entry) if entry.compress_type == _ZSTANDARD else self._unpack(entry)
        except (
            zipfile.BadZipFile,
            OSError,
            EOFError,
            ValueError,
            zlib.error,
            struct.error,
            NotImplementedError,
        ) as error:
            raise self._error(f"the entry is damaged: {error}", name) from None
        self._read_bytes += len(content)
        if self._read_bytes > MAX_TOTAL_BYTES:
            raise self._error(f"the entries are larger than {MAX_TOTAL_BYTES:,} bytes together")
        return content

    def _unpack(self, entry: zipfile.ZipInfo) -> bytes:
        with self._archive.open(entry) as stream:
            content = stream.read(MAX_ENTRY_BYTES + 1)
        if len(content) > MAX_ENTRY_BYTES:
            raise self._too_large(entry.filename)
        return content

    def _unpack_zstandard(self, entry: zipfile.ZipInfo) -> bytes:
        """Unpack one JSON document by DuckDB, which holds at most the limit in memory."""
        import duckdb

        with self._path.open("rb") as stream:
            stream.seek(entry.header_offset)
            header = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
            stream.seek(header[-2] + header[-1], 1)
            packed = stream.read(entry.compress_size)
        with tempfile.NamedTemporaryFile(suffix=".zst") as file:
            file.write(packed)
            file.flush()
            try:
                rows = self._duckdb().execute(_UNPACK, [file.name, MAX_ENTRY_BYTES]).fetchmany(2)
            except duckdb.Error as error:
                problem = str(error).splitlines()[0]
                if "maximum_object_size" in str(error) or isinstance(error, duckdb.OutOfMemoryException):
                    raise self._too_large(entry.filename) from None
                raise self._error(f"the entry is damaged, or no JSON: {problem[:160]}", entry.filename) from None
        if len(rows) != 1:
            raise self._error(f"found {len(rows)} JSON documents, expected one", entry.filename)
        return str(rows[0][0]).encode()

    def _duckdb(self) -> DuckDBPyConnection:
        import duckdb

        if self._connection is None:
            self._connection = duckdb.connect(config={"memory_limit": _MEMORY_LIMIT})
        return self._connection

    def _too_large(self, name: str) -> DatasetError:
        return self._error(f"the entry has more than {MAX_ENTRY_BYTES:,} bytes", name)

    def _error(self, what: str, name: str | None = None) -> DatasetError:
        return DatasetError(what, place=Place(file=str(self._path), key=name))
