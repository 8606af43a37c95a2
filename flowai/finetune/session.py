"""What every fine-tuning command opens: the log of a feature, its cleaning, the key of its training set."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError, Place, UsageError, expected_one_of
from flowai.events import UnreadableLine, read_events
from flowai.finetune.cleaning.filters import Cleaning
from flowai.finetune.cleaning.language import Languages
from flowai.finetune.cleaning.toxicity import THRESHOLD, Toxicity, can_detect
from flowai.finetune.decisions.decision_log import DecisionLog
from flowai.finetune.decisions.decisions import decision_step, reviewer_counts
from flowai.finetune.decisions.labels import Label
from flowai.finetune.dedup.contamination import ContaminationIndex
from flowai.finetune.dedup.eval_texts import evaluation_texts
from flowai.finetune.pairs.collect import PairSelector
from flowai.finetune.pairs.pairing import STEP
from flowai.finetune.records import Quarantined
from flowai.privacy.presidio import PresidioFinder, is_presidio_installed
from flowai.privacy.scrubber import Scrubber
from flowai.providers.tokens import count_text, load_encoding
from flowai.registry import secret_values
from flowai.storage.files import writing
from flowai.storage.jsonl import read_lines
from flowai.timestamps import parse_moment
from flowai.workspace.event_source import open_event_source
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.events import Event
    from flowai.finetune.cleaning.quality import QualityLimits
    from flowai.project import Project
    from flowai.workspace.workspace import CommandContext, Workspace


KEY_VARIABLE = "FLOWAI_PSEUDONYM_KEY"
_KEY_BYTES = 32


@dataclass(kw_only=True, slots=True)
class FinetuneSession:
    """What a command stands on."""

    workspace: Workspace
    """The project."""
    feature: str
    """Whose calls."""
    cleaning: Cleaning
    """What is looked for in each pair."""
    toxicity: Toxicity | None
    """Tells toxic answers; None where nobody wants to know, or it is not installed."""
    toxic_from: float = THRESHOLD
    """Probability from which on an answer is toxic."""
    reviewers: dict[str, int] = field(default_factory=dict)
    """Decisions by reviewer."""
    warnings: list[str] = field(default_factory=list)
    """What a person should know; one line each."""
    _unreadable: dict[str, UnreadableLine] = field(default_factory=dict)

    @property
    def project(self) -> Project:
        """The project."""
        return self.workspace.project

    def events(self) -> Iterator[Event]:
        """Give the log's events, from the begin."""
        workspace = self.workspace
        with open_event_source(workspace.registry, self.project, workspace.environ, None) as directories:
            yield from read_events(directories, on_unreadable=self._note)

    def _note(self, line: UnreadableLine) -> None:
        self._unreadable[str(line.place)] = line

    def unreadable(self) -> Iterator[Quarantined]:
        """Give the lines that gave no event, in order; each once, however often the log was read."""
        for _, line in sorted(self._unreadable.items()):
            place = Place(file=self.project.show(Path(line.place.file)), line=line.place.line)
            yield Quarantined(id="", step=STEP, reason="broken", detail=f"{place}: {line.reason}")

    def wanted(self, since: str | None, until: str | None, releases: tuple[str, ...]) -> PairSelector:
        """Say which calls are wanted.

        Raises:
            UsageError: a time cannot be read, nothing lies between them, or there is no such release.
        """
        now = self.workspace.context.now()
        begin = None if since is None else parse_moment(since, now=now, option="--since")
        end = None if until is None else parse_moment(until, now=now, option="--until")
        if begin is not None and end is not None and end <= begin:
            raise UsageError("nothing lies between `--since` and `--until`")
        for release in releases:
            self.workspace.registry.release(release)
        return PairSelector(feature=self.feature, since=begin, until=end, releases=frozenset(releases))


