"""Names and sentences of the code: the field's terms, no retired words, one class per name, small folders."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from support.source_code import MODULES, PACKAGE, parse_module, statements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGES = sorted({path.relative_to(PACKAGE).parts[0] for path in MODULES})
MAX_FILES_PER_FOLDER = 20

SHARED_CLASS_NAMES = {
    "Delta": "OpenAI's word for a part of a streamed answer, received and sent",
    "Message": "a chat message of a prompt, and one in a request body",
}
RETIRED_OPENERS = frozenset(
    (
        "give",
        "gives",
        "say",
        "says",
        "tell",
        "tells",
        "take",
        "takes",
        "look",
        "looks",
        "make",
        "makes",
        "what",
        "who",
        "whoever",
        "one",
        "whether",
        "nobody",
        "somebody",
        "how",
    )
)
RETIRED_TOKENS = frozenset((
    "aftermath", "ascent", "aside", "beat", "bench", "book", "climb", "climbed", "climbing",
    "desk", "door", "fate", "ground", "heard", "house", "ladder", "least", "manner",
    "most", "purse", "room", "rung", "said", "shipment", "stretch", "surgery", "told",
    "wanted", "whom", "witness",
))  # fmt: skip
RETIRED_PHRASES = re.compile(
    r"\b(nobody|somebody|whoever|whom|held against|for ever|in good order|begin anew|begins anew|parted by|as it stands"
    r"|must never know|stands in|lies in)\b",
    re.IGNORECASE,
)


def files_of(package: str) -> list[Path]:
    return [path for path in MODULES if path.relative_to(PACKAGE).parts[0] == package]


def shown(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in (tree, *statements(tree)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield comments and free-standing strings: docstrings of modules, classes, functions and fields."""
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in statements(parse_module(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def defined_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the public names of a module: classes, functions, constants, fields, parameters."""
    for node in statements(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_"):
                yield node.lineno, node.name
                if not isinstance(node, ast.ClassDef):
                    yield from ((each.lineno, each.arg) for each in (*node.args.args, *node.args.kwonlyargs))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and node.col_offset in {0, 4} and not target.id.startswith("_"):
                    yield node.lineno, target.id


def tokens(name: str) -> set[str]:
    return {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_begin_with_a_verb_or_noun_of_the_field(package: str) -> None:
    assert not [
        f"{shown(path)}:{line}: {text.splitlines()[0]}"
        for path in files_of(package)
        for line, text in docstrings(parse_module(path))
        if (first := re.match(r"[A-Za-z]+", text)) and first[0].lower() in RETIRED_OPENERS
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_comments_and_docstrings_have_no_retired_phrase(package: str) -> None:
    assert not [
        f"{shown(path)}:{line}: {found[0]}"
        for path in files_of(package)
        for line, text in texts(path)
        if (found := RETIRED_PHRASES.search(text))
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_have_no_retired_word(package: str) -> None:
    assert not [
        f"{shown(path)}:{line}: {name}"
        for path in files_of(package)
        for line, name in defined_names(parse_module(path))
        if tokens(name) & RETIRED_TOKENS
    ]


def test_no_class_name_is_defined_twice() -> None:
    places = defaultdict(list)
    for path in MODULES:
        for node in statements(parse_module(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{shown(path)}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1 and name not in SHARED_CLASS_NAMES} == {}


def test_no_folder_holds_more_files_than_a_reader_can_scan() -> None:
    counts = {
        shown(path): sum(1 for one in path.iterdir() if one.is_file())
        for path in (PACKAGE, *PACKAGE.rglob("*"))
        if path.is_dir() and path.name != "__pycache__"
    }
    assert {name: count for name, count in counts.items() if count > MAX_FILES_PER_FOLDER} == {}
