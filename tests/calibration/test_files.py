"""Calibration files: written in one step, read with the place of an error, fresh only for the very same judge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from flowai.calibration import (
    Calibration,
    JudgeCounts,
    calibration_file,
    floor_problem,
    fresh_calibration,
    read_calibrations,
    write_calibration,
)
from flowai.errors import ProjectError

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def _calibration(name: str = "hallucination", *, judge_hash: str = "a" * 16, true: int = 45) -> Calibration:
    counts = JudgeCounts(
        true_positive_count=true,
        false_negative_count=50 - true,
        true_negative_count=true,
        false_positive_count=50 - true,
    )
    return Calibration(name=name, judge="judge", judge_hash=judge_hash, at=NOW, source="evals/s.yaml", counts=counts)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    assert read_calibrations(tmp_path) == ()
    first, second = _calibration(), _calibration("llm-rubric: tone")
    for calibration in (first, second):
        write_calibration(tmp_path, calibration)
    assert calibration_file(tmp_path, "llm-rubric: tone").name == "llm-rubric-tone.json"
    assert read_calibrations(tmp_path) == (first, second)
    changed = _calibration(true=40)
    write_calibration(tmp_path, changed)
    assert read_calibrations(tmp_path) == (changed, second)


def test_properties_that_differ_in_their_rubric_alone_are_kept_apart(tmp_path: Path) -> None:
    first = msgspec.structs.replace(_calibration("llm-rubric"), rubric_hash="1" * 16)
    second = msgspec.structs.replace(_calibration("llm-rubric", judge_hash="b" * 16), rubric_hash="2" * 16)
    assert write_calibration(tmp_path, first).name == "llm-rubric.json"
    assert write_calibration(tmp_path, second).name == f"llm-rubric-{'2' * 16}.json"
    again = msgspec.structs.replace(first, judge_hash="c" * 16)
    assert write_calibration(tmp_path, again).name == "llm-rubric.json"
    assert set(read_calibrations(tmp_path)) == {again, second}


def test_a_broken_calibration_is_written_again(tmp_path: Path) -> None:
    calibration_file(tmp_path, "hallucination").parent.mkdir(parents=True)
    calibration_file(tmp_path, "hallucination").write_text("{")
    write_calibration(tmp_path, _calibration())
    assert read_calibrations(tmp_path) == (_calibration(),)


@pytest.mark.parametrize("name", ["../../registry", "/etc/passwd", "..", ""])
def test_a_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    assert calibration_file(tmp_path, name).parent == tmp_path / "evals" / "judges"


def test_another_judge_is_not_calibrated(tmp_path: Path) -> None:
    write_calibration(tmp_path, _calibration())
    calibrations = read_calibrations(tmp_path)
    assert fresh_calibration(calibrations, "hallucination", "a" * 16) == calibrations[0]
    assert fresh_calibration(calibrations, "hallucination", "b" * 16) is None
    assert fresh_calibration(calibrations, "hallucination", None) is None
    assert fresh_calibration(calibrations, "tone", "a" * 16) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "not valid JSON"),
        ('{"name": "hallucination"}', "not a calibration: object missing required field"),
        ("[]", "not a calibration"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = calibration_file(tmp_path, "hallucination")
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProjectError, match=expected) as caught:
        read_calibrations(tmp_path)
    assert caught.value.place is not None
    assert caught.value.place.file == "evals/judges/hallucination.json"


def test_a_judge_decides_only_while_it_is_fresh_and_good_enough() -> None:
    limits = {"min_youden": 0.5, "max_age_s": 90 * 86_400.0}
    assert floor_problem(_calibration(), now=NOW, **limits) is None
    assert floor_problem(None, now=NOW, **limits) == "this judge is not calibrated"
    assert "91 days old, 90 allowed" in str(floor_problem(_calibration(), now=NOW + timedelta(days=91), **limits))
    assert "is 0.00, 0.50 required" in str(floor_problem(_calibration(true=25), now=NOW, **limits))
    one_class = JudgeCounts(
        true_positive_count=0, false_negative_count=0, true_negative_count=9, false_positive_count=1
    )
    calibration = Calibration(name="x", judge="j", judge_hash="h", at=NOW, source="s", counts=one_class)
    assert floor_problem(calibration, now=NOW, **limits) == "its labels are all of one class"
