"""Graders of OpenAI's Evals API as assertions of a suite.

Source: OpenAI's API description (github.com/openai/openai-openapi), schemas `GraderStringCheck`,
`GraderTextSimilarity`, `GraderLabelModel`, `GraderScoreModel`, `GraderPython`, `GraderMulti`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowai.evals.importers.project_files import slug
from flowai.evals.importers.records import ImportedFile, Omission

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.evals.importers.export_file import ExportFile
    from flowai.evals.importers.project_files import Row

_OUTPUT = re.compile(r"\{\{\s*sample\.output_text\s*\}\}")
_ITEM = re.compile(r"\{\{\s*item\.([\w.-]+)\s*\}\}")
_ANY = re.compile(r"\{\{[^{}]*\}\}")
_STRING_CHECKS = {"eq": "equals", "ne": "not-equals", "like": "contains", "ilike": "icontains"}
_SIMILARITIES = {"cosine": "similar", "bleu": "bleu", "gleu": "gleu", "meteor": "meteor", "rouge_1": "rouge-n"}
_SCORE_RANGE_LENGTH = 2
_APPROXIMATED = "the judge gets these messages as one rubric, so that its scores can differ"
_PYTHON_WRAPPER = '''

def get_assert(output, context):
    """Call the grader as OpenAI's Evals API does."""
    return float(grade({"output_text": output, "choices": []}, context["vars"]))
