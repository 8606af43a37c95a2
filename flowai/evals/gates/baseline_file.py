"""Committed baselines: `evals/baselines/NAME.jsonl`, a line per case, in a fixed order, without answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from flowai.errors import Place, ProjectError, UsageError
from flowai.evals.gates.records import Baseline, CaseIdentity, CaseResult
from flowai.rendering.formatting import count
from flowai.storage.files import write_atomic
from flowai.storage.jsonl import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from flowai.evals.gates.records import CaseKey

DIRECTORY = "baselines"
_MAX_SHOWN = 20
_HASH_DIGITS = 16


class BaselineLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Result of one case on one prompt and model: a line of a baseline's file."""

    suite: str
    case: str
    prompt: str
    model: str
    pass_count: int
    trial_count: int
    metrics: dict[str, float] = {}
    """Mean score by metric."""
    called_model: str | None = None
    """LiteLLM's name of the model; None, as for the next fields, in a file of an older flowai."""
    served_model: str | None = None
    """The name that the provider reported."""
    fingerprint: str | None = None
    """The provider's id of its configuration; None if it reported none."""
    prompt_hash: str | None = None
    """First 16 digits."""
    request_hash: str | None = None
    """Of model, messages and parameters; None if they are not known before the call."""
    case_hash: str | None = None
    """Of variables and assertions."""

    def __post_init__(self) -> None:
        """Check the counts."""
        if not 0 <= self.pass_count <= self.trial_count or self.trial_count < 1:
            raise ValueError(f"{self.pass_count} passed of {self.trial_count} trials cannot be")


class BaselineChange(NamedTuple):
    """Difference of a new baseline from the one it replaces."""

    head: str
    """Numbers of cases that are new, gone, better and worse."""
    lines: tuple[str, ...]
    """One per changed case."""


def baseline_path(evals: Path, name: str) -> Path:
    """Return the file of a baseline by its name."""
    if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
        raise UsageError(f"`{name}` is not a name of a baseline", hint="letters, digits, `-`, `_` and `.`")
    return evals / DIRECTORY / f"{name.removesuffix('.jsonl')}.jsonl"


def read_baseline(path: Path, *, name: str) -> Baseline:
    """Read a baseline's file, called `name` in messages; every case may be there once per prompt and model."""
    if not path.is_file():
        raise UsageError(f"there is no baseline `{name}`", hint="`flowai eval TARGET --write-baseline NAME` writes it")
    lines = read_lines(path, BaselineLine, name=name)
    if lines.damaged:
        raise ProjectError("is not JSON", place=Place(file=name, line=lines.damaged[0]))
    if not lines.records:
        raise ProjectError("an empty baseline", place=Place(file=name), hint="write it again with --write-baseline")
    seen: set[tuple[str, str, str, str]] = set()
    for number, line in enumerate(lines.records, start=1):
        key = _key(line)
        if key in seen:
            what = f"the case `{line.case}` is there twice for `{line.prompt}` on {line.model}"
            raise ProjectError(what, place=Place(file=name, line=number))
        seen.add(key)
    return Baseline(name=name, results=tuple(_result(line) for line in lines.records))


def write_baseline(
    path: Path, results: Iterable[CaseResult], *, name: str, case_hashes: Mapping[CaseKey, str] | None = None
) -> BaselineChange:
    """Replace a baseline's file by the first trials of a run; return what changed. Equal results give equal bytes.

    Args:
        path: the file.
        results: results by case.
        name: the file in messages.
        case_hashes: hashes of the variables and assertions of the cases.
    """
    lines = sorted(
        (
            BaselineLine(
                suite=result.suite,
                case=result.case,
                prompt=result.prompt,
                model=result.model,
                pass_count=round(sum(result.first)),
                trial_count=len(result.first),
                metrics={name: round(score, 6) for name, score in result.metrics.items()},
                called_model=result.identity.called_model,
                served_model=result.identity.served_model,
                fingerprint=result.identity.fingerprint,
                prompt_hash=(result.identity.prompt_hash or "")[:_HASH_DIGITS] or None,
                request_hash=result.identity.request_hash,
                case_hash=(case_hashes or {}).get((result.suite, result.case)),
            )
            for result in results
            if result.first
        ),
        key=_key,
    )
    before = {_key(line): line for line in read_lines(path, BaselineLine, name=name).records}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return _change(before, {_key(line): line for line in lines})


def _change(
    before: dict[tuple[str, str, str, str], BaselineLine], after: dict[tuple[str, str, str, str], BaselineLine]
) -> BaselineChange:
    shown: list[str] = []
    counts = {"new": 0, "gone": 0, "better": 0, "worse": 0}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        word = _word(old, new)
        if word is not None:
            counts[word] += 1
            shown.append(f"{word:<6}  {key[1]}  {_share(old)} -> {_share(new)}  ({key[2]}, {key[3]})")
    head = f"{count(len(after), 'case')}: " + ", ".join(f"{number} {word}" for word, number in counts.items())
    more = [f"... and {len(shown) - _MAX_SHOWN} more"] if len(shown) > _MAX_SHOWN else []
    return BaselineChange(head=head, lines=(*shown[:_MAX_SHOWN], *more))


def _word(old: BaselineLine | None, new: BaselineLine | None) -> str | None:
    if old is None or new is None:
        return "new" if old is None else "gone"
    gap = new.pass_count * old.trial_count - old.pass_count * new.trial_count
    return None if gap == 0 else "better" if gap > 0 else "worse"


def _share(line: BaselineLine | None) -> str:
    return "-" if line is None else f"{line.pass_count}/{line.trial_count}"


def _key(line: BaselineLine) -> tuple[str, str, str, str]:
    return line.suite, line.case, line.prompt, line.model


def _result(line: BaselineLine) -> CaseResult:
    return CaseResult(
        suite=line.suite,
        case=line.case,
        prompt=line.prompt,
        model=line.model,
        first=(1.0,) * line.pass_count + (0.0,) * (line.trial_count - line.pass_count),
        metrics=line.metrics,
        identity=CaseIdentity(
            called_model=line.called_model,
            served_model=line.served_model,
            fingerprint=line.fingerprint,
            prompt_hash=line.prompt_hash,
            request_hash=line.request_hash,
            case_hash=line.case_hash,
        ),
    )
