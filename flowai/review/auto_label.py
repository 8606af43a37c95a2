"""What `flowai finetune label` does: asks a model for a first look at pairs, before a person looks.

Each label is on disk as soon as it is there; a run that was stopped goes on where it was.
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
from flowai.finetune.decisions.labels import Label, judgement_of
from flowai.finetune.records import Pair
from flowai.finetune.session import feature_of, labels_file, read_labels
from flowai.gateway.gateway import Gateway
from flowai.providers import PriceTable
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
"""Calls that fail one after the other before nobody is asked any more."""
_OVERHEAD_TOKENS = 64
"""What a chat's frame takes besides its words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelOptions:
    """What the command was asked."""

    looked: CandidateSelection = field(default_factory=CandidateSelection)
    """Which pairs."""
    model: str
    """Who labels, the registry's name."""
    limit: int | None = None
    """At most so many pairs, >= 1; None for all."""
    budget_usd: float | None = None
    """What the run may cost, > 0; None for no limit."""
    concurrency: int = 4
    """Most calls in flight, >= 1."""


class LabelResult(Struct, frozen=True, kw_only=True):
    """What came of it."""

    feature: str
    """Whose calls."""
    model: str
    """Who labelled."""
    file: str
    """Where the labels lie, as a person would type it."""
    labelled_count: int
    """Pairs labelled by this run."""
    unusable_count: int
    """Those whose answer could not be used; they are noted, and not asked again."""
    already_labelled_count: int
    """Pairs that had a label of this model and prompt before."""
    remaining_count: int
    """Pairs without one still."""
    cost_usd: float
    """Of this run, as far as prices are known."""
    is_budget_spent: bool
    """Whether the next call might have cost more than was left."""


def run_label(
    context: CommandContext, options: LabelOptions, *, on_label: Callable[[Label, int, int], None] = lambda *_: None
) -> LabelResult:
    """Label.

    Args:
        context: the command's context.
        options: what was asked.
        on_label: told of each label, how many there are by then, and how many there will be.

    Raises:
        UsageError: an option is wrong, or a budget is to be held and the model's price is not known.
        ProjectError: the registry or a file of pairs is wrong.
        UndecidedError: there are no pairs.
        InfrastructureError: several calls failed, one after the other.
        InterruptedRunError: the person stopped it; the same command goes on.
    """
    workspace = open_workspace(context)
    feature = feature_of(workspace, options.looked.feature)
    if options.model not in workspace.registry.models:
        hint = expected_one_of(workspace.registry.models, found=options.model)
        raise UsageError(f"no model `{options.model}` in the registry", hint=hint)
    found = select_candidates(context, workspace, feature, options.looked)
    pairs = [pair for pair in (one if isinstance(one, Pair) else one.pair for one in found) if pair is not None]
    prompt = LabelPrompt()
    labels = read_labels(workspace.project, feature)
    known = {one.pair for one in labels if (one.model, one.prompt_hash) == (options.model, prompt.hash)}
    waiting = [pair for pair in pairs if pair.id not in known]
    purse = SpendLimit(workspace, options)
    run = _LabelRun(context, workspace, options, prompt, feature, on_label)
    try:
        asyncio.run(run.label(waiting[: options.limit], purse))
    except KeyboardInterrupt:
        hint = "the same command goes on"
        raise InterruptedRunError(f"interrupted; {run.labelled_count:,} labels are kept", hint=hint) from None
    if isinstance(run.failure, CallError):
        raise InfrastructureError(
            f"{MAX_FAILURES} calls failed, the last: {run.failure}; {run.labelled_count:,} labels are kept",
            hint=run.failure.hint or "the same command goes on",
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
        cost_usd=purse.spent_usd,
        is_budget_spent=purse.is_empty,
    )