'''


@dataclass(kw_only=True)
class GraderImport:
    """Collects the assertions of an eval, the files of their code, and what has no counterpart."""

    export: ExportFile
    name: str
    """Of the suite."""
    rename: Callable[[str], str]
    """Returns the variable of a field of an item (`user.name`)."""
    assertions: list[Row] = field(default_factory=list)
    files: list[ImportedFile] = field(default_factory=list)
    omissions: list[Omission] = field(default_factory=list)

    def add(self, grader: Any, key: str) -> None:  # noqa: ANN401 - from a file
        """Map one grader to an assertion, or name why there is none."""
        if not isinstance(grader, dict) or not isinstance(grader.get("type"), str):
            raise self.export.error("found no grader, expected a mapping with `type`", key)
        kinds = {
            "string_check": self._string_check,
            "text_similarity": self._text_similarity,
            "label_model": self._label_model,
            "score_model": self._score_model,
            "python": self._python,
        }
        kind = grader["type"]
        if kind == "multi":
            self._omit(key, "a formula over graders has no counterpart; write an `assert-set` with weights")
            return
        if kind not in kinds:
            self._omit(key, f"unknown grader type `{kind}`")
            return
        assertion = kinds[kind](grader, key)
        if assertion is not None:
            metric = str(grader.get("name") or "").strip()
            self.assertions.append(assertion | ({"metric": metric} if metric else {}))

    def _omit(self, key: str, reason: str) -> None:
        self.omissions.append(Omission(file=self.export.name, key=key, reason=reason))

    def _text(self, grader: Row, name: str, key: str) -> str:
        value = grader.get(name)
        if not isinstance(value, str):
            raise self.export.error("found no text", f"{key}.{name}")
        return value

    def _compared(self, grader: Row, key: str, *, symmetric: bool) -> str | None:
        """Return the reference as a value of an assertion on the answer; None if the answer is not what is graded."""
        subject, reference = self._text(grader, "input", key), self._text(grader, "reference", key)
        if symmetric and _OUTPUT.fullmatch(reference.strip()):
            subject, reference = reference, subject
        if _OUTPUT.fullmatch(subject.strip()) is None:
            self._omit(f"{key}.input", f"found `{subject[:60]}`: only `{{{{sample.output_text}}}}` can be checked")
            return None
        rest = _ITEM.sub("", reference)
        if _ANY.search(rest):
            self._omit(f"{key}.reference", f"found `{reference[:60]}`: a value can only name fields of `item`")
            return None
        return _ITEM.sub(lambda match: f"{{{{{self.rename(match[1])}}}}}", reference)

    def _string_check(self, grader: Row, key: str) -> Row | None:
        operation = str(grader.get("operation"))
        if operation not in _STRING_CHECKS:
            self._omit(f"{key}.operation", f"unknown operation `{operation}`")
            return None
        value = self._compared(grader, key, symmetric=operation in {"eq", "ne"})
        return None if value is None else {"type": _STRING_CHECKS[operation], "value": value}

    def _text_similarity(self, grader: Row, key: str) -> Row | None:
        metric = str(grader.get("evaluation_metric"))
        if metric not in _SIMILARITIES:
            hint = "; `levenshtein` counts edits instead" if metric == "fuzzy_match" else ""
            self._omit(f"{key}.evaluation_metric", f"`{metric}` has no counterpart{hint}")
            return None
        value = self._compared(grader, key, symmetric=False)
        if value is None:
            return None
        threshold = self._threshold(grader, key)
        return {"type": _SIMILARITIES[metric], "value": value} | ({} if threshold is None else {"threshold": threshold})

    def _threshold(self, grader: Row, key: str) -> float | None:
        threshold = grader.get("pass_threshold")
        if threshold is None:
            return None
        if isinstance(threshold, bool) or not isinstance(threshold, int | float):
            raise self.export.error("found no number", f"{key}.pass_threshold")
        return float(threshold)

    def _label_model(self, grader: Row, key: str) -> Row:
        labels, passing = self._labels(grader, "labels", key), self._labels(grader, "passing_labels", key)
        rubric = self._rubric(grader, key)
        listed = ", ".join(f"`{label}`" for label in labels)
        rubric += (
            f"\n\nChoose one of the labels {listed}. It passes only with {' or '.join(f'`{p}`' for p in passing)}."
        )
        self._omit(key, _APPROXIMATED)
        return {"type": "llm-rubric", "value": rubric} | self._judge(grader)

    def _labels(self, grader: Row, name: str, key: str) -> list[str]:
        labels = grader.get(name)
        if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
            raise self.export.error("found no list of texts", f"{key}.{name}")
        return labels

    def _score_model(self, grader: Row, key: str) -> Row:
        low, high = self._range(grader, key)
        threshold = self._threshold(grader, key)
        rubric = f"{self._rubric(grader, key)}\n\nA score of {low:g} is 0, a score of {high:g} is 1."
        self._omit(key, _APPROXIMATED)
        if grader.get("sampling_params"):
            self._omit(f"{key}.sampling_params", "set parameters of the judge in `defaultTest.options.provider`")
        limit = {} if threshold is None else {"threshold": round((threshold - low) / (high - low), 6)}
        return {"type": "llm-rubric", "value": rubric} | limit | self._judge(grader)

    def _range(self, grader: Row, key: str) -> tuple[float, float]:
        bounds = grader.get("range") or [0, 1]
        is_range = isinstance(bounds, list) and len(bounds) == _SCORE_RANGE_LENGTH
        if not is_range or not all(isinstance(b, int | float) for b in bounds) or bounds[0] >= bounds[1]:
            raise self.export.error("found no range of two numbers", f"{key}.range")
        return float(bounds[0]), float(bounds[1])

    def _judge(self, grader: Row) -> Row:
        model = grader.get("model")
        return {"provider": f"openai:chat:{model}"} if isinstance(model, str) and model else {}

    def _rubric(self, grader: Row, key: str) -> str:
        messages = grader.get("input")
        if not isinstance(messages, list):
            raise self.export.error("found no list of messages", f"{key}.input")
        texts = [message_text(message) for message in messages if isinstance(message, dict)]
        text = _OUTPUT.sub("(the output)", "\n\n".join(part for part in texts if part))
        return _ITEM.sub(lambda match: f"{{{{{self.rename(match[1])}}}}}", text)

    def _python(self, grader: Row, key: str) -> Row:
        source = self._text(grader, "source", key)
        path = f"{self.name}_{slug(str(grader.get('name') or ''), 'grader')}_{key.rpartition('.')[2]}.py"
        self.files.append(ImportedFile(path=f"evals/{path}", text=source.rstrip() + _PYTHON_WRAPPER))
        if grader.get("image_tag"):
            self._omit(f"{key}.image_tag", "the code runs with the Python and the packages of this machine")
        threshold = self._threshold(grader, key)
        limit = {} if threshold is None else {"threshold": threshold}
        return {"type": "python", "value": f"file://{path}"} | limit


def message_text(message: Row) -> str:
    """Return the text of a message whose content is a text, a part, or a list of parts."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))
