"""Session of a fine-tuning command: the log of a feature, its cleaning, the pseudonym key of its training set."""

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
from flowai.privacy.options import PrivacyOptions
from flowai.privacy.scrubber import Scrubber
from flowai.providers.tokens import count_text, load_encoding
from flowai.registry import secret_values
from flowai.storage.files import writing
from flowai.storage.jsonl import read_lines
from flowai.storage.own_files import check_own_file, open_private_file
from flowai.timestamps import parse_moment
from flowai.workspace.event_source import open_event_source
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.events import Event
    from flowai.finetune.cleaning.quality import QualityLimits
    from flowai.project import Project
    from flowai.registry.policies import PrivacyPolicy
    from flowai.workspace.workspace import CommandContext, Workspace


KEY_VARIABLE = "FLOWAI_PSEUDONYM_KEY"
_KEY_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyChoices:
    """Choices of a command; empty ones are the registry's (`policies.privacy`)."""

    kinds: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    """Texts that stay, besides the registry's."""
    names: str | None = None
    toxicity: float | None = None
    """Minimum probability of a toxic answer, 0 to 1."""

    def options(self, policy: PrivacyPolicy) -> PrivacyOptions:
        """Return the choices together with those of the registry; raises UsageError for a wrong one."""
        if self.toxicity is not None and not 0 <= self.toxicity <= 1:
            raise UsageError(f"--toxicity-from: found {self.toxicity}", hint="a probability is from 0 to 1")
        return PrivacyOptions(
            kinds=self.kinds or policy.kinds,
            regions=self.regions or policy.regions,
            languages=self.languages or policy.languages,
            allow=(*policy.allow, *self.allow),
            names=self.names or policy.names,
            min_score=policy.min_score,
        )


@dataclass(kw_only=True, slots=True)
class FinetuneSession:
    """Everything that exports and reviews of one feature share."""

    workspace: Workspace
    feature: str
    cleaning: Cleaning
    toxicity: Toxicity | None
    """None if switched off or not installed."""
    toxic_from: float = THRESHOLD
    """Minimum probability of a toxic answer, 0 to 1."""
    reviewers: dict[str, int] = field(default_factory=dict)
    """Number of pairs with a decision, by reviewer."""
    warnings: list[str] = field(default_factory=list)
    _unreadable: dict[str, UnreadableLine] = field(default_factory=dict)

    @property
    def project(self) -> Project:
        """Project of the workspace."""
        return self.workspace.project

    def events(self) -> Iterator[Event]:
        """Yield the log's events, from the beginning."""
        workspace = self.workspace
        with open_event_source(workspace.registry, self.project, workspace.environ, None) as directories:
            yield from read_events(directories, on_unreadable=self._record_unreadable)

    def _record_unreadable(self, line: UnreadableLine) -> None:
        self._unreadable[str(line.place)] = line

    def unreadable_lines(self) -> Iterator[Quarantined]:
        """Yield the lines of the log without a readable event, in order; each once, even if the log was read twice."""
        for _, line in sorted(self._unreadable.items()):
            place = Place(file=self.project.show(Path(line.place.file)), line=line.place.line)
            yield Quarantined(id="", step=STEP, reason="broken", detail=f"{place}: {line.reason}")

    def selector(self, since: str | None, until: str | None, releases: tuple[str, ...]) -> PairSelector:
        """Return the filter for calls; raises UsageError for a wrong time, an empty range or an unknown release."""
        now = self.workspace.context.now()
        begin = None if since is None else parse_moment(since, now=now, option="--since")
        end = None if until is None else parse_moment(until, now=now, option="--until")
        if begin is not None and end is not None and end <= begin:
            raise UsageError("the time range between `--since` and `--until` is empty")
        for release in releases:
            self.workspace.registry.release(release)
        return PairSelector(feature=self.feature, since=begin, until=end, releases=frozenset(releases))


