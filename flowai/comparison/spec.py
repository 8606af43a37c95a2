"""Specification of a count: arms of a rollout or an experiment, stages, metrics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flowai.analytics.event_query import CLOCK_SKEW_S, IS_CALL, DerivedColumn, TimeRange, literal, moment
from flowai.comparison.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.analytics.event_query import Log
    from flowai.analytics.records import Metric

SETTLING_US = 60_000_000
"""The first minute of a stage is left out: processes learn of a new stage at different times."""

CELL_US = 300_000_000
"""Five minutes: the resolution of evidence; cells are joined into blocks when traffic is thin."""

HOUR_US = 3_600_000_000

BORDER_US = 600_000_000
"""Shares are not checked within ten minutes of the border of a stage: clocks of machines differ by minutes."""

OWN_TRAFFIC_SQL = """kind = 'call' AND list_contains(['library', 'serve'], origin) AND latency_ms IS NOT NULL"""
_KNOWN_SQL = "at_us + CAST(latency_ms * 1000 AS BIGINT)"
FELL_BACK_SQL = """(error_class IS NULL AND (coalesce(degraded, FALSE)
    OR coalesce(json_extract_string(attempts, '$[#-1].model') <> requested_model, FALSE)))"""
CANCELLED_SQL = "coalesce(error_class = 'Cancelled', FALSE)"
UNSENT_ERRORS = ("InvalidRequestError", "UsageError", "BudgetError")
"""Errors that, in a call without any attempt, are about the request, the gateway or the budget: no provider failed."""

_STATUSES_SQL = "json_extract_string(attempts, '$[*].status')"
_CALLED_SQL = f"len(list_filter({_STATUSES_SQL}, lambda one: one <> 'skipped'))"
_REFUSED_SQL = "len(list_filter(json_extract_string(attempts, '$[*].was_tried'), lambda one: one = 'false'))"
# lambdas are slow, so that texts are searched first; attempts of old logs lack `was_tried`, and count as sent
UNSENT_SQL = f"""CASE WHEN error_class IS NULL OR error_class = 'Cancelled' THEN FALSE
    WHEN contains(attempts::VARCHAR, 'was_tried') AND contains(attempts::VARCHAR, 'false')
        THEN coalesce({_REFUSED_SQL} >= greatest({_CALLED_SQL}, 1), FALSE)
    WHEN list_contains({list(UNSENT_ERRORS)}, error_class)
        THEN coalesce(NOT list_has_any({_STATUSES_SQL}, ['error', 'ok']), TRUE)
    ELSE FALSE END"""
_DETOUR = DerivedColumn(
    name="is_detour",
    expression=f"kind = 'call' AND CASE WHEN error_class IS NULL THEN {FELL_BACK_SQL} ELSE {UNSENT_SQL} END",
    sources=("kind", "error_class", "degraded", "attempts", "requested_model"),
    sql_type="BOOLEAN",
    is_flag=True,
)
"""Both in one column: an answer fell back, or an error was not sent."""
DETOUR_COLUMNS_SQL = """error_class IS NULL AND is_detour AS fell_back,
    error_class IS NOT NULL AND is_detour AS is_unsent"""
REACHES_SQL = "(cache = 'miss' AND NOT is_unsent)"
FAILED_SQL = "((error_class IS NOT NULL AND NOT is_cancelled) OR fell_back)"


def _hash_of(name: str, text: str, *sources: str, condition: str = "TRUE") -> DerivedColumn:
    """Return a column with the hash of a text; without the condition, NULL would hash to a number."""
    return DerivedColumn(
        name=name,
        expression=f"CASE WHEN {condition} AND {text} IS NOT NULL THEN hash({text}) END",
        sources=sources,
        sql_type="UBIGINT",
    )


COLUMNS: tuple[str | DerivedColumn, ...] = (
    "feature",
    "release",
    "variant",
    "experiment",
    "arm",
    "is_sticky",
    "cache",
    "cost_usd",
    "ttft_ms",
    "json_valid",
    "error_class",
    "verdict",
    "judge_hash",
    _hash_of("user_key", "user_hash", "user_hash"),
    _hash_of(
        "unit_hash",
        "coalesce(user_hash, 'session ' || session)",
        "is_sticky",
        "user_hash",
        "session",
        condition="is_sticky",
    ),
    _hash_of("caller", "coalesce(user_hash, session, caller_hash)", "user_hash", "session", "caller_hash"),
    _hash_of("prompt", "prompt_hash", "prompt_hash"),
    _DETOUR,
)
"""Columns that the log must be opened with. `unit_hash` is NULL without a user or session; `caller` is NULL for calls
from Python without user and session, which come from trusted code."""

CALLER_SQL = "CASE WHEN unit_hash IS NULL THEN caller END"
"""SQL over a selected call: a hash of the caller of a call that is a unit of its own; NULL for other calls."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSelector:
    """Selects the arm of a call."""

    expression: str
    """SQL over the columns of a line: its arm, or NULL. Names in it are quoted by `event_query.literal`."""
    condition: str
    """SQL over the columns of a line: which lines have an arm. A bare column as the expression and conditions on one
    column each are cheapest: Parquet filters by each name."""
    candidates: tuple[str, ...]
    control: str
    extra_control: str | None = None
    """An arm that serves the same release as the control, and adds to its evidence."""
    releases: Mapping[str, str] = field(default_factory=dict)
    """By arm, the only release that counts; calls of other releases are reported and not counted."""

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that are compared."""
        return (*self.candidates, self.control)

    @property
    def all_arms(self) -> tuple[str, ...]:
        """The compared arms and the extra control."""
        return (*self.arms, *((self.extra_control,) if self.extra_control else ()))


def rollout_sides(candidate: str) -> ArmSelector:
    """Return the arms of a rollout: the variants of its calls without dogfood."""
    return ArmSelector(
        expression="variant",
        condition="variant <> 'dogfood'",
        candidates=("canary",),
        control="control",
        extra_control="stable",
        releases={"canary": candidate},
    )


def experiment_sides(experiment: str, arms: tuple[str, ...]) -> ArmSelector:
    """Return the arms of an experiment; the first one is the control."""
    return ArmSelector(
        expression="arm", condition=f"experiment = {literal(experiment)}", candidates=arms[1:], control=arms[0]
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutStage:
    """Time range of a rollout in which the candidate's share was constant."""

    percent: int
    """The candidate's share; 0 for dogfood."""
    time_range: TimeRange
    left_out: frozenset[str] = frozenset()
    """Critical features that do not take part yet."""
    shares_known: bool = True
    """Whether the share is known to have been constant in the whole range."""

    @property
    def name(self) -> str:
        """`dogfood` or the percentage, as in reports."""
        return str(self.percent) if self.percent else "dogfood"


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonSpec:
    """Specification of a count."""

    sides: ArmSelector
    stages: tuple[RolloutStage, ...]
    """Oldest first; the last one is judged. An experiment has one."""
    feature: str | None
    """None for all features."""
    feedback_us: int
    """Microseconds after a call in which feedback and scores count."""
    now_us: int
    """Time of the look, microseconds since 1970: calls that end later are not known yet."""
    metrics: tuple[Metric, ...] = METRICS
    """Metrics to compare; `error_rate` is one of them."""
    clock_us: int | None = None
    """The clock's time, if it is later than the look's: lines between both are not known yet, and not from the
    future."""

    @property
    def future_us(self) -> int:
        """Time after which lines are from the future, clock skew included."""
        return max(self.now_us, self.clock_us or 0) + CLOCK_SKEW_S * 1_000_000

    @property
    def time_range(self) -> TimeRange:
        """From the start of the first stage to the end of the feedback window of the last stage."""
        return TimeRange(
            since_us=self.stages[0].time_range.since_us, until_us=self.stages[-1].time_range.until_us + self.feedback_us
        )

    @property
    def until_us(self) -> int:
        """End of the last stage."""
        return self.stages[-1].time_range.until_us

    def as_of(self, moment_us: int) -> ComparisonSpec:
        """Return the specification as of a time after the start."""
        begun = [stage for stage in self.stages if stage.time_range.since_us < moment_us]
        ends = TimeRange(since_us=begun[-1].time_range.since_us, until_us=min(moment_us, begun[-1].time_range.until_us))
        return replace(self, stages=(*begun[:-1], replace(begun[-1], time_range=ends)), now_us=moment_us)


