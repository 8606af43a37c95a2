"""Cost and yield of cleaning a training set: near duplicates among 100,000 pairs, planted leaks, false removals.

Near duplicates are measured in processes of their own: CPU time, that of making the texts not counted, and the most
memory. The peer is datasketch (MinHash of 80 numbers, LSH at 0.8) over the same shingles, on a tenth of the pairs,
since it holds all in memory. `FLOWAI_BENCH_PAIRS` sets the size.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

HEADER = ("what", "flowai", "peer", "ratio", "how")
ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
EXERCISES = ROOT.parent / "shared" / "data" / "gsm8k" / "test.jsonl"
PAIRS_COUNT = int(os.environ.get("FLOWAI_BENCH_PAIRS", "100000"))
PEER_SHARE = 10

_PAIRS = """
import json, random, resource, sys, tempfile, time
from pathlib import Path
from flowai.finetune.records import Pair
count = int(sys.argv[1])
words = sorted(set(Path(sys.argv[2]).read_text(encoding="utf-8").split()))
frame = "Please sum up this ticket in two sentences for the shift leader: "
def text(seed, length):
    return " ".join(random.Random(seed).choices(words, k=length))
def make(number):
    source = number - 1 if number % 20 == 19 else number  # one in twenty repeats the one before, with a word added
    added = " Thanks!" if source != number else ""
    request, answer = frame + text(source, 60) + added, text(source + 1_000_000_000, 40) + added
    return Pair(id=f"call-{number}", at=f"2026-01-01T00:00:00.{number % 1_000_000:06}Z", feature="f",
        opinion="accepted", user_hash=f"u{number % 5_000}", output=answer,
        messages=({"role": "user", "content": request},))
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
making = 0.0
def made(number):
    global making
    begin = cpu()
    pair = make(number)
    making += cpu() - begin
    return pair
"""
_OURS = """
from flowai.finetune.dedup.near_duplicates import Duplicates
from flowai.finetune.dedup.split import SplitRatios, split_of
begin = cpu()
with tempfile.TemporaryDirectory() as place, Duplicates(Path(place)) as duplicates:
    for number in range(count):
        pair = made(number)
        duplicates.add(pair, split_of(pair, SplitRatios()))
    found = sum(fate.reason is not None for fate in duplicates.results())
"""
_PEER = """
import numpy, warnings
from datasketch import MinHash, MinHashLSH
from flowai.finetune.dedup.shingles import folded, shingles
begin = cpu()
index, found = MinHashLSH(threshold=0.8, num_perm=80), 0
for number in range(count):
    pair = made(number)
    whole = numpy.concatenate([shingles(folded(pair.messages[0]["content"])), ~shingles(folded(pair.output))])
    hashed = MinHash(num_perm=80)
    hashed.update_batch([stretch.tobytes() for stretch in numpy.unique(whole)])
    found += bool(index.query(hashed))
    index.insert(pair.id, hashed)
