"""Report as JUnit XML, for CI systems.

Source: the JUnit format as Jenkins, GitLab and GitHub's report actions read it: `failure` for a failed assertion,
    `error` for a case that could not be run, `skipped` for a case that could not be judged.
"""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING
from xml.etree import ElementTree as ET

from flowai.rendering.markdown import one_line, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.reports.records import Group, Report, Totals, Trial

_MAX_OUTPUT_CHARS = 10_000
_HELD_BYTES = 2**20
"""Testcases of a group that are held in memory; more are in a temporary file."""
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def junit_parts(report: Report) -> Iterator[bytes]:
    """Yield the report as JUnit XML: one testsuite per suite, prompt and model, one testcase per trial."""
    root = ET.Element(
        "testsuites",
        name=f"flowai {report.kind}",
        tests=str(report.totals.trial_count),
        failures=str(report.totals.fail_count),
        errors=str(report.totals.error_count),
        skipped=str(report.totals.unscored_count),
        time=f"{report.elapsed_s:.3f}",
        timestamp=report.started_at,
    )
    with ExitStack() as files:
        testcases: dict[tuple[str, str, str], IO[bytes]] = {}
        for trial in report.trials:
            key = (trial.suite, trial.prompt, trial.model)
            if key not in testcases:
                testcases[key] = files.enter_context(tempfile.SpooledTemporaryFile(max_size=_HELD_BYTES))
            testcases[key].write(_indented(_testcase(trial), level=2))
        opening = ET.tostring(root, encoding="utf-8", xml_declaration=True).removesuffix(b" />")
        yield opening + b">"
        if report.decision.sentence:
            properties = ET.Element("properties")
            ET.SubElement(properties, "property", name="gate", value=_xml_text(report.decision.sentence))
            yield _indented(properties, level=1)
        for group in report.groups:
            suite = _indented(_testsuite(report, group), level=1)
            end = suite.rindex(b"\n  </testsuite>")
            yield suite[:end]
            testcase = testcases[group.suite, group.prompt, group.model]
            testcase.seek(0)
            yield from testcase
            yield suite[end:]
        yield b"\n</testsuites>\n"


def _indented(element: ET.Element, *, level: int) -> bytes:
    """Return an element on lines of its own, after the line feed that ends the line before."""
    ET.indent(element, level=level)
    text: bytes = ET.tostring(element, encoding="utf-8")
    return b"\n" + b"  " * level + text


def _testsuite(report: Report, group: Group) -> ET.Element:
    totals = group.totals
    suite = ET.Element(
        "testsuite",
        name=_xml_text(f"{group.suite} {group.prompt} {group.model}"),
        tests=str(totals.trial_count),
        failures=str(totals.fail_count),
        errors=str(totals.error_count),
        skipped=str(totals.unscored_count),
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(report, totals):
        ET.SubElement(properties, "property", name=name, value=value)
    return suite


def _properties(report: Report, totals: Totals) -> Iterator[tuple[str, str]]:
    """Yield the totals of a group that JUnit has no attribute for, if measured."""
    figures = {
        "latency_p50_ms": totals.latency.p50_ms,
        "latency_p95_ms": totals.latency.p95_ms,
        "ttft_p50_ms": totals.ttft.p50_ms,
        "ttft_p95_ms": totals.ttft.p95_ms,
        "json_valid_count": totals.json_valid_count,
        "json_promised_count": totals.json_promised_count,
        "cost_usd": totals.cost_usd,
        "concurrency_achieved": report.concurrency_achieved,
    }
    for name, value in figures.items():
        if value is not None:
            yield name, f"{value:.6f}".rstrip("0").rstrip(".")


def _testcase(trial: Trial) -> ET.Element:
    file, _, line = trial.place.rpartition(":")
    case = ET.Element(
        "testcase",
        name=_xml_text(trial.case + (f" #{trial.repeat}" if trial.repeat else "")),
        classname=_xml_text(f"{trial.prompt}.{trial.model}"),
        file=_xml_text(file),
        line=line,
        time=f"{(trial.latency_ms or 0) / 1000:.3f}",
    )
    if trial.outcome == "error":
        failure = trial.failure
        message = failure.message if failure else "no answer"
        ET.SubElement(case, "error", type=failure.kind if failure else "", message=_xml_text(one_line(message, 300)))
        return case
    if trial.outcome != "pass":
        tag = "failure" if trial.outcome == "fail" else "skipped"
        reasons = [
            f"{check.reason or check.type} ({check.place})" for check in trial.checks if check.passed is not True
        ]
        element = ET.SubElement(
            case, tag, message=_xml_text(one_line("; ".join(reasons) or "no assertion judged it", 300))
        )
        element.text = _xml_text("\n".join(reasons))
    if trial.output is not None and trial.outcome != "pass":
        ET.SubElement(case, "system-out").text = _xml_text(trial.output[:_MAX_OUTPUT_CHARS])
    return case


def _xml_text(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", visible(text))
