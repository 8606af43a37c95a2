"""Checks a training file, ours or anyone's: every line, every row, in bounded memory."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from flowai.errors import UsageError
from flowai.finetune.check.lines import head_of, lines_of, texts_of
from flowai.finetune.check.messages import type_of
from flowai.finetune.check.records import RULES, CheckReport, ProblemMatch, RowProblem, RuleCount, level_of
from flowai.finetune.check.rows import check_row, detect_format
from flowai.finetune.export.token_counts import TrainingTokenCounter, row_bytes
from flowai.finetune.formats.catalog import format_of
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

_ASKED_ROWS_COUNT = 100
_MAX_COLUMNS = 1_000  # a file whose every row has other keys must not fill the memory
_API_FORMATS = frozenset({"openai", "openai-dpo"})
"""Formats of files that are uploaded; the others are read by `datasets`, which passes over empty lines."""
_ONCE = frozenset({"line/crlf", "roles/together", "row/other_format"})
"""Rules that a file tends to break on every line: counted, but only the first place is listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOptions:
    """What a file is held against."""

    format: FormatName | None = None
    """The format; None to tell it by the rows' keys."""
    max_tokens: int | None = None
    """The most tokens a row may have, > 0; None for no limit."""
    model: str | None = None
    """The model that will be trained, which decides who counts tokens; None where nobody said."""
    most_problems_count: int = 20
    """How many errors, and how many warnings, are listed with their places, >= 0."""


def check_file(path: Path, name: str, options: CheckOptions) -> CheckReport:
    """Check a file.

    Args:
        path: the file.
        name: how the report calls it.
        options: what it is held against.

    Raises:
        DatasetError: missing, a directory, or not readable.
    """
    file_bytes, wrong = head_of(path, name)
    checker = _Checker(options)
    if wrong is not None:
        checker.add_problem(0, wrong)
    else:
        told = options.format or _guess_format(path, name)
        if told is None:
            checker.add_problem(0, ProblemMatch(rule="file/format"))
        for line in lines_of(path, name):
            checker.line(line, told)
        checker.whole(told, file_bytes)
        checker.format = told
    return checker.report(name, file_bytes)


def _guess_format(path: Path, name: str) -> FormatName | None:
    """Tell a file's format by its first rows: what most of them look like."""
    rows = (line.value for line in lines_of(path, name) if isinstance(line.value, dict))
    votes = Counter(seen for row in islice(rows, _ASKED_ROWS_COUNT) if (seen := detect_format(row)) is not None)
    return votes.most_common(1)[0][0] if votes else None


