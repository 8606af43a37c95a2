"""The compare page: its size, and the time of its filters and of its writing.

A page of 10,000 cases (40 words of input, 40 of answer, a baseline) in Chromium without a window. A filter's time is
from the change to the end of the layout that shows the new rows: the worst of several filters, each the fastest of its
rounds, because other programs only add time.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.chromium import browsing, find_chromium  # noqa: E402 - the tests' browser
from support.report_samples import report, trial  # noqa: E402

from flowai.evals.reports import EarlierTrial  # noqa: E402
from flowai.evals.reports.page.compare_page import to_html  # noqa: E402

if TYPE_CHECKING:
    from flowai.evals.reports import Report

HEADER = ("what", "value", "target", "how")
CASE_COUNT = 10_000
ROUND_COUNT = 15
TEXT = (
    "the merger was not approved by the board after a second vote and shares fell while analysts waited for news from "
    "a regulator who had asked for more time before any answer"
)
FILTERS = (
    "{ tab: 'worse' }",
    "{ tab: 'all' }",
    "{ tab: 'failing', outcome: 'fail' }",
    "{ tab: 'all', outcome: '', slice: 'language=de' }",
    "{ slice: '', q: 'regulator' }",
    "{ q: 'not in any text' }",
    "{ q: '' }",
)
TIMED = """(() => {
  const started = performance.now();
  change(%s);
  document.getElementById("list").getBoundingClientRect().height;
  return performance.now() - started;
})()"""


def build(case_count: int, word_count: int) -> Report:
    """Build a report with a baseline; a tenth of the cases fails."""
    words = TEXT.split()
    rng = random.Random(7)  # noqa: S311 - a benchmark's texts

    def text() -> str:
        return " ".join(rng.choices(words, k=word_count))

    trials, earlier = [], []
    for number in range(case_count):
        outcome = "fail" if rng.random() < 0.1 else "pass"
        facts: dict[str, Any] = {"vars": {"text": text()}, "output": text(), "prompt_text": f"Summarise: {text()}"}
        facts["metadata"] = {"language": ("en", "de", "ar")[number % 3]}
        made = trial(f"case-{number:05d}", outcome, **facts)
        trials.append(made)
        before: Any = "fail" if rng.random() < 0.1 else "pass"
        earlier.append(EarlierTrial(key=made.key, run_id="0006", outcome=before, output=text()))
    return report(trials, earlier=tuple(earlier))


def rows() -> list[tuple[str, ...]]:
    """Measure and return one row per figure; cells as in HEADER."""
    small = len(to_html(build(1_000, 300)).encode())
    size = f"{small / 1e6:.1f} MB"
    how = "300 words of input, of prompt, of answer and of baseline"
    found: list[tuple[str, ...]] = [("size of 1,000 cases", size, "at most 5 MB", how)]
    made = build(CASE_COUNT, 40)
    started = time.process_time()
    page = to_html(made)
    seconds = time.process_time() - started
    found.append((f"write {CASE_COUNT:,} cases", f"{seconds:.1f} s", "", f"CPU time; {len(page) / 1e6:.0f} MB"))
    program = find_chromium()
    if program is None:
        return [*found, (f"filter {CASE_COUNT:,} rows", "skipped: no Chromium", "at most 100 ms", "")]
    with tempfile.TemporaryDirectory() as folder, browsing(program) as browser:
        file = Path(folder) / "compare.html"
        file.write_text(page, encoding="utf-8")
        started = time.perf_counter()
        browser.open(f"file://{file}")
        browser.wait_for("document.getElementById('detail')?.children.length > 0")
        opened = time.perf_counter() - started
        first = browser.evaluate(TIMED % "{ q: 'board' }")
        rounds = [[browser.evaluate(TIMED % change) for change in FILTERS] for _ in range(ROUND_COUNT)]
    fastest = [min(times) for times in zip(*rounds, strict=True)]
    worst = f"{max(fastest):.0f} ms"
    how = f"worst of {len(FILTERS)} filters, each the fastest of {ROUND_COUNT} rounds, in Chromium"
    found.append((f"filter {CASE_COUNT:,} rows", worst, "at most 100 ms", how))
    found.append(("first search", f"{first:.0f} ms", "", "it also puts every text into lower case, once"))
    found.append((f"open {CASE_COUNT:,} cases", f"{opened:.1f} s", "", "wall time until the first case is shown"))
    return found


def main() -> None:
    """Print the rows as Markdown."""
    for row in (HEADER, ("---",) * len(HEADER), *rows()):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
