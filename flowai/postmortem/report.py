"""What `flowai postmortem` does: looks into an incident over the event log and writes what it found."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from flowai.analytics.event_query import days_around, open_log
from flowai.errors import FlowaiError, UsageError
from flowai.postmortem.analysis.call_facts import COLUMNS
from flowai.postmortem.analysis.investigate import investigate
from flowai.postmortem.analysis.onset import onset_s, recovery_s
from flowai.postmortem.pages import to_html, to_markdown
from flowai.postmortem.regression_cases import CaseWriter
from flowai.postmortem.report_records import Moment, PostmortemReport, PostmortemResult
from flowai.postmortem.window import choose_window
from flowai.postmortem.wording import KIND_WORDS, follow_ups
from flowai.prompts import PromptLibrary
from flowai.rendering.formatting import span
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

WRITERS: Writers[PostmortemReport] = {
    ".json": to_json,
    ".md": to_markdown,
    ".html": to_html,
}
PROBLEM_WORDS = {
    "unreadable": "cannot be read",
    "unknown_version": "are of a version this flowai does not know",
    "broken": "lack a field, or hold one of the wrong type",
    "future": "lie in the future",
    "duplicated": "were there twice",
    "conflicting": "tell the same call differently",
}
_ORDER = ("release", "first bad call", "more than usual", "alert", "canary report", "rollback", "recovery")
"""Of what happened in the same second."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class _Verdict(msgspec.Struct):
    """What is read of a canary report."""

    candidate: str
    verdict: str
    until: datetime


def run_postmortem(context: CommandContext, options: PostmortemOptions) -> PostmortemResult:
    """Look into an incident, and write the report.

    Args:
        context: the command's context.
        options: what was asked.

    Raises:
        UsageError: an option is wrong, or several environments exist and none was named.
        UndecidedError: no begin was named, and nothing was rolled back.
        ProjectError: the registry or the ledger cannot be read.
        InfrastructureError: the log cannot be read, or a file cannot be written.
    """
    check_endings(options.outputs, WRITERS)
    with open_rollout_session(context, env=options.env, writes=False) as ground:
        registry, project = ground.registry, ground.source.project
        if ground.source.is_remote:
            hint = "run it in a checkout, or where FLOWAI_REGISTRY names a file"
            raise UsageError("there is no place for a report beside a registry from the network", hint=hint)
        if options.feature is not None:
            registry.feature(options.feature)
        now = context.now().replace(microsecond=0)
        window = choose_window(ground.ledger, options, current=registry.current, now=now)
        redactor = ground.source.redactor
        places = open_event_source(registry, project, ground.source.environ, days_around(window.question.stretch))
        with places as directories, open_log(directories, COLUMNS, window.question.stretch) as log:
            found, samples = investigate(log, window.question, redact=redactor.text)
        report = _report(ground, window, options, found)
        if options.adds_cases:
            day = report.since[:10]
            writer = CaseWriter(project, PromptLibrary(project), redactor, day)
            report = msgspec.structs.replace(report, added=writer.add(found.findings, samples))
        name = _UNSAFE.sub("-", report.release or "log").strip("-.")[:60] or "log"
        directory = project.reports / "postmortem" / f"{report.since[:10]}-{name}"
    paths = (directory / "report.md", directory / "report.html", directory / "report.json", *options.outputs)
    write_reports(report, paths, WRITERS)
    return PostmortemResult(report=report, directory=project.show(directory))


def _report(
    ground: RolloutSession, window: IncidentWindow, options: PostmortemOptions, found: Investigation
) -> PostmortemReport:
    question, rollback = window.question, window.rollback
    release, serves = _sides(window, found)
    difference, trouble = _difference(ground, release, serves)
    timeline = tuple(_timeline(ground, window, found))
    return PostmortemReport(
        environment=ground.source.environment,
        since=format_us(question.incident.since_us),
        until=format_us(question.incident.until_us),
        baseline_since=format_us(question.baseline.since_us),
        chosen_by=window.chosen_by,
        feature=options.feature,
        release=release,
        serving=serves,
        rollback_by=rollback.actor if rollback else None,
        reason=ground.redact(rollback.reason) if rollback else None,
        timeline=timeline,
        investigation=found,
        differences=difference.differences if difference else (),
        texts=difference.texts if difference else {},
        follow_ups=follow_ups(found.findings, facts=tuple(_follow_ups(found, timeline))),
        added=None,
        warnings=tuple(_warnings(window, found, trouble)),
    )


