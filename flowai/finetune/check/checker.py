"""Checks a training file of any origin: every line, every row, in bounded memory."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from flowai.errors import UsageError
from flowai.finetune.check.lines import check_head, iter_array, iter_lines, iter_texts
from flowai.finetune.check.messages import type_of
from flowai.finetune.check.records import RULES, CheckReport, ProblemMatch, RowProblem, RuleCount, level_of
from flowai.finetune.check.rows import check_row, detect_format
from flowai.finetune.export.token_counts import TrainingTokenCounter, row_bytes
from flowai.finetune.formats.catalog import find_format
from flowai.prompts.control_tokens import ValueSpan, find_tokens
from flowai.redaction import Redactor
from flowai.storage.strict_json import printable, strings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.finetune.check.lines import Line
    from flowai.finetune.formats.catalog import FormatName


MIN_ROWS = 10
"""Source: OpenAI, "Supervised fine-tuning": the smallest number of examples."""
MAX_BYTES = 512 * 1024 * 1024
"""Source: OpenAI, "Files": the largest file."""

_SAMPLED_ROWS_COUNT = 100
_MAX_COLUMNS = 1_000  # a file whose every row has other keys must not fill the memory
_API_FORMATS = frozenset({"openai", "openai-dpo"})
"""Formats of files that are uploaded; other files are read by `datasets`, which ignores empty lines and takes a JSON
array in place of lines."""
_ONCE = frozenset({"line/crlf", "roles/together", "row/other_format"})
"""Rules that a file often breaks on every line: counted, but only the first position is listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOptions:
    """Options of a check."""

    format: FormatName | None = None
    """None to detect it from the rows' keys."""
    max_tokens: int | None = None
    """Maximum tokens of a row, > 0; None for no limit."""
    model: str | None = None
    """The model to train, which decides the tokenizer."""
    max_problems_count: int = 20
    """Maximum number of errors, and of warnings, with their positions, >= 0."""


def check_file(path: Path, name: str, options: CheckOptions) -> CheckReport:
    """Check a file, which the report calls `name`; raises DatasetError if it cannot be read."""
    file_bytes, problem = check_head(path, name)
    checker = _Checker(options)
    is_array = problem is not None and problem.rule == "file/array" and file_bytes <= MAX_BYTES
    if problem is not None and not is_array:
        checker.add_problem(0, problem)
        return checker.report(name, file_bytes)
    lines = partial(iter_array if is_array else iter_lines, path, name)
    format_ = options.format or _guess_format(lines())
    if problem is not None and (format_ is None or format_ in _API_FORMATS):
        checker.add_problem(0, problem)
        return checker.report(name, file_bytes)
    if format_ is None:
        checker.add_problem(0, ProblemMatch("file/format"))
    for line in lines():
        checker.check_line(line, format_)
    checker.check_totals(format_, file_bytes)
    checker.format = format_
    return checker.report(name, file_bytes)


def _guess_format(lines: Iterator[Line]) -> FormatName | None:
    """Return the most frequent format of the first rows."""
    rows = (line.value for line in lines if isinstance(line.value, dict))
    formats = (detect_format(row) for row in islice(rows, _SAMPLED_ROWS_COUNT))
    votes = Counter(format_ for format_ in formats if format_ is not None)
    return votes.most_common(1)[0][0] if votes else None