def open_session(
    context: CommandContext,
    feature: str,
    rules: QualityLimits,
    languages: tuple[str, ...],
    *,
    toxicity: bool,
    privacy: PrivacyChoices | None = None,
) -> FinetuneSession:
    """Open a project for fine-tuning; raises UsageError for an unknown feature or a missing package.

    `privacy` are the command's choices, which win over the registry's.
    """
    workspace = open_workspace(context)
    workspace.registry.feature(feature)
    warnings = list(workspace.warnings)
    if toxicity and not can_detect():
        warnings.append("toxicity is not checked: pip install 'flowai[finetune]'")
    leaks = ContaminationIndex(evaluation_texts(workspace.project))
    if leaks.too_short:
        warnings.append(f"{len(leaks.too_short):,} texts of evaluations are too short to be searched for")
    log = open_decision_log(workspace.project, feature)
    warnings.extend(damage_warnings(log))
    known = secret_values(workspace.registry, workspace.environ, workspace.project.root)
    policy = workspace.registry.policies.privacy
    options = (privacy or PrivacyChoices()).options(policy)
    cleaning = Cleaning(
        leaks=leaks,
        scrubber=Scrubber(
            _key(workspace.project, feature, workspace.environ),
            options=options,
            known_secrets=known,
            recognizers=options.recognizers(),
        ),
        rules=rules,
        count_tokens=None if rules.max_tokens is None else partial(count_text, load_encoding()),
        languages=Languages(languages) if languages else None,
        decide=decision_step(log.decisions),
    )
    return FinetuneSession(
        workspace=workspace,
        feature=feature,
        cleaning=cleaning,
        toxicity=Toxicity() if toxicity and can_detect() else None,
        toxic_from=policy.toxicity if privacy is None or privacy.toxicity is None else privacy.toxicity,
        reviewers=reviewer_counts(log.decisions),
        warnings=warnings,
    )


def _key(project: Project, feature: str, environ: Mapping[str, str]) -> bytes:
    """Return the pseudonym key of a feature's training set: from the environment, else the one of its first export."""
    value = environ.get(KEY_VARIABLE)
    if value:
        return value.encode()
    path = project.local / "finetune" / f"{feature}.key"
    check_own_file(path, f"or set {KEY_VARIABLE}")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return _new_key(path)
    except OSError as error:
        raise InfrastructureError(f"cannot be read: {error.strerror}", place=Place(file=project.show(path))) from error


def _new_key(path: Path) -> bytes:
    """Create a key; if two processes do it at once, the first key is kept."""
    with writing(path):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = open_private_file(temporary, os.O_WRONLY | os.O_TRUNC)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(os.urandom(_KEY_BYTES).hex().encode())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_bytes()


def training_set_directory(project: Project, feature: str) -> Path:
    """Return the directory of a feature's training sets, decisions and labels."""
    return project.root / "finetune" / feature


def open_decision_log(project: Project, feature: str) -> DecisionLog:
    """Open the decision log of a feature."""
    path = training_set_directory(project, feature) / "decisions.jsonl"
    return DecisionLog(path, name=project.show(path))


def damage_warnings(log: DecisionLog) -> list[str]:
    """Return a warning that names the unreadable lines of a decision log, if there are any."""
    if not log.damaged:
        return []
    lines = ", ".join(map(str, log.damaged[:5])) + (" ..." if len(log.damaged) > 5 else "")  # noqa: PLR2004 - enough to find them
    return [f"{log.name}: cannot be read, and not counted: line {lines}"]


def labels_file(project: Project, feature: str) -> Path:
    """Return the path of the models' labels for a feature's pairs."""
    return training_set_directory(project, feature) / "labels.jsonl"


def read_labels(project: Project, feature: str) -> tuple[Label, ...]:
    """Read the models' labels for a feature's pairs, in the order they were written."""
    path = labels_file(project, feature)
    return read_lines(path, Label, name=project.show(path)).records


def resolve_feature(workspace: Workspace, name: str | None) -> str:
    """Return the named feature, else the only one with training sets, else the only one of the registry."""
    if name is not None:
        workspace.registry.feature(name)
        return name
    known = sorted(workspace.registry.features)
    started = [name for name in known if training_set_directory(workspace.project, name).is_dir()] or known
    if len(started) != 1:
        raise UsageError("several features are possible; name one with `--feature`", hint=expected_one_of(started))
    return started[0]
