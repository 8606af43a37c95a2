"""Decisions on disk: append-only, intact after a kill, exported as CSV and JSONL and imported again."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.errors import ProjectError, UsageError
from flowai.finetune.decisions.decision_files import check_ending, encode_decisions, read_decisions
from flowai.finetune.decisions.decision_log import DecisionLog
from flowai.finetune.decisions.decisions import ReviewDecision

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = datetime(2026, 5, 2, tzinfo=UTC)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
HOSTILE = st.sampled_from(
    ["=1+1", "'=1", "''@x", "+a", "-a", "@SUM(A1)", "\t=1", "\r\n=1", "'tis", "\uff1d1", 'a"b,c\nd']
)


def decision(pair: str = "c1", second: int = 0, **changes: object) -> ReviewDecision:
    facts = {"at": BEGIN + timedelta(seconds=second), "reviewer": "ann", "pair": pair, "action": "accept"}
    return ReviewDecision(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> DecisionLog:
    return DecisionLog(tmp_path / "finetune" / "chat" / "decisions.jsonl", name="decisions.jsonl")


def test_an_added_decision_is_there_for_the_next_reader(log: DecisionLog) -> None:
    first, second = log.add(decision()), log.add(decision(second=1, action="reject"))
    again = DecisionLog(log.path, name="again")
    assert again.decisions == (first, second)
    assert again.for_pair("c1") == (first, second)
    assert again.for_pair("c2") == ()


def test_the_last_line_is_last_whatever_the_clock_shows(log: DecisionLog) -> None:
    log.add(decision(second=60))
    late = log.add(decision(second=0, action="reject"))
    assert log.decisions[-1] == late
    assert late.at > BEGIN + timedelta(seconds=60)


def test_another_process_may_add_and_version_control_may_replace(log: DecisionLog) -> None:
    log.add(decision())
    other = DecisionLog(log.path, name="other")
    other.add(decision("c2", reviewer="bob"))
    assert [one.pair for one in log.decisions] == ["c1", "c2"]
    merged = log.path.read_bytes()
    log.path.unlink()
    log.path.write_bytes(merged)
    log.add(decision("c3"))
    assert len(DecisionLog(log.path, name="again").decisions) == 3


def test_a_torn_line_is_named_and_costs_no_other(log: DecisionLog) -> None:
    log.add(decision())
    with log.path.open("ab") as stream:
        stream.write(b'{"at":"2026-05-02T00:00:01Z","revie')
    log.add(decision("c2"))
    assert [one.pair for one in log.decisions] == ["c1", "c2"]
    assert log.damaged == (2,)


def test_a_line_that_is_not_a_decision_is_an_error(log: DecisionLog) -> None:
    log.add(decision())
    with log.path.open("ab") as stream:
        stream.write(b'{"at":"2026-05-02T00:00:01Z","reviewer":"ann","pair":"c1","action":"adopt"}\n')
    with pytest.raises(ProjectError, match=r"name:2: .*adopt"):
        DecisionLog(log.path, name="name")


def test_an_import_twice_counts_once(log: DecisionLog) -> None:
    log.add(decision())
    others = [decision(), decision("c2", reviewer="bob"), decision("c2", reviewer="bob")]
    assert log.import_decisions(others) == 1
    assert log.import_decisions(others) == 0


@given(text=HOSTILE | TEXTS, note=HOSTILE | TEXTS, pair=(HOSTILE | TEXTS).filter(bool))
@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_an_exported_file_is_imported_unchanged(
    tmp_path_factory: pytest.TempPathFactory, ending: str, text: str, note: str, pair: str
) -> None:
    decisions = (decision(pair, note=note), decision(pair, 1, action="edit", text=f"{text}x"))
    path = tmp_path_factory.mktemp("passed") / f"on{ending}"
    path.write_bytes(encode_decisions(decisions, ending))
    assert read_decisions(path, name="on", ending=ending) == decisions


def test_no_cell_is_a_formula() -> None:
    decisions = [
        decision("=2+5", action="edit", text="=HYPERLINK(1)"),
        decision("+x", note="@SUM(A1)"),
        decision("\t=1", note="-2+3"),
    ]
    rows = list(csv.reader(io.StringIO(encode_decisions(decisions, ".csv").decode("utf-8-sig"), newline="")))
    assert all(cell[:1] not in tuple("=+-@\t\r\n") for row in rows for cell in row if cell)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"at,reviewer\n1,2\n", "no column `pair`"),
        (b"", "no column `at`"),
        (b"\xff\xfe", "not valid CSV: not UTF-8"),
        (b"at,reviewer,pair,action,text,note\n2026-05-02T00:00:00Z,ann,c1,adopt,,\n", "file.csv:2: .*adopt"),
        (b"at,reviewer,pair,action,text,note\n2026-05-02T00:00:00Z,ann,c1,edit,,\n", "file.csv:2: an edit needs"),
        (b"at,reviewer,pair,action,text,note\nyesterday,ann,c1,accept,,\n", "file.csv:2: "),
        (b"at,reviewer,pair,action,text,note\n2026-05-02T00:00:00Z,ann\n", "file.csv:2: "),
    ],
)
def test_a_wrong_csv_names_the_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(ProjectError, match=said):
        read_decisions(path, name="file.csv", ending=".csv")


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found ending `\.xlsx`"):
        check_ending(tmp_path / "a.xlsx", "--import")
    with pytest.raises(ProjectError, match="no such file"):
        read_decisions(tmp_path / "a.csv", name="a.csv", ending=".csv")
    (tmp_path / "a.jsonl").write_text("{")
    with pytest.raises(ProjectError, match=r"a\.jsonl:1: not valid JSON"):
        read_decisions(tmp_path / "a.jsonl", name="a.jsonl", ending=".jsonl")


def test_a_long_answer_fits_into_a_cell(tmp_path: Path) -> None:
    long = decision(action="edit", text="word " * 300_000)
    path = tmp_path / "long.csv"
    path.write_bytes(encode_decisions([long], ".csv"))
    assert read_decisions(path, name="long.csv", ending=".csv") == (long,)