# --- what changed ---


def _sides(window: IncidentWindow, found: Investigation) -> tuple[str | None, str | None]:
    """Name the release that is looked into and what it is held against, by the log where the ledger says nothing."""
    release, serves = window.release, window.serving
    if release is None and found.releases:
        release = max(found.releases, key=lambda name: _release_share_growth(found, name))
    if serves is None or serves == release:
        others = (*found.baseline_releases, *found.releases)
        serves = next((name for name in others if name != release), None)
    return release, serves


def _release_share_growth(found: Investigation, release: str) -> float:
    """Give how much larger a release's share of the calls is than before."""
    before = found.baseline_releases.get(release, 0) / max(1, sum(found.baseline_releases.values()))
    return found.releases[release] / sum(found.releases.values()) - before


def _difference(
    ground: RolloutSession, release: str | None, serves: str | None
) -> tuple[ReleaseDiff | None, str | None]:
    """Compare the two releases; or say why that cannot be done."""
    if release is None:
        return None, "no release is known: nothing can be compared"
    if serves is None:
        return None, f"one release only, `{release}`: nothing was changed between releases"
    try:
        return compare_releases(ground, serves, release), None
    except FlowaiError as error:
        return None, f"`{serves}` and `{release}` cannot be compared: {error}"


# --- when ---


