"""The run log: numbers, locks, torn lines, and what a later run reads."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.report_samples import trial

from flowai.errors import InfrastructureError
from flowai.evals.runs.run_log import RunLog, RunStarted, new_run, past_runs

if TYPE_CHECKING:
    from pathlib import Path


def started(run_id: str, target: str = "t") -> RunStarted:
    return RunStarted(run_id=run_id, target=target, plan_digest="d", started_at="2026-05-02T10:00:00Z")


def everything(_: RunStarted) -> bool:
    return True


def test_runs_are_numbered_and_read_newest_first(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with closing(new_run(tmp_path)) as log:
            log.start(started(log.run_id, name))
            log.add(trial())
            log.finish(1.5)
    runs = list(past_runs(tmp_path, everything))
    assert [(run.run_id, run.started.target, run.finished) for run in runs] == [
        ("0002", "two", True),
        ("0001", "one", True),
    ]
    assert runs[0].trials[trial().key] == trial()


def test_numbers_continue_above_9999(tmp_path: Path) -> None:
    (tmp_path / "9999").mkdir()
    with closing(new_run(tmp_path)) as log:
        assert log.run_id == "10000"


def test_two_runs_at_once_get_two_numbers(tmp_path: Path) -> None:
    with closing(new_run(tmp_path)) as one, closing(new_run(tmp_path)) as other:
        assert one.run_id != other.run_id


def test_only_one_process_writes_a_run(tmp_path: Path) -> None:
    with (
        closing(new_run(tmp_path)) as log,
        pytest.raises(InfrastructureError, match="in use by another process"),
    ):
        RunLog(tmp_path / log.run_id)
    with closing(RunLog(tmp_path / log.run_id)):
        pass  # free again


def test_a_torn_line_loses_only_its_trial(tmp_path: Path) -> None:
    with closing(new_run(tmp_path)) as log:
        log.start(started(log.run_id))
        log.add(trial("a"))
        log.add(trial("b"))
    file = tmp_path / "0001" / "run.jsonl"
    file.write_bytes(file.read_bytes()[:-30])
    with closing(RunLog(tmp_path / "0001")) as log:
        log.start(started("0001"))
        log.add(trial("c"))
    (run,) = past_runs(tmp_path, everything)
    assert sorted(kept.case for kept in run.trials.values()) == ["a", "c"]
    assert not run.finished


def test_a_later_line_replaces_an_earlier_one(tmp_path: Path) -> None:
    with closing(new_run(tmp_path)) as log:
        log.start(started(log.run_id))
        log.add(trial("a", "error"))
        log.add(trial("a"))
    (run,) = past_runs(tmp_path, everything)
    assert run.trials[trial().key].outcome == "pass"


def test_other_targets_are_skipped_by_their_first_line(tmp_path: Path) -> None:
    with closing(new_run(tmp_path)) as log:
        log.start(started(log.run_id, "other"))
    (tmp_path / "0002").mkdir()
    (tmp_path / "notes").mkdir()
    assert list(past_runs(tmp_path, lambda line: line.target == "t")) == []
