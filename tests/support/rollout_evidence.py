"""Writes the evidence of a rollout into a release project: dogfood calls in the event log, canary reports."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.analytics.records import Range
from flowai.canary.report_records import CanaryReport, Plots, with_digest
from flowai.events import CallEvent, EventLog
from flowai.redaction import Redactor
from flowai.rendering.report_files import to_json

if TYPE_CHECKING:
    from support.release_project import ReleaseProject


def dogfood(project: ReleaseProject, count: int, **changes: Any) -> None:
    """Write dogfood calls to the event log."""
    log = EventLog(project.root / ".flowai" / "events", "library-1", Redactor(), lambda: datetime.now(UTC))
    for number in range(count):
        facts: dict[str, Any] = {
            "origin": "library",
            "variant": "dogfood",
            "release": "v2",
            "at": datetime.now(UTC),
            **changes,
        }
        log.append(
            CallEvent(
                call_id=f"c{number}-{changes}",
                requested_model="m",
                latency_ms=1.0,
                feature="chat",
                **facts,
            )
        )
    log.close()


def canary_report(project: ReleaseProject, verdict: str, **changes: Any) -> None:
    """Write the canary report of the active stage."""
    nothing = Range(estimate=None, low=None, high=None)
    facts: dict[str, Any] = {
        "verdict": verdict,
        "reasons": ("because",),
        "candidate": "v2",
        "baseline": "v1",
        "environment": None,
        "stage": "5",
        "since": "2026-05-02T09:30:00Z",
        "until": datetime.now(UTC).isoformat(),
        "unit": "user",
        "arms": {},
        "metrics": (),
        "features": (),
        "error_classes": {},
        "stages": (),
        "splits": (),
        "problems": (),
        "warnings": (),
        "latency_p95": nothing,
        "ttft_p95": nothing,
        "slow_above": {},
        "replay": (),
        "plots": _plots(),
        **changes,
    }
    report = with_digest(CanaryReport(**facts))
    project.write(f"reports/canary/{report.candidate}-{report.stage}/report.json", to_json(report).decode())


def _plots() -> Plots:
    empty: dict[str, Any] = {
        field.encode_name: {} if "dict" in str(field.type).lower() else ()
        for field in msgspec.structs.fields(Plots)
        if field.required
    }
    return Plots(**empty)