"""
_END = """
seconds = cpu() - begin - making
print(json.dumps([count / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found]))
"""


def rows() -> list[tuple[str, ...]]:
    """Measure and return the rows of the table."""
    return [*_duplicates(), *_leaks()]


def _duplicates() -> list[tuple[str, ...]]:
    rate, memory_mb, found = _run(_OURS, PAIRS_COUNT)
    planted = PAIRS_COUNT // 20
    how = f"{PAIRS_COUNT:,} pairs of 60 and 40 words, {planted:,} near duplicates planted"
    peer = ("not installed", "", "")
    if find_spec("datasketch"):
        peer_rate, peer_mb, peer_found = _run(_PEER, PAIRS_COUNT // PEER_SHARE)
        peer = (f"{peer_rate:,.0f}", f"{peer_mb:.0f} MB of a tenth", f"{peer_found / planted * PEER_SHARE:.1%}")
        ratio = f"{rate / peer_rate:.1f}"
    else:
        ratio = "-"
    return [
        ("near duplicates: pairs/s", f"{rate:,.0f}", peer[0], ratio, f"datasketch; {how}"),
        ("near duplicates: most memory", f"{memory_mb:.0f} MB", peer[1] or "-", "-", "the peer verifies nothing"),
        ("near duplicates: found", f"{found / planted:.1%}", peer[2] or "-", "-", "of those planted"),
    ]


def _run(script: str, count: int) -> tuple[float, float, int]:
    """Run in a fresh process; return pairs per CPU second, peak memory in MB, and the number found."""
    words = ROOT / "datasets" / "long" / "harbour_log.txt"
    command = [sys.executable, "-c", _PAIRS + script + _END, str(count), str(words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rate, memory_mb, found = json.loads(done.stdout)
    return rate, memory_mb, found


def _leaks() -> list[tuple[str, ...]]:
    """Plant copies of cases of each kind and return how many are found, and the false removals."""
    if not EXERCISES.is_file():
        return [("leaks", "-", "-", "-", "public test data (shared/data beside the checkout) is not here")]
    sys.path.insert(0, str(TESTS))
    from support.planted_contamination import KINDS

    exercises = [json.loads(line) for line in EXERCISES.read_text(encoding="utf-8").splitlines()]
    questions = [task["question"] for task in exercises]
    others = [text for task in exercises for text in task.values()]
    asked, unrelated = questions[:660], questions[660:]
    own = _own_cases()
    table: list[tuple[str, ...]] = []
    for kind in KINDS:
        least = 40 if kind.startswith(("letters", "words")) else 12
        found = [_recall(kind, asked, unrelated), _recall(kind, [text for text in own if _size(text) >= least], others)]
        how = f"660 exercises; our own cases of {least} letters and more: {found[1]:.2%}"
        table.append((f"leaks found: {kind}", f"{found[0]:.2%}", "-", "-", how))
    for name, cases, texts in (
        ("659 exercises, for 660 others", asked, unrelated),
        ("1,319 exercises and their answers, for our own cases", own, others),
    ):
        removed, per_s = _removed(cases, texts)
        how = f"{per_s:,.0f} texts/s, {len(cases)} cases"
        table.append((f"removed wrongly: {name}", f"{removed} of {len(texts):,}", "-", "-", how))
    return table


def _recall(kind: str, cases: list[str], around: list[str]) -> float:
    from support.planted_contamination import planted

    from flowai.finetune.dedup.contamination import ContaminationIndex, EvalText

    leaks = ContaminationIndex(EvalText(suite="s", id=str(number), text=text) for number, text in enumerate(cases))
    random = Random(86)  # noqa: S311 - a sample
    copies = [planted(kind, text, random, random.choice(around)) for text in cases for _ in range(5)]
    return sum(leaks.find(copy) is not None for copy in copies) / len(copies)


def _removed(cases: list[str], texts: list[str]) -> tuple[int, float]:
    import time

    from flowai.finetune.dedup.contamination import ContaminationIndex, EvalText

    leaks = ContaminationIndex(EvalText(suite="s", id=str(number), text=text) for number, text in enumerate(cases))
    begin_s = time.process_time()
    removed = sum(leaks.find(text) is not None for text in texts)
    return removed, len(texts) / (time.process_time() - begin_s)


def _own_cases() -> list[str]:
    import yaml

    found: list[Any] = []
    for path in sorted((ROOT / "datasets").iterdir()):
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as stream:
                found += [row["theme"] for row in csv.DictReader(stream)]
        elif path.suffix in {".jsonl", ".yaml"}:
            whole = path.read_text(encoding="utf-8")
            table = (
                [json.loads(line) for line in whole.splitlines()] if path.suffix == ".jsonl" else yaml.safe_load(whole)
            )
            found += [value for row in table for value in row.get("vars", {}).values()]
    return [text for text in map(str, found) if "file://" not in text and " " in text.strip()]


def _size(text: str) -> int:
    from flowai.finetune.dedup.shingles import letters

    return len(letters(text))


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row))
