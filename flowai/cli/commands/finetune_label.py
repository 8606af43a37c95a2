"""`flowai finetune label`: a model's first look at golden pairs, for the person who reviews them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.options import AllPairs, Env, JsonOption, PairsFeature, PairsFile, PairsSince

if TYPE_CHECKING:
    from flowai.finetune.decisions.labels import Label
    from flowai.review.auto_label import LabelResult


def command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    model: Annotated[str, typer.Option("--model", help="Who labels: a model of the registry.")],
    feature: PairsFeature = None,
    everything: AllPairs = False,
    source: PairsFile = None,
    since: PairsSince = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Label at most so many pairs.")] = None,
    budget_usd: Annotated[
        float | None, typer.Option("--budget-usd", min=0, help="Stop before this run costs more, in US dollars.")
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--max-concurrency", "-j", min=1, max=100, help="Most calls in flight.")
    ] = 4,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Ask a model for quality (1 to 5), category and correctness of pairs; `finetune review` shows what it says.

    Run it again to go on: what this model labelled with this prompt is not asked again. Exit status: 0, or 5 when the
    budget ended before the pairs did.
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
        raise typer.Exit(ExitCode.UNDECIDED)


def _progress(_: Label, done_count: int, total_count: int) -> None:
    """Say how far it is, ten times in a run."""
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
