"""Calibration files of a project: `evals/judges/NAME.json`, committed beside the suites they are measured on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from flowai.calibration.records import SCHEMA_VERSION, Calibration
from flowai.errors import Place, ProjectError
from flowai.storage.files import read_json, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CHECK_AGAIN_HINT = "`flowai judge check SUITE` writes it again"
_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
_MAX_FILE_NAME_CHARS = 100


def calibration_file(root: Path, name: str, rubric_hash: str = "") -> Path:
    """Return the path of the calibration of a judged property; characters that file names do not allow become `-`."""
    text = _NOT_IN_FILE_NAMES.sub("-", name).strip("-.")[:_MAX_FILE_NAME_CHARS] or "judge"
    return root / "evals" / "judges" / f"{text}-{rubric_hash}.json".replace("-.json", ".json")


def read_calibrations(root: Path) -> tuple[Calibration, ...]:
    """Read the calibrations of a project, in order of their file names; none without the directory.

    Raises:
        ProjectError: a file is not a calibration.
    """
    directory = root / "evals" / "judges"
    return tuple(_read(path, name=str(path.relative_to(root))) for path in sorted(directory.glob("*.json")))


def write_calibration(root: Path, calibration: Calibration) -> Path:
    """Write a calibration in one step, in place of an earlier one of the same property; return the path.

    The file has the property's name. Of properties that differ in their rubric alone, the second has the rubric's hash
    in its name too.
    """
    path = calibration_file(root, calibration.name)
    if path.exists() and _rubric_hash(path) not in (None, calibration.rubric_hash):
        path = calibration_file(root, calibration.name, calibration.rubric_hash)
    write_atomic(path, msgspec.json.format(msgspec.json.encode(calibration), indent=2) + b"\n")
    return path


def fresh_calibration(calibrations: Iterable[Calibration], name: str, judge_hash: str | None) -> Calibration | None:
    """Return the newest calibration of this judge for a judged property; None if this very judge was not measured."""
    fitting = (one for one in calibrations if one.name == name and one.judge_hash == judge_hash)
    return max(fitting, key=lambda one: one.at, default=None)


def _rubric_hash(path: Path) -> str | None:
    """Return the rubric's hash of a calibration; None if the file is none."""
    try:
        return _read(path, name=path.name).rubric_hash
    except ProjectError:
        return None


def _read(path: Path, *, name: str) -> Calibration:
    try:
        calibration = msgspec.convert(read_json(path, name=name), Calibration)
    except msgspec.ValidationError as error:
        what = str(error)
        raise ProjectError(
            f"not a calibration: {what[:1].lower()}{what[1:]}", place=Place(file=name), hint=CHECK_AGAIN_HINT
        ) from None
    if calibration.schema_version != SCHEMA_VERSION:
        raise ProjectError(
            f"found schema_version {calibration.schema_version}, expected {SCHEMA_VERSION}",
            place=Place(file=name),
            hint=CHECK_AGAIN_HINT,
        )
    if calibration.at.tzinfo is None:
        raise ProjectError("`at` has no time zone, expected RFC 3339", place=Place(file=name), hint=CHECK_AGAIN_HINT)
    return calibration
