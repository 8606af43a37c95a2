"""Writes the recordings of `make demo-upgrade`: SmolLM2's, and those of a small program that stands for a second model.

The program takes the first sentences of a text for its summary, and a fixed palette for colors. No key is needed.
Usage: `python record_rules.py DIRECTORY FEATURE ...`, in the project.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowai.providers import Completion
from flowai.providers.replay import RecordedResponse, request_key
from flowai.rendering.formatting import count
from flowai.upgrades.feature_upgrade import make_run, plan_suites
from flowai.upgrades.forecast import SilentObserver
from flowai.upgrades.options import UpgradeOptions
from flowai.upgrades.setup import open_upgrade
from flowai.upgrades.spending import Spending
from flowai.workspace.workspace import CommandContext

if TYPE_CHECKING:
    from flowai.evals.runs.records import PreparedTrial

OLD, NEW = "smollm2", "demo/rules"
MAX_WORDS = 60
PALETTE = (
    ("Deep Navy", "#1B2A49"), ("Warm Sand", "#E3C9A8"), ("Leaf Green", "#4C8B4A"), ("Soft Coral", "#F08A7B"),
    ("Slate Gray", "#6B7785"), ("Pale Sky", "#BFD9EA"), ("Plum", "#6D3B6F"), ("Golden Wheat", "#E6B84C"),
    ("Forest Teal", "#1F6F6B"), ("Brick Red", "#A63D33"), ("Ivory", "#FBF6E9"), ("Charcoal", "#2E2E2E"),
)  # fmt: skip


def main() -> None:
    """Copy SmolLM2's recordings and write the program's beside them."""
    directory, features = Path(sys.argv[1]), tuple(sys.argv[2:])
    directory.mkdir(parents=True, exist_ok=True)
    context = CommandContext(directory=Path.cwd())
    for recording in context.project.evals.glob("recordings/*.jsonl"):
        shutil.copy(recording, directory / recording.name)
    options = UpgradeOptions(old=OLD, new=NEW, features=features, replay=directory)
    setup = open_upgrade(context, options)
    candidate = setup.candidate(options, setup.known)
    workspace = setup.with_candidate(candidate)
    lines: list[bytes] = []

    def record(prepared: PreparedTrial) -> None:
        if prepared.planned.target.model == setup.change.new:
            lines.append(_line(prepared))

    for feature in features:
        task = plan_suites(workspace, setup.pair(workspace, candidate, feature), options)
        run = make_run(
            task.workspace, f"{feature}-suites", task.plan, options, Spending(max_usd=None), SilentObserver()
        )
        run.waiting_for(record)
    (directory / "rules.jsonl").write_bytes(b"".join(lines))
    sys.stdout.write(f"{count(len(lines), 'answer')} of {NEW} recorded in {directory}\n")


def _line(prepared: PreparedTrial) -> bytes:
    text = answer(str(prepared.planned.target.feature), prepared.planned.case.vars)
    completion = Completion(
        text=text, model=NEW, served_model="rules", provider="demo", finish_reason="stop", input_tokens=None,
        output_tokens=len(text) // 4, cost_usd=0.0, latency_ms=0.0, ttft_ms=None,
    )  # fmt: skip
    import msgspec

    recorded = RecordedResponse(
        key=request_key(prepared.request), model=NEW, question=prepared.planned.case.id, completion=completion
    )
    return msgspec.json.encode(recorded) + b"\n"


def answer(feature: str, values: dict[str, Any]) -> str:
    """Return the program's answer."""
    if feature == "suggest_colors":
        chosen = PALETTE[: int(values.get("count", 3))]
        return json.dumps({"colors": [{"name": name, "hex": code} for name, code in chosen]})
    sentences = re.split(r"(?<=[.!?\u3002\uff01\uff1f])\s+", " ".join(str(values.get("text", "")).split()))
    summary = sentences[0]
    for sentence in sentences[1:]:
        if len(summary.split()) + len(sentence.split()) > MAX_WORDS:
            break
        summary = f"{summary} {sentence}"
    summary = " ".join(summary.split()[:MAX_WORDS])
    if feature == "meeting_notes":
        points = list(dict.fromkeys(sentence[:300] for sentence in sentences if sentence))[:8]
        return json.dumps({"summary": summary[:900] or "Nothing.", "key_points": points}, ensure_ascii=False)
    return summary or "Nothing."


if __name__ == "__main__":
    main()
