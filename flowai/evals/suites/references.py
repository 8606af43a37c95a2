"""Resolves what a suite names: prompts, models and tables of cases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowai.errors import expected_one_of
from flowai.evals.suites.yaml_reader import FILE_MARK, check_keys, expect_text, inside, shown

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.evals.suites.yaml_reader import YamlNode
    from flowai.project import Project

PROMPT_ENDING = ".prompt"
_VERSIONED = re.compile(r".+_v\d+")
_GLOB = re.compile(r"[*?\[]")
_NO_PROVIDER_FILES = (
    "file:",
    "exec:",
    "python:",
    "http:",
    "https:",
    "ws:",
    "webhook:",
    "golang:",
    "ruby:",
    "./",
    "../",
)
_KIND_SEGMENTS = frozenset({"chat", "completion", "messages", "responses"})
_LITELLM_PROVIDERS = {"google": "gemini", "vertex": "vertex_ai", "azureopenai": "azure", "togetherai": "together_ai"}
_UNSUPPORTED_IN_PROVIDERS = {
    "config": "parameters belong to the prompt's front matter or to a release in registry.yaml",
    "prompts": "every prompt of a suite runs on every model; split the suite in two",
    "transform": "flowai runs no code from suites",
    "delay": "use `--max-concurrency`",
    "env": "keys belong in the environment or in .env",
}


def _listed(value: object, spot: YamlNode) -> list[tuple[object, YamlNode]]:
    """Take one value or a list of values."""
    if isinstance(value, list):
        if not value:
            raise spot.error("found an empty list; expected at least one")
        return [(part, spot.at(index)) for index, part in enumerate(value)]
    return [(value, spot)]


def prompt_ids(value: object, spot: YamlNode) -> tuple[str, ...]:
    """Resolve `prompts`.

    Args:
        value: one or several of: an id (`prompts/summary_v2`), a path relative to the suite (`file://../prompts/x_v1.prompt`),
            or either with `*`.
        spot: where it stands.

    Returns:
        Ids in order, each once.

    Raises:
        SuiteError: no such prompt, outside the project, or a prompt written into the suite.
    """
    found: dict[str, None] = {}
    for part, here in _listed(value, spot):
        found.update(dict.fromkeys(_prompts(part, here)))
    return tuple(found)


def _prompts(value: object, spot: YamlNode) -> list[str]:
    if isinstance(value, dict):
        raise spot.error("found a mapping; expected a prompt's id", hint="such as `prompts/summary_v2`")
    text = expect_text(value, spot).strip()
    if "{{" in text or "\n" in text or " " in text:
        raise spot.error("a prompt written into the suite", hint="save it as prompts/NAME_v1.prompt and name that")
    project = spot.origin.project
    beside_suite = text.startswith((FILE_MARK, "./", "../"))
    path = inside(text, spot, base=spot.origin.path.parent if beside_suite else project.root)
    if _GLOB.search(text):
        matches = [match for match in _expand(path, project) if not match.name.startswith("_")]
        prompts = list(dict.fromkeys(_id_of(match, project) for match in matches if _is_prompt(match)))
        if not prompts:
            raise spot.error(f"no prompt matches `{text}`", hint=expected_one_of(_known(project)))
        return prompts
    if path.suffix and path.suffix != PROMPT_ENDING:
        raise spot.error(f"`{text}` is no prompt", hint=f"prompts are files that end in `{PROMPT_ENDING}`")
    name = _id_of(path, project)
    if not (_is_prompt(project.root / f"{name}{PROMPT_ENDING}") or _is_prompt(project.root / name)):
        raise spot.error(f"no such prompt `{name}`", hint=expected_one_of(_known(project), found=name))
    return [name]


def _is_prompt(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob(f"*{PROMPT_ENDING}")) and _VERSIONED.fullmatch(path.name) is not None
    return path.suffix == PROMPT_ENDING and path.is_file()


def _id_of(path: Path, project: Project) -> str:
    """Give the id: the path without its ending; a prompt in a directory `NAME_vN/` is called after that."""
    relative = path.relative_to(project.root)
    if relative.suffix == PROMPT_ENDING:
        inner = _VERSIONED.fullmatch(relative.parent.name) is not None
        relative = relative.parent if inner else relative.with_suffix("")
    return relative.as_posix()


def _known(project: Project) -> set[str]:
    files = project.prompts.rglob(f"*{PROMPT_ENDING}")
    return {_id_of(path, project) for path in files if not path.name.startswith("_")}


def _expand(pattern: Path, project: Project) -> list[Path]:
    """Give what a pattern matches, in order; links that lead out of the project are left out."""
    parts = pattern.relative_to(project.root).as_posix()
    matches = sorted(match.resolve() for match in project.root.glob(parts))
    return [match for match in matches if match.is_relative_to(project.root)]


def model_names(value: object, spot: YamlNode) -> tuple[str, ...]:
    """Resolve `providers`: the registry's names as they are, promptfoo's spelling as LiteLLM's.

    `openai:gpt-4o-mini` and `openai:chat:gpt-4o-mini` become `openai/gpt-4o-mini`.

    Returns:
        Names in order, each once; whether they are known is for the registry to say.

    Raises:
        SuiteError: code, a URL, or parameters instead of a name.
    """
    found: dict[str, None] = {}
    for part, here in _listed(value, spot):
        name, place = part, here
        if isinstance(part, dict):
            check_keys(part, ("id", "label"), here, unsupported=_UNSUPPORTED_IN_PROVIDERS)
            name, place = part.get("id"), here.at("id")
        found[_model(expect_text(name, place).strip(), place)] = None
    return tuple(found)


def _model(text: str, spot: YamlNode) -> str:
    if text.startswith(_NO_PROVIDER_FILES):
        raise spot.error(
            f"{shown(text)} is not a model", hint="give it an entry under `models` in registry.yaml and name that"
        )
    head, colon, rest = text.partition(":")
    if not colon or "/" in head:  # a registry's name, or LiteLLM's (`bedrock/...:0`)
        return text
    kind, more, model = rest.partition(":")
    if more and kind in _KIND_SEGMENTS:
        rest = model
    return f"{_LITELLM_PROVIDERS.get(head, head)}/{rest}"


def dataset_paths(text: str, spot: YamlNode) -> list[Path]:
    """Resolve a path to tables of cases.

    Args:
        text: with or without `file://`; relative to the file that names it or, without `file://`, to the root; may
            hold `*`.
        spot: where it stands.

    Returns:
        Files in order, at least one; a single one need not exist.

    Raises:
        SuiteError: outside the project, an address, or nothing matches.
    """
    scheme = re.match(r"(\w[\w+-]*)://", text)
    if scheme is not None and not text.startswith(FILE_MARK):
        raise spot.error(f"`{text}` is not a file of the project", hint="fetch it and keep it in datasets/")
    project = spot.origin.project
    path = inside(text, spot)
    if _GLOB.search(text):
        found = [match for match in _expand(path, project) if match.is_file()]
        if not found:
            raise spot.error(f"nothing matches `{text}`", hint="the path is relative to the file that names it")
        return found
    if not path.exists() and not text.startswith((FILE_MARK, ".")):
        from_root = inside(text, spot, base=project.root)
        if from_root.exists():
            return [from_root]
    return [path]
