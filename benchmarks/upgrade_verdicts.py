"""How often `flowai upgrade` finds a planted difference, and for how many calls.

Cases are drawn anew each time: the old model answers about 95 % of them rightly, and a difference is made of cases that
only one of the models answers rightly (equal: 2 % each; 3 points worse: 5 % and 2 %; 10 points: 12 % and 2 %). The
accepted loss is 3 points, alpha 0.05, a feature has 1,200 cases at most. Rates are of the command's own decision on
resampled cases; rows with "command" are whole commands against a provider on loopback. A fixed-n test decides once, on
all cases, by the same interval and McNemar's exact test. In brackets: 95 % intervals.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np  # noqa: TID251 - thousands of suites at once

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.scripted_provider import ScriptedProvider
from support.upgrade_project import Planted, make_upgrade_project

from flowai.cli.app import run
from flowai.statistics import bounded_mean_interval, clopper_pearson
from flowai.statistics.beta import binomial_cdf
from flowai.statistics.paired_trials import PairedTrials
from flowai.upgrades.verdict import judge_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray  # noqa: TID251 - as above

HEADER = ("what", "seen", "target", "met")
RUNS = 2_000
FIXED_RUNS = 1_000
CASES = 1_200
MARGIN, ALPHA = 0.03, 0.05
SEEDS = 2
Row = tuple[str, ...]
PAIRS = {
    -1.0: PairedTrials(before=(1.0,), after=(0.0,)),
    0.0: PairedTrials(before=(1.0,), after=(1.0,)),
    1.0: PairedTrials(before=(0.0,), after=(1.0,)),
}


class Difference(NamedTuple):
    """A planted difference."""

    name: str
    lost: float
    gained: float
    right: frozenset[str]
    target: float


DIFFERENCES = (
    Difference("equal", 0.02, 0.02, frozenset({"equal", "better"}), 0.95),
    Difference("3 points worse", 0.05, 0.02, frozenset({"worse"}), 0.90),
    Difference("10 points worse", 0.12, 0.02, frozenset({"worse"}), 1.0),
)
BETTER = Difference("10 points better", 0.02, 0.12, frozenset({"better"}), 0.95)


def draw(rng: np.random.Generator, planted: Difference, count: int) -> NDArray[np.float64]:
    """Draw the difference of each case: -1, 0 or 1."""
    shares = rng.random(count)
    return np.where(shares < planted.lost, -1.0, np.where(shares < planted.lost + planted.gained, 1.0, 0.0))


def fixed_verdict(differences: NDArray[np.float64]) -> str:
    """Return the verdict of a test on all cases."""
    interval = bounded_mean_interval(list(differences), low=-1, high=1, confidence=1 - 2 * ALPHA)
    if interval.low > 0:
        return "better"
    if interval.low > -MARGIN:
        return "equal"
    lost, gained = int((differences < 0).sum()), int((differences > 0).sum())
    return "worse" if lost + gained and binomial_cdf(gained, lost + gained, 0.5) <= ALPHA else "undecided"


def smallest_fixed_count(rng: np.random.Generator) -> int:
    """Return the smallest number of cases, in steps of 50, at which the fixed-n test reaches all targets."""
    for count in range(300, 4 * CASES, 50):
        if all(
            np.mean([fixed_verdict(draw(rng, item, count)) in item.right for _ in range(FIXED_RUNS)]) >= item.target
            for item in DIFFERENCES
        ):
            return count
    return 4 * CASES


def rows() -> Iterator[Row]:
    """Yield the table."""
    rng = np.random.default_rng(2_026)
    fixed = smallest_fixed_count(rng)
    means = []
    for planted in (*DIFFERENCES, BETTER):
        verdicts = [
            judge_pairs([PAIRS[value] for value in draw(rng, planted, CASES)], margin=MARGIN, alpha=ALPHA)
            for _ in range(RUNS)
        ]
        right = sum(found.verdict in planted.right for found in verdicts)
        mean = float(np.mean([found.pair_count for found in verdicts]))
        means.append(mean)
        interval = clopper_pearson(right, RUNS)
        share = right / RUNS
        yield (
            f"{planted.name}: right verdict with {CASES:,} cases at most",
            f"{share:.1%} [{interval.low:.1%}, {interval.high:.1%}]",
            f"at least {planted.target:.0%}",
            met(share >= planted.target),
        )
        calls = mean / CASES
        yield (
            f"{planted.name}: calls, of a fixed-n test's with {CASES:,} cases",
            f"{calls:.0%}",
            "at most 60 %",
            met(calls <= 0.6),
        )
    mean = float(np.mean(means))
    yield (
        f"mean of the four: calls, of the smallest fixed-n test's that reaches these rates ({fixed:,} cases)",
        f"{mean / fixed:.0%}",
        "at most 60 %",
        met(mean / fixed <= 0.6),
    )
    each = ", ".join(f"{value / fixed:.0%}" for value in means)
    yield ("each of the four, in the same order", each, "for the record", "-")
    yield from command_rows()


def command_rows() -> Iterator[Row]:
    """Yield the results of whole commands."""
    equal, worse = {"lost": {"a": 0.02}, "gained": {"a": 0.02}}, {"lost": {"a": 0.12}, "gained": {"a": 0.02}}
    mixed = {"lost": {"a": 0.12, "b": 0.02, "c": 0.02}, "gained": {"a": 0.02, "b": 0.12, "c": 0.12}}
    scenarios: tuple[tuple[str, dict[str, Any], dict[str, str], str, str], ...] = (
        ("equal", equal, {"a": "equal better"}, "", ""),
        ("3 points worse", {"lost": {"a": 0.05}, "gained": {"a": 0.02}}, {"a": "worse"}, "", ""),
        ("10 points worse", worse, {"a": "worse"}, "", ""),
        ("one feature worse, two better", mixed, {"a": "worse", "b": "better", "c": "better"}, "", ""),
        ("NEW refuses `temperature`", {**equal, "refuses": "temperature"}, {"a": "equal better"}, "removed", ""),
        ("NEW twice as dear", equal, {"a": "equal better"}, "costs 2 times as much", "dear"),
        ("NEW's answers twice as long", {**equal, "new_tokens": 20}, {"a": "equal better"}, "answers are 2 times", ""),
    )
    for name, planted, verdicts, says, price in scenarios:
        right, calls, total = 0, 0, 0
        for seed in range(SEEDS):
            report = upgrade(Planted(**planted, seed=seed), len(verdicts), is_dear=bool(price))
            found = {item["feature"]: item["verdict"] for item in report["features"]}
            is_right = all(found[feature] in words.split() for feature, words in verdicts.items())
            right += is_right and says in json.dumps(report)
            calls += report["call_count"]
            total += 2 * CASES * len(verdicts)
        yield (
            f"command, {name}: right",
            f"{right} of {SEEDS}, {calls:,} of {total:,} calls",
            f"{SEEDS} of {SEEDS}, at most 60 %",
            met(right == SEEDS and calls <= 0.6 * total),
        )


def upgrade(planted: Planted, feature_count: int, *, is_dear: bool) -> dict[str, Any]:
    """Run the command and return its report."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as directory, ScriptedProvider(answerer=planted, remember=False) as provider:
        root = Path(directory)
        make_upgrade_project(root, provider.base_url, dict.fromkeys("abc"[:feature_count], CASES))
        if is_dear:
            registry = root / "registry.yaml"
            lines = registry.read_text(encoding="utf-8").splitlines()
            dear = [
                line.replace("{input: 1, output: 2}", "{input: 2, output: 4}") if "new-1" in line else line
                for line in lines
            ]
            registry.write_text("\n".join(dear) + "\n", encoding="utf-8")
        os.environ["SCRIPTED_KEY"] = "sk-bench"
        os.chdir(root)
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                run(("upgrade", "m", "n", "--margin", str(MARGIN), "--alpha", str(ALPHA), "--json"))
        finally:
            os.chdir(before)
    report: dict[str, Any] = json.loads(out.getvalue())
    return report


def met(is_met: object) -> str:
    """Return the word of the table."""
    return "yes" if is_met else "NO"


if __name__ == "__main__":
    for line in chain((HEADER, ("---",) * len(HEADER)), rows()):
        print("| " + " | ".join(line) + " |", flush=True)
