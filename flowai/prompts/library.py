"""The prompts of a project by id.

`prompts/summary_v2` is the file `prompts/summary_v2.prompt`, or the only `.prompt` file in the directory
`prompts/summary_v2/` (a directory whose name ends in a version is one prompt; any other is a folder of prompts). A
partial `name` is `_name.prompt` in the prompt's folder, else in `prompts/`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.errors import Place, PromptError, UsageError, expected_one_of
from flowai.prompts.prompt import Prompt, parse_prompt
from flowai.prompts.template.limits import check_size
from flowai.prompts.template.parser import PartialSource
from flowai.storage.files import FileFingerprint, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flowai.project import Project
    from flowai.prompts.schema.picoschema import Schema

PROMPT_SUFFIX = ".prompt"
_VERSIONED = re.compile(r"_v\d+\Z")
_PARTIAL_NAME = re.compile(r"[\w-]+(?:/[\w-]+)*\Z")


def _read(path: Path, file: str) -> str:
    with suppress(OSError):  # reading it names the reason
        check_size(path.stat().st_size, file=file)
    return read_text(path, name=file, kind=PromptError)


@dataclass(frozen=True, kw_only=True, slots=True)
class _PartialFiles:
    """Partials as files. Records fingerprints of missing files too, so that a new file is noticed."""

    project: Project
    folder: Path
    fingerprints: dict[Path, FileFingerprint | None] = field(default_factory=dict)

    def get(self, name: str) -> PartialSource | None:
        if not _PARTIAL_NAME.match(name):
            return None
        subfolder, _, last = name.rpartition("/")
        for base in (self.folder, self.project.prompts):
            path = base / subfolder / f"_{last}{PROMPT_SUFFIX}"
            self.fingerprints[path] = FileFingerprint.of(path)
            if self.fingerprints[path] is not None:
                _within(self.project, str(path))
                file = self.project.show(path)
                return PartialSource(text=_read(path, file), file=file)
        return None

    def names(self) -> list[str]:
        names: set[str] = set()
        for base in (self.folder, self.project.prompts):
            for path in base.rglob(f"_*{PROMPT_SUFFIX}"):
                name = path.name.removeprefix("_").removesuffix(PROMPT_SUFFIX)
                names.add((path.relative_to(base).parent / name).as_posix())
        return sorted(names)


class PromptLibrary:
    """All prompts of one project; each is parsed once, and again when one of its files changes."""

    def __init__(self, project: Project, *, schemas: Mapping[str, Schema] | None = None, strict: bool = True) -> None:
        """Open the prompts of a project.

        Args:
            project: the project.
            schemas: those that Picoschema may use by name.
            strict: as for `parse_prompt`.
        """
        self._project = project
        self._schemas = schemas
        self._strict = strict
        self._cache: dict[str, tuple[dict[Path, FileFingerprint | None], Prompt]] = {}
        self._drafts: dict[str, Prompt] = {}

    def ids(self) -> list[str]:
        """List the ids of all prompts in `prompts/`, sorted."""
        ids: set[str] = set()
        for path in self._project.prompts.rglob(f"*{PROMPT_SUFFIX}"):
            if not path.name.startswith("_"):
                ids.add(self._id(path))
        return sorted(ids)

    def id_of(self, path: Path) -> str:
        """Return the id of a prompt's file, or of its directory `NAME_vN/`.

        Raises:
            PromptError: it is outside the project, is a partial, or has no suffix `.prompt`.
        """
        inside = _within(self._project, str(path))
        shown = self._project.show(inside)
        if inside.is_dir() and _VERSIONED.search(inside.name):
            return shown
        if inside.suffix != PROMPT_SUFFIX:
            raise PromptError(f"`{shown}` is not a prompt file", hint=f"a prompt file has the suffix `{PROMPT_SUFFIX}`")
        if inside.name.startswith("_"):
            hint = "name a prompt that includes it"
            raise PromptError(f"`{shown}` is a partial, not a prompt", hint=hint)
        return self._id(inside)

    def load(self, prompt_id: str) -> Prompt:
        """Return a prompt; the same object until one of its files changes.

        Raises:
            PromptError: no such prompt, outside the project, or wrong.
        """
        if prompt_id in self._drafts:
            return self._drafts[prompt_id]
        cached = self._cache.get(prompt_id)
        if cached is not None and all(FileFingerprint.of(path) == known for path, known in cached[0].items()):
            return cached[1]
        path = self._find(prompt_id)
        fingerprints = {path: FileFingerprint.of(path)}
        file = self._project.show(path)
        partials = _PartialFiles(project=self._project, folder=path.parent, fingerprints=fingerprints)
        prompt = self._parse(_read(path, file), self._id(path), path, partials)
        self._cache[prompt_id] = (fingerprints, prompt)
        return prompt

    def find(self, text: str) -> str | None:
        """Return the id of a prompt whose file has this very text; None if none has."""
        data = text.encode()
        paths = (path for path in sorted(self._project.prompts.rglob(f"*{PROMPT_SUFFIX}")) if path.name[0] != "_")
        return next((self._id(path) for path in paths if path.read_bytes() == data), None)

    def add_draft(self, prompt_id: str, text: str) -> Prompt:
        """Add a prompt that is not written; it replaces an earlier draft of the same id in this library.

        Raises:
            PromptError: it is wrong, or there is a prompt of this id.
        """
        path = _within(self._project, prompt_id + PROMPT_SUFFIX)
        file = self._project.show(path)
        if prompt_id in self.ids():
            raise PromptError(f"there is a prompt `{prompt_id}`", place=Place(file=file))
        partials = _PartialFiles(project=self._project, folder=path.parent)
        prompt = self._parse(text, prompt_id, path, partials)
        self._drafts[prompt_id] = prompt
        return prompt

    def _parse(self, text: str, prompt_id: str, path: Path, partials: _PartialFiles) -> Prompt:
        prompt = parse_prompt(
            text,
            id=prompt_id,
            path=path,
            file=self._project.show(path),
            partials=partials,
            schemas=self._schemas,
            strict=self._strict,
        )
        if self._strict:
            prompt.contract.check_schema()
        return prompt

    def _id(self, path: Path) -> str:
        is_in_own_directory = path.parent != self._project.root and _VERSIONED.search(path.parent.name)
        owner = path.parent if is_in_own_directory else path.with_suffix("")
        return owner.relative_to(self._project.root).as_posix()

    def _find(self, prompt_id: str) -> Path:
        base = _within(self._project, prompt_id)
        file = base.with_name(base.name + PROMPT_SUFFIX)
        is_directory = bool(_VERSIONED.search(base.name)) and FileFingerprint.of(base) is not None and base.is_dir()
        if FileFingerprint.of(file) is not None:
            if is_directory:
                what = f"`{prompt_id}` is a file and a directory"
                raise PromptError(what, place=Place(file=self._project.show(file)), hint="remove one of the two")
            return _within(self._project, str(file))
        if is_directory:
            return _within(self._project, str(self._only_file(base)))
        hint = expected_one_of(self.ids(), found=prompt_id)
        if prompt_id.endswith(PROMPT_SUFFIX):
            hint = f"an id has no suffix: `{prompt_id.removesuffix(PROMPT_SUFFIX)}`"
        raise PromptError(f"no prompt `{prompt_id}`", hint=hint)

    def _only_file(self, directory: Path) -> Path:
        files = sorted(path for path in directory.glob(f"*{PROMPT_SUFFIX}") if not path.name.startswith("_"))
        if len(files) == 1:
            return files[0]
        found = ", ".join(f"`{path.name}`" for path in files) or "none"
        what = f"expected one `{PROMPT_SUFFIX}` file; found {found}"
        hint = "keep one; names of partials begin with `_`"
        raise PromptError(what, place=Place(file=self._project.show(directory)), hint=hint)


def _within(project: Project, text: str) -> Path:
    try:
        return project.inside(text)
    except UsageError as error:
        raise PromptError(error.what, hint=error.hint) from None
    except (ValueError, OSError):
        raise PromptError(f"`{text[:80]!r}` is not a path") from None
