"""Runs `flowai finetune label`: asks a model to label pairs before a reviewer sees them.

Each label is written at once, so that an interrupted run can be continued.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct

from flowai.errors import (
    AllModelsFailedError,
    CallError,
    ContentFilteredError,
    ContextTooLongError,
    FlowaiError,
    InfrastructureError,
    InterruptedRunError,
    UsageError,
    expected_one_of,
)
from flowai.finetune.decisions.labels import Label, parse_judgement
from flowai.finetune.records import Pair
from flowai.finetune.session import labels_file, read_labels, resolve_feature
from flowai.gateway.gateway import Gateway
from flowai.providers import PriceTable
from flowai.providers.endpoint_price import price_of
from flowai.providers.tokens import TokenCounter
from flowai.review.candidates import CandidateSelection, select_candidates
from flowai.review.label_prompt import LabelPrompt
from flowai.storage.jsonl import AppendLog
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.finetune.decisions.labels import ModelJudgement
    from flowai.workspace.workspace import CommandContext, Workspace

MAX_FAILURES = 3
"""Consecutive failed calls after which the run stops."""
_OVERHEAD_TOKENS = 64
"""Tokens of a chat's message format."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelOptions:
    """Options of `flowai finetune label`."""

    selection: CandidateSelection = field(default_factory=CandidateSelection)
    model: str
    """Name in the registry."""
    limit: int | None = None
    """Maximum number of pairs, >= 1; None for all."""
    budget_usd: float | None = None
    """Maximum cost of the run, > 0; None for no limit."""
    concurrency: int = 4
    """Maximum calls in flight, >= 1."""


class LabelResult(Struct, frozen=True, kw_only=True):
    """Result of `flowai finetune label`."""

    feature: str
    model: str
    file: str
    """Path of the labels as a user would type it."""
    labelled_count: int
    unusable_count: int
    """Those without a usable answer; they have a label with a problem, and are not asked again."""
    already_labelled_count: int
    """Pairs with a label of this model and prompt from earlier runs."""
    remaining_count: int
    """Pairs that are still without a label."""
    cost_usd: float
    """Cost of this run, as far as prices are known."""
    is_budget_spent: bool
    """Whether the next call might have cost more than the rest of the budget."""


def run_label(
    context: CommandContext, options: LabelOptions, *, on_label: Callable[[Label, int, int], None] = lambda *_: None
) -> LabelResult:
    """Label the selected pairs; the same command continues an interrupted run.

    `on_label` is called after each label with the number of labels so far and the total. Raises InconclusiveError if
    there are no pairs, InfrastructureError if several calls failed in a row.
    """
    workspace = open_workspace(context)
    feature = resolve_feature(workspace, options.selection.feature)
    if options.model not in workspace.registry.models:
        hint = expected_one_of(workspace.registry.models, found=options.model)
        raise UsageError(f"no model `{options.model}` in the registry", hint=hint)
    candidates = select_candidates(context, workspace, feature, options.selection)
    pairs = [pair for pair in (one if isinstance(one, Pair) else one.pair for one in candidates) if pair is not None]
    prompt = LabelPrompt()
    labels = read_labels(workspace.project, feature)
    labelled = {label.pair for label in labels if (label.model, label.prompt_hash) == (options.model, prompt.hash)}
    waiting = [pair for pair in pairs if pair.id not in labelled]
    budget = SpendLimit(workspace, options)
    run = _LabelRun(context, workspace, options, prompt, feature, on_label)
    try:
        asyncio.run(run.label(waiting[: options.limit], budget))
    except KeyboardInterrupt:
        hint = "run the same command again to continue"
        raise InterruptedRunError(f"interrupted; {run.labelled_count:,} labels are kept", hint=hint) from None
    if isinstance(run.failure, CallError):
        raise InfrastructureError(
            f"{MAX_FAILURES} calls failed, the last: {run.failure}; {run.labelled_count:,} labels are kept",
            hint=run.failure.hint or "run the same command again to continue",
        )
    if run.failure is not None:
        raise run.failure
    return LabelResult(
        feature=feature,
        model=options.model,
        file=workspace.project.show(run.path),
        labelled_count=run.labelled_count,
        unusable_count=run.unusable_count,
        already_labelled_count=len(pairs) - len(waiting),
        remaining_count=len(waiting) - run.labelled_count,
        cost_usd=budget.spent_usd,
        is_budget_spent=budget.is_spent,
    )


