"""How often `flowai drift` is wrong, on simulated suites of 200 cases, and what it calls.

The tables use the decision of the command (`decide_group`), the last rows the command itself against a scripted
provider. The pass rate of each case is drawn from a beta distribution; "agreement 0.5" means that two trials of a case
are correlated by 0.5, "cases alike" that every case has the same rate. "3 + 3 trials" are those of a case in the
baseline and now. Baseline and run are both drawn anew each time. In brackets: 95 % intervals.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - thousands of suites at once
from gate_statistics import ALIKE, BROKEN, FIRM, MIXED, SPREAD, Harm, World, shift, values

from flowai.evals.drift.evidence import decide_group
from flowai.statistics import clopper_pearson
from flowai.statistics.paired_trials import PairedTrials

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = ("what", "seen", "target", "met")
RUNS = 10_000
CASES = 200
NIGHTS = 30
SHIFT = 0.10
HARD = World("cases alike at 0.55", 0.55, 0.0)
COMMAND_RUNS = 10
Row = tuple[str, ...]


def decide(
    rng: np.random.Generator,
    runs: int,
    world: World,
    trials: tuple[int, int],
    harm: Harm | None = None,
    loss: float = 0.0,
) -> tuple[Counter[str], float]:
    """Return the verdicts, and the share of the cases that was run; a loss below 0 is a gain."""
    found: Counter[str] = Counter()
    used = 0
    for _ in range(runs):
        before = world.draw(rng, CASES)
        after = before
        if harm is not None:
            after = harm[1](rng, before, loss)
        elif loss:
            after = shift(before, world.rate - loss)
        pairs = [
            PairedTrials(before=values(one, trials[0]), after=values(other, trials[1]))
            for one, other in zip(rng.binomial(trials[0], before), rng.binomial(trials[1], after), strict=True)
        ]
        decision = decide_group(pairs, margin=SHIFT)
        found[decision.direction or decision.verdict] += 1
        used += decision.case_count
    return found, used / runs / CASES


def unchanged(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Compare a model with itself."""
    some = max(runs // 5, 20)
    for world, trials, count in (
        (MIXED, (3, 3), runs),
        (FIRM, (1, 1), some),
        (MIXED, (1, 3), some),
        (ALIKE, (3, 3), some),
        (HARD, (5, 5), some),
    ):
        found, share = decide(rng, count, world, trials)
        alarms = found["worse"] + found["better"]
        name = f"A/A, {world.name}, {_trials(trials)} ({count:,} runs)"
        yield f"{name}: drifted", _share(alarms, count), "at most 1 %", _yes(alarms <= 0.01 * count)
        decided = (
            f"{_percent(found['not_drifted'] / count)} not drifted, {_percent(found['undecided'] / count)} undecided"
        )
        yield f"{name}: decided, cases run", f"{decided}; {_percent(share)} of the cases", "", ""


def nights(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Compare one baseline with thirty runs of the unchanged model."""
    count = max(runs // 100, 5)
    alarms = [0] * count
    for number in range(count):
        rates = ALIKE.draw(rng, CASES)
        before = [values(passed, 3) for passed in rng.binomial(3, rates)]
        for _ in range(NIGHTS):
            after = rng.binomial(3, rates)
            pairs = [PairedTrials(before=one, after=values(other, 3)) for one, other in zip(before, after, strict=True)]
            alarms[number] += decide_group(pairs, margin=SHIFT).verdict == "drifted"
    name = f"A/A, {ALIKE.name}, 3 + 3 trials, {NIGHTS} nights against one baseline"
    yield f"{name}: a baseline with an alarm", _share(sum(map(bool, alarms)), count), "", ""
    yield f"{name}: alarms per night", _percent(sum(alarms) / count / NIGHTS), "", ""


def changed(rng: np.random.Generator, runs: int) -> Iterator[Row]:
    """Shift the pass rate by 10 points."""
    some = max(runs // 20, 20)
    for world, trials in ((MIXED, (3, 3)), (FIRM, (3, 3)), (ALIKE, (3, 3)), (HARD, (8, 8))):
        for harm in (SPREAD, BROKEN):
            found, share = decide(rng, some, world, trials, harm, SHIFT)
            name = f"-10 points, {world.name}, {_trials(trials)}, {harm[0]}: worse"
            met = _yes(found["worse"] >= 0.95 * some)
            yield name, f"{_share(found['worse'], some)}; {_percent(share)} of the cases", "at least 95 %", met
    found, _ = decide(rng, some, World("agreement 0.5 at 0.8", 0.8, 0.5), (3, 3), None, -SHIFT)
    yield (
        "+10 points from 0.8, agreement 0.5, 3 + 3 trials: better",
        _share(found["better"], some),
        "at least 95 %",
        _yes(found["better"] >= 0.95 * some),
    )
    for world, trials in (
        (FIRM, (1, 1)),
        (MIXED, (1, 1)),
        (MIXED, (1, 3)),
        (ALIKE, (1, 3)),
        (HARD, (3, 3)),
        (HARD, (5, 5)),
    ):
        found, _ = decide(rng, some, world, trials, SPREAD, SHIFT)
        yield (
            f"-10 points, {world.name}, {_trials(trials)}, spread over all cases: worse",
            _share(found["worse"], some),
            "",
            "",
        )


def commands(runs: int) -> Iterator[Row]:
    """Run the command against a provider whose cases pass by chance."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from support.sample_project import case, make_project
    from support.scripted_provider import Asked, Reply, ScriptedProvider

    from flowai.cli.app import run

    rng = random.Random(20_251_130)  # noqa: S311 - a simulation
    rates: dict[str, float] = {}
    lost = [0.0]

    def answer(asked: Asked) -> Reply:
        name = str(asked.body["messages"][-1]["content"]).rpartition(" ")[2]
        return Reply(text="hello" if rng.random() < rates[name] - lost[0] * rates[name] else "no")

    def call(*arguments: str) -> int:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return run(arguments)

    os.environ["SCRIPTED_KEY"] = "scripted-key-0123456789"
    codes: dict[float, Counter[int]] = {0.0: Counter(), SHIFT / 0.9: Counter()}
    with tempfile.TemporaryDirectory() as folder, ScriptedProvider(answerer=answer, remember=False) as provider:
        project = make_project(Path(folder) / "project", provider.base_url)
        project.cases(*[case(f"c{number}") for number in range(CASES)])
        with contextlib.chdir(project.root):
            for _ in range(runs):
                drawn = np.random.default_rng(rng.randrange(2**32))
                rates.update({f"c{number}": rate for number, rate in enumerate(MIXED.draw(drawn, CASES))})
                lost[0] = 0.0
                call("eval", "--no-cache", "--repeat", "3", "--write-baseline", "nightly", "-j", "32")
                for loss, found in codes.items():
                    lost[0] = loss
                    found[call("drift", "-j", "32")] += 1
    same, worse = codes.values()
    yield f"`flowai drift`, A/A, {MIXED.name}, 3 + 3 trials: exit 0", f"{same[0]} of {runs}", "", ""
    yield "`flowai drift`, A/A: exit 1", f"{same[1]} of {runs}", "0", _yes(same[1] == 0)
    yield "`flowai drift`, -10 points: exit 1", f"{worse[1]} of {runs}", f"{runs}", _yes(worse[1] == runs)


def rows(runs: int = RUNS) -> Iterator[Row]:
    """Yield the table."""
    for seed, part in enumerate((unchanged, nights, changed)):
        for row in part(np.random.default_rng([20_251_130, 15, seed]), runs):
            sys.stderr.write(" | ".join(row) + "\n")
            yield row
    yield from commands(max(runs * COMMAND_RUNS // RUNS, 1))


def _trials(trials: tuple[int, int]) -> str:
    return f"{trials[0]} + {trials[1]} trials"


def _share(count: int, total: int) -> str:
    interval = clopper_pearson(count, total)
    return f"{_percent(count / total)} [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.02 else f"{100 * share:.2f} %"


def _yes(is_met: bool) -> str:  # noqa: FBT001 - one word of a table
    return "yes" if is_met else "no"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    for line in (HEADER, ("---",) * len(HEADER), *rows(parser.parse_args().runs)):
        print("| " + " | ".join(line) + " |", flush=True)
