"""Counts the calls of a rollout: one shape of query, by stage, time, feature, arm and 1 % log bucket.

In: a log, the stretches of the stages. Out: CanaryCounts, small and mergeable by addition. Must never know what they
prove.

Calls of one user (or session) are one: in each cell of time a user is at risk, fails or does not, and is not at risk
any more once they have failed. So a user whose calls all fail, or who retries, counts once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from flowai.metrics.frozen import ANSWERED, CELL_US, HOUR_US, freeze
from flowai.metrics.query import IS_CALL, PROBLEMS, Stretch
from flowai.metrics.told import join_opinions, parts_of, tell_once

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.metrics.model import Metric, ProblemKind
    from flowai.metrics.query import Log

COLUMNS = (
    "user_hash",
    "session",
    "feature",
    "release",
    "variant",
    "is_sticky",
    "prompt_hash",
    "cache",
    "cost_usd",
    "ttft_ms",
    "json_valid",
    "error_class",
    "verdict",
)
"""What a log must be opened with."""

SETTLING_US = 60_000_000
"""The first minute of a stage counts for neither side: processes learn of a new stage one after the other."""

NANO = 1_000_000_000
"""Dollars are summed as whole billionths, so that the order of addition cannot show."""

_STAGES = 64
"""A slot is a cell times this, plus the stage: it grows with time, and a cell that two stages share gives two."""

_METRICS: tuple[tuple[Metric, str, str], ...] = (
    ("error_rate", "TRUE", "failed"),
    ("json_valid", "bad_json IS NOT NULL", "bad_json"),
    ("acceptance", "unaccepted IS NOT NULL", "unaccepted"),
)
_OWN = "kind = 'call' AND origin IN ('library', 'serve') AND error_class IS DISTINCT FROM 'Cancelled'"
_ASKER = (
    "CASE WHEN is_sticky AND coalesce(user_hash, session) IS NOT NULL"
    " THEN hash(coalesce(user_hash, 'session ' || session)) END"  # the hash of nothing would be somebody
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A stretch of a rollout in which the candidate's share stayed the same.

    Args:
        percent: its share; 0 for dogfood.
        stretch: when.
        left_out: critical features that do not take part yet.
        shares_known: whether the share is known to have been this from begin to end.
    """

    percent: int
    stretch: Stretch
    left_out: frozenset[str] = frozenset()
    shares_known: bool = True

    @property
    def name(self) -> str:
        """`dogfood` or the percentage, as reports spell it."""
        return str(self.percent) if self.percent else "dogfood"


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryQuestion:
    """What is to be counted.

    Args:
        candidate: the release that is rolled out.
        stages: the rollout's stages so far, oldest first; the last one is the one that is judged.
        feature: only this feature; None for all.
        feedback_us: microseconds after a call in which feedback counts.
        now_us: lines later than this, by more than clocks may differ, are from the future.
    """

    candidate: str
    stages: tuple[Stage, ...]
    feature: str | None
    feedback_us: int
    now_us: int

    @property
    def stretch(self) -> Stretch:
        """From the first stage's begin to where feedback of the last stage's calls may lie."""
        return Stretch(
            since_us=self.stages[0].stretch.since_us,
            until_us=self.stages[-1].stretch.until_us + self.feedback_us,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Users of both arms in one cell of time.

    Args:
        stage: index into the stages.
        feature: whose.
        at_us: begin of the cell, microseconds since 1970.
        counts: candidate, control: users at risk.
        failure_counts: candidate, control: users who failed.
        stable_count: users at risk of the same release beside the control; they add to the evidence only.
        stable_failure_count: those who failed.
    """

    stage: int
    feature: str
    at_us: int
    counts: tuple[int, int]
    failure_counts: tuple[int, int]
    stable_count: int = 0
    stable_failure_count: int = 0


@dataclass(slots=True)
class CallCounts:
    """Sums over calls; every one of them merges by addition."""

    call_count: int = 0
    failed_count: int = 0
    promised_json_count: int = 0
    bad_json_count: int = 0
    judged_count: int = 0
    unaccepted_count: int = 0
    priced_count: int = 0
    cost_nano_usd: int = 0

    def add(self, numbers: tuple[int, ...]) -> None:
        """Add sums in the order of the fields."""
        for name, number in zip(self.__slots__, numbers, strict=True):
            setattr(self, name, getattr(self, name) + number)


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """What served calls of one variant of one feature.

    Args:
        variant: which side.
        release: what it was; None where the event does not say.
        feature: whose calls.
        prompt_hash: the prompt's hash; None for messages given as they are.
        call_count: how many lines, >= 1.
    """

    variant: str
    release: str | None
    feature: str
    prompt_hash: str | None
    call_count: int


@dataclass(kw_only=True, slots=True)
class CanaryCounts:
    """Everything a verdict is made from. Arms are True for the candidate, False for the control.

    Args:
        unit: what counts once.
        cells: by metric, in order of time, then feature.
        calls: sums by arm, stage and hour (microseconds since 1970).
        latency: answers by arm, stage and bucket of milliseconds.
        ttft: the same of the time to the first token.
        units: different users by arm and stage.
        assigned: different users by stage and variant, of the features that take part.
        versions: what served.
        problems: lines that could not be used.
        slow_above: frozen bucket of latency by feature, beyond which a call is slow.
        slow_ttft_above: the same of the time to the first token.
        uninvited: lines of critical features, by feature, that served the candidate before they take part.
    """

    unit: Literal["user", "call"] = "user"
    cells: dict[Metric, list[Cell]] = field(default_factory=dict)
    calls: dict[tuple[bool, int, int], CallCounts] = field(default_factory=dict)
    latency: dict[tuple[bool, int], dict[int, int]] = field(default_factory=dict)
    ttft: dict[tuple[bool, int], dict[int, int]] = field(default_factory=dict)
    slow: dict[tuple[Metric, bool, int], tuple[int, int]] = field(default_factory=dict)
    units: Counter[tuple[bool, int]] = field(default_factory=Counter)
    assigned: dict[int, dict[str, int]] = field(default_factory=dict)
    versions: list[Version] = field(default_factory=list)
    problems: dict[ProblemKind, int] = field(default_factory=dict)
    slow_above: dict[str, int] = field(default_factory=dict)
    slow_ttft_above: dict[str, int] = field(default_factory=dict)
    uninvited: dict[str, int] = field(default_factory=dict)


def count_canary(log: Log, question: CanaryQuestion) -> CanaryCounts:
    """Count.

    Args:
        log: opened with `COLUMNS` over the question's stretch.
        question: what is counted.

    Returns:
        The counts; the same events in any order, in any files, give the same.
    """
    found = CanaryCounts()
    _define(log, question)
    for kind, count in log.rows(PROBLEMS, {"future_us": question.now_us}):
        found.problems[kind] = count
    _count_versions(log, question, found)
    _gather(log, question, found)
    rollout = Stretch(since_us=question.stages[0].stretch.since_us, until_us=question.stages[-1].stretch.until_us)
    found.slow_above = freeze(log, rollout, "latency_ms")
    found.slow_ttft_above = freeze(log, rollout, "ttft_ms")
    _count_calls(log, found)
    _count_units(log, found)
    _count_assigned(log, question, found)
    return found


def _define(log: Log, question: CanaryQuestion) -> None:
    """Name what the other queries share: the stage of a line, and whether it is one of the rollout."""
    spans = " ".join(
        f"WHEN at_us >= {stage.stretch.since_us} AND at_us < {stage.stretch.until_us} THEN {index}"
        for index, stage in enumerate(question.stages)
    )
    only = ""
    if question.feature is not None:
        log.rows("CREATE TABLE only_feature AS SELECT $feature::VARCHAR AS feature", {"feature": question.feature})
        only = "AND feature IN (SELECT feature FROM only_feature)"
    log.rows("CREATE TABLE left_out (stage INTEGER, feature VARCHAR)")
    for index, stage in enumerate(question.stages):
        for feature in sorted(stage.left_out):
            log.rows("INSERT INTO left_out VALUES ($stage, $feature)", {"stage": index, "feature": feature})
    log.rows(f"""
        CREATE TEMP VIEW rollout AS
        SELECT *, CASE {spans} END AS stage, {_ASKER} AS asker FROM lines
        WHERE {IS_CALL} AND {_OWN} AND variant IS NOT NULL AND variant <> 'dogfood' AND at_us <= {question.now_us}
            AND stage IS NOT NULL {only}
    """)  # noqa: S608 - numbers of ours


def _count_versions(log: Log, question: CanaryQuestion, found: CanaryCounts) -> None:
    rows = log.rows("""
        SELECT variant, release, coalesce(feature, ''), prompt_hash, count(*), count(asker) FROM rollout
        WHERE variant IN ('canary', 'control') GROUP BY ALL ORDER BY ALL
    """)
    found.versions = [
        Version(variant=variant, release=release, feature=feature, prompt_hash=prompt_hash, call_count=count)
        for variant, release, feature, prompt_hash, count, _ in rows
    ]
    if rows and not any(row[-1] for row in rows):
        found.unit = "call"
    found.uninvited = dict(
        log.rows("""
            SELECT feature, count(*) FROM rollout SEMI JOIN left_out USING (stage, feature)
            WHERE variant IN ('canary', 'control') GROUP BY 1 ORDER BY 1
        """)
    )
    del question


def _gather(log: Log, question: CanaryQuestion, found: CanaryCounts) -> None:
    """Make `calls`: each call of both arms once, with what its user made of it; and name what was there twice."""
    unit = "asker" if found.unit == "user" else "hash(call_id)"
    # what serves beside the control is the same release at the same time: it adds to the evidence
    log.rows("CREATE TABLE baselines (release VARCHAR)")
    for release in sorted({one.release for one in found.versions if one.variant == "control" and one.release}):
        log.rows("INSERT INTO baselines VALUES ($release)", {"release": release})
    bucket = "CASE WHEN {given} THEN CAST(floor(ln(greatest({column}, 0.001)) / ln(1.01)) AS SMALLINT) END"
    log.rows(
        f"""
        CREATE TABLE told AS
        SELECT hash(call_id) AS call, variant = 'canary' AS is_candidate, variant = 'stable' AS is_stable,
            stage::TINYINT AS stage,
            coalesce(feature, '') AS feature, at_us, {unit} AS unit, error_class IS NOT NULL AS failed,
            NOT json_valid AS bad_json,
            {bucket.format(given=ANSWERED, column="latency_ms")} AS latency,
            {bucket.format(given=f"{ANSWERED} AND ttft_ms >= 0", column="ttft_ms")} AS ttft,
            CASE WHEN cache = 'miss' THEN CAST(round(cost_usd * {NANO}) AS BIGINT) END AS cost
        FROM rollout WHERE variant = 'control' OR (variant = 'canary' AND release = $candidate)
            OR (variant = 'stable' AND release IN (SELECT release FROM baselines))
    """,  # noqa: S608 - names of ours
        {"candidate": question.candidate},
    )
    found.problems |= tell_once(log)
    join_opinions(log, f"said_us < at_us + {question.feedback_us}")


def _count_calls(log: Log, found: CanaryCounts) -> None:
    sums = """count(*), count(*) FILTER (failed), count(bad_json), count(*) FILTER (bad_json),
        count(accepted), count(*) FILTER (NOT accepted), count(cost), coalesce(sum(cost), 0)"""
    for arm, stage, hour, *numbers in log.rows(
        f"SELECT is_candidate, stage, at_us // {HOUR_US}, {sums} FROM calls WHERE NOT is_stable GROUP BY ALL"  # noqa: S608 - names of ours
    ):
        found.calls.setdefault((arm, stage, hour * HOUR_US), CallCounts()).add(tuple(int(one) for one in numbers))
    for column, into in (("latency", found.latency), ("ttft", found.ttft)):
        measured = (
            f"SELECT is_candidate, stage, {column}, count(*) FROM told WHERE NOT is_stable AND {column} IS NOT NULL"  # noqa: S608 - as above
        )
        for arm, stage, bucket, count in log.rows(f"{measured} GROUP BY ALL ORDER BY ALL"):
            into.setdefault((arm, stage), {})[bucket] = count
    for name, column in (("slow_calls", "latency"), ("slow_ttft", "ttft")):
        for arm, stage, count, slow in log.rows(f"""
            SELECT is_candidate, stage, count(*), count(*) FILTER ({column} > above) FROM told
            JOIN frozen_{column}_ms AS frozen USING (feature)
            WHERE NOT is_stable AND {column} IS NOT NULL AND at_us // {CELL_US} > frozen.cell GROUP BY ALL
        """):  # noqa: S608 - names of ours
            found.slow[name, arm, stage] = (count, slow)  # type: ignore[index]
    for arm, stage, count in log.rows(
        "SELECT is_candidate, stage, count(DISTINCT unit) FROM told WHERE NOT is_stable GROUP BY ALL"
    ):
        found.units[arm, stage] = count


def _count_units(log: Log, found: CanaryCounts) -> None:
    """Collapse the calls of each user in each cell, then count users at risk until their first failure, by metric."""
    collapse = f"""
        SELECT is_candidate, is_stable, feature, at_us // {CELL_US} * {_STAGES} + stage AS slot, unit,
            bool_or(failed) AS failed,
            bool_or(bad_json) AS bad_json, bool_or(NOT accepted) AS unaccepted,
            max(CASE WHEN at_us // {CELL_US} > a.cell THEN latency END) > any_value(a.above) AS slow,
            max(CASE WHEN at_us // {CELL_US} > b.cell THEN ttft END) > any_value(b.above) AS slow_ttft
        FROM calls LEFT JOIN frozen_latency_ms AS a USING (feature) LEFT JOIN frozen_ttft_ms AS b USING (feature)
        WHERE unit IS NOT NULL AND {{part}} GROUP BY ALL
    """  # noqa: S608 - numbers of ours
    log.rows(f"CREATE TABLE users AS {collapse.format(part='FALSE')}")
    for part in parts_of(log, "unit"):
        log.rows(f"INSERT INTO users {collapse.format(part=part)}")
    metrics = (
        *_METRICS,
        ("slow_calls", "slow IS NOT NULL", "slow"),
        ("slow_ttft", "slow_ttft IS NOT NULL", "slow_ttft"),
    )
    for name, given, failed in metrics:
        rows = log.rows(f"""
            WITH first AS (
                SELECT is_candidate, feature, unit, min(slot) AS until FROM users
                WHERE {given} AND {failed} GROUP BY ALL
            )
            SELECT slot, feature, count(*) FILTER (is_candidate), count(*) FILTER (NOT is_candidate AND NOT is_stable),
                count(*) FILTER (is_stable), count(*) FILTER (is_candidate AND {failed}),
                count(*) FILTER (NOT is_candidate AND NOT is_stable AND {failed}),
                count(*) FILTER (is_stable AND {failed})
            FROM users LEFT JOIN first USING (is_candidate, feature, unit)
            WHERE {given} AND (until IS NULL OR slot <= until) GROUP BY ALL ORDER BY ALL
        """)  # noqa: S608 - names of ours
        found.cells[name] = [
            Cell(
                stage=slot % _STAGES,
                feature=feature,
                at_us=slot // _STAGES * CELL_US,
                counts=(candidate, control),
                failure_counts=(candidate_failed, control_failed),
                stable_count=stable,
                stable_failure_count=stable_failed,
            )
            for slot, feature, candidate, control, stable, candidate_failed, control_failed, stable_failed in rows
        ]


def _count_assigned(log: Log, question: CanaryQuestion, found: CanaryCounts) -> None:
    """Count users by variant, so that shares can be held against what they should be."""
    unit = "asker" if found.unit == "user" else "hash(call_id)"
    for stage, variant, count in log.rows(f"""
        SELECT stage, variant, count(DISTINCT {unit}) FROM rollout ANTI JOIN left_out USING (stage, feature)
        GROUP BY ALL ORDER BY ALL
    """):  # noqa: S608 - names of ours
        if count:
            found.assigned.setdefault(stage, {})[variant] = count
    del question


def stage_calls(counts: CanaryCounts, stage: int) -> Mapping[bool, CallCounts]:
    """Add the calls of a stage up, by arm."""
    added: dict[bool, CallCounts] = {True: CallCounts(), False: CallCounts()}
    for (arm, index, _), sums in counts.calls.items():
        if index == stage:
            added[arm].add(tuple(getattr(sums, name) for name in CallCounts.__slots__))
    return added
