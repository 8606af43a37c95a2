"""The prompts of a project: which there are, and each one by its id.

`prompts/summary_v2` is the file `prompts/summary_v2.prompt`, or the only `.prompt` file in the directory
`prompts/summary_v2/` (a directory whose name ends in a version is one prompt; any other is a folder of prompts).
`{{> name}}` is `_name.prompt` beside the prompt, else in `prompts/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.errors import Place, PromptError, UsageError, expected_one_of
from flowai.prompts.prompt import Prompt, parse_prompt
from flowai.prompts.template.parser import PartialSource
from flowai.storage.files import FileFingerprint, read_text

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.project import Project

ENDING = ".prompt"
_VERSIONED = re.compile(r"_v\d+\Z")
_PARTIAL_NAME = re.compile(r"[\w-]+(?:/[\w-]+)*\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Files:
    """Partials as files; remembers every place it looked at, so that a new file is noticed too."""

    project: Project
    beside: Path
    seen: dict[Path, FileFingerprint | None] = field(default_factory=dict)

    def get(self, name: str) -> PartialSource | None:
        """Give a partial: beside the prompt first, then in `prompts/`."""
        if not _PARTIAL_NAME.match(name):
            return None
        folder, _, last = name.rpartition("/")
        for base in (self.beside, self.project.prompts):
            path = base / folder / f"_{last}{ENDING}"
            self.seen[path] = FileFingerprint.of(path)
            if self.seen[path] is not None:
                _within(self.project, str(path))
                file = self.project.show(path)
                return PartialSource(text=read_text(path, name=file, kind=PromptError), file=file)
        return None

    def names(self) -> list[str]:
        """List the partials there are."""
        found: set[str] = set()
        for base in (self.beside, self.project.prompts):
            for path in base.rglob(f"_*{ENDING}"):
                name = path.name.removeprefix("_").removesuffix(ENDING)
                found.add((path.relative_to(base).parent / name).as_posix())
        return sorted(found)


class PromptLibrary:
    """All prompts of one project; parsed once, read again when a file changes.

    Args:
        project: whose prompts.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._kept: dict[str, tuple[dict[Path, FileFingerprint | None], Prompt]] = {}

    def ids(self) -> list[str]:
        """List the ids of all prompts below `prompts/`, sorted."""
        found: set[str] = set()
        for path in self._project.prompts.rglob(f"*{ENDING}"):
            if not path.name.startswith("_"):
                found.add(self._id(path))
        return sorted(found)

    def id_of(self, path: Path) -> str:
        """Give the id of a prompt's file, or of the directory that holds it.

        Args:
            path: absolute, or relative to the project's root.

        Raises:
            PromptError: it lies outside the project, is a partial, or does not end in `.prompt`.
        """
        inside = _within(self._project, str(path))
        shown = self._project.show(inside)
        if inside.is_dir() and _VERSIONED.search(inside.name):
            return shown
        if inside.suffix != ENDING:
            raise PromptError(f"`{shown}` is no prompt file", hint=f"a prompt's file ends in `{ENDING}`")
        if inside.name.startswith("_"):
            hint = "name a prompt that includes it"
            raise PromptError(f"`{shown}` is a partial, no prompt", hint=hint)
        return self._id(inside)

    def load(self, prompt_id: str) -> Prompt:
        """Give a prompt; the same object until one of its files changes.

        Args:
            prompt_id: for example `prompts/summary_v2`.

        Raises:
            PromptError: there is no such prompt, it lies outside the project, or something is wrong in it.
        """
        kept = self._kept.get(prompt_id)
        if kept is not None and all(FileFingerprint.of(path) == known for path, known in kept[0].items()):
            return kept[1]
        path = self._find(prompt_id)
        seen = {path: FileFingerprint.of(path)}
        file = self._project.show(path)
        partials = _Files(project=self._project, beside=path.parent, seen=seen)
        text = read_text(path, name=file, kind=PromptError)
        prompt = parse_prompt(text, id=self._id(path), path=path, file=file, partials=partials)
        prompt.contract.check_schema()
        self._kept[prompt_id] = (seen, prompt)
        return prompt

    def _id(self, path: Path) -> str:
        """Name a prompt by its file."""
        is_held = path.parent != self._project.root and _VERSIONED.search(path.parent.name)
        owner = path.parent if is_held else path.with_suffix("")
        return owner.relative_to(self._project.root).as_posix()

    def _find(self, prompt_id: str) -> Path:
        """Find the file of a prompt."""
        base = _within(self._project, prompt_id)
        file = base.with_name(base.name + ENDING)
        is_directory = bool(_VERSIONED.search(base.name)) and FileFingerprint.of(base) is not None and base.is_dir()
        if FileFingerprint.of(file) is not None:
            if is_directory:
                what = f"`{prompt_id}` is a file and a directory"
                raise PromptError(what, place=Place(file=self._project.show(file)), hint="remove one of the two")
            return _within(self._project, str(file))
        if is_directory:
            return _within(self._project, str(self._only(base)))
        hint = expected_one_of(self.ids(), found=prompt_id)
        if prompt_id.endswith(ENDING):
            hint = f"an id has no ending: `{prompt_id.removesuffix(ENDING)}`"
        raise PromptError(f"no prompt `{prompt_id}`", hint=hint)

    def _only(self, directory: Path) -> Path:
        """Give the one prompt file of a directory."""
        files = sorted(path for path in directory.glob(f"*{ENDING}") if not path.name.startswith("_"))
        if len(files) == 1:
            return files[0]
        found = ", ".join(f"`{path.name}`" for path in files) or "none"
        what = f"expected one `{ENDING}` file; found {found}"
        hint = "keep one; the name of a partial begins with `_`"
        raise PromptError(what, place=Place(file=self._project.show(directory)), hint=hint)


def _within(project: Project, text: str) -> Path:
    """Resolve a path inside the project."""
    try:
        return project.inside(text)
    except UsageError as error:
        raise PromptError(error.what, hint=error.hint) from None
    except (ValueError, OSError):
        raise PromptError(f"`{text[:80]!r}` is no path") from None
