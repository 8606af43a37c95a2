"""What is asked of a log: which sides of a rollout (or arms of an experiment) are compared, when, on which metrics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flowai.analytics.event_query import IS_CALL, TimeRange, literal, moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.analytics.event_query import Log
    from flowai.analytics.records import Metric

COLUMNS = (
    "user_hash",
    "session",
    "feature",
    "release",
    "variant",
    "experiment",
    "arm",
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

METRICS: tuple[Metric, ...] = (
    "error_rate",
    "json_valid",
    "slow_calls",
    "acceptance",
    "hallucination",
    "slow_ttft",
)
"""What a rollout is judged by; guardrails or only shown."""

SETTLING_US = 60_000_000
"""The first minute of a stage counts for neither side: processes learn of a new stage one after the other."""

CELL_US = 300_000_000
"""Five minutes: the finest time that evidence knows; cells are joined into blocks when traffic is thin."""

HOUR_US = 3_600_000_000

_OWN_TRAFFIC_SQL = """kind = 'call' AND list_contains(['library', 'serve'], origin) AND latency_ms IS NOT NULL
    AND error_class IS DISTINCT FROM 'Cancelled'"""
# the hash of nothing would be somebody
_UNIT_SQL = """CASE WHEN is_sticky AND coalesce(user_hash, session) IS NOT NULL
    THEN hash(coalesce(user_hash, 'session ' || session)) END"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSelector:
    """How calls are told apart, and which sides are held against which."""

    expression: str
    """SQL over the columns of a line: its side, NULL for none. Names in it are quoted by `query.literal`."""
    condition: str
    """SQL of the same kind: which lines are asked for their side. A bare column as the expression and conditions on one
    column each cost least: files are asked once for each name in them."""
    candidates: tuple[str, ...]
    """The sides that are judged."""
    control: str
    """The side that they are held against."""
    beside: str | None = None
    """A side that serves what the control serves, and adds to its evidence; None for none."""
    releases: Mapping[str, str] = field(default_factory=dict)
    """By side, the only release that counts; calls of another one are named, and count nowhere."""

    @property
    def arms(self) -> tuple[str, ...]:
        """The sides whose calls are all counted."""
        return (*self.candidates, self.control)


def rollout_sides(candidate: str) -> ArmSelector:
    """Give the sides of a rollout: the variants of its calls, dogfood left out."""
    return ArmSelector(
        expression="variant",
        condition="variant <> 'dogfood'",
        candidates=("canary",),
        control="control",
        beside="stable",
        releases={"canary": candidate},
    )


def experiment_sides(experiment: str, arms: tuple[str, ...]) -> ArmSelector:
    """Give the sides of an experiment: its arms; the first one is what the others are held against."""
    return ArmSelector(
        expression="arm", condition=f"experiment = {literal(experiment)}", candidates=arms[1:], control=arms[0]
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutStage:
    """A stretch of a rollout in which the candidate's share stayed the same."""

    percent: int
    """Its share; 0 for dogfood."""
    stretch: TimeRange
    """When."""
    left_out: frozenset[str] = frozenset()
    """Critical features that do not take part yet."""
    shares_known: bool = True
    """Whether the share is known to have been this from begin to end."""

    @property
    def name(self) -> str:
        """`dogfood` or the percentage, as reports spell it."""
        return str(self.percent) if self.percent else "dogfood"


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonSpec:
    """What is to be counted."""

    sides: ArmSelector
    """How calls are told apart."""
    stages: tuple[RolloutStage, ...]
    """The stages so far, oldest first; the last one is the one that is judged. An experiment has one."""
    feature: str | None
    """Only this feature; None for all."""
    feedback_us: int
    """Microseconds after a call in which feedback and scores count."""
    now_us: int
    """Lines later than this, by more than clocks may differ, are from the future."""
    metrics: tuple[Metric, ...] = METRICS
    """What users are counted by; `error_rate` among them, which every call has something to say on."""

    @property
    def stretch(self) -> TimeRange:
        """From the first stage's begin to where feedback of the last stage's calls may lie."""
        return TimeRange(
            since_us=self.stages[0].stretch.since_us,
            until_us=self.stages[-1].stretch.until_us + self.feedback_us,
        )

    @property
    def until_us(self) -> int:
        """The end of the last stage."""
        return self.stages[-1].stretch.until_us

    def as_of(self, moment_us: int) -> ComparisonSpec:
        """Give the question as it would have been asked at a moment after the begin."""
        begun = [stage for stage in self.stages if stage.stretch.since_us < moment_us]
        ends = TimeRange(since_us=begun[-1].stretch.since_us, until_us=min(moment_us, begun[-1].stretch.until_us))
        return replace(self, stages=(*begun[:-1], replace(begun[-1], stretch=ends)))


def select_calls(log: Log, question: ComparisonSpec) -> None:
    """Name the calls that a question is about: a view `taken` of lines with `stage`, `side`, `feature` and `asker`.

    It may be narrowed later to what stands in it once; `all_taken` stays as it is.
    """
    within = [
        f'("at" >= {moment(stage.stretch.since_us)} AND "at" < {moment(stage.stretch.until_us)})'
        for stage in question.stages
    ]
    spans = " ".join(f"WHEN {condition} THEN {index}" for index, condition in enumerate(within))
    sides = question.sides
    conditions = [IS_CALL, _OWN_TRAFFIC_SQL, f"({sides.condition})", "side IS NOT NULL", f"({' OR '.join(within)})"]
    conditions.append(f'"at" <= {moment(question.now_us)}')
    if question.feature is not None:
        conditions.append(f"feature = {literal(question.feature)}")
    log.fetch(f"""
        CREATE TEMP VIEW all_taken AS
        SELECT *, ({sides.expression}) AS side, {f"CASE {spans} END" if len(within) > 1 else "0"} AS stage,
            {_UNIT_SQL} AS asker
        FROM lines WHERE {" AND ".join(conditions)}
    """)  # noqa: S608 - names and numbers of ours, names of others quoted
    log.fetch("CREATE TEMP VIEW taken AS SELECT * FROM all_taken")


def one_of_sql(column: str, names: tuple[str, ...]) -> str:
    """Give the condition that a column holds one of some names, in a form that is asked once per name in a file."""
    return f"list_contains([{', '.join(literal(name) for name in names)}], {column})"