def open_session(
    context: CommandContext, feature: str, rules: QualityLimits, languages: tuple[str, ...], *, toxicity: bool
) -> FinetuneSession:
    """Open a project for fine-tuning.

    Raises:
        UsageError: there is no such feature, or a package that is asked for is not installed.
        ProjectError: the registry, a suite or a dataset is wrong.
    """
    workspace = open_workspace(context)
    workspace.registry.feature(feature)
    warnings = list(workspace.warnings)
    if toxicity and not can_detect():
        warnings.append("toxicity is not looked for: pip install 'flowai[finetune]'")
    leaks = ContaminationIndex(evaluation_texts(workspace.project))
    if leaks.too_short:
        warnings.append(f"{len(leaks.too_short):,} texts of evaluations are too short to be looked for")
    book = open_book(workspace.project, feature)
    warnings.extend(unreadable_lines(book))
    known = secret_values(workspace.registry, workspace.environ)
    others = (PresidioFinder(),) if is_presidio_installed() else ()
    cleaning = Cleaning(
        leaks=leaks,
        scrubber=Scrubber(_key(workspace.project, feature, workspace.environ), known_secrets=known, recognizers=others),
        rules=rules,
        count_tokens=None if rules.max_tokens is None else partial(count_text, load_encoding()),
        languages=Languages(languages) if languages else None,
        decide=decision_step(book.decisions),
    )
    return FinetuneSession(
        workspace=workspace,
        feature=feature,
        cleaning=cleaning,
        toxicity=Toxicity() if toxicity and can_detect() else None,
        reviewers=reviewer_counts(book.decisions),
        warnings=warnings,
    )


def _key(project: Project, feature: str, environ: Mapping[str, str]) -> bytes:
    """Give the key of a feature's data set: from the environment, else the one of its first export.

    Raises:
        InfrastructureError: it cannot be read or kept.
        UsageError: the variable holds too little.
    """
    named = environ.get(KEY_VARIABLE)
    if named:
        return named.encode()
    path = project.local / "finetune" / f"{feature}.key"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return _new_key(path)
    except OSError as error:
        raise InfrastructureError(f"cannot be read: {error.strerror}", place=Place(file=project.show(path))) from error


def _new_key(path: Path) -> bytes:
    """Make a key; of two processes that do so at once the first one's stands."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(os.urandom(_KEY_BYTES).hex().encode())
        try:
            os.link(beside, path)
        except FileExistsError:
            pass
        finally:
            beside.unlink()
    return path.read_bytes()


def training_set_directory(project: Project, feature: str) -> Path:
    """Give the directory of a feature's training sets, and of what people decided for them."""
    return project.root / "finetune" / feature


def open_book(project: Project, feature: str) -> DecisionLog:
    """Open the decisions on a feature's pairs.

    Raises:
        ProjectError: a line is no decision.
    """
    path = training_set_directory(project, feature) / "decisions.jsonl"
    return DecisionLog(path, name=project.show(path))


def unreadable_lines(book: DecisionLog) -> list[str]:
    """Say which lines of the decisions cannot be read."""
    if not book.damaged:
        return []
    lines = ", ".join(map(str, book.damaged[:5])) + (" ..." if len(book.damaged) > 5 else "")  # noqa: PLR2004 - enough to find them
    return [f"{book.name}: cannot be read, and not counted: line {lines}"]


def labels_file(project: Project, feature: str) -> Path:
    """Give the file of what models say of a feature's pairs."""
    return training_set_directory(project, feature) / "labels.jsonl"


def read_labels(project: Project, feature: str) -> tuple[Label, ...]:
    """Give what models say of a feature's pairs, in the order they said it.

    Raises:
        ProjectError: a line is no label.
    """
    path = labels_file(project, feature)
    return read_lines(path, Label, name=project.show(path)).records


def feature_of(workspace: Workspace, named: str | None) -> str:
    """Give the feature that is meant.

    Raises:
        UsageError: there is no such feature, or there are several and none was named.
    """
    if named is not None:
        workspace.registry.feature(named)
        return named
    known = sorted(workspace.registry.features)
    begun = [name for name in known if training_set_directory(workspace.project, name).is_dir()] or known
    if len(begun) != 1:
        raise UsageError("which feature? name it with `--feature`", hint=expected_one_of(begun))
    return begun[0]
