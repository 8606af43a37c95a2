"""A name that reads as a question means yes or no: functions, properties and fields that begin with `is_` or so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUESTIONS = ("is_", "are_", "has_", "should_")
ANSWERS = re.compile(r"bool( \| None)?|TypeGuard\[.*\]|Callable\[.*, bool\]")


def test_a_question_is_answered_by_yes_or_no() -> None:
    found = []
    for file in sorted((ROOT / "flowai").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name, answer = node.name, node.returns
            elif isinstance(node, ast.AnnAssign):
                name, answer = ast.unparse(node.target).removeprefix("self."), node.annotation
            else:
                continue
            shown = ast.unparse(answer) if answer else ""
            if name.lstrip("_").startswith(QUESTIONS) and not ANSWERS.fullmatch(shown):
                found.append(f"{file.relative_to(ROOT)}:{node.lineno}: {name} -> {shown}")
    assert found == []
