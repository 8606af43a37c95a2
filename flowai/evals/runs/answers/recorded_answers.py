"""Answers that are checked without calling a model: of a file (`--from-outputs`) or of an earlier run (`--rescore`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from flowai.errors import DatasetError, InconclusiveError, Place, UsageError
from flowai.evals.execution.transforms import recorded_completion
from flowai.evals.runs.plan import PlannedTrial, TrialTarget
from flowai.evals.runs.run_log import past_runs
from flowai.evals.suites.loader import SUITE_SUFFIXES, load_suite
from flowai.rendering import formatting
from flowai.storage.jsonl import iterate_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from flowai.evals.reports import Failure, Trial
    from flowai.evals.runs.plan import Selection
    from flowai.evals.runs.prepared import TrialPreparer
    from flowai.evals.runs.records import PreparedTrial
    from flowai.evals.suites.records import Case, Suite
    from flowai.evals.suites.yaml_reader import LoadContext
    from flowai.providers import Completion
    from flowai.workspace.workspace import Workspace

MAX_NAMED_IDS = 10
UNNAMED_PROMPT = "outputs"
"""Prompt of answers whose file and suite name none."""


class OutputLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A line of a file of answers; other fields are ignored."""

    id: str | int
    """Id of the case."""
    output: Any
    """The answer: a text, or any JSON value."""
    prompt: str | None = None
    model: str | None = None
    latency_ms: float | None = None
    cost_usd: float | None = None


class RecordedAnswers(Protocol):
    """Answers by case, prompt, model and repeat."""

    suites: tuple[Suite, ...]
    transforms: bool
    """Whether the answers are those of the model, before any transform."""

    def targets(self, suite: Suite) -> Sequence[TrialTarget]:
        """Return the prompts and models that have answers."""
        ...

    def repeats(self, suite: Suite, case: Case, target: TrialTarget) -> int:
        """Return the number of answers of a case."""
        ...

    def answer(self, planned: PlannedTrial) -> tuple[Completion | Failure, Trial | None]:
        """Return an answer, and the earlier trial that it is from."""
        ...

    def unknown_ids(self) -> Sequence[str]:
        """Return ids of answers that belong to no case."""
        ...


