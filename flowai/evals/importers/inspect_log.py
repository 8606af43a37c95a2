"""Imports logs of Inspect as recorded answers: `.eval` archives and their JSON form.

Source: inspect.aisi.org.uk, "Eval Logs", and github.com/UKGovernmentBEIS/inspect_ai, src/inspect_ai/log/_log.py: a ZIP
archive with `header.json` and `samples/ID_epoch_N.json`.
"""

from __future__ import annotations

import json
import math
import zipfile
from typing import TYPE_CHECKING, Any

from flowai.errors import DatasetError, Place
from flowai.evals.importers.export_file import check_value
from flowai.evals.importers.openai_graders import message_text
from flowai.evals.importers.project_files import dataset_file, prompt_file, slug, suite_file, unique_ids
from flowai.evals.importers.records import ImportPlan, Omission
from flowai.evals.importers.zip_entries import ZipEntries

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flowai.evals.importers.export_file import ExportFile
    from flowai.evals.importers.project_files import Row

FORMAT = "Inspect log"
_HEADER = "header.json"
_ATTACHMENT = "attachment://"


def is_archive(path: Path) -> bool:
    """Return whether a file is a ZIP archive."""
    try:
        return zipfile.is_zipfile(path)
    except OSError:
        return False


def is_log(value: object) -> bool:
    """Return whether a document is a log in its JSON form."""
    return isinstance(value, dict) and isinstance(value.get("eval"), dict) and "plan" in value and "status" in value


def read_archive(path: Path, name: str | None) -> ImportPlan:
    """Build the plan of an `.eval` archive; the samples are read one after the other."""
    with ZipEntries(path) as entries:
        if _HEADER not in entries.names():
            raise DatasetError(
                f"no `{_HEADER}` in the archive",
                place=Place(file=str(path)),
                hint="an Inspect log has one; a crashed run has none",
            )
        header = _parsed(entries.read(_HEADER), path, _HEADER)
        samples = ((key, _parsed(entries.read(key), path, key)) for key in list(entries.names("samples/")))
        return _plan(header, samples, path, name)


def read_json_log(export: ExportFile, name: str | None) -> ImportPlan:
    """Build the plan of a log in JSON form."""
    samples = export.value.get("samples") or []
    return _plan(export.value, ((f"samples.{i}", sample) for i, sample in enumerate(samples)), export.path, name)


def _plan(header: Any, samples: Iterable[tuple[str, Any]], path: Path, name: str | None) -> ImportPlan:  # noqa: ANN401 - from a file
    file = str(path)
    if not is_log(header):
        raise DatasetError("found no header of an Inspect log", place=Place(file=file, key=_HEADER))
    about: Row = header["eval"]
    title = str(about.get("task") or path.stem)
    chosen = name or slug(title.rpartition("/")[2])
    omissions = (
        []
        if header.get("status") == "success"
        else [
            Omission(
                file=file,
                key="status",
                reason=f"the run ended with `{header.get('status')}`: some samples can be missing",
            )
        ]
    )
    read = [found for key, sample in samples if (found := _sample(key, sample, file, omissions)) is not None]
    if not read:
        raise DatasetError("found no sample with an answer", place=Place(file=file, key="samples"))
    read.sort(key=lambda sample: sample["epoch"])
    cases = list({sample["id"]: sample for sample in read}.values())
    ids = dict(zip((case["id"] for case in cases), unique_ids((case["id"] for case in cases), chosen), strict=True))
    checks, caveats = _checks(header, file)
    rows = [_case(case, ids[case["id"]], checks) for case in cases]
    outputs = [
        {
            "id": ids[s["id"]],
            "output": s["output"],
            "input": s["input"],
            "target": s["target"],
            "scores": s["scores"],
            "epoch": s["epoch"],
        }
        for s in read
    ]
    model = str(about.get("model") or "")
    prompt = prompt_file(f"prompts/{chosen}_v1", [("user", "{{input}}")])
    epochs = max(sum(s["id"] == read[0]["id"] for s in read), 1)
    suite = suite_file(
        chosen, description=f"Answers of {model}, recorded by Inspect" if model else "", source=f"{FORMAT}: {title}",
        prompts=[prompt.path], providers=[model] if model else [], rows=rows, repeats=epochs,
    )  # fmt: skip
    omissions += caveats
    if any(s["has_conversation"] for s in read):
        omissions.append(
            Omission(
                file=file,
                key="samples.messages",
                reason="the prompt is the sample's input alone: solvers add messages when they run",
            )
        )
    recorded = dataset_file(chosen, outputs, suffix=".outputs")
    return ImportPlan(
        format=FORMAT,
        files=(suite, dataset_file(chosen, rows), recorded, prompt),
        omissions=tuple(omissions), models=(model,) if model else (),
        target=suite.path, outputs=recorded.path,
    )  # fmt: skip


