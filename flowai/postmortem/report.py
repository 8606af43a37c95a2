"""`flowai postmortem`: investigates an incident in the event log and writes the report."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from flowai.analytics.event_query import days_around, open_log
from flowai.analytics.records import PROBLEM_TEXTS
from flowai.errors import FlowaiError, UsageError
from flowai.postmortem.analysis.call_facts import COLUMNS
from flowai.postmortem.analysis.investigate import investigate
from flowai.postmortem.analysis.onset import onset_s, recovery_s
from flowai.postmortem.pages import to_html, to_markdown
from flowai.postmortem.regression_cases import CaseWriter
from flowai.postmortem.report_records import Moment, PostmortemReport, PostmortemResult
from flowai.postmortem.window import choose_window
from flowai.postmortem.wording import KIND_LABELS, follow_ups
from flowai.prompts import PromptLibrary
from flowai.rendering.formatting import count, span
from flowai.rendering.report_files import check_endings, to_json, write_reports
from flowai.rollouts.listing import compare_releases
from flowai.rollouts.session import open_rollout_session
from flowai.timestamps import format_rfc3339, format_us, parse_rfc3339
from flowai.workspace.event_source import open_event_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.postmortem.analysis.records import Investigation
    from flowai.postmortem.report_records import IncidentWindow, PostmortemOptions
    from flowai.releases.ledger import LedgerEntry
    from flowai.rendering.report_files import Writers
    from flowai.rollouts.listing import ReleaseDiff
    from flowai.rollouts.session import RolloutSession
    from flowai.workspace.workspace import CommandContext

WRITERS: Writers[PostmortemReport] = {".json": to_json, ".md": to_markdown, ".html": to_html}
_ORDER = ("release", "first bad call", "more than usual", "alert", "canary report", "rollback", "recovery")
"""Order of moments in the same second."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class _Verdict(msgspec.Struct):
    """Fields that are read from a canary report."""

    candidate: str
    verdict: str
    until: datetime


def run_postmortem(context: CommandContext, options: PostmortemOptions) -> PostmortemResult:
    """Investigate an incident and write the report."""
    check_endings(options.outputs, WRITERS)
    with open_rollout_session(context, env=options.env, writes=False) as session:
        registry, project = session.registry, session.source.project
        if session.source.is_remote:
            hint = "run it in a checkout, or where FLOWAI_REGISTRY names a file"
            raise UsageError("a registry from the network has no directory for reports", hint=hint)
        if options.feature is not None:
            registry.feature(options.feature)
        now = context.now().replace(microsecond=0)
        window = choose_window(session.ledger, options, current=registry.current, now=now)
        redactor = session.source.redactor
        places = open_event_source(registry, project, session.source.environ, days_around(window.question.time_range))
        with places as directories, open_log(directories, COLUMNS, window.question.time_range) as log:
            investigation, samples = investigate(log, window.question, redact=redactor.text)
        report = _report(session, window, options, investigation)
        if options.adds_cases:
            day = report.since[:10]
            writer = CaseWriter(project, PromptLibrary(project), redactor, day)
            report = msgspec.structs.replace(report, added=writer.add(investigation.findings, samples))
        name = _UNSAFE.sub("-", report.release or "log").strip("-.")[:60] or "log"
        directory = project.reports / "postmortem" / f"{report.since[:10]}-{name}"
    paths = (directory / "report.md", directory / "report.html", directory / "report.json", *options.outputs)
    write_reports(report, paths, WRITERS)
    return PostmortemResult(report=report, directory=project.show(directory))


def _report(
    session: RolloutSession, window: IncidentWindow, options: PostmortemOptions, investigation: Investigation
) -> PostmortemReport:
    question, rollback = window.question, window.rollback
    release, serving = _sides(window, investigation)
    difference, problem_text = _difference(session, release, serving)
    timeline = tuple(_timeline(session, window, investigation))
    return PostmortemReport(
        environment=session.source.environment,
        since=format_us(question.incident.since_us),
        until=format_us(question.incident.until_us),
        baseline_since=format_us(question.baseline.since_us),
        chosen_by=window.chosen_by,
        feature=options.feature,
        release=release,
        serving=serving,
        rollback_by=rollback.actor if rollback else None,
        reason=session.redact(rollback.reason) if rollback else None,
        timeline=timeline,
        investigation=investigation,
        differences=difference.differences if difference else (),
        texts=difference.texts if difference else {},
        follow_ups=follow_ups(investigation.findings, facts=tuple(_follow_ups(investigation, timeline))),
        added=None,
        warnings=tuple(_warnings(window, investigation, problem_text)),
    )


