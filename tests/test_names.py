"""A name that reads as a question means yes or no: functions, properties and fields that begin with `is_` or so."""

from __future__ import annotations

import ast
import re

from support.source_code import MODULES, ROOT, parse_module, statements

QUESTIONS = ("is_", "are_", "has_", "should_")
ANSWERS = re.compile(r"bool( \| None)?|TypeGuard\[.*\]|Callable\[.*, bool\]")


def test_a_question_is_answered_by_yes_or_no() -> None:
    wrong = []
    for file in MODULES:
        for node in statements(parse_module(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name, answer = node.name, node.returns
            elif isinstance(node, ast.AnnAssign):
                name, answer = ast.unparse(node.target).removeprefix("self."), node.annotation
            else:
                continue
            if not name.lstrip("_").startswith(QUESTIONS):
                continue
            shown = ast.unparse(answer) if answer else ""
            if not ANSWERS.fullmatch(shown):
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: {name} -> {shown}")
    assert wrong == []
