"""`flowai finetune check FILE`: options and screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import JsonOption

if TYPE_CHECKING:
    from flowai.finetune.check.records import CheckReport

EXAMPLES = examples(
    "flowai finetune check train.jsonl",
    "flowai finetune check train.jsonl --max-tokens 8192 --model gpt-4.1-mini",
)


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Training file (JSONL).", show_default=False)],
    format: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Format: openai, openai-dpo, trl, trl-dpo, kto, axolotl or llamafactory; default detected by keys.",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", metavar="N", help="Maximum number of tokens of a row; default no limit."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Model to train; its tokenizer counts the tokens.")
    ] = None,
    show: Annotated[
        int, typer.Option("--show", metavar="N", help="List at most N errors and N warnings with their lines.")
    ] = 20,
    json: JsonOption = False,
) -> None:
    """Find the invalid rows of a training file, with line and rule.

    Exit status: 0 if every row is valid, 1 if a row is not. Warnings do not count.
    """
    from flowai.cli import console
    from flowai.errors import ExitCode
    from flowai.finetune.check.checker import run_finetune_check

    report = run_finetune_check(file, format=format, max_tokens=max_tokens, model=model, show_count=show)
    if json:
        console.print_json(report)
    else:
        _show(report)
    if report.error_count:
        raise typer.Exit(ExitCode.GATE_NOT_MET)


def _show(report: CheckReport) -> None:
    from flowai.cli import console

    source = "from --format" if report.format_source == "option" else "by its keys"
    kind = f"{report.format} ({source})" if report.format else "no known format"
    size = f"{report.file_bytes / 1e6:,.1f} MB" if report.file_bytes >= 1e5 else f"{report.file_bytes:,} bytes"  # noqa: PLR2004 - 0.1 MB
    console.print_line(f"{report.file}   {kind}   {report.row_count:,} rows   {size}")
    wide = max((len(rule.rule) for rule in report.rules), default=0)
    high = max((len(f"{rule.count:,}") for rule in report.rules), default=0)
    for rule in report.rules:
        word = "FAIL" if rule.level == "error" else "warn"
        where = f", first at line {rule.first_line:,}" if rule.first_line else ""
        console.print_styled(f"{word}  {rule.rule:<{wide}}  {rule.count:>{high},} x  {rule.meaning}{where}")
    if report.problems:
        console.print_line()
    for problem in report.problems:
        place = f"{report.file}:{problem.line}" if problem.line else report.file
        console.print_line("   ".join(part for part in (place, problem.rule, problem.key, problem.problem) if part))
    if (hidden := report.problem_count - len(report.problems)) > 0:
        console.print_line(f"... and {hidden:,} more; --show lists more of them")
    if report.problems:
        console.print_line()
    if report.tokenizer is not None:
        proxy = ", a proxy: the model's own tokenizer is not installed" if report.tokenizer_is_proxy else ""
        console.print_line(f"tokens counted with {report.tokenizer}{proxy}")
    console.print_styled(_verdict(report))


def _verdict(report: CheckReport) -> str:
    warned = f"; {report.warned_row_count:,} more with warnings" if report.warned_row_count else ""
    if report.broken_row_count:
        return f"BROKEN  {report.broken_row_count:,} of {report.row_count:,} rows{warned}"
    if report.error_count:
        return f"BROKEN  the file itself; its {report.row_count:,} rows are valid{warned}"
    return f"OK  all {report.row_count:,} rows{warned}"
