"""Estimated cost of verdicts, and the limit of what a run of a judge may spend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.execution.endpoints import endpoint_as_written
from flowai.evals.execution.limits import MIN_MEAN_COUNT, StopReason
from flowai.evals.judges.default_grader import chosen_grader, default_grader
from flowai.evals.judges.feature_judge import judge_feature
from flowai.evals.runs.trials import CHARS_PER_TOKEN
from flowai.providers import PriceTable
from flowai.providers.endpoint_price import price_of
from flowai.rendering import formatting

if TYPE_CHECKING:
    from flowai.evals.suites.records import SuiteProvider
    from flowai.providers import Price
    from flowai.workspace.workspace import Workspace

ASSUMED_REPLY_TOKENS = 100
INSTRUCTIONS_CHARS = 700
"""Assumed length of a judge's prompt without its variables."""
PRICE_HINT = "set `price: {input: ..., output: ...}` of the model in the registry"


class VerdictCosts:
    """Estimates costs of verdicts from the price table.

    Args:
        workspace: the project, with the registry's judge and the default grader.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._table = PriceTable()
        self._judge = judge_feature(workspace)
        self._by_grader: dict[str | None, list[Price | None]] = {}

    def usd(self, char_count: int, *, grader: SuiteProvider | None = None) -> float | None:
        """Return the cost of a verdict, of all jurors that give one; None if a price is not known.

        Args:
            char_count: of all variables of the judge's prompt.
            grader: that an assertion, case or suite names; None for the registry's judge or the default grader.
        """
        tokens = (INSTRUCTIONS_CHARS + char_count) / CHARS_PER_TOKEN
        prices = self._prices(grader)
        costs = [None if price is None else price.cost_usd(tokens, ASSUMED_REPLY_TOKENS) for price in prices]
        known = [cost for cost in costs if cost is not None]
        if len(known) < len(costs):
            return None
        is_cyclic = grader is None and self._judge is not None and self._judge.combine == "cyclic"
        return sum(known) / len(known) if is_cyclic else sum(known)

    def model_usd(self, model: str, char_count: int) -> float | None:
        """Return the cost of a reply of one model; None if its price is not known."""
        price = price_of(self._workspace.with_models((model,)).endpoint(model), self._table)
        tokens = (INSTRUCTIONS_CHARS + char_count) / CHARS_PER_TOKEN
        return None if price is None else price.cost_usd(tokens, ASSUMED_REPLY_TOKENS)

    def _prices(self, grader: SuiteProvider | None) -> list[Price | None]:
        key = None if grader is None else grader.name
        if key not in self._by_grader:
            workspace, judge = self._workspace, self._judge
            if grader is None and judge is not None:
                endpoints = [workspace.endpoint(model) for model in judge.jury or (judge.model,)]
            else:
                default = default_grader(workspace.registry, workspace.release, workspace.environ)
                endpoints = [endpoint_as_written(workspace, chosen_grader(grader, default))]
            self._by_grader[key] = [price_of(endpoint, self._table) for endpoint in endpoints]
        return self._by_grader[key]


class VerdictBudget:
    """Money that verdicts may cost. Each reserves its estimate; after some paid ones, their mean.

    Args:
        max_usd: the limit; None for no limit.
    """

    def __init__(self, max_usd: float | None) -> None:
        self._max_usd = max_usd
        self._reserved_usd = 0.0
        self._paid_usd = 0.0
        self._paid_count = 0
        self.spent_usd: float | None = 0.0
        """None if a price is not known."""
        self.stopped: StopReason | None = None

    def reserve(self, usd: float) -> float | None:
        """Return the reserved cost of a verdict; None if the limit does not allow it: then no further one is asked."""
        expected_usd = self._expected_usd(usd)
        if self.stopped is not None:
            return None
        if self._max_usd is not None and self._paid_usd + self._reserved_usd + expected_usd > self._max_usd:
            self.stopped = StopReason(kind="max_cost", what=f"at --max-cost {formatting.dollars(self._max_usd)}")
            return None
        self._reserved_usd += expected_usd
        return expected_usd

    def _expected_usd(self, usd: float) -> float:
        if not usd or not self._paid_count:
            return usd
        mean_usd = self._paid_usd / self._paid_count
        return mean_usd if self._paid_count >= MIN_MEAN_COUNT else max(usd, mean_usd)

    def settle(self, reserved_usd: float, cost_usd: float | None) -> None:
        """Replace a reservation by the cost of the verdict; None for an unknown one, which counts as reserved."""
        self._reserved_usd -= reserved_usd
        self.spent_usd = None if cost_usd is None or self.spent_usd is None else self.spent_usd + cost_usd
        paid_usd = reserved_usd if cost_usd is None else cost_usd
        self._paid_usd += paid_usd
        self._paid_count += paid_usd > 0
