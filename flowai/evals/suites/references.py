"""Resolves references of a suite: prompts, models and tables of cases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowai.errors import expected_one_of
from flowai.evals.suites.yaml_reader import FILE_PREFIX, check_keys, describe, expect_text, resolve_path

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.evals.suites.yaml_reader import YamlNode
    from flowai.project import Project

PROMPT_SUFFIX = ".prompt"
_VERSIONED = re.compile(r".+_v\d+")
_GLOB = re.compile(r"[*?\[]")
_UNSUPPORTED_PROVIDERS = (
    "file:", "exec:", "python:", "http:", "https:", "ws:", "webhook:", "golang:", "ruby:", "./", "../",
)  # fmt: skip
_KIND_SEGMENTS = frozenset({"chat", "completion", "messages", "responses"})
_LITELLM_PROVIDERS = {"google": "gemini", "vertex": "vertex_ai", "azureopenai": "azure", "togetherai": "together_ai"}
_UNSUPPORTED_IN_PROVIDERS = {
    "config": "set parameters in the prompt's front matter or in a release in registry.yaml",
    "prompts": "every prompt of a suite runs on every model; use two suites",
    "transform": "flowai executes no code from suites",
    "delay": "use `--max-concurrency`",
    "env": "set keys in the environment or in .env",
}


def _values(value: object, node: YamlNode) -> list[tuple[object, YamlNode]]:
    if isinstance(value, list):
        if not value:
            raise node.error("found an empty list; expected at least one")
        return [(part, node.at(index)) for index, part in enumerate(value)]
    return [(value, node)]


def prompt_ids(value: object, node: YamlNode) -> tuple[str, ...]:
    """Resolve `prompts` to ids, in order, each once.

    Each is an id (`prompts/summary_v2`), a path relative to the suite (`file://../x_v1.prompt`), or either with `*`.
    """
    return tuple(dict.fromkeys(name for part, child in _values(value, node) for name in _prompts(part, child)))


def _prompts(value: object, node: YamlNode) -> list[str]:
    if isinstance(value, dict):
        raise node.error("found a mapping; expected a prompt's id", hint="such as `prompts/summary_v2`")
    text = expect_text(value, node).strip()
    if "{{" in text or "\n" in text or " " in text:
        raise node.error("a prompt written into the suite", hint="save it as prompts/NAME_v1.prompt and use that id")
    project = node.file.project
    beside_suite = text.startswith((FILE_PREFIX, "./", "../"))
    path = resolve_path(text, node, base=node.file.path.parent if beside_suite else project.root)
    if _GLOB.search(text):
        matches = [match for match in _expand(path, project) if not match.name.startswith("_")]
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
    relative = path.relative_to(project.root)
    if relative.suffix == PROMPT_SUFFIX:
        inner = _VERSIONED.fullmatch(relative.parent.name) is not None
        relative = relative.parent if inner else relative.with_suffix("")
    return relative.as_posix()


def _known(project: Project) -> set[str]:
    files = project.prompts.rglob(f"*{PROMPT_SUFFIX}")
    return {_id_of(path, project) for path in files if not path.name.startswith("_")}


def _expand(pattern: Path, project: Project) -> list[Path]:
    """Return the sorted matches of a pattern, without links that leave the project."""
    relative = pattern.relative_to(project.root).as_posix()
    matches = sorted(match.resolve() for match in project.root.glob(relative))
    return [match for match in matches if match.is_relative_to(project.root)]


def model_names(value: object, node: YamlNode) -> tuple[str, ...]:
    """Resolve `providers`, in order, each once: the registry's names unchanged, promptfoo's spelling as LiteLLM's.

    `openai:gpt-4o-mini` and `openai:chat:gpt-4o-mini` become `openai/gpt-4o-mini`; the registry checks them later.
    """
    names: dict[str, None] = {}
    for part, child in _values(value, node):
        name, place = part, child
        if isinstance(part, dict):
            check_keys(part, ("id", "label"), child, unsupported=_UNSUPPORTED_IN_PROVIDERS)
            name, place = part.get("id"), child.at("id")
        names[_model(expect_text(name, place).strip(), place)] = None
    return tuple(names)


def _model(text: str, node: YamlNode) -> str:
    if text.startswith(_UNSUPPORTED_PROVIDERS):
        raise node.error(
            f"{describe(text)} is not a model", hint="add it to `models` in registry.yaml and use its name there"
        )
    head, colon, rest = text.partition(":")
    if not colon or "/" in head:  # a name in the registry, or LiteLLM's (`bedrock/...:0`)
        return text
    kind, more, model = rest.partition(":")
    if more and kind in _KIND_SEGMENTS:
        rest = model
    return f"{_LITELLM_PROVIDERS.get(head, head)}/{rest}"


def dataset_paths(text: str, node: YamlNode) -> list[Path]:
    """Resolve a path to tables of cases, in order, at least one; a single one need not exist.

    With `file://` it is relative to the file that names it, else also to the root; it may contain `*`.
    """
    scheme = re.match(r"(\w[\w+-]*)://", text)
    if scheme is not None and not text.startswith(FILE_PREFIX):
        raise node.error(f"`{text}` is not a file of the project", hint="download it to datasets/")
    project = node.file.project
    path = resolve_path(text, node)
    if _GLOB.search(text):
        tables = [match for match in _expand(path, project) if match.is_file()]
        if not tables:
            raise node.error(f"nothing matches `{text}`", hint="the path is relative to the file that names it")
        return tables
    if not path.exists() and not text.startswith((FILE_PREFIX, ".")):
        from_root = resolve_path(text, node, base=project.root)
        if from_root.exists():
            return [from_root]
    return [path]
