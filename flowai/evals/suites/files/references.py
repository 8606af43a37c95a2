"""Resolves references of a suite: prompts of the project's library, and tables of cases."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from flowai.errors import expected_one_of
from flowai.evals.suites.files.code_refs import is_code_file
from flowai.evals.suites.files.downloads import download_table, is_address
from flowai.evals.suites.yaml_reader import FILE_PREFIX, resolve_path

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.evals.suites.yaml_reader import YamlNode
    from flowai.project import Project

PROMPT_SUFFIX = ".prompt"
_VERSIONED = re.compile(r".+_v\d+")
GLOB = re.compile(r"[*?\[]")


def looks_like_library(text: str, node: YamlNode) -> bool:
    """Return whether a text names prompts of the project's library, existing or not.

    That is an id (`prompts/summary_v2`) or a pattern of ids, or a file with the suffix `.prompt`.
    """
    if is_code_file(text):  # a function may be named `prompt`
        return False
    if text.endswith(PROMPT_SUFFIX):
        return True
    if PurePosixPath(text.removeprefix(FILE_PREFIX)).suffix:
        return False
    path = _library_path(text, node)
    if GLOB.search(text):
        return path.is_relative_to(node.file.project.prompts) and not _has_files(path, node)
    if _is_prompt(path.with_name(f"{path.name}{PROMPT_SUFFIX}")) or _is_prompt(path):
        return True
    return path.is_relative_to(node.file.project.prompts) and _VERSIONED.fullmatch(path.name) is not None


def _has_files(pattern: Path, node: YamlNode) -> bool:
    """Return whether a pattern matches files that are no `.prompt` files."""
    matches = expand(pattern, node.file.project)
    return bool(matches) and not any(_is_prompt(match) for match in matches)


def _library_path(text: str, node: YamlNode) -> Path:
    beside_suite = text.startswith((FILE_PREFIX, "./", "../"))
    project = node.file.project
    path = resolve_path(text, node, base=node.file.path.parent if beside_suite else project.root)
    if not beside_suite and not path.exists() and text.endswith(PROMPT_SUFFIX):
        return resolve_path(text, node)
    return path


def library_prompts(text: str, node: YamlNode) -> list[str]:
    """Resolve a name to ids of the library.

    It is an id (`prompts/summary_v2`), a path relative to the suite (`file://../x_v1.prompt`), or either with `*`.
    """
    project = node.file.project
    path = _library_path(text, node)
    if GLOB.search(text):
        matches = [match for match in expand(path, project) if not match.name.startswith("_")]
        prompts = list(dict.fromkeys(_id_of(match, project) for match in matches if _is_prompt(match)))
        if not prompts:
            raise node.error(f"no prompt matches `{text}`", hint=expected_one_of(_known(project)))
        return prompts
    if path.suffix and path.suffix != PROMPT_SUFFIX:
        raise node.error(f"`{text}` is not a prompt", hint=f"prompt files have the suffix `{PROMPT_SUFFIX}`")
    name = _id_of(path, project)
    if not (_is_prompt(project.root / f"{name}{PROMPT_SUFFIX}") or _is_prompt(project.root / name)):
        raise node.error(f"no such prompt `{name}`", hint=expected_one_of(_known(project), found=name))
    return [name]


def _is_prompt(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob(f"*{PROMPT_SUFFIX}")) and _VERSIONED.fullmatch(path.name) is not None
    return path.suffix == PROMPT_SUFFIX and path.is_file()


def _id_of(path: Path, project: Project) -> str:
    """Return the path without its suffix; a prompt in a directory `NAME_vN/` has that directory's path."""
    relative = path.relative_to(project.root if path.is_relative_to(project.root) else project.readable or project.root)
    if relative.suffix == PROMPT_SUFFIX:
        inner = _VERSIONED.fullmatch(relative.parent.name) is not None
        relative = relative.parent if inner else relative.with_suffix("")
    return relative.as_posix()


def _known(project: Project) -> set[str]:
    files = project.prompts.rglob(f"*{PROMPT_SUFFIX}")
    return {_id_of(path, project) for path in files if not path.name.startswith("_")}


def expand(pattern: Path, project: Project) -> list[Path]:
    """Return the sorted matches of a pattern, without private files and links that leave the project.

    A hidden directory counts only if the pattern names it.
    """
    base = project.root if pattern.is_relative_to(project.root) else project.readable or project.root
    parts = pattern.relative_to(base).parts
    named = base.joinpath(*takewhile(lambda part: GLOB.search(part) is None, parts))
    matches = sorted(match.resolve() for match in base.glob("/".join(parts)))
    return [
        match
        for match in matches
        if project.may_read(match) and not project.is_private(match) and not project.is_hidden(match, below=named)
    ]


def dataset_paths(text: str, node: YamlNode) -> list[Path]:
    """Resolve a path to tables of cases, in order, at least one; a single one need not exist.

    With `file://` it is relative to the file that names it, else also to the root; it may contain `*`.
    """
    if is_address(text):
        return [download_table(text, node)]
    scheme = re.match(r"(\w[\w+-]*)://", text)
    if scheme is not None and not text.startswith(FILE_PREFIX):
        raise node.error(f"`{text}` is not a file of the project", hint="download it to datasets/")
    project = node.file.project
    path = resolve_path(text, node)
    if GLOB.search(text):
        tables = [match for match in expand(path, project) if match.is_file()]
        if not tables:
            raise node.error(f"nothing matches `{text}`", hint="the path is relative to the file that names it")
        return tables
    if not path.exists() and not text.startswith((FILE_PREFIX, ".")):
        from_root = resolve_path(text, node, base=project.root)
        if from_root.exists():
            return [from_root]
    return [path]
