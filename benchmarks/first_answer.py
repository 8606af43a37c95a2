"""From a cold process to the first answer, on a loopback provider that answers at once.

Whole processes, wall time, medians of interleaved rounds: a script with `SyncGateway`, `flowai ask`, `flowai smoke`
(one case), beside `import litellm` alone and a script that calls `litellm.completion` once.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEADER = ("what", "wall", "beside `litellm.completion`", "how")
ROUNDS_COUNT = 9
KEY = "scripted-key-0123456789"
TESTS = Path(__file__).resolve().parents[1] / "tests"
GATEWAY = "from flowai import SyncGateway\nwith SyncGateway() as gw: print(gw.complete('chat', {'text': 'x'}).text)"
IMPORT = "import os; os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'; import litellm"
COMPLETION = (
    IMPORT
    + "\nprint(litellm.completion(model='openai/gpt-4o-mini', api_base='{base_url}', api_key='x', max_retries=0,"
    + " messages=[{{'role': 'user', 'content': 'x'}}]).choices[0].message.content)"
)
SMOKE = """\
prompts: [prompts/echo_v1]
tests: [{vars: {text: x}, metadata: {feature: chat}, assert: [{type: contains, value: hello}]}]
flowai: {feature: chat}
"""


def rows() -> list[tuple[str, ...]]:
    """Measure and return the rows; cells as in HEADER."""
    command = [sys.executable, "-m", "support.scripted_provider", "--port", "0"]
    with (
        subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as place,
    ):
        try:
            assert server.stdout is not None  # noqa: S101 - asked for above
            return _measure(server.stdout.readline().split()[-1], Path(place))
        finally:
            server.kill()


def _measure(base_url: str, root: Path) -> list[tuple[str, ...]]:
    sys.path.insert(0, str(TESTS))
    from support.sample_project import make_project

    project = make_project(root, base_url)
    project.write("evals/smoke.yaml", SMOKE)
    flowai = str(Path(sys.executable).with_name("flowai"))
    commands = {
        "`SyncGateway().complete`": [sys.executable, "-c", GATEWAY],
        "`flowai ask`": [flowai, "ask", "chat", "--var", "text=x"],
        "`flowai smoke --base-url`": [flowai, "smoke", "--base-url", base_url],
        "`flowai smoke`, with a gateway of its own": [flowai, "smoke"],
        "`import litellm`": [sys.executable, "-c", IMPORT],
        "`litellm.completion`": [sys.executable, "-c", COMPLETION.format(base_url=base_url)],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS_COUNT):
        for name, command in commands.items():
            times[name].append(_wall_s(command, root))
    peer = times["`litellm.completion`"]
    table: list[tuple[str, ...]] = []
    for name, all_s in times.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(all_s, peer, strict=True))
        table.append((name, f"{statistics.median(all_s):.2f} s", f"{ratio:.2f}x", f"median of {ROUNDS_COUNT} rounds"))
    return table


def _wall_s(command: list[str], place: Path) -> float:
    started_s = time.perf_counter()
    done = subprocess.run(
        command, cwd=place, env={**os.environ, "SCRIPTED_KEY": KEY}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command}: exit status {done.returncode}: {done.stderr[-800:]}")
    return time.perf_counter() - started_s


def main() -> None:
    """Print the rows as Markdown."""
    for row in (HEADER, ("---",) * len(HEADER), *rows()):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