class SpendLimit:
    """Holds a run to its budget: the most that a call may cost is set aside before it is made.

    Raises:
        UsageError: the model's price is not known.
    """

    def __init__(self, workspace: Workspace, options: LabelOptions) -> None:
        self._limit_usd = options.budget_usd
        self._held_usd = 0.0
        self.spent_usd = 0.0
        self.is_empty = False
        endpoint = workspace.endpoint(options.model)
        self._is_free = endpoint.file is not None
        self._price = None if self._is_free else PriceTable().price(endpoint.model)
        is_known = self._price is not None and self._price.cost_usd(1, 1) is not None
        if self._limit_usd is not None and not self._is_free and not is_known:
            raise UsageError(
                f"the price of `{options.model}` is not known, so that no budget can be held",
                hint="leave --budget-usd out, and set --limit instead",
            )

    def take(self, most_tokens: int, made_tokens: int) -> float | None:
        """Set aside what a call may cost; None where that is more than is left."""
        price = self._price
        amount = 0.0 if price is None else price.cost_usd(most_tokens, made_tokens) or 0.0
        if self._limit_usd is not None and self.spent_usd + self._held_usd + amount > self._limit_usd:
            self.is_empty = True
            return None
        self._held_usd += amount
        return amount

    def settle(self, held_usd: float, actual_usd: float | None) -> None:
        """Replace what was set aside by what was paid; where that is not known, what was set aside counts."""
        self._held_usd -= held_usd
        self.spent_usd += held_usd if actual_usd is None else actual_usd


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

    async def label(self, pairs: list[Pair], purse: SpendLimit) -> None:
        """Label pairs, several at once."""
        self._total_count = len(pairs)
        start, env, settings = self._workspace.project.root, self._context.env, self._context.runtime_options()
        waiting = iter(pairs)
        async with Gateway(start, env=env, origin="judge", settings=settings) as gateway, asyncio.TaskGroup() as group:
            for _ in range(min(self._options.concurrency, len(pairs))):
                group.create_task(self._work(gateway, waiting, purse))

    async def _work(self, gateway: Gateway, waiting: Iterator[Pair], purse: SpendLimit) -> None:
        for pair in waiting:
            try:
                if self.failure is not None or not await self._ask(gateway, pair, purse):
                    return
            except FlowaiError as error:  # not this call's trouble: no key, no room on the disk
                self.failure = error
                return

    async def _ask(self, gateway: Gateway, pair: Pair, purse: SpendLimit) -> bool:
        """Label one pair; tell whether there was money for it."""
        messages = self._prompt.messages(pair)
        most_tokens = self._tokens.upper_bound(messages) + _OVERHEAD_TOKENS
        held_usd = purse.take(most_tokens, self._prompt.params["max_tokens"])
        if held_usd is None:
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
            self._failed(pair, error)
        else:
            self._failed_in_a_row = 0
            self._write(pair, judgement_of(answer.text), cost_usd)
        finally:
            purse.settle(held_usd, cost_usd)
        return True

    def _failed(self, pair: Pair, error: CallError) -> None:
        """Note what is this pair's own trouble; what would meet the next one, too, is for another run."""
        while isinstance(error, AllModelsFailedError) and error.failures and isinstance(error.failures[-1], CallError):
            error = error.failures[-1]
        if isinstance(error, (ContextTooLongError, ContentFilteredError)):
            self._write(pair, str(error))
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= MAX_FAILURES:
            self.failure = error

    def _write(self, pair: Pair, found: ModelJudgement | str, cost_usd: float | None = 0.0) -> None:
        """Note a judgement, or what is wrong with the answer."""
        label = Label(
            at=self._context.now(),
            pair=pair.id,
            model=self._options.model,
            prompt_hash=self._prompt.hash,
            judgement=None if isinstance(found, str) else found,
            problem=found if isinstance(found, str) else "",
            cost_usd=cost_usd,
        )
        with AppendLog(self.path) as log:
            log.append(label)
        self.labelled_count += 1
        self.unusable_count += label.judgement is None
        self._on_label(label, self.labelled_count, self._total_count)