class RecordedPlan:
    """The trials of recorded answers: those of the suites' cases that have one."""

    def __init__(self, answers: RecordedAnswers, is_selected: Selection) -> None:
        from flowai.evals.runs.plan import case_filter

        self._answers = answers
        self._is_selected = case_filter(is_selected)
        self.suites = answers.suites
        self.missing: list[str] = []
        self.missing_count = 0
        self._count = 0
        for suite in self.suites:
            for target in answers.targets(suite):
                for case in self._cases(suite):
                    repeats = answers.repeats(suite, case, target)
                    self._count += repeats
                    if not repeats:
                        self.missing_count += 1
                        if len(self.missing) < MAX_NAMED_IDS:
                            self.missing.append(case.id)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[PlannedTrial]:
        for suite in self.suites:
            for target in self._answers.targets(suite):
                for case in self._cases(suite):
                    for repeat in range(self._answers.repeats(suite, case, target)):
                        yield PlannedTrial(suite=suite, case=case, target=target, repeat=repeat)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Name the cases without an answer, and the answers without a case."""
        found = []
        if self.missing_count:
            cases = formatting.count(self.missing_count, "case has", "cases have")
            found.append(f"{cases} no recorded answer: {_named(self.missing, self.missing_count)}")
        unknown = self._answers.unknown_ids()
        if unknown:
            answers = formatting.count(len(unknown), "recorded answer belongs", "recorded answers belong")
            found.append(f"{answers} to no case: {_named(unknown, len(unknown))}")
        return tuple(found)

    def _cases(self, suite: Suite) -> Iterator[Case]:
        return (case for case in suite.cases if self._is_selected(suite.path, case))


class RecordedPreparer:
    """Prepares trials of recorded answers: nothing is rendered, only the checks are compiled."""

    def __init__(self, preparer: TrialPreparer, answers: RecordedAnswers) -> None:
        self._preparer = preparer
        self._answers = answers

    def prepare_trial(self, planned: PlannedTrial) -> PreparedTrial:
        """Prepare a trial; see `TrialPreparer.prepare_trial`."""
        answer, earlier = self._answers.answer(planned)
        prepared = self._preparer.prepare_recorded(planned, answer, transforms=self._answers.transforms)
        if earlier is None:
            return prepared
        return replace(prepared, prompt_hash=earlier.prompt_hash, prompt_text=earlier.prompt_text or "")


class OutputsFile:
    """Answers of a JSONL file; their positions are in memory, each is read when it is asked for.

    Args:
        path: the file.
        suite: the suite whose cases they answer.
    """

    transforms = True

    def __init__(self, path: Path, suite: Suite) -> None:
        self.suites: tuple[Suite, ...] = (suite,)
        self._path = path
        self._lines: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
        self._default_prompt = suite.prompts[0] if len(suite.prompts) == 1 else UNNAMED_PROMPT
        self._default_model = suite.models[0] if len(suite.models) == 1 else path.stem
        names: dict[tuple[str, str], None] = {}
        known = {case.id for case in suite.cases}
        self._unknown: dict[str, None] = {}
        for line in iterate_lines(path, kind=DatasetError):
            output = self._convert(line.value, line.number)
            if str(output.id) not in known:
                self._unknown[str(output.id)] = None
                continue
            target = (output.prompt or self._default_prompt, output.model or self._default_model)
            names[target] = None
            self._lines.setdefault((str(output.id), *target), []).append((line.offset, line.size_bytes))
        if not names and not self._unknown:
            raise DatasetError("no answers", place=Place(file=str(path)), hint='a line is {"id": CASE, "output": TEXT}')
        self._targets = [TrialTarget(prompt=prompt, model=model, feature=None) for prompt, model in names]

    def targets(self, suite: Suite) -> Sequence[TrialTarget]:  # noqa: ARG002 - there is one
        """Return the prompts and models that the file names."""
        return self._targets

    def repeats(self, suite: Suite, case: Case, target: TrialTarget) -> int:  # noqa: ARG002 - there is one
        """Return the number of answers of a case."""
        return len(self._lines.get((case.id, target.prompt, target.model), ()))

    def answer(self, planned: PlannedTrial) -> tuple[Completion, None]:
        """Return an answer."""
        target = planned.target
        offset, size_bytes = self._lines[planned.case.id, target.prompt, target.model][planned.repeat]
        with self._path.open("rb") as stream:
            stream.seek(offset)
            line = msgspec.json.decode(stream.read(size_bytes), type=OutputLine)
        facts = {"cost_usd": line.cost_usd} if line.latency_ms is None else {
            "cost_usd": line.cost_usd, "latency_ms": line.latency_ms,
        }  # fmt: skip
        return recorded_completion(line.output, model=target.model, provider="recorded", **facts), None

    def unknown_ids(self) -> Sequence[str]:
        """Return ids that are no case of the suite."""
        return tuple(self._unknown)

    def _convert(self, value: object, number: int) -> OutputLine:
        place = Place(file=str(self._path), line=number)
        try:
            line = msgspec.convert(value, OutputLine)
        except msgspec.ValidationError as error:
            raise DatasetError(
                f"not a recorded answer: {error}", place=place, hint='a line is {"id": CASE, "output": TEXT}'
            ) from None
        if line.output is None:
            raise DatasetError("not a recorded answer: `output` is null", place=place)
        return line


class RecordedRun:
    """Answers of an earlier run, by the log of its trials; they are redacted and already transformed."""

    transforms = False

    def __init__(self, trials: Mapping[str, Trial], suites: Sequence[Suite]) -> None:
        self.suites: tuple[Suite, ...] = tuple(suites)
        self._trials = trials
        self._targets: dict[str, dict[tuple[str, str], None]] = {}
        self._repeats: dict[tuple[str, str, str, str], int] = {}
        for key in trials:
            trial = trials[key]
            self._targets.setdefault(trial.suite, {})[trial.prompt, trial.model] = None
            name = (trial.suite, trial.case, trial.prompt, trial.model)
            self._repeats[name] = max(self._repeats.get(name, 0), trial.repeat + 1)

    def targets(self, suite: Suite) -> Sequence[TrialTarget]:
        """Return the prompts and models that were tried."""
        names = self._targets.get(suite.path, {})
        return [TrialTarget(prompt=prompt, model=model, feature=None) for prompt, model in names]

    def repeats(self, suite: Suite, case: Case, target: TrialTarget) -> int:
        """Return the number of repeats of a case."""
        return self._repeats.get((suite.path, case.id, target.prompt, target.model), 0)

    def answer(self, planned: PlannedTrial) -> tuple[Completion | Failure, Trial]:
        """Return an answer, or the failure of its call."""
        trial = self._trials[planned.key]
        if trial.failure is not None:
            return trial.failure, trial
        facts = {
            "finish_reason": trial.finish_reason,
            "input_tokens": trial.input_tokens,
            "output_tokens": trial.output_tokens,
            "cost_usd": trial.cost_usd,
            "latency_ms": trial.latency_ms or 0.0,
            "ttft_ms": trial.ttft_ms,
        }
        output = trial.output or ""
        return recorded_completion(output, model=trial.model, provider="recorded", **facts), trial

    def unknown_ids(self) -> Sequence[str]:
        """Return ids that the suites do not have any more."""
        known = {(suite.path, case.id) for suite in self.suites for case in suite.cases}
        return tuple(dict.fromkeys(name[1] for name in self._repeats if name[:2] not in known))


def open_outputs(workspace: Workspace, path: Path, target: str | None, loading: LoadContext) -> OutputsFile:
    """Open a file of answers to the cases of a suite.

    Raises:
        UsageError: the target is no suite.
        DatasetError: the file cannot be read.
    """
    if target is None or not target.endswith(SUITE_SUFFIXES):
        raise UsageError(
            f"--from-outputs checks the cases of one suite: found {f'`{target}`' if target else 'no target'}",
            hint=f"name the suite: flowai eval evals/NAME.yaml --from-outputs {path}",
        )
    project = workspace.project
    return OutputsFile(path, load_suite(project.inside(target), project, loading))


def open_run(workspace: Workspace, name: str, target: str | None, loading: LoadContext) -> RecordedRun:
    """Open an earlier run, to check its answers by the suites' present assertions.

    Raises:
        UsageError: there is no such run.
        InconclusiveError: it has no trial of the target.
    """
    project = workspace.project
    runs = past_runs(project.runs, lambda started: name in {"last", started.run_id})
    past = next((run for run in runs if len(run.trials)), None)
    if past is None:
        raise UsageError(f"no run `{name}` with trials", hint="`flowai runs list` shows the runs; `last` is the newest")
    paths = dict.fromkeys(past.trials[key].suite for key in past.trials)
    if target is not None:
        shown = project.show(project.inside(target))
        paths = {path: None for path in paths if path == shown}
    if not paths:
        raise InconclusiveError(f"run {past.run_id} has no trial of `{target}`")
    return RecordedRun(past.trials, [load_suite(project.root / path, project, loading) for path in paths])


def _named(ids: Sequence[str], count: int) -> str:
    shown = ", ".join(f"`{name}`" for name in ids[:MAX_NAMED_IDS])
    return shown if count <= MAX_NAMED_IDS else f"{shown} and {count - MAX_NAMED_IDS:,} more"