class SpendLimit:
    """Enforces the budget of a run: the maximum cost of a call is reserved before it, so its price must be known."""

    def __init__(self, workspace: Workspace, options: LabelOptions) -> None:
        self._limit_usd = options.budget_usd
        self._reserved_usd = 0.0
        self.spent_usd = 0.0
        self.is_spent = False
        endpoint = workspace.endpoint(options.model)
        self._price = price_of(endpoint, PriceTable())
        if self._limit_usd is not None and self._price is None:
            raise UsageError(
                f"the price of `{options.model}` is unknown, so a budget cannot be enforced",
                hint="use `--limit` instead of `--budget-usd`, or set `price` of the model in the registry",
            )

    def reserve(self, max_input_tokens: int, max_output_tokens: int) -> float | None:
        """Reserve the maximum cost of a call; return None if it is more than the rest of the budget."""
        price = self._price
        amount = 0.0 if price is None else price.cost_usd(max_input_tokens, max_output_tokens) or 0.0
        if self._limit_usd is not None and self.spent_usd + self._reserved_usd + amount > self._limit_usd:
            self.is_spent = True
            return None
        self._reserved_usd += amount
        return amount

    def settle(self, reserved_usd: float, actual_usd: float | None) -> None:
        """Replace a reservation by the actual cost; if that is unknown, the reservation counts as spent."""
        self._reserved_usd -= reserved_usd
        self.spent_usd += reserved_usd if actual_usd is None else actual_usd


class _LabelRun:
    def __init__(
        self,
        context: CommandContext,
        workspace: Workspace,
        options: LabelOptions,
        prompt: LabelPrompt,
        feature: str,
        on_label: Callable[[Label, int, int], None],
    ) -> None:
        self._context = context
        self._workspace = workspace
        self._options = options
        self._prompt = prompt
        self._on_label = on_label
        self._tokens = TokenCounter()
        self._failed_in_a_row = 0
        self._total_count = 0
        self.path = labels_file(workspace.project, feature)
        self.labelled_count = self.unusable_count = 0
        self.failure: FlowaiError | None = None

    async def label(self, pairs: list[Pair], budget: SpendLimit) -> None:
        """Label pairs concurrently."""
        self._total_count = len(pairs)
        start, env, settings = self._workspace.project.root, self._context.env, self._context.runtime_options()
        waiting = iter(pairs)
        async with Gateway(start, env=env, origin="judge", settings=settings) as gateway, asyncio.TaskGroup() as group:
            for _ in range(min(self._options.concurrency, len(pairs))):
                group.create_task(self._work(gateway, waiting, budget))

    async def _work(self, gateway: Gateway, waiting: Iterator[Pair], budget: SpendLimit) -> None:
        for pair in waiting:
            try:
                if self.failure is not None or not await self._label_pair(gateway, pair, budget):
                    return
            except FlowaiError as error:  # not caused by this call: a missing key, a full disk
                self.failure = error
                return

    async def _label_pair(self, gateway: Gateway, pair: Pair, budget: SpendLimit) -> bool:
        """Label a pair; return False if the budget is spent."""
        messages = self._prompt.messages(pair)
        max_input_tokens = self._tokens.upper_bound(messages) + _OVERHEAD_TOKENS
        reserved_usd = budget.reserve(max_input_tokens, self._prompt.params["max_tokens"])
        if reserved_usd is None:
            return False
        cost_usd: float | None = 0.0
        try:
            answer = await gateway.complete(
                model=self._options.model,
                messages=messages,
                params=self._prompt.params,
                response_format=self._prompt.response_format,
                use_cache=False,
            )
            cost_usd = answer.cost_usd
        except CallError as error:
            self._record_failure(pair, error)
        else:
            self._failed_in_a_row = 0
            self._write(pair, parse_judgement(answer.text), cost_usd)
        finally:
            budget.settle(reserved_usd, cost_usd)
        return True

    def _record_failure(self, pair: Pair, error: CallError) -> None:
        """Label a pair whose own content failed; count other failures, which would meet the next pairs too."""
        while isinstance(error, AllModelsFailedError) and error.failures and isinstance(error.failures[-1], CallError):
            error = error.failures[-1]
        if isinstance(error, (ContextTooLongError, ContentFilteredError)):
            self._write(pair, str(error))
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= MAX_FAILURES:
            self.failure = error

    def _write(self, pair: Pair, result: ModelJudgement | str, cost_usd: float | None = 0.0) -> None:
        """Append a label with a judgement, or with the error in the answer."""
        label = Label(
            at=self._context.now(),
            pair=pair.id,
            model=self._options.model,
            prompt_hash=self._prompt.hash,
            judgement=None if isinstance(result, str) else result,
            problem=result if isinstance(result, str) else "",
            cost_usd=cost_usd,
        )
        with AppendLog(self.path) as log:
            log.append(label)
        self.labelled_count += 1
        self.unusable_count += label.judgement is None
        self._on_label(label, self.labelled_count, self._total_count)