def select_calls(log: Log, spec: ComparisonSpec) -> None:
    """Create the view `selected`: calls of the compared arms that are known by now.

    Its columns are those of the lines, `stage`, `side`, `known_us` (the end of the call), `fell_back` (another model or
    the last resort answered), `is_cancelled` (the caller left),
    `is_unsent` (it failed before a provider was asked) and `has_failed` (the release's own model failed, whatever the
    caller got). Deduplication may narrow it later;
    `all_selected` does not change.
    """
    within = [
        f'("at" >= {moment(stage.time_range.since_us)} AND "at" < {moment(stage.time_range.until_us)})'
        for stage in spec.stages
    ]
    spans = " ".join(f"WHEN {condition} THEN {index}" for index, condition in enumerate(within))
    sides = spec.sides
    conditions = [IS_CALL, OWN_TRAFFIC_SQL, f"({sides.condition})", "side IS NOT NULL", f"({' OR '.join(within)})"]
    conditions.append(f"known_us < {spec.now_us}")
    if spec.feature is not None:
        conditions.append(f"feature = {literal(spec.feature)}")
    log.fetch(f"""
        CREATE TEMP VIEW all_selected AS
        SELECT *, ({sides.expression}) AS side, {f"CASE {spans} END" if len(within) > 1 else "0"} AS stage,
            {_KNOWN_SQL} AS known_us, {DETOUR_COLUMNS_SQL}, {CANCELLED_SQL} AS is_cancelled, {FAILED_SQL} AS has_failed
        FROM (SELECT * EXCLUDE line REPLACE ({log.flag_sql("is_detour")} AS is_detour) FROM lines)
        WHERE {" AND ".join(conditions)}
    """)  # noqa: S608 - names and numbers of ours, names of others quoted
    log.fetch("CREATE TEMP VIEW selected AS SELECT * FROM all_selected")


def counted_sql(spec: ComparisonSpec) -> str:
    """Return the SQL condition that a call takes part: its release is its arm's, and its feature's arms differ."""
    sides = spec.sides
    baselines = (sides.control, *((sides.extra_control,) if sides.extra_control else ()))
    conditions = [
        f'(side <> {literal(side)} OR "release" IS NOT DISTINCT FROM {literal(release)})'
        for side, release in sides.releases.items()
    ]
    conditions += [
        f'("release" IS DISTINCT FROM {literal(release)} OR NOT {one_of_sql("side", baselines)})'
        for release in sides.releases.values()
    ]
    conditions += [
        f"NOT (stage = {index} AND coalesce({one_of_sql('feature', tuple(sorted(stage.left_out)))}, FALSE))"
        for index, stage in enumerate(spec.stages)
        if stage.left_out
    ]
    return " AND ".join(conditions) or "TRUE"


def one_of_sql(column: str, names: tuple[str, ...]) -> str:
    """Return the SQL condition that a column has one of some values, in a form that Parquet filters efficiently."""
    return f"list_contains([{', '.join(literal(name) for name in names)}], {column})"