def _timeline(ground: RolloutSession, window: IncidentWindow, found: Investigation) -> Iterator[Moment]:
    """Give what happened when, oldest first."""
    moments = [*_steps(ground, window), *_from_log(window, found), *_canary_reports(ground, window)]
    rate = next((row.baseline.rate for row in found.kinds if row.kind == found.timeline_kind), None) or 0.0
    word = KIND_WORDS[found.timeline_kind]
    if found.first_bad_at is not None:
        moments.append(Moment(at=found.first_bad_at, what="first bad call", detail=f"{word}, of the largest finding"))
    onset = onset_s(found.buckets, rate, since_s=window.question.incident.since_us // 1_000_000)
    if onset is not None:
        detail = f"{word} more often than before, in slices of {found.bucket_s // 60} min"
        at = max(format_us(onset * 1_000_000), found.first_bad_at or "")  # a slice begins before its first call
        moments.append(Moment(at=at, what="more than usual", detail=detail))
    recovery = recovery_s(found.buckets, rate) if onset is not None else None
    if recovery is not None:
        left = _of(window.rollback) if window.rollback else ""  # a quiet slice before it is no recovery
        at = max(format_us(recovery * 1_000_000), left)
        moments.append(Moment(at=at, what="recovery", detail=f"{word} as before"))
    for moment in sorted(moments, key=lambda one: (one.at, _ORDER.index(one.what), one.detail)):
        yield msgspec.structs.replace(moment, after_s=_after_s(moment.at, found.first_bad_at))


def _after_s(at: str, first: str | None) -> int | None:
    if first is None:
        return None
    seconds = (parse_rfc3339(at) - parse_rfc3339(first)).total_seconds()
    return None if seconds < 0 else round(seconds)


def _steps(ground: RolloutSession, window: IncidentWindow) -> Iterator[Moment]:
    for entry in (*window.steps, *([window.rollback] if window.rollback else [])):
        what = "rollback" if entry.action == "rollback" else "release"
        yield Moment(at=_of(entry), what=what, detail=ground.redact(_step_words(entry)) or "")


def _of(entry: LedgerEntry) -> str:
    return format_rfc3339(entry.at, whole_seconds=True)


def _step_words(entry: LedgerEntry) -> str:
    if entry.action == "rollback":
        left = ", ".join(entry.rolled_back) or entry.release
        said = f"{left} left, {entry.serving or '?'} serves; by {entry.actor}"
        return f"{said}: {entry.reason}" if entry.reason else said
    stage = "" if entry.to_stage is None else f" to {entry.to_stage}{' %' if isinstance(entry.to_stage, int) else ''}"
    about = " as ".join(name for name in (entry.experiment, entry.release) if name)
    return f"{entry.action} {about}{stage}; by {entry.actor}{' (forced)' if entry.forced else ''}"


def _from_log(window: IncidentWindow, found: Investigation) -> Iterator[Moment]:
    """Give the alerts of the log, and those steps of releases that the ledger does not have."""
    known = {_of(entry) for entry in (*window.steps, *([window.rollback] if window.rollback else []))}
    for moment in found.moments:
        if moment.what == "alert" or moment.at not in known:
            yield Moment(at=moment.at, what=moment.what, detail=moment.detail)


def _canary_reports(ground: RolloutSession, window: IncidentWindow) -> Iterator[Moment]:
    """Give the canary reports of the release that said `rollback` in the stretch."""
    if window.release is None:
        return
    for path in sorted((ground.source.project.reports / "canary").glob("*/report.json")):
        try:
            one = msgspec.json.decode(path.read_bytes(), type=_Verdict)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue  # of another format, or being written
        at = format_rfc3339(one.until, whole_seconds=True)
        stretch = window.question
        inside = format_us(stretch.incident.since_us) <= at <= format_us(stretch.after.until_us)
        if one.candidate == window.release and one.verdict == "rollback" and inside:
            yield Moment(at=at, what="canary report", detail=f"{path.parent.name}: rollback")


# --- what a person should know and do ---


def _warnings(window: IncidentWindow, found: Investigation, trouble: str | None) -> Iterator[str]:
    yield from window.warnings
    yield from found.warnings
    if trouble:
        yield trouble
    for problem in found.problems:
        yield f"{problem.count:,} lines of the log {PROBLEM_WORDS.get(problem.kind, problem.kind)}"
    if not found.call_count:
        yield "there are no calls in this stretch of the log"
    elif not found.baseline_count:
        yield "no calls before the incident: what always was so cannot be told from what broke"
    if found.call_count and not found.content.kept_count:
        yield "no content was kept: no language, no phrases, no examples, no regression cases (`log_content: redacted`)"


def _follow_ups(found: Investigation, timeline: tuple[Moment, ...]) -> Iterator[str]:
    """Draft what the timeline and the settings ask for."""
    by_what: dict[str, Moment] = {}
    for moment in timeline:
        by_what.setdefault(moment.what, moment)
    first, rollback = found.first_bad_at, by_what.get("rollback")
    seen = [by_what[what] for what in ("alert", "canary report") if what in by_what]
    if first and not seen:
        yield "Nothing raised an alert in this stretch: let `flowai watch` run, and set `policies.alert`."
    elif first and (after_s := min(seen, key=lambda one: one.at).after_s) is not None and after_s > 900:  # noqa: PLR2004 - a quarter of an hour
        yield f"It took {span(after_s)} until somebody was told: shorten `policies.alert.window`, or the first stages."
    if rollback is None and found.findings:
        yield "Nothing was rolled back in this stretch: is it over? `flowai rollback`, if a release is to blame."
    elif rollback is not None and "recovery" not in by_what and found.findings:
        yield "The log does not show that it is over: look again, `flowai metrics --by feature`."
    if found.content.missing and found.findings:
        names = ", ".join(f"`{name}`" for name in found.content.missing[:5])
        yield f"Keep content of {names} (`log_content: redacted`), so that the next post-mortem can show examples."
    if found.findings:
        yield "Add the worst calls as regression cases (`--add-cases`), and name the dataset in a suite."
    if any(problem.kind in ("unreadable", "broken") for problem in found.problems):
        yield "Lines of the log are lost: look at the disks and clocks of the machines that wrote them."
