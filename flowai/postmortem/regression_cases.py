"""Converts the worst calls of an incident to regression cases that a suite can load.

The log holds messages as they were sent, a suite needs the prompt's variables. If today's prompt renders exactly those
messages, the variables are derived from them; else the case holds the last message as `request` and all messages in its
metadata.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import FlowaiError
from flowai.postmortem.analysis.records import FAILURE_KINDS
from flowai.postmortem.report_records import AddedCases
from flowai.postmortem.wording import KIND_LABELS, condition_text
from flowai.prompts.openai_messages import openai_messages
from flowai.storage.files import write_atomic, writing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flowai.postmortem.analysis.finding_details import Sample
    from flowai.postmortem.analysis.records import FailureKind, Finding
    from flowai.project import Project
    from flowai.prompts import Prompt, PromptLibrary
    from flowai.redaction import Redactor

MAX_VARIABLES = 4
MAX_CHARS = 20_000
"""With more variables or characters, variables are not derived: there would be too many ways to match."""
FALLBACK_VARIABLE = "request"
"""The variable with the last message, if the prompt's own variables could not be derived."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


class CaseWriter:
    """Adds cases to a project's datasets; no case twice, and existing lines do not change.

    `redactor` removes secrets once more; `day` is the incident's, for file names.
    """

    def __init__(self, project: Project, library: PromptLibrary, redactor: Redactor, day: str) -> None:
        self._project = project
        self._library = library
        self._redactor = redactor
        self._day = day

    def add(self, findings: Sequence[Finding], samples: Sequence[tuple[Sample, ...]]) -> AddedCases:
        """Add the samples of findings as cases."""
        known = self._known()
        rows: dict[Path, list[dict[str, Any]]] = {}
        unasked = known_count = 0
        for finding, some in zip(findings, samples, strict=True):
            for sample in some if finding.kind in FAILURE_KINDS else ():
                row = self._case(finding, sample)
                if row is None:
                    unasked += 1
                elif row["id"] in known:
                    known_count += 1
                else:
                    known.add(row["id"])
                    rows.setdefault(self._path(sample.feature), []).append(row)
        for path, new in rows.items():
            _append(path, new)
        return AddedCases(
            files={self._project.show(path): len(new) for path, new in rows.items()},
            already_present_count=known_count,
            unasked_count=unasked,
            unfilled_count=sum("messages" in row["metadata"] for new in rows.values() for row in new),
        )

    def _path(self, feature: str | None) -> Path:
        name = _UNSAFE.sub("-", feature or "calls").strip("-")[:60] or "calls"
        return self._project.datasets / f"{name}-incident-{self._day}.jsonl"

    def _known(self) -> set[str]:
        """Return the ids of all incident cases in the datasets, of any day."""
        found: set[str] = set()
        for path in sorted(self._project.datasets.glob("*-incident-*.jsonl")):
            with writing(path):
                lines = path.read_bytes().splitlines()
            for line in lines:
                try:
                    row = msgspec.json.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue  # a person's line, or a damaged one: it is not changed
                if isinstance(row, dict):
                    found.add(str(row.get("id")))
        return found

    def _case(self, finding: Finding, sample: Sample) -> dict[str, Any] | None:
        """Return a case; None without kept content."""
        messages: list[dict[str, Any]] = self._redactor.value(list(sample.messages))
        output = None if sample.output is None else self._redactor.text(sample.output)
        checks = _checks(finding.kind, output)
        if not messages or checks is None:
            return None
        metadata: dict[str, Any] = {
            "call_id": sample.call_id,
            "went_wrong": KIND_LABELS[finding.kind],
            "where": condition_text(finding.where),
            "release": sample.release,
            "prompt": sample.prompt,
        }
        variables = self._variables(sample.prompt, messages)
        if variables is None:
            variables = {FALLBACK_VARIABLE: _content_text(messages[-1])}
            metadata["messages"] = messages
        name = msgspec.json.encode([messages, checks], order="deterministic")
        return {
            "id": f"incident-{hashlib.sha256(name).hexdigest()[:12]}",
            "description": f"{KIND_LABELS[finding.kind]} in the incident of {self._day}",
            "vars": variables,
            "assert": checks,
            "metadata": metadata,
            "options": {"disableVarExpansion": True},
        }

    def _variables(self, prompt_id: str | None, messages: list[dict[str, Any]]) -> dict[str, str] | None:
        if prompt_id is None:
            return None
        try:
            return variables_of(self._library.load(prompt_id), messages)
        except FlowaiError:
            return None  # the prompt was removed, or cannot be read any more


def variables_of(prompt: Prompt, messages: list[dict[str, Any]]) -> dict[str, str] | None:
    """Derive a prompt's variables from messages; None unless they render to exactly those messages.

    Raises PromptError if the prompt does not accept texts.
    """
    names = prompt.variables
    texts = [one.get("content") for one in messages]
    if len(names) > MAX_VARIABLES or not all(isinstance(text, str) for text in texts):
        return None
    if sum(len(text) for text in texts if isinstance(text, str)) > MAX_CHARS:
        return None
    marks = {name: f"qz{number}xq" for number, name in enumerate(names)}
    shape = openai_messages(prompt.render(marks).messages)
    if [one["role"] for one in shape] != [one.get("role") for one in messages]:
        return None
    found: dict[str, str] = {}
    for one, text in zip(shape, texts, strict=True):
        matched = re.fullmatch(_pattern(str(one["content"]), marks, found), str(text), re.DOTALL)
        if matched is None:
            return None
        found |= {name: value for name, value in matched.groupdict().items() if value is not None}
    if set(found) != set(names):
        return None
    return found if openai_messages(prompt.render(found).messages) == messages else None


def _pattern(text: str, marks: dict[str, str], found: dict[str, str]) -> str:
    """Return a pattern of a message whose variables are marked; variables with a known value match literally."""
    parts = re.split("(" + "|".join(map(re.escape, marks.values())) + ")", text) if marks else [text]
    names = {mark: name for name, mark in marks.items()}
    seen: set[str] = set()
    pattern = ""
    for part in parts:
        name = names.get(part)
        if name is None:
            pattern += re.escape(part)
        elif name in found:
            pattern += re.escape(found[name])
        elif name in seen:
            pattern += f"(?P={name})"
        else:
            seen.add(name)
            pattern += f"(?P<{name}>.*?)"
    return pattern


def _checks(kind: FailureKind, output: str | None) -> list[dict[str, Any]] | None:
    """Return the assertions against the old failure; None if they need an answer and none was kept."""
    if kind == "invalid_json":
        return [{"type": "is-json"}]
    if kind == "truncated":
        return [{"type": "finish-reason", "value": "stop"}]
    if kind == "error":
        return [{"type": "word-count", "value": {"min": 1}}]
    return [{"type": "not-equals", "value": output}] if output else None


def _content_text(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else msgspec.json.encode(content).decode()


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows to a file; all of them or none."""
    with writing(path):
        old = path.read_bytes() if path.exists() else b""
    if old and not old.endswith(b"\n"):
        old += b"\n"
    write_atomic(path, old + b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