def _sides(window: IncidentWindow, investigation: Investigation) -> tuple[str | None, str | None]:
    """Return the release of the incident and the one to compare with, from the log if the ledger has none."""
    release, serving = window.release, window.serving
    if release is None and investigation.releases:
        release = max(investigation.releases, key=lambda name: _release_share_growth(investigation, name))
    if serving is None or serving == release:
        others = (*investigation.baseline_releases, *investigation.releases)
        serving = next((name for name in others if name != release), None)
    return release, serving


def _release_share_growth(investigation: Investigation, release: str) -> float:
    """Return how much a release's share of the calls grew."""
    before = investigation.baseline_releases.get(release, 0) / max(1, sum(investigation.baseline_releases.values()))
    return investigation.releases[release] / sum(investigation.releases.values()) - before


def _difference(
    session: RolloutSession, release: str | None, serving: str | None
) -> tuple[ReleaseDiff | None, str | None]:
    """Compare the two releases; or return the reason why that is impossible."""
    if release is None:
        return None, "the release is unknown: nothing can be compared"
    if serving is None:
        return None, f"`{release}` is the only release: there is no change between releases"
    try:
        return compare_releases(session, serving, release), None
    except FlowaiError as error:
        return None, f"`{serving}` and `{release}` cannot be compared: {error}"