class _Checker:
    """Looks at lines one after the other, and remembers what they broke."""

    def __init__(self, options: CheckOptions) -> None:
        self._options = options
        self._redactor = Redactor()
        self._tally = TrainingTokenCounter(options.model) if options.max_tokens is not None else None
        self._counts: Counter[str] = Counter()
        self._first_lines: dict[str, int] = {}
        self._problems: dict[str, list[RowProblem]] = {"error": [], "warning": []}
        self._types: dict[str, str] = {}
        self._labels: set[bool] = set()
        self._row_count = self._broken_row_count = self._warned_row_count = 0
        self.format: FormatName | None = None

    def add_problem(self, number: int, found: ProblemMatch) -> None:
        """Remember a broken rule."""
        level = level_of(found.rule)
        self._counts[found.rule] += 1
        is_first = found.rule not in self._first_lines
        self._first_lines.setdefault(found.rule, number)
        listed = self._problems[level]
        if len(listed) < self._options.most_problems_count and (is_first or found.rule not in _ONCE):
            listed.append(RowProblem(line=number, rule=found.rule, level=level, key=found.key, problem=found.problem))

    def line(self, line: Line, told: FormatName | None) -> None:
        """Check one line."""
        found = [one for one in line.found if one.rule != "line/blank" or told in _API_FORMATS]
        if line.is_row:
            self._row_count += 1
            if isinstance(line.value, dict):
                found += self._row(line.value, told)
            elif not found or all(one.rule in {"line/bom", "line/crlf"} for one in found):
                found.append(ProblemMatch(rule="row/not_object", problem=f"found {type_of(line.value)}"))
        for one in found:
            self.add_problem(line.number, one)
        if line.is_row:
            levels = {level_of(one.rule) for one in found}
            self._broken_row_count += "error" in levels
            self._warned_row_count += levels == {"warning"}

    def _row(self, row: dict[str, Any], told: FormatName | None) -> list[ProblemMatch]:
        found = [] if told is None else list(check_row(told, row))
        found += check_content(row, self._redactor)
        found += self._changed_types(row)
        if isinstance(row.get("label"), bool):
            self._labels.add(row["label"])
        if not found and (over := self._over_limit(row)):
            found.append(over)
        return found

    def _changed_types(self, row: dict[str, Any]) -> list[ProblemMatch]:
        """Hold the types of a row's columns against those of the rows before; null fits every type."""
        found = []
        for key, value in row.items():
            if value is None or (key not in self._types and len(self._types) >= _MAX_COLUMNS):
                continue
            now = type_of(value)
            before = self._types.setdefault(key, now)
            if now != before:
                found.append(
                    ProblemMatch(rule="row/type_changes", key=key, problem=f"found {now}, before it was {before}")
                )
        return found

    def _over_limit(self, row: dict[str, Any]) -> ProblemMatch | None:
        limit = self._options.max_tokens
        if limit is None or self._tally is None or row_bytes(row) <= limit:
            return None
        tokens, _ = self._tally.count(row)
        return ProblemMatch(rule="tokens/over_limit", problem=f"{tokens:,} tokens") if tokens > limit else None

    def whole(self, told: FormatName | None, file_bytes: int) -> None:
        """Check what only the whole file shows."""
        if not self._row_count:
            self.add_problem(0, ProblemMatch(rule="file/empty"))
        if told in _API_FORMATS:
            if 0 < self._row_count < MIN_ROWS:
                self.add_problem(0, ProblemMatch(rule="file/few_rows", problem=f"found {self._row_count}"))
            if file_bytes > MAX_BYTES:
                self.add_problem(
                    0, ProblemMatch(rule="file/large", problem=f"found {file_bytes / 1024 / 1024:,.0f} MB")
                )
        if told == "kto" and len(self._labels) == 1 and self._row_count > 1:
            self.add_problem(
                0, ProblemMatch(rule="file/one_label", problem=f"all are {str(next(iter(self._labels))).lower()}")
            )

    def report(self, name: str, file_bytes: int) -> CheckReport:
        """Give what was found."""
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
            format_source="told" if self._options.format else "detected",
            file_bytes=file_bytes,
            row_count=self._row_count,
            broken_row_count=self._broken_row_count,
            warned_row_count=self._warned_row_count,
            rules=tuple(rules),
            problems=tuple(problems),
            tokenizer=None if self._tally is None else self._tally.tokenizer,
            tokenizer_is_proxy=self._tally is not None and self._tally.is_proxy,
        )


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
# every control token is a word in angles or brackets, also in their full-width forms; `[12]` is none, and common
_WORD = re.compile(r"[<\uff1c][^\s<]{1,200}?[>\uff1e]|[\[\uff3b](?!\d+\])[^\s\[]{1,200}?[\]\uff3d]")
_MARK = re.compile(r"\[REDACTED:([a-z0-9-]+)\]")


def check_content(row: dict[str, Any], redactor: Redactor) -> Iterator[ProblemMatch]:
    """Look through every text of a row.

    Args:
        row: any JSON object.
        redactor: knows what keys look like.
    """
    if any(_is_suspicious(text, redactor) for text in strings_of(row)):
        for key, text in texts_of(row):
            yield from _check_text(text, key, redactor)


def _is_suspicious(text: str, redactor: Redactor) -> bool:
    return bool(_CONTROL.search(text) or _WORD.search(text)) or redactor.text(text) != text


def _check_text(text: str, key: str, redactor: Redactor) -> Iterator[ProblemMatch]:
    if control := _CONTROL.search(text):
        yield ProblemMatch(rule="text/control_character", key=key, problem=f"U+{ord(control.group()):04X}")
    if _WORD.search(text):
        tokens = find_tokens(text, (ValueSpan(start=0, end=len(text), owner=key),))
        yield from (
            ProblemMatch(rule="text/control_token", key=key, problem=f"`{printable(t.group())}`") for t, _ in tokens[:1]
        )
    if (clean := redactor.text(text)) != text:
        names = sorted(set(_MARK.findall(clean)) - set(_MARK.findall(text)))
        yield ProblemMatch(rule="text/secret", key=key, problem=", ".join(names))


@dataclass(frozen=True, kw_only=True, slots=True)
class FileToCheck:
    """What the command was asked."""

    file: Path
    """The file."""
    format: str | None = None
    """The format, as typed; None to tell it by the rows' keys."""
    max_tokens: int | None = None
    """The most tokens a row may have; None for no limit."""
    model: str | None = None
    """The model that will be trained; None where nobody said."""
    show_count: int = 20
    """How many errors, and how many warnings, are listed with their places."""


def run_finetune_check(asked: FileToCheck) -> CheckReport:
    """Check the file; it needs no project.

    Raises:
        UsageError: an option is wrong.
        DatasetError: the file is missing, a directory, or not readable.
    """
    if asked.max_tokens is not None and asked.max_tokens <= 0:
        raise UsageError(f"--max-tokens: found {asked.max_tokens}, expected more than 0")
    if asked.show_count < 0:
        raise UsageError(f"--show: found {asked.show_count}, expected 0 or more")
    options = CheckOptions(
        format=None if asked.format is None else format_of(asked.format).name,
        max_tokens=asked.max_tokens,
        model=asked.model,
        most_problems_count=asked.show_count,
    )
    return check_file(asked.file, str(asked.file), options)
