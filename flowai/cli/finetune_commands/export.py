"""`flowai finetune export`: the files a model is trained with, out of what users accepted and edited."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption, Until

if TYPE_CHECKING:
    from flowai.finetune.dedup.split import SplitRatios
    from flowai.finetune.export.export import ExportResult

_SPLITS = 3

EXAMPLES = examples(
    "flowai finetune export --feature summarization",
    "flowai finetune export --feature summarization --format trl --since 30d",
    "flowai finetune export --feature summarization --allow 'Ada Lovelace'",
)


def command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    feature: Annotated[str, typer.Option("--feature", metavar="NAME", help="Feature whose calls are exported.")],
    format: Annotated[  # noqa: A002 - the option's name
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="Format: openai, openai-dpo, trl, trl-dpo, kto, axolotl or llamafactory."
        ),
    ] = "openai",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Directory of the export; default `finetune/FEATURE/FORMAT`."
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Start: `30d`, `2026-05-02`; default the whole log.")
    ] = None,
    until: Until = None,
    release: Annotated[
        list[str] | None,
        typer.Option("--release", metavar="NAME", help="Export only answers of this release. Repeatable."),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="N/N/N", help="Percentages of users for training, validation and test.")
    ] = "90/5/5",
    language: Annotated[
        list[str] | None,
        typer.Option(
            "--language", metavar="CODE", help="Expected language of answers, such as `en`. Repeatable; default any."
        ),
    ] = None,
    min_answer: Annotated[
        int, typer.Option("--min-answer", metavar="N", help="Minimum number of characters of an answer.")
    ] = 1,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", metavar="N", help="Maximum number of tokens of a pair; default 262,144 characters."
        ),
    ] = None,
    toxicity: Annotated[bool, typer.Option("--toxicity/--no-toxicity", help="Quarantine toxic answers.")] = True,
    similarity: Annotated[
        float,
        typer.Option(
            "--similarity",
            metavar="N",
            help="Minimum similarity of near duplicates, 0.5 to 1; 1 drops equal texts only.",
        ),
    ] = 0.8,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            "--skip",
            metavar="STEP",
            help="Skip evaluation, quality, language, control-tokens, review, sessions or duplicates. Repeatable.",
        ),
    ] = None,
    toxicity_from: Annotated[
        float | None,
        typer.Option("--toxicity-from", metavar="P", help="Minimum probability of a toxic answer; default 0.5."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="Kind of private data to replace, such as EMAIL or PERSON. Repeatable; default all.",
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option("--region", metavar="CODE", help="Numbering plan of phone numbers, such as `DE`. Repeatable."),
    ] = None,
    names_language: Annotated[
        list[str] | None,
        typer.Option(
            "--names-language",
            metavar="CODE",
            help="Language of names and addresses, such as `zh`. Repeatable; default all.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="TEXT", help="Text that stays: a public name, a product. Repeatable."),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option("--names", metavar="SOURCE", help="Source of names: rules, spacy or presidio."),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(
            "--base-model", metavar="NAME", help="Model to train: selects the tokenizer and the configuration files."
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--licence", metavar="TEXT", help="Permitted use of the rows, shown in the dataset card."),
    ] = None,
    usd_per_million: Annotated[
        float | None,
        typer.Option(
            "--usd-per-million", metavar="USD", help="Price of a million training tokens, for the cost estimate."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", help="Number of epochs, for the cost estimate.")] = 3,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing export.")] = False,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Write training files of accepted and edited answers.

    Rows are cleaned, deduplicated and split by user. Exit status: 0, or 5 if no row is left.
    """
    from flowai.cli import console
    from flowai.cli.progress import StageProgress
    from flowai.errors import ExitCode
    from flowai.finetune.cleaning.quality import QualityLimits
    from flowai.finetune.export.dataset_card import NO_LICENSE
    from flowai.finetune.export.export import ExportOptions, run_export
    from flowai.finetune.export.step_losses import check_skipped
    from flowai.finetune.session import PrivacyChoices
    from flowai.rendering.report_files import to_json

    options = ExportOptions(
        feature=feature,
        format=format,
        output=output,
        since=since,
        until=until,
        releases=tuple(release or ()),
        replace=force,
        ratios=_ratios(split),
        rules=QualityLimits(min_answer_chars=min_answer, max_tokens=max_tokens),
        languages=tuple(language or ()),
        toxicity=toxicity,
        skip=check_skipped(skip or ()),
        similarity=similarity,
        privacy=PrivacyChoices(
            kinds=tuple(kind or ()),
            regions=tuple(region or ()),
            languages=tuple(names_language or ()),
            allow=tuple(allow or ()),
            names=names,
            toxicity=toxicity_from,
        ),
        base_model=base_model,
        licence=licence or NO_LICENSE,
        usd_per_million_tokens=usd_per_million,
        epochs=epochs,
    )
    with StageProgress() as progress:
        exported = run_export(console.command_context(env), options, progress)
    if json:
        console.print_json(to_json(exported.manifest))
    else:
        _show(exported)
    if not exported.manifest.row_count:
        raise typer.Exit(ExitCode.INCONCLUSIVE)


def _ratios(text: str) -> SplitRatios:
    from flowai.errors import UsageError
    from flowai.finetune.dedup.split import SplitRatios

    try:
        shares = [float(part) / 100 for part in text.split("/")]
    except ValueError:
        shares = []
    if len(shares) != _SPLITS:
        raise UsageError(f"--split: found `{text}`", hint="three numbers, together 100: `90/5/5`")
    train, validation, test = shares
    return SplitRatios(train=train, validation=validation, test=test)


def _show(exported: ExportResult) -> None:
    from flowai.cli import console
    from flowai.finetune.export.step_losses import high_losses, loss_summary

    manifest, funnel = exported.manifest, exported.manifest.funnel
    console.print_line(
        f"{manifest.feature} -> {manifest.format}   {funnel.selected_count:,} calls   {funnel.judged_count:,} judged   "
        f"{funnel.pair_count:,} pairs"
    )
    console.print_table(
        ("step", "in", "out", "kept out, replaced"),
        [
            (
                step.step,
                f"{step.in_count:,}",
                f"{step.out_count:,}",
                ", ".join(f"{name} {count:,}" for name, count in (*step.rejected.items(), *step.findings.items())),
            )
            for step in manifest.steps
        ],
    )
    for file in manifest.files:
        console.print_line(
            f"{file.name}  {file.row_count:,} rows  {file.tokens:,} tokens ({file.trained_tokens:,} learned)"
        )
    for warning in exported.warnings:
        console.print_line(f"warning: {warning}")
    if manifest.cost_usd is not None:
        console.print_line(f"training: about ${manifest.cost_usd:,.2f} for {manifest.epochs} epochs")
    if manifest.review_count:
        console.print_line(
            f"{manifest.review_count:,} pairs wait for a person: flowai finetune review --feature {manifest.feature}"
        )
    verdict = "NOTHING TO TRAIN WITH" if not manifest.row_count else f"{manifest.row_count:,} ROWS"
    losses = "; ".join(map(loss_summary, high_losses(manifest.steps)))
    warning = f"   WARNING: {losses}" if losses else ""
    console.print_line(f"{verdict}   {exported.directory}/README.md says where they come from{warning}")
