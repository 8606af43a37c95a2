"""A report as a table: one row per trial, ready for pandas' own tools."""

from __future__ import annotations

from support.report_samples import report, trial

from flowai.evals.reports import to_frame


def test_one_row_per_trial_with_its_fields() -> None:
    frame = to_frame(report([trial(), trial("b", "fail"), trial("c", "error")]))
    assert list(frame["case"]) == ["a", "b", "c"]
    assert list(frame["outcome"]) == ["pass", "fail", "error"]
    assert list(frame["passed_count"]) == [0, 0, 0]
    assert list(frame["check_count"]) == [0, 1, 0]
    assert frame["failure_kind"][2] == "RateLimitedError"
    assert frame.groupby("outcome")["latency_ms"].mean()["pass"] == 800.0


def test_no_trials_give_an_empty_table() -> None:
    assert to_frame(report([])).empty
