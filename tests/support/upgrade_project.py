"""A project whose features are upgraded from the model `m` to `n`, on a provider with planted differences."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flowai.events import Attempt, CallEvent, Content, EventLog
from flowai.redaction import Redactor
from support.sample_project import SampleProject
from support.scripted_provider import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

OLD_MODEL, NEW_MODEL, JUDGE_MODEL = "old-1", "new-1", "judge-1"
GOOD, BAD = "hello there", "nope"
_MODEL = (
    '{{model: openai/{model}, api_base: "{base_url}", api_key: "${{SCRIPTED_KEY}}", price: {{input: 1, output: 2}}}}'
)
_PROMPT = """\
---
input: {{schema: {{text: string}}}}
---
{{{{role "system"}}}}Feature {feature}.
{{{{role "user"}}}}{{{{text}}}}
"""
_SUITE = """\
prompts: [prompts/{feature}_v1]
defaultTest: {{assert: [{{type: contains, value: hello}}]}}
tests:
  - file://../datasets/{feature}.jsonl
flowai: {{feature: {feature}{gate}}}
"""
_SMOKE = """\
tests:
  - {{id: a, metadata: {{feature: {feature}}}, vars: {{text: smoke}}, assert: [{{type: contains, value: hello}}]}}
"""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Differences of the new model from the old one.

    Args:
        lost: share of a feature's cases that only the old model answers rightly.
        gained: share that only the new model answers rightly.
        refuses: parameter that the new model refuses.
        new_tokens: output tokens of the new model's answers; the old one's have 10.
        seed: another number plants the differences at other cases.
        delay_s: time of an answer.
    """

    lost: Mapping[str, float] = field(default_factory=dict)
    gained: Mapping[str, float] = field(default_factory=dict)
    refuses: str | None = None
    new_tokens: int = 10
    seed: int = 0
    delay_s: float = 0.0

    def difference(self, text: str) -> int:
        """Return -1 for a case that only the old model answers rightly, 1 for the new one, else 0."""
        feature = text.partition(" ")[0]
        lost, gained = self.lost.get(feature, 0.0), self.gained.get(feature, 0.0)
        share = int(hashlib.sha256(f"{self.seed} {text}".encode()).hexdigest()[:12], 16) / 16**12
        return -1 if share < lost else 1 if share < lost + gained else 0

    def __call__(self, asked: Asked) -> Reply:
        """Answer as the provider."""
        model, text = asked.body["model"], str(asked.body["messages"][-1]["content"])
        if model == JUDGE_MODEL:
            return self._compare(text)
        is_new = model == NEW_MODEL
        if is_new and self.refuses in asked.body:
            message = f"Unsupported parameter: '{self.refuses}' is not supported with this model."
            return Reply(status=400, error={"message": message, "type": "invalid_request_error", "param": self.refuses})
        is_bad = self.difference(text) == (-1 if is_new else 1)
        return Reply(text=BAD if is_bad else GOOD, usage=(20, self.new_tokens if is_new else 10), delay_s=self.delay_s)

    @staticmethod
    def _compare(text: str) -> Reply:
        first, _, second = text.partition("Second answer:")
        bad = BAD in first.rpartition("First answer:")[2], BAD in second
        better = "equal" if bad[0] == bad[1] else "second" if bad[0] else "first"
        return Reply(text=json.dumps({"reason": "one is empty", "better": better}), usage=(50, 10))


def make_upgrade_project(
    root: Path, base_url: str, features: Mapping[str, int], *, params: str = "{temperature: 0}", more: str = ""
) -> SampleProject:
    """Write a project with features and as many cases each; a feature with 0 cases has no suite.

    Args:
        root: its directory.
        base_url: the provider.
        features: number of cases by feature.
        params: parameters of the bindings.
        more: keys that each feature gets.
    """
    project = SampleProject(root=root.resolve())
    models = {"m": OLD_MODEL, "n": NEW_MODEL, "judge-model": JUDGE_MODEL}
    lines = ["schema_version: 1", "models:"]
    lines += [f"  {name}: {_MODEL.format(model=model, base_url=base_url)}" for name, model in models.items()]
    lines += ["features:", *(f"  {name}: {{budget: {{completion_tokens: 50}}{more}}}" for name in features)]
    lines += ["releases:", "  v1:"]
    lines += [f"    {name}: {{prompt: prompts/{name}_v1, model: m, params: {params}}}" for name in features]
    project.write("registry.yaml", "\n".join([*lines, "current: v1", "history: [v1]", ""]))
    for name, count in features.items():
        project.write(f"prompts/{name}_v1.prompt", _PROMPT.format(feature=name))
        if count:
            write_suite(project, name, count)
    project.write("evals/smoke.yaml", _SMOKE.format(feature=next(iter(features))))
    return project


def write_suite(project: SampleProject, feature: str, count: int, *, gate: str = "") -> None:
    """Write the suite of a feature; every second case has the metadata `size: long`."""
    project.write(f"evals/{feature}.yaml", _SUITE.format(feature=feature, gate=gate))
    cases = [
        {
            "id": f"c{number}",
            "vars": {"text": f"{feature} {number}"},
            "metadata": {"size": ("short", "long")[number % 2]},
        }
        for number in range(count)
    ]
    project.write(f"datasets/{feature}.jsonl", "".join(json.dumps(case) + "\n" for case in cases))


def log_calls(
    project: SampleProject,
    feature: str,
    texts: Sequence[str],
    *,
    model: str = "m",
    content: bool = True,
    input_tokens: int = 20,
) -> None:
    """Write calls of users into the event log, one per text, an hour apart."""
    now = datetime.now(UTC)
    log = EventLog(project.root / ".flowai" / "events", process="test", redactor=Redactor([]), clock=lambda: now)
    for number, text in enumerate(texts):
        messages = ({"role": "system", "content": f"Feature {feature}."}, {"role": "user", "content": text})
        log.append(
            CallEvent(
                call_id=f"{feature}-{model}-{number:04d}",
                at=now - timedelta(hours=number),
                origin="library",
                feature=feature,
                release="v1",
                requested_model="m",
                attempts=(Attempt(model=model, provider="p", status="ok", latency_ms=5.0),),
                input_tokens=input_tokens,
                output_tokens=10,
                latency_ms=5.0,
                content=Content(messages=messages, output=GOOD) if content else None,
            )
        )
    log.close()