def _timeline(session: RolloutSession, window: IncidentWindow, investigation: Investigation) -> Iterator[Moment]:
    """Yield the moments of the timeline, oldest first."""
    moments = [
        *_release_steps(session, window),
        *_log_moments(window, investigation),
        *_canary_reports(session, window),
    ]
    rates = {row.kind: row.baseline.rate for row in investigation.kinds}
    rate = rates.get(investigation.timeline_kind) or 0.0
    label = KIND_LABELS[investigation.timeline_kind]
    if investigation.first_bad_at is not None:
        moments.append(
            Moment(at=investigation.first_bad_at, what="first bad call", detail=f"{label}, of the largest finding")
        )
    onset = onset_s(investigation.buckets, rate, since_s=window.question.incident.since_us // 1_000_000)
    if onset is not None:
        detail = f"{label} more often than before, in slices of {investigation.bucket_s // 60} min"
        at = max(format_us(onset * 1_000_000), investigation.first_bad_at or "")  # a slice starts before its first call
        moments.append(Moment(at=at, what="more than usual", detail=detail))
    recovery = recovery_s(investigation.buckets, rate) if onset is not None else None
    if recovery is not None:
        left = _step_time(window.rollback) if window.rollback else ""  # a quiet slice before it is no recovery
        at = max(format_us(recovery * 1_000_000), left)
        moments.append(Moment(at=at, what="recovery", detail=f"{label} as before"))
    for moment in sorted(moments, key=lambda one: (one.at, _ORDER.index(one.what), one.detail)):
        yield msgspec.structs.replace(moment, after_s=_after_s(moment.at, investigation.first_bad_at))


def _after_s(at: str, first: str | None) -> int | None:
    if first is None:
        return None
    seconds = (parse_rfc3339(at) - parse_rfc3339(first)).total_seconds()
    return None if seconds < 0 else round(seconds)


def _release_steps(session: RolloutSession, window: IncidentWindow) -> Iterator[Moment]:
    for entry in (*window.steps, *([window.rollback] if window.rollback else [])):
        what = "rollback" if entry.action == "rollback" else "release"
        yield Moment(at=_step_time(entry), what=what, detail=session.redact(_step_text(entry)) or "")


def _step_time(entry: LedgerEntry) -> str:
    return format_rfc3339(entry.at, whole_seconds=True)


def _step_text(entry: LedgerEntry) -> str:
    if entry.action == "rollback":
        names = ", ".join(entry.rolled_back) or entry.release
        text = f"{names} rolled back, {entry.serving or '?'} serves; by {entry.actor}"
        return f"{text}: {entry.reason}" if entry.reason else text
    stage = "" if entry.to_stage is None else f" to {entry.to_stage}{' %' if isinstance(entry.to_stage, int) else ''}"
    about = " as ".join(name for name in (entry.experiment, entry.release) if name)
    return f"{entry.action} {about}{stage}; by {entry.actor}{' (forced)' if entry.forced else ''}"


def _log_moments(window: IncidentWindow, investigation: Investigation) -> Iterator[Moment]:
    """Yield the alerts of the log, and the release steps that the ledger does not have."""
    known = {_step_time(entry) for entry in (*window.steps, *([window.rollback] if window.rollback else []))}
    for moment in investigation.moments:
        if moment.what == "alert" or moment.at not in known:
            yield Moment(at=moment.at, what=moment.what, detail=moment.detail)


def _canary_reports(session: RolloutSession, window: IncidentWindow) -> Iterator[Moment]:
    """Yield the canary reports of the release with the verdict `rollback` in the time range."""
    if window.release is None:
        return
    for path in sorted((session.source.project.reports / "canary").glob("*/report.json")):
        try:
            one = msgspec.json.decode(path.read_bytes(), type=_Verdict)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue  # of another format, or not completely written yet
        at = format_rfc3339(one.until, whole_seconds=True)
        question = window.question
        inside = format_us(question.incident.since_us) <= at <= format_us(question.after.until_us)
        if one.candidate == window.release and one.verdict == "rollback" and inside:
            yield Moment(at=at, what="canary report", detail=f"{path.parent.name}: rollback")


def _warnings(window: IncidentWindow, investigation: Investigation, problem_text: str | None) -> Iterator[str]:
    yield from window.warnings
    yield from investigation.warnings
    if problem_text:
        yield problem_text
    for problem in investigation.problems:
        yield f"{count(problem.count, 'line')} of the log {PROBLEM_TEXTS[problem.kind]}"
    if not investigation.call_count:
        yield "the log has no calls in this time range"
    elif not investigation.baseline_count:
        yield "no calls before the incident: earlier failures cannot be distinguished from new ones"
    if investigation.call_count and not investigation.content.kept_count:
        yield "no content was kept: no language, no phrases, no examples, no regression cases (`log_content: redacted`)"


def _follow_ups(investigation: Investigation, timeline: tuple[Moment, ...]) -> Iterator[str]:
    """Yield follow-ups that the timeline and the settings suggest."""
    by_event: dict[str, Moment] = {}
    for moment in timeline:
        by_event.setdefault(moment.what, moment)
    first, rollback = investigation.first_bad_at, by_event.get("rollback")
    seen = [by_event[what] for what in ("alert", "canary report") if what in by_event]
    if first and not seen:
        yield "There was no alert in this time range: run `flowai watch`, and set `policies.alert`."
    elif first and (after_s := min(seen, key=lambda one: one.at).after_s) is not None and after_s > 900:  # noqa: PLR2004 - a quarter of an hour
        yield f"The first alert came after {span(after_s)}: shorten `policies.alert.window`, or the first stages."
    if rollback is None and investigation.findings:
        yield "There was no rollback in this time range: `flowai rollback`, if a release is the cause and still serves."
    elif rollback is not None and "recovery" not in by_event and investigation.findings:
        yield "The log shows no recovery: check with `flowai metrics --by feature`."
    if investigation.content.missing and investigation.findings:
        names = ", ".join(f"`{name}`" for name in investigation.content.missing[:5])
        yield f"Keep content of {names} (`log_content: redacted`), so that the next post-mortem can show examples."
    if investigation.findings:
        yield "Add the worst calls as regression cases (`--add-cases`), and name the dataset in a suite."
    if any(problem.kind in ("unreadable", "broken") for problem in investigation.problems):
        yield "Lines of the log are lost: check disks and clocks of the machines that wrote them."
