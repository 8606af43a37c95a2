"""`flowai finetune label`: options and screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import AllPairs, Env, JsonOption, JudgeConcurrency, PairsFeature, PairsFile, PairsSince

if TYPE_CHECKING:
    from flowai.finetune.decisions.labels import Label
    from flowai.review.auto_label import LabelResult

EXAMPLES = examples(
    "flowai finetune label --model gpt-4o-mini --feature summarization",
    "flowai finetune label --model gpt-4o-mini --limit 200 --budget-usd 2",
)


def command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Model that labels: a name of the registry.")],
    feature: PairsFeature = None,
    everything: AllPairs = False,
    source: PairsFile = None,
    since: PairsSince = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Label at most N pairs.")] = None,
    budget_usd: Annotated[
        float | None,
        typer.Option("--budget-usd", metavar="USD", min=0, help="Stop before the run costs more than this."),
    ] = None,
    concurrency: JudgeConcurrency = 4,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Let a model label pairs with quality, category, correctness.

    `finetune review` shows the labels. Run it again to continue: pairs that this model labelled with this prompt are
    skipped. Exit status: 0, or 5 if the budget was spent before all pairs were labelled.
    """
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.review.auto_label import LabelOptions, run_label
    from flowai.review.candidates import CandidateSelection

    options = LabelOptions(
        selection=CandidateSelection(feature=feature, source=source, everything=everything, since=since),
        model=model,
        limit=limit,
        budget_usd=budget_usd,
        concurrency=concurrency,
    )
    labelled = run_label(console.command_context(env), options, on_label=_progress)
    if json:
        console.print_json(labelled)
    else:
        _show(labelled)
    if labelled.is_budget_spent:
        raise typer.Exit(ExitCode.INCONCLUSIVE)


def _progress(_: Label, done_count: int, total_count: int) -> None:
    """Print the progress, ten times per run."""
    from flowai.cli import console

    if done_count * 10 // total_count != (done_count - 1) * 10 // total_count:
        console.print_progress_line(f"{done_count:,} of {total_count:,} labelled")


def _show(labelled: LabelResult) -> None:
    from flowai.cli import console

    unusable = f", {labelled.unusable_count:,} of them without a usable answer" if labelled.unusable_count else ""
    known = f", {labelled.already_labelled_count:,} were before" if labelled.already_labelled_count else ""
    console.print_line(
        f"{labelled.model} labelled {labelled.labelled_count:,} pairs{unusable}{known}   ${labelled.cost_usd:,.4f}"
    )
    if labelled.is_budget_spent:
        console.print_line(f"BUDGET SPENT  {labelled.remaining_count:,} pairs are left: run it again with more")
    elif labelled.remaining_count:
        console.print_line(f"{labelled.remaining_count:,} pairs are left: run it again")
    console.print_line(f"{labelled.file} holds the labels")
    console.print_line(f"Then: flowai finetune review --feature {labelled.feature}")
