"""Report files: complete, equal for equal runs, and safe with hostile output."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import msgspec
import pytest
from support.report_samples import report, trial

from flowai.errors import UsageError
from flowai.evals.reports import Changes, Gate, Report
from flowai.evals.reports.junit_report import junit_parts
from flowai.evals.reports.markdown_report import to_markdown
from flowai.evals.reports.writer import WRITERS
from flowai.rendering.report_files import to_json, write_reports

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "```\n# owned\n<script>alert(1)</script> | [x](javascript:1) \x1b[2J \x00 ]]> \ud800"


def test_json_is_the_whole_record_and_reads_back() -> None:
    made = report([trial(), trial("b", "fail"), trial("c", "error")], Gate(pass_rate=0.9))
    assert msgspec.json.decode(to_json(made), type=Report) == made
    assert to_json(made) == to_json(made)


def test_markdown_reads_as_expected() -> None:
    made = report(
        [trial(), trial("b", "fail"), trial("c", "error")],
        changes=Changes(run_id="0006", regressions=("evals/s.yaml::b::prompts/p_v1::m::0",), fixes=(), shared_count=2),
    )
    text = to_markdown(made)
    assert text.startswith("# eval `prompts/p_v1`: NOT DECIDED: ERRORS\n")
    assert "| pass / fail / error / unscored | 1 / 1 / 1 / 0" in text
    assert "### FAIL b" in text
    assert '- contains "x" (`evals/s.yaml:9`)' in text
    assert "- openai: 429 slow down" in text
    assert "## Since run 0006 (2 trials in both)" in text


def test_hostile_output_stays_inside_its_fence() -> None:
    text = to_markdown(report([trial("`|<b>", "fail", output=HOSTILE.replace("\ud800", ""))]))
    body = text.split("````text\n", 1)[1]
    assert body.count("````") == 1, "the fence is longer than any run of backticks in the output"
    outside = text.split("````text\n", 1)[0]
    assert "<b>" not in outside
    assert "<script>" not in outside


def test_junit_counts_and_parses() -> None:
    made = report([trial(), trial("b", "fail", output=HOSTILE), trial("c", "error"), trial("d", "unscored")])
    root = ET.fromstring(b"".join(junit_parts(made)))  # noqa: S314 - our own document
    assert root.get("tests") == "4"
    assert root.get("failures") == "1"
    assert root.get("errors") == "1"
    assert root.get("skipped") == "1"
    cases = root.findall("./testsuite/testcase")
    assert [[child.tag for child in case] for case in cases] == [
        [],
        ["failure", "system-out"],
        ["error"],
        ["skipped", "system-out"],
    ]
    failure = cases[1].find("failure")
    assert failure is not None
    assert failure.get("message") == 'contains "x" (evals/s.yaml:9)'
    properties = {item.get("name"): item.get("value") for item in root.findall("./testsuite/properties/property")}
    assert properties["latency_p95_ms"] == "800"
    assert properties["concurrency_achieved"] == "5.5"
    assert cases[0].get("file") == "evals/s.yaml"
    assert cases[0].get("line") == "7"
    assert cases[0].get("time") == "0.800"


def test_the_suffix_selects_the_format(tmp_path: Path) -> None:
    made = report([trial()])
    write_reports(made, [tmp_path / "r.json", tmp_path / "deep" / "r.MD", tmp_path / "r.xml"], WRITERS)
    assert (tmp_path / "r.json").read_bytes() == to_json(made)
    assert (tmp_path / "deep" / "r.MD").read_text() == to_markdown(made)
    assert (tmp_path / "r.xml").read_bytes() == b"".join(junit_parts(made))


def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found ending `\.pdf`"):
        write_reports(report([trial()]), [tmp_path / "r.json", tmp_path / "r.pdf"], WRITERS)
    assert list(tmp_path.iterdir()) == []