def _parsed(raw: bytes, path: Path, key: str) -> Any:  # noqa: ANN401 - any JSON value
    place = Place(file=str(path), key=key)
    try:
        return json.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise DatasetError(f"byte 0x{raw[error.start]:02x} is not UTF-8", place=place) from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"not valid JSON: {error}", place=place) from None


def _sample(key: str, sample: Any, file: str, omissions: list[Omission]) -> Row | None:  # noqa: ANN401 - from a file
    if not isinstance(sample, dict) or "id" not in sample:
        raise DatasetError("found no sample, expected a mapping with `id`", place=Place(file=file, key=key))
    output = _answer(sample)
    if output is None:
        error = sample.get("error")
        reason = str(error.get("message") if isinstance(error, dict) else "")[:120] or "it has no answer"
        omissions.append(Omission(file=file, key=key, reason=f"no answer: {reason}"))
        return None
    given = sample.get("input")
    if isinstance(given, list):
        given = "\n\n".join(message_text(message) for message in given if isinstance(message, dict))
    epoch = sample.get("epoch")
    found = {
        "id": str(sample["id"]),
        "epoch": epoch if isinstance(epoch, int) else 1,
        "input": _resolved(given, sample),
        "target": _finite(_resolved(sample.get("target"), sample)),
        "output": output,
        "scores": _scores(sample),
        "metadata": _finite(sample.get("metadata")),
        "has_conversation": len(sample.get("messages") or []) > 2,  # noqa: PLR2004 - a question and its answer
    }
    check_value(found, f"{file}: {key}")
    return found


def _answer(sample: Row) -> str | None:
    output = sample.get("output")
    choices = output.get("choices") if isinstance(output, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None
    message = choices[0].get("message")
    text = message_text(message) if isinstance(message, dict) else None
    resolved = _resolved(text, sample)
    return resolved if isinstance(resolved, str) else None


def _resolved(value: Any, sample: Row) -> Any:  # noqa: ANN401 - any JSON value
    """Return a text with its attachment instead of the reference to it: long texts are stored once."""
    attachments = sample.get("attachments")
    if isinstance(value, str) and value.startswith(_ATTACHMENT) and isinstance(attachments, dict):
        return attachments.get(value.removeprefix(_ATTACHMENT), value)
    return value


def _scores(sample: Row) -> Row:
    scores = sample.get("scores")
    if not isinstance(scores, dict):
        return {}
    return {str(name): _finite(score.get("value")) for name, score in scores.items() if isinstance(score, dict)}


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value with null instead of numbers that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list) else value


def _checks(header: Row, file: str) -> tuple[tuple[str, ...], list[Omission]]:
    """Return the assertion types of the log's scorers, and what they mean differently."""
    kinds: dict[str, None] = {}
    caveats = []
    scorers = header["eval"].get("scorers")
    for index, scorer in enumerate(scorers if isinstance(scorers, list) else []):
        name = str(scorer.get("name") if isinstance(scorer, dict) else scorer).rpartition("/")[2]
        options = scorer.get("options") if isinstance(scorer, dict) else None
        if name == "includes":
            kinds[
                "contains-any" if isinstance(options, dict) and options.get("ignore_case") is False else "icontains-any"
            ] = None
        else:
            reason = f"the scorer `{name}` is code; its values are in `scores`, write `assert` in the suite"
            caveats.append(Omission(file=file, key=f"eval.scorers.{index}", reason=reason))
    return tuple(kinds), caveats


def _case(sample: Row, case_id: str, checks: Iterable[str]) -> Row:
    target = sample["target"]
    targets = [str(part) for part in (target if isinstance(target, list) else [target]) if part not in (None, "")]
    case: Row = {"id": case_id, "vars": {"input": sample["input"], "target": target}}
    asserted = [{"type": kind, "value": targets} for kind in checks] if targets else []
    case |= {"assert": asserted} if asserted else {}
    metadata = sample["metadata"]
    return case | ({"metadata": metadata} if isinstance(metadata, dict) and metadata else {})
