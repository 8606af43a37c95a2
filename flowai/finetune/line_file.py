"""Files of records that are only added to: reads them, and names the lines that cannot be read.

In: a file's path. Out: records. Must never know what they say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from flowai.errors import Place, ProjectError

if TYPE_CHECKING:
    from pathlib import Path

Record = TypeVar("Record", bound=msgspec.Struct)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines(Generic[Record]):
    """What stands in a file.

    Args:
        records: one for each line, in order.
        damaged: lines that are no JSON, counted from 1: a machine died there, or two versions were merged by hand.
    """

    records: tuple[Record, ...] = ()
    damaged: tuple[int, ...] = ()


def read_lines(path: Path, kind: type[Record], *, name: str) -> Lines[Record]:
    """Read a file; one that is not there is empty.

    Args:
        path: the file.
        kind: what each line is.
        name: how messages call the file.

    Raises:
        ProjectError: it cannot be read, or a line is JSON and no such record; the line is named.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return Lines()
    except OSError as error:
        raise ProjectError(f"cannot be read: {error.strerror}", place=Place(file=name)) from error
    decoder = msgspec.json.Decoder(kind)
    records: list[Record] = []
    damaged: list[int] = []
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(decoder.decode(line))
        except msgspec.ValidationError as error:
            what = str(error)
            raise ProjectError(what[:1].lower() + what[1:], place=Place(file=name, line=number)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            damaged.append(number)
    return Lines(records=tuple(records), damaged=tuple(damaged))