class _Checker:
    """Checks lines in order and collects the broken rules."""

    def __init__(self, options: CheckOptions) -> None:
        self._options = options
        self._redactor = Redactor()
        self._token_counter = TrainingTokenCounter(options.model) if options.max_tokens is not None else None
        self._counts: Counter[str] = Counter()
        self._first_lines: dict[str, int] = {}
        self._problems: dict[str, list[RowProblem]] = {"error": [], "warning": []}
        self._types: dict[str, str] = {}
        self._labels: set[bool] = set()
        self._row_count = self._broken_row_count = self._warned_row_count = 0
        self.format: FormatName | None = None

    def add_problem(self, number: int, match: ProblemMatch) -> None:
        """Count a broken rule, and list it while there is room."""
        level = level_of(match.rule)
        self._counts[match.rule] += 1
        is_first = match.rule not in self._first_lines
        self._first_lines.setdefault(match.rule, number)
        listed = self._problems[level]
        if len(listed) < self._options.max_problems_count and (is_first or match.rule not in _ONCE):
            listed.append(RowProblem(line=number, rule=match.rule, level=level, key=match.key, problem=match.problem))

    def check_line(self, line: Line, format_: FormatName | None) -> None:
        """Check a line by itself."""
        problems = [match for match in line.problems if match.rule != "line/blank" or format_ in _API_FORMATS]
        if line.is_row:
            self._row_count += 1
            if isinstance(line.value, dict):
                problems += self._check_row(line.value, format_)
            elif not problems or all(match.rule in {"line/bom", "line/crlf"} for match in problems):
                problems.append(ProblemMatch("row/not_object", problem=f"found {type_of(line.value)}"))
        for match in problems:
            self.add_problem(line.number, match)
        if line.is_row:
            levels = {level_of(match.rule) for match in problems}
            self._broken_row_count += "error" in levels
            self._warned_row_count += levels == {"warning"}

    def _check_row(self, row: dict[str, Any], format_: FormatName | None) -> list[ProblemMatch]:
        problems = [] if format_ is None else list(check_row(format_, row))
        problems += check_content(row, self._redactor)
        problems += self._changed_types(row)
        if isinstance(row.get("label"), bool):
            self._labels.add(row["label"])
        if not problems and (over := self._over_limit(row)):
            problems.append(over)
        return problems

    def _changed_types(self, row: dict[str, Any]) -> list[ProblemMatch]:
        """Compare the types of a row's columns with those of the rows before; null fits every type."""
        problems = []
        for key, value in row.items():
            if value is None or (key not in self._types and len(self._types) >= _MAX_COLUMNS):
                continue
            type_ = type_of(value)
            before = self._types.setdefault(key, type_)
            if type_ != before:
                problem = f"found {type_}, before it was {before}"
                problems.append(ProblemMatch("row/type_changes", key, problem))
        return problems

    def _over_limit(self, row: dict[str, Any]) -> ProblemMatch | None:
        limit = self._options.max_tokens
        if limit is None or self._token_counter is None or row_bytes(row) <= limit:
            return None
        tokens, _ = self._token_counter.count(row)
        return ProblemMatch("tokens/over_limit", problem=f"{tokens:,} tokens") if tokens > limit else None

    def check_totals(self, format_: FormatName | None, file_bytes: int) -> None:
        """Check the rules for the file as a whole."""
        if not self._row_count:
            self.add_problem(0, ProblemMatch("file/empty"))
        if format_ in _API_FORMATS:
            if 0 < self._row_count < MIN_ROWS:
                self.add_problem(0, ProblemMatch("file/few_rows", problem=f"found {self._row_count}"))
            if file_bytes > MAX_BYTES:
                self.add_problem(0, ProblemMatch("file/large", problem=f"found {file_bytes / 1024 / 1024:,.0f} MB"))
        if format_ == "kto" and len(self._labels) == 1 and self._row_count > 1:
            self.add_problem(
                0, ProblemMatch("file/one_label", problem=f"all are {str(next(iter(self._labels))).lower()}")
            )

    def report(self, name: str, file_bytes: int) -> CheckReport:
        """Return the report on all lines so far."""
        rules = [
            RuleCount(
                rule=rule, level=level_of(rule), count=count, first_line=self._first_lines[rule], meaning=RULES[rule]
            )
            for rule, count in self._counts.items()
        ]
        rules.sort(key=lambda rule: (rule.level, -rule.count, rule.rule))
        problems = sorted(self._problems["error"] + self._problems["warning"], key=lambda problem: problem.line)
        return CheckReport(
            file=name,
            format=self._options.format or self.format,
            format_source="option" if self._options.format else "detected",
            file_bytes=file_bytes,
            row_count=self._row_count,
            broken_row_count=self._broken_row_count,
            warned_row_count=self._warned_row_count,
            rules=tuple(rules),
            problems=tuple(problems),
            tokenizer=None if self._token_counter is None else self._token_counter.tokenizer,
            tokenizer_is_proxy=self._token_counter is not None and self._token_counter.is_proxy,
        )


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
# every control token is a word in angle or square brackets, also full-width; `[12]` is none, and common
_WORD = re.compile(r"[<\uff1c][^\s<]{1,200}?[>\uff1e]|[\[\uff3b](?!\d+\])[^\s\[]{1,200}?[\]\uff3d]")
_MARK = re.compile(r"\[REDACTED:([a-z0-9-]+)\]")


def check_content(row: dict[str, Any], redactor: Redactor) -> Iterator[ProblemMatch]:
    """Check every text of a row, for any format."""
    if any(_is_suspicious(text, redactor) for text in strings_of(row)):
        for key, text in iter_texts(row):
            yield from _check_text(text, key, redactor)


def _is_suspicious(text: str, redactor: Redactor) -> bool:
    return bool(_CONTROL.search(text) or _WORD.search(text)) or redactor.text(text) != text


def _check_text(text: str, key: str, redactor: Redactor) -> Iterator[ProblemMatch]:
    if control := _CONTROL.search(text):
        yield ProblemMatch("text/control_character", key, f"U+{ord(control.group()):04X}")
    if _WORD.search(text):
        tokens = find_tokens(text, (ValueSpan(start=0, end=len(text), owner=key),))
        yield from (ProblemMatch("text/control_token", key, f"`{printable(t.group())}`") for t, _ in tokens[:1])
    if (clean := redactor.text(text)) != text:
        names = sorted(set(_MARK.findall(clean)) - set(_MARK.findall(text)))
        yield ProblemMatch("text/secret", key, ", ".join(names))


def run_finetune_check(
    file: Path,
    *,
    format: str | None = None,  # noqa: A002 - the option's name
    max_tokens: int | None = None,
    model: str | None = None,
    show_count: int = 20,
) -> CheckReport:
    """Run `flowai finetune check` with its options as typed; no project is needed."""
    if max_tokens is not None and max_tokens <= 0:
        raise UsageError(f"--max-tokens: found {max_tokens}, expected more than 0")
    if show_count < 0:
        raise UsageError(f"--show: found {show_count}, expected 0 or more")
    name = None if format is None else find_format(format).name
    options = CheckOptions(format=name, max_tokens=max_tokens, model=model, max_problems_count=show_count)
    return check_file(file, str(file), options)
